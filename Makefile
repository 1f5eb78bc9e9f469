# make book    run every notebook that is out of date, build the book: _build/html/index.html
# make pdf     the whole book as one file: _build/book.pdf (needs Chromium)
# make epub    the whole book for e-readers: _build/book.epub
# make test    run every check; PROFILE=full with twenty times the random cases (ARDM_TESTS=full), PROFILE=cluster instead plays the
#              small arena on a SLURM of this machine (slurm-wlm, munge, root), PROFILE=lab the explorers in JupyterLab (Chromium),
#              PROFILE=mutants changes the code of the method, one thing at a time, and asks whether a test fails (an hour)
# make lab     open the notebooks in JupyterLab
# make record  run the notebooks and store their outputs in notebooks/
# make arena   play every rule at equal calls: runs/arena, in minutes; PROFILE=paper takes hours
# make ablations  change one thing of the gate at a time: runs/ablations, in minutes; PROFILE=paper takes hours
# make release  tag this commit with its version, when changelog and citation agree with it; nothing is pushed
# make lock    resolve requirements.lock and the checksums of requirements.sha256 anew (needs uv)
# make clean   remove _build, mutants and caches; .venv and runs stay
#
# make book WHY=1 and make arena WHY=1 only say what is out of date. JOBS=4 runs so many things at a time, ON=slurm on a cluster.
#
# Everything runs in .venv, made on first use. Another Python: make PYTHON=python3.12 book. With HASHES=1 the first use installs
# nothing whose SHA-256 is not in requirements.sha256: files of PyPI alone, torch with CUDA on Linux.
# In an activated conda environment named ardm (environment.yml) that environment is used instead.

PYTHON ?= python3
ifeq ($(CONDA_DEFAULT_ENV),ardm)
VENV := $(CONDA_PREFIX)
else
VENV := .venv
endif
BIN := $(VENV)/bin
PY := $(BIN)/python
SOURCES_OF_VENV := pyproject.toml requirements.lock

# Of these two the files are used and not the code, so they come without what that asks for: a schema, and a model of reactions.
FILES_ALONE := cffconvert==2.0.0 rxnmapper==0.4.3

PIP = $(PY) -m pip install --quiet --disable-pip-version-check
ifdef HASHES
INSTALL = $(PIP) --no-deps --require-hashes -r requirements.sha256 && $(PIP) --no-deps --no-build-isolation -e .
else
INSTALL = $(PIP) -c requirements.lock -e ".[book,test]" && $(PIP) --no-deps $(FILES_ALONE)
endif

# Each notebook kernel and each test worker computes on one thread: they already run side by side.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help book pdf epub test lab record arena ablations release lock clean install
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

install: $(VENV)/.ardm-installed

$(VENV)/.ardm-python:
	@$(PYTHON) -c 'pass' 2>/dev/null || { echo "error: $(PYTHON) was not found; ardm needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("error: ardm needs Python 3.11 or newer, $(PYTHON) is %d.%d; name another: make PYTHON=python3.12 book" % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu install the package python3-venv" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || { echo "$(PYTHON) -m venv $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@touch $@

# Whoever names a Python means it: an environment that is here already keeps the one that it was made with.
.PHONY: same-python
same-python:
ifeq ($(VENV) $(origin PYTHON),.venv command line)
	@wanted=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	held=$$($(PY) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	[ -z "$$held" ] || [ "$$held" = "$$wanted" ] || { echo "error: $(VENV) has Python $$held, and $(PYTHON) is $${wanted:-not here}; rm -r $(VENV) lets make use another" >&2; exit 1; }
endif

$(VENV)/.ardm-installed: $(VENV)/.ardm-python $(SOURCES_OF_VENV) | same-python
	@cat $(SOURCES_OF_VENV) | cksum >$(VENV)/.ardm-wanted
	@cmp -s $(VENV)/.ardm-wanted $@ || { echo "installing into $(VENV); the first time takes minutes"; $(INSTALL); }
	@mv $(VENV)/.ardm-wanted $@

$(VENV)/.ardm-lab: $(VENV)/.ardm-installed
	@echo "installing JupyterLab into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[lab]"
	@touch $@

# What changes the code for PROFILE=mutants, at one version, so that the same changes come out. No notebook needs it: it is in no list.
MUTMUT := mutmut==3.8.1 libcst==1.9.0

$(VENV)/.ardm-mutmut: $(VENV)/.ardm-installed
	@echo "installing mutmut into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock $(MUTMUT)
	@touch $@

book: install
	@$(BIN)/ardm book $(if $(WHY),--why) $(if $(JOBS),--jobs $(JOBS))

# With the template of the ablations, which is no page of the book.
RECORDED := $(wildcard notebooks/*.ipynb) notebooks/ablations/run.ipynb

pdf: book
	$(PY) book/pdf.py

epub: book
	$(PY) book/epub.py

record: install
	$(BIN)/ardm execute --into _build/executed $(RECORDED)
	$(BIN)/ardm record --from _build/executed $(RECORDED)
	cp _build/executed/figures/fig-rewriting.png book/_static/rewriting.png

# Where they compute and what of it: a profile of ardm arena or ardm ablations, jobs at a time, a cluster (book/rerun.md).
PROFILE ?= small
CHOSEN = --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS)) $(if $(ON),--on $(ON)) $(if $(WHY),--dry-run)

arena: install
	@$(ONE_THREAD) $(BIN)/ardm arena $(CHOSEN)

ablations: install
	@$(ONE_THREAD) $(BIN)/ardm ablations $(CHOSEN)

lab: $(VENV)/.ardm-lab
	$(PY) -m jupyter lab notebooks

# All groups run, whatever the first ones say; one failure is a failure.
test: install
ifeq ($(PROFILE),cluster)
	@$(PY) -m pip install --quiet --disable-pip-version-check -c requirements.lock -e ".[slurm]"
	$(ONE_THREAD) $(PY) -m pytest tests/cluster -q
else ifeq ($(PROFILE),lab)
	@$(MAKE) --no-print-directory $(VENV)/.ardm-lab
	ARDM_REQUIRE_BROWSER=1 $(ONE_THREAD) $(PY) -m pytest tests/test_lab.py -q
else ifeq ($(PROFILE),mutants)
	@$(MAKE) --no-print-directory $(VENV)/.ardm-mutmut
	$(ONE_THREAD) $(PY) tests/mutants/run.py $(if $(JOBS),--jobs $(JOBS))
else
	@failed=; \
	section() { echo; echo "== $$1"; }; \
	section "style: ruff"; \
	$(PY) -m ruff check --quiet --output-format concise . || failed="$$failed style"; \
	$(PY) -m ruff format --quiet --check . || failed="$$failed format"; \
	section "tests: the package, the book, its pages"; \
	$(if $(filter full,$(PROFILE)),ARDM_TESTS=full) $(ONE_THREAD) $(PY) -m pytest tests -n auto --dist loadscope -q || failed="$$failed tests"; \
	section "notebooks: a new run against the stored outputs"; \
	$(ONE_THREAD) $(PY) -m pytest --nbval notebooks -n auto --dist loadscope -q || failed="$$failed notebooks"; \
	section "result"; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi; \
	echo "all checks passed"
endif

release: install
	@$(PY) book/release.py

HASHED := --universal --python-version 3.11 --no-annotate --no-header --generate-hashes --quiet

lock:
	@command -v uv >/dev/null || { echo "error: make lock needs uv on PATH" >&2; exit 1; }
	@mkdir -p _build
	uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --no-annotate --no-header --output-file _build/resolved.txt --quiet
	@{ sed '/^#/!d' requirements.lock; grep -Ev '^(nvidia|triton|cuda)' _build/resolved.txt; } >_build/requirements.lock
	@mv _build/requirements.lock requirements.lock
	uv pip compile pyproject.toml -c requirements.lock --extra book --extra test $(HASHED) --output-file _build/hashes.txt
	printf '%s\n' $(FILES_ALONE) | uv pip compile - --no-deps $(HASHED) --output-file _build/alone.txt
	@{ sed '/^#/!d' requirements.sha256; cat _build/hashes.txt _build/alone.txt; } >_build/requirements.sha256
	@mv _build/requirements.sha256 requirements.sha256
	@git --no-pager diff --stat -- requirements.lock requirements.sha256 2>/dev/null || true

clean:
	rm -rf _build mutants .pytest_cache .ruff_cache .hypothesis ardm.egg-info build
	find . -path ./.venv -prune -o -path ./.git -prune -o -name __pycache__ -type d -print | xargs rm -rf
