"""A plain install: the wheel holds all that is needed at run time, and what an extra would bring is named in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ardm import HideThenRefill, blank, load_denoiser, load_gate, refine

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = """
import json, sys, torch
from ardm import HideThenRefill, blank, load_denoiser, load_gate, refine
from ardm.experiments.results import facts, read

cpu = torch.device("cpu")
denoiser, recipe, facts_of_it = load_denoiser("toy", device=cpu)
x = blank(3, recipe.length, len(facts_of_it["words"]))
trace = refine(denoiser, HideThenRefill(load_gate("toy", device=cpu)), x, 8, seed=5)
table = read("final")
homes = {module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "ardm"}
print(json.dumps({"tokens": trace.x.tolist(), "rows": len(table), "tables": facts(name="final") != {}, "homes": sorted(homes)}))
"""
# Takes away each package that a plain install would not bring, then does what the arguments say.
PLAIN = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
DRAW = {"ardm.book.charts", "ardm.book.figures", "ardm.book.marks"}
NEED_AN_EXTRA = {"ardm.adapters.block_scheduler", *DRAW}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, so that nothing is left in them and nothing that lies beside them gets in."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "ardm", copy / "ardm", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    into = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", copy, "--no-build-isolation", "--wheel-dir", into)
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of a fresh environment with the wheel in it; the packages it needs are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    interpreter = folder / "bin" / "python"
    pip(interpreter, "install", wheel)
    # This path comes behind the environment's own, and the .pth files in it, such as that of an editable install, are not read.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "torch-and-others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return interpreter


def pip(interpreter: Path | str, command: str, *words: object) -> None:
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", interpreter, command, *words, *options], check=True)


def run(python: Path, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """In ``folder``, with neither it nor any ``PYTHONPATH`` on the path."""
    return subprocess.run([python, "-I", "-c", code], cwd=folder, check=False, capture_output=True, text=True)


def test_the_wheel_holds_what_git_keeps_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    listed = subprocess.run(["git", "ls-files", "ardm"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    kept = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    assert kept - held == set()
    assert {name.split("/")[0] for name in held} == {"ardm"}
    assert {"ardm/data/registry.json", "ardm/data/models/toy.safetensors", "ardm/data/results/final.csv"} <= held


def test_published_models_and_tables_are_found_without_the_repository(python, tmp_path):
    ran = run(python, tmp_path, SAMPLE)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    environment = python.parent.parent
    assert all(Path(home).is_relative_to(environment) for home in said["homes"])
    assert said["tables"] is True
    assert said["rows"] == len((ROOT / "ardm" / "data" / "results" / "final.csv").read_text().splitlines()) - 1

    cpu = torch.device("cpu")
    denoiser, recipe, facts = load_denoiser("toy", device=cpu)
    x = blank(3, recipe.length, len(facts["words"]))
    here = refine(denoiser, HideThenRefill(load_gate("toy", device=cpu)), x, 8, seed=5)
    assert said["tokens"] == here.x.tolist()


@pytest.mark.parametrize("module", ["staging", "hygiene", "tests", "steps"])
def test_nothing_of_the_repository_is_importable(python, tmp_path, module):
    """The wheel of rxnmapper brings a package `tests` of its own; nobody else does."""
    find = (
        f"print(importlib.util.find_spec({module!r}) is not None and importlib.metadata.packages_distributions()[{module!r}])"
    )
    ran = run(python, tmp_path, f"import importlib.metadata, importlib.util; {find}")
    assert ran.stdout.strip() in ("False", "['rxnmapper']"), ran.stderr


def brought(lines: list[str]) -> set[str]:
    """The packages that a list of requirements brings, and all that these require."""
    found, waiting = set(), [Requirement(line) for line in lines]
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        if name not in found and (need.marker is None or need.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += [Requirement(line) for line in requires(name) or ()]
    return found


@pytest.fixture(scope="module")
def plain() -> str:
    """Code that takes away what the dependencies of the package do not bring."""
    here = brought(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]) | {"ardm"}
    absent = {module for module, of in packages_distributions().items() if not here & {canonicalize_name(name) for name in of}}
    assert {"pandas", "matplotlib", "pydantic", "papermill", "yaml"} <= absent
    assert not {"torch", "numpy", "cyclopts", "attr"} & absent
    return f"ABSENT = {absent!r}\n{PLAIN}"


def test_every_module_but_those_that_draw_imports_in_a_plain_install(python, plain, tmp_path):
    code = """
import json, pkgutil, importlib, ardm
failed = {}
for module in pkgutil.walk_packages(ardm.__path__, "ardm."):
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        failed[module.name] = str(error)
print(json.dumps(failed))
"""
    ran = run(python, tmp_path, plain + code)
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout)) == NEED_AN_EXTRA


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "01_toy.ipynb", "--out", "out"], "parameters need pydantic: pip install 'ardm[book]'"),
        (["run", "01"], "call this inside a copy of the book's repository"),
        (["parameters", "declared.ipynb"], "parameters need pydantic: pip install 'ardm[book]'"),
        (["export", "toy", "--out", "out"], "pip install 'ardm[export]'"),
    ],
)
def test_a_command_names_the_extra_it_needs_in_one_line(python, plain, tmp_path, words, said):
    (tmp_path / "pyproject.toml").touch()
    for name, source in {"01_toy": "", "declared": "steps: int = 3  # in [1, 9]: steps"}.items():
        cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": source, "outputs": []}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [cell], "metadata": {}}))
    ran = run(python, tmp_path, plain + f"from ardm.cli import main\nsys.exit(main({words!r}))")
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.count("\n") == 1
    assert said in ran.stderr


def test_a_table_names_what_reads_it(python, plain, tmp_path):
    ran = run(python, tmp_path, plain + "from ardm.experiments.results import read\nread()")
    assert ran.stderr.endswith("InputError: tables need pandas: pip install 'ardm[book]'\n")


def test_the_command_itself_is_installed(python, tmp_path):
    ran = subprocess.run([python.with_name("ardm"), "train", "gpt"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "unknown model 'gpt': choose one of agreement" in ran.stderr
