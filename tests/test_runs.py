"""Runs: executed copies are whole or absent, stale ones are seen, and what made a result is said."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest
from processes import hear_interrupts, wait_for

from ardm.base import provenance
from ardm.base.errors import InputError
from ardm.book import runs
from ardm.book.reads import digests
from ardm.book.runs import RunFailed, execute, execute_stale, record, recorded, steady, why_stale
from ardm.worlds import registry

STEPS = "steps: int = 3  # in [1, 10]: steps"
STATE = "application/vnd.jupyter.widget-state+json"
SLEEP = "import time\ntime.sleep(60)"


def write(path: Path, *sources: str, tags: dict[int, list[str]] | None = None) -> Path:
    """A notebook with a parameters cell and one code cell for each source; ``tags`` by the position of the source."""
    cells = [nbformat.v4.new_code_cell(STEPS, id="parameters", metadata={"tags": ["parameters"]})]
    for number, source in enumerate(sources):
        metadata = {"tags": tags[number]} if tags and number in tags else {}
        cells.append(nbformat.v4.new_code_cell(source, id=f"cell-{number}", metadata=metadata))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def make_project(root: Path) -> Path:
    """A small project of its own; returns its folder of notebooks."""
    for folder in ("ardm/method", "ardm/data", "notebooks"):
        (root / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.lock", "ardm/method/gate.py", "ardm/data/registry.json"):
        (root / name).write_text("")
    return root / "notebooks"


def text_of(path: Path) -> str:
    """All that the executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.text for cell in cells for output in cell.get("outputs", ()) if output.output_type == "stream")


def files(folder: Path) -> list[str]:
    """What lies in the folder, but for the logs and the lock of the graph."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".graph")) if folder.exists() else []


def kernels(folder: Path) -> list[int]:
    """The processes whose working folder is ``folder``: a notebook's kernel is one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve() and b"ipykernel" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.fixture
def notebooks(tmp_path, monkeypatch, no_corpora):
    monkeypatch.setattr(registry, "names", lambda: ("novel",))
    monkeypatch.setattr(registry, "locate", lambda name: None)
    return make_project(tmp_path / "project")


def test_a_run_uses_the_parameters_and_the_notebooks_folder(notebooks, tmp_path):
    notebook = write(notebooks / "01_toy.ipynb", "from pathlib import Path\nprint(steps, Path.cwd().name)")
    output = tmp_path / "out {x}" / "01_toy.ipynb"
    result = execute(notebook, output, {"steps": 7}, progress=False)
    assert text_of(output) == "7 notebooks\n"
    assert files(output.parent) == ["01_toy.ipynb"]
    run = recorded(output)
    assert (run["key"], run["parameters"], run["seconds"]) == (result.key, {"steps": 7}, result.seconds)
    executed = nbformat.read(output, as_version=4)
    assert "papermill" not in executed.metadata
    assert "version" not in executed.metadata.language_info
    assert not any("papermill" in cell.metadata or cell.metadata.get("tags") == [] for cell in executed.cells)
    assert str(tmp_path) not in output.read_text()
    with pytest.raises(InputError, match="run with steps=7: only a run with the default"):
        record({output: notebook})


def test_a_failing_cell_leaves_a_marked_notebook_and_no_result(notebooks, tmp_path):
    notebook = write(notebooks / "02_bad.ipynb", "print('before')", "raise ValueError('no\\nway')", "print('after')")
    output = tmp_path / "02_bad.ipynb"
    with pytest.raises(RunFailed) as caught:
        execute(notebook, output, progress=False)
    failed = tmp_path / "02_bad.failed.ipynb"
    assert str(caught.value) == f"02_bad failed in cell [3]: ValueError: no way; the notebook up to there is {failed}"
    assert not output.exists()
    assert text_of(failed) == "before\n"
    assert "An Exception was encountered" in failed.read_text()
    write(notebook, "print('mended')")
    execute(notebook, output, progress=False)
    assert files(tmp_path) == ["02_bad.ipynb", "project"]


def test_a_cell_that_takes_too_long_and_a_dead_kernel_are_failures(notebooks, tmp_path):
    slow, dead = write(notebooks / "slow.ipynb", SLEEP), write(notebooks / "dead.ipynb", "import os\nos._exit(9)")
    with pytest.raises(RunFailed, match=r"slow failed in cell \[2\]: it took longer than 1 s"):
        execute(slow, tmp_path / "slow.ipynb", progress=False, timeout=1)
    with pytest.raises(RunFailed, match=r"dead failed in cell \[2\]: its kernel died"):
        execute(dead, tmp_path / "dead.ipynb", progress=False)
    assert kernels(notebooks) == []


def test_a_kernel_that_cannot_start_is_one_line(notebooks, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "own_settings", partial(runs.own_settings, python="false"))
    with pytest.raises(RunFailed, match=r"01_toy could not be run \(RuntimeError: Kernel died .*open files \(ulimit -n\)"):
        execute(write(notebooks / "01_toy.ipynb", "1"), tmp_path / "out" / "01_toy.ipynb", progress=False)
    assert files(tmp_path / "out") == []


RUN = "import sys, pathlib; from ardm.book.runs import execute; execute(*map(pathlib.Path, sys.argv[1:]), progress=False)"


def test_a_kernel_without_open_files_says_so_itself(notebooks, tmp_path):
    """What a kernel says as it dies stands in the one line, not as a traceback before it."""
    notebook = write(notebooks / "01_toy.ipynb", "1")
    run = shlex.join([sys.executable, "-c", RUN, str(notebook), str(tmp_path / "out" / "01_toy.ipynb")])
    done = subprocess.run(["sh", "-c", f"ulimit -n 40; {run}"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode
    *before, said = done.stderr.splitlines()
    assert not any("ipykernel" in line for line in before)  # the last words may name the file that could not be opened
    assert "01_toy could not be run (" in said and "Too many open files" in said.partition(";")[2]


def test_nothing_runs_when_the_input_or_the_place_is_bad(notebooks, tmp_path, monkeypatch):
    notebook = write(notebooks / "01_toy.ipynb", "1")
    monkeypatch.setattr(runs, "_run_cells", lambda *_: pytest.fail("it ran"))
    (tmp_path / "taken").write_text("")
    for place in (tmp_path / "taken" / "01_toy.ipynb", tmp_path / "taken" / "deep" / "01_toy.ipynb"):
        with pytest.raises(InputError, match=r"cannot write in the folder .*taken.*: choose another"):
            execute(notebook, place)
    with pytest.raises(InputError, match="is a folder"):
        execute(notebook, notebooks)
    with pytest.raises(InputError, match="is the notebook itself"):
        execute(notebook, notebook)
    with pytest.raises(InputError, match="'steps' of 01_toy is 11, not int in"):
        execute(notebook, tmp_path / "out.ipynb", {"steps": 11})
    with pytest.raises(InputError, match="lies in no project"):
        execute(write(tmp_path / "lost.ipynb", "1"), tmp_path / "out.ipynb")


READER = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd().parent / "lib"))
import laws
print(Path("../ardm/data/table.csv").read_text(), (Path("..") / "style.css").open().read())
Path("../_build").mkdir(exist_ok=True)
Path("../_build/note.txt").write_text("a result")
Path("../_build/note.txt").read_text()
"""


def test_a_copy_is_out_of_date_when_something_that_it_read_is_another_and_nothing_else(notebooks, tmp_path, monkeypatch):
    """Cells, imported modules, read files, the lock, corpora. Not outputs, comments, docstrings, files nobody read, results."""
    root = notebooks.parent
    (root / "lib").mkdir()
    law, table, style = root / "lib" / "laws.py", root / "ardm" / "data" / "table.csv", root / "style.css"
    law.write_text('"""A law."""\nrule = 1\n')
    table.write_text("1")
    style.write_text("a {}")
    notebook, copy = write(notebooks / "01_toy.ipynb", READER), tmp_path / "01_toy.ipynb"
    assert why_stale(notebook, recorded(copy)) == "it was not executed yet"
    execute(notebook, copy, progress=False)
    run = recorded(copy)
    assert {"lib/laws.py", "ardm/data/table.csv", "style.css"} <= set(run["reads"])
    assert "_build/note.txt" not in run["reads"] and "ardm/method/gate.py" not in run["reads"]

    content = json.loads(notebook.read_text())
    content["cells"][1] |= {"outputs": [{"output_type": "stream", "name": "stdout", "text": "1\n"}], "execution_count": 5}
    content["cells"][1]["metadata"]["papermill"] = {"duration": 1}
    notebook.write_text(json.dumps(content))
    law.write_text('"""Another docstring."""\nrule = 1  # a comment\n')
    (root / "ardm" / "method" / "gate.py").write_text("u = 0")
    (root / "_build" / "note.txt").write_text("another result")
    assert why_stale(notebook, run) == ""

    cell = content["cells"][1]
    for change, back, why in (
        (lambda: law.write_text("rule = 2"), lambda: law.write_text("rule = 1"), "changed: lib/laws.py"),
        (table.unlink, lambda: table.write_text("1"), "changed: ardm/data/table.csv"),
        (lambda: style.write_text("b {}"), lambda: style.write_text("a {}"), "changed: style.css"),
        (
            lambda: (root / "requirements.lock").write_text("torch"),
            lambda: (root / "requirements.lock").write_text(""),
            "changed: requirements.lock",
        ),
        (lambda: cell["metadata"].update(tags=["hide-input"]), cell["metadata"].clear, "changed: its cells"),
        (lambda: cell.update(source="print(2)"), lambda: cell.update(source=READER), "changed: its cells"),
        (
            lambda: monkeypatch.setattr(registry, "locate", Path),
            lambda: monkeypatch.setattr(registry, "locate", lambda name: None),
            "changed: which corpora are here",
        ),
    ):
        change()
        notebook.write_text(json.dumps(content))
        assert why_stale(notebook, run) == why
        back()
        notebook.write_text(json.dumps(content))
        assert why_stale(notebook, run) == ""
    assert why_stale(notebook, {**run, "parameters": {"steps": 7}}) == "it was run with other parameters"


def test_a_notebook_reads_the_modules_that_it_imports_and_the_models_that_it_loads(tmp_path):
    """In the book itself: a style sheet of the widgets, another chapter's law and another model are nothing to it."""
    root = Path(runs.__file__).parents[2]
    notebook = write(
        tmp_path / "one.ipynb",
        "from ardm.experiments.published import load_denoiser\nload_denoiser('toy')\nimport ardm.worlds.laws",
    )
    (tmp_path / "pyproject.toml").write_text("")
    copy = tmp_path / "out" / "one.ipynb"
    execute(notebook, copy, progress=False)
    read = set(recorded(copy)["reads"])
    assert {"ardm/worlds/laws.py", "ardm/method/denoiser.py", "ardm/data/models/toy.safetensors"} <= read
    assert not {name for name in read if name.endswith((".css", ".js", "sudoku9.safetensors"))}
    assert all((root / name).is_file() for name in read)


def test_only_stale_copies_are_executed_and_one_failure_stops_no_other(notebooks, tmp_path, capsys):
    environment = "import os\nprint(os.environ['OMP_NUM_THREADS'])"
    good, other = write(notebooks / "a.ipynb", environment), write(notebooks / "b.ipynb", "print(2)")
    into = tmp_path / "executed"
    first = execute_stale([good, other], into, jobs=2)
    assert first == [good, other]
    assert text_of(into / "a.ipynb") == f"{max(1, provenance.cores() // 2)}\n"
    assert files(into) == ["a.ipynb", "b.ipynb"]
    shown = capsys.readouterr().out
    assert "[1/2] " in shown
    assert "[2/2] " in shown

    stamp = (into / "a.ipynb").stat().st_mtime_ns
    whole = (into / "b.ipynb").read_text()
    (into / "b.ipynb").write_text(whole[: len(whole) // 2])  # a half file is not taken for a whole one
    bad = write(notebooks / "c.ipynb", "1 / 0")
    with pytest.raises(RunFailed, match=r"1 of 2 units failed[^\n]*\nc: c failed in cell \[2\]: ZeroDivisionError"):
        execute_stale([good, other, bad], into)
    assert (into / "a.ipynb").stat().st_mtime_ns == stamp
    assert (into / "b.ipynb").read_text().splitlines() != []
    assert text_of(into / "b.ipynb") == "2\n"
    assert files(into) == ["a.ipynb", "b.ipynb", "c.failed.ipynb"]
    assert execute_stale([good, other], into) == []


def test_the_figures_of_a_run_lie_beside_its_copy(notebooks, tmp_path, monkeypatch):
    monkeypatch.delenv("ARDM_FIGURES", raising=False)
    notebook = write(notebooks / "a.ipynb", "import os\nprint(os.environ['ARDM_FIGURES'])")
    execute(notebook, tmp_path / "run" / "a.ipynb", progress=False)
    assert text_of(tmp_path / "run" / "a.ipynb") == f"{tmp_path / 'run' / 'figures'}\n"
    assert "ARDM_FIGURES" not in os.environ


def test_notebooks_run_in_the_environment_of_the_call(notebooks, tmp_path, monkeypatch):
    """Not in that of the first call of this process, which started the server that the others are forked from."""
    notebook, said = write(notebooks / "a.ipynb", "import os\nprint(os.environ.get('ARDM_SAID'))"), []
    for word in ("one", "two"):
        monkeypatch.setenv("ARDM_SAID", word)
        execute_stale([notebook], tmp_path / "executed", force=True)
        said.append(text_of(tmp_path / "executed" / "a.ipynb"))
    assert said == ["one\n", "two\n"]


def test_a_run_has_this_interpreter_and_no_settings_of_the_users(notebooks, tmp_path, monkeypatch):
    """Another kernel of the same name, a profile of IPython that shows every line, a start-up file, a matplotlibrc."""
    theirs = tmp_path / "theirs"
    for name, content in (
        ("kernels/python3/kernel.json", json.dumps({"argv": ["false"], "display_name": "x", "language": "python"})),
        ("profile_default/ipython_config.py", "get_config().InteractiveShell.ast_node_interactivity = 'all'"),
        ("startup.py", "print('hello')"),
        ("matplotlibrc", "savefig.bbox: tight"),
    ):
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text(content)
    for variable, place in (
        ("JUPYTER_PATH", theirs),
        ("IPYTHONDIR", theirs),
        ("PYTHONSTARTUP", theirs / "startup.py"),
        ("MATPLOTLIBRC", theirs / "matplotlibrc"),
    ):
        monkeypatch.setenv(variable, str(place))
    asks = "import sys, matplotlib\n'shown'\nprint(sys.executable, matplotlib.rcParams['savefig.bbox'])"
    execute(write(notebooks / "a.ipynb", asks), tmp_path / "out" / "a.ipynb", progress=False)
    outputs = [output for cell in nbformat.read(tmp_path / "out" / "a.ipynb", 4).cells for output in cell.outputs]
    assert [(output.output_type, output.get("text")) for output in outputs] == [("stream", f"{sys.executable} None\n")]


def test_the_longest_starts_first_and_bad_requests_are_refused(notebooks, tmp_path, monkeypatch):
    names = [write(notebooks / f"{name}.ipynb", "1") for name in "abc"]
    for notebook, seconds in zip(names[:2], (1, 9), strict=True):
        old = {"nbformat": 4, "cells": [], "metadata": {"ardm": {"key": "old", "parameters": {}, "seconds": seconds}}}
        old["metadata"]["ardm"]["outputs"] = runs.outputs_sum(old)
        (tmp_path / notebook.name).write_text(json.dumps(old))
    order = []
    monkeypatch.setattr(runs.graph, "run", lambda units, *_, **__: order.extend(sorted(units, key=lambda unit: -unit.weight)))
    execute_stale(names, tmp_path)
    assert [unit.name for unit in order] == ["c", "b", "a"]
    with pytest.raises(InputError, match="jobs=0"):
        execute_stale(names, tmp_path, jobs=0)
    with pytest.raises(InputError, match="same name"):
        execute_stale([names[0], notebooks / "deep" / "a.ipynb"], tmp_path)


def test_an_interrupt_stops_every_child_and_its_kernel(notebooks, tmp_path):
    done, slow = write(notebooks / "a.ipynb", "print(1)"), write(notebooks / "b.ipynb", f"open('started', 'w')\n{SLEEP}")
    into = tmp_path / "executed"
    code = "import sys; from pathlib import Path; from ardm.book.runs import execute_stale\n"
    code += "execute_stale([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]), jobs=2)"
    words = [sys.executable, "-c", code, into, done, slow]
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=hear_interrupts)
    assert wait_for(lambda: (notebooks / "started").exists() and (into / "a.ipynb").exists())
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(120) != 0  # a hang, not a slow machine
    assert wait_for(lambda: kernels(notebooks) == [])
    assert files(into) == ["a.ipynb"]
    assert why_stale(done, recorded(into / "a.ipynb")) == ""


def test_two_runs_leave_the_same_steady_notebook():
    def run(model: str, moment: str) -> dict:
        view = {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/vnd.jupyter.widget-view+json": {"model_id": model}},
        }
        cell = {"cell_type": "code", "id": moment, "source": "", "outputs": [view], "execution_count": 1}
        cell["metadata"] = {"papermill": {"start": moment}, "execution": {"at": moment}, "tags": ["injected-parameters"]}
        state = {STATE: {"state": {model: {"at": f"IPY_MODEL_{model}"}}}}
        return {
            "cells": [cell],
            "metadata": {"papermill": {"path": moment}, "language_info": {"version": moment}, "widgets": state},
        }

    one, other = steady(run("a1" * 16, "monday")), steady(run("b2" * 16, "friday"))
    assert one == other
    assert one["metadata"]["widgets"][STATE]["state"] == {"0" * 32: {"at": "IPY_MODEL_" + "0" * 32}}


def executed_copy(notebook: Path, output: Path) -> dict:
    """What a run of ``notebook`` might leave, without running it."""
    content, root, read = json.loads(notebook.read_text()), runs.project_root(notebook), ["ardm/method/gate.py"]
    for count, cell in enumerate(content["cells"], start=1):
        cell |= {"id": f"other-{count}", "execution_count": count, "outputs": []}
    content["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    content["metadata"] |= {
        "ardm": {"key": "", **runs._own(notebook, root), "reads": digests(read, root), "parameters": {}, "seconds": 1},
        "language_info": {"name": "python"},
    }
    content["metadata"]["ardm"]["outputs"] = runs.outputs_sum(content)
    output.write_text(json.dumps(content))
    return content


def test_record_copies_outputs_and_keeps_the_rest(notebooks, tmp_path):
    notebook = write(notebooks / "01_toy.ipynb", "print(1)", "2", tags={1: ["hide-input"]})
    before = nbformat.read(notebook, as_version=4)
    executed_copy(notebook, tmp_path / "copy.ipynb")
    record({tmp_path / "copy.ipynb": notebook})
    after = nbformat.read(notebook, as_version=4)
    nbformat.validate(after)
    assert text_of(notebook) == "1\n"
    assert [(c.id, c.source, c.metadata) for c in after.cells] == [(c.id, c.source, c.metadata) for c in before.cells]
    assert [cell.execution_count for cell in after.cells] == [1, 2, 3]
    assert "ardm" not in after.metadata
    once = notebook.read_bytes()
    assert once.endswith(b"}\n")
    assert not once.endswith(b"\n\n")
    assert b"\n {\n" not in once
    record({tmp_path / "copy.ipynb": notebook})
    assert notebook.read_bytes() == once


def test_record_writes_nothing_when_one_of_the_copies_is_refused(notebooks, tmp_path):
    first, second = write(notebooks / "01.ipynb", "print(1)"), write(notebooks / "02.ipynb", "print(2)")
    for notebook in (first, second):
        executed_copy(notebook, tmp_path / notebook.name)
    before = first.read_bytes()
    write(second, "print(3)")
    with pytest.raises(InputError, match=r"02\.ipynb is out of date \(changed: its cells\)"):
        record({tmp_path / notebook.name: notebook for notebook in (first, second)})
    assert first.read_bytes() == before


def test_record_in_a_folder_that_cannot_be_written_says_so(notebooks, tmp_path, monkeypatch):
    notebook = write(notebooks / "01.ipynb", "print(1)")
    executed_copy(notebook, tmp_path / "01.ipynb")
    monkeypatch.setattr(Path, "touch", read_only)
    with pytest.raises(InputError, match=r"cannot write in the folder .*notebooks \(Read-only file system\)"):
        record({tmp_path / "01.ipynb": notebook})


def read_only(*_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_record_refuses_what_is_stale_or_not_a_run(notebooks, tmp_path):
    notebook = write(notebooks / "01_toy.ipynb", "print(1)")
    with pytest.raises(InputError, match="is not an executed copy"):
        record({tmp_path / "absent.ipynb": notebook})
    with pytest.raises(InputError, match="is not an executed copy"):
        record({notebook: notebook})
    executed_copy(notebook, tmp_path / "copy.ipynb")
    (notebooks.parent / "ardm" / "method" / "gate.py").write_text("changed = 1")
    stored = notebook.read_bytes()
    with pytest.raises(InputError, match=r"is out of date \(changed: ardm/method/gate.py\)"):
        record({tmp_path / "copy.ipynb": notebook})
    assert notebook.read_bytes() == stored


def test_provenance_names_versions_and_no_path(tmp_path, capsys):
    made = provenance.provenance()
    assert list(made) == ["commit", "ardm", "python", "torch", "numpy", "device", "cpu", "cores"]
    assert all(made.values())
    provenance.print_provenance()
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "/" not in line.replace("@", "")
    assert made["commit"] in line


def test_the_commit_is_that_of_the_project_or_unknown(tmp_path):
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=n@n", *words], cwd=tmp_path, check=True, capture_output=True
        )

    assert provenance.commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.txt").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    head = provenance.commit(tmp_path)
    assert len(head) == 12
    assert provenance.commit(tmp_path / "inner") == "unknown"
    (tmp_path / "inner" / "a.txt").write_text("2")
    assert provenance.commit(tmp_path) == head + "+changes"


def test_the_commit_is_known_where_the_folder_is_anothers_and_said_where_it_is_not(tmp_path, monkeypatch):
    for words in (("init",), ("-c", "user.name=n", "-c", "user.email=n@n", "commit", "--allow-empty", "-m", "one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "dubious ownership" in asked.stderr
    assert len(provenance.commit(tmp_path)) == 12
    assert provenance.missing(tmp_path) == ""
    (tmp_path / "inner").mkdir()
    assert "unknown (no clone of its repository)" in provenance.missing(tmp_path / "inner")
    monkeypatch.setenv("PATH", "")
    assert "unknown (git is not installed)" in provenance.missing(tmp_path)
