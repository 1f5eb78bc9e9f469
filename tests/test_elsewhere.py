"""What Binder and dev containers start from: the Python that the project needs, its Makefile, its lock."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf8"))
RUNTIME = (ROOT / "binder" / "runtime.txt").read_text().strip()
# Of the properties of devcontainer.json (containers.dev, schema of 2024) those that are used, with their types.
SCHEMA = {"name": str, "image": str, "hostRequirements": dict, "postCreateCommand": str, "customizations": dict}
LOG = """#!/bin/sh
case "$2" in *version_info*) echo 3.11;; esac
echo "$@" >>"{log}"
"""


def test_both_name_one_python_that_the_project_takes():
    (container,) = re.findall(r"^python:(\d+\.\d+)-", CONTAINER["image"])
    (binder,) = re.findall(r"^python-(\d+\.\d+)$", RUNTIME)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert container == binder and SpecifierSet(wanted).contains(f"{binder}.0")


def test_the_container_keeps_to_its_schema():
    assert {name: type(value) for name, value in CONTAINER.items()} == SCHEMA
    assert {name: type(value) for name, value in CONTAINER["hostRequirements"].items()} == {
        "cpus": int,
        "memory": str,
        "storage": str,
    }
    assert all(re.fullmatch(r"\d+gb", CONTAINER["hostRequirements"][name]) for name in ("memory", "storage"))
    assert all(re.fullmatch(r"[\w-]+\.[\w-]+", one) for one in CONTAINER["customizations"]["vscode"]["extensions"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's Makefile, lock and Binder folder, and a Python that writes down what it is asked instead of doing it."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "binder", tmp_path / "binder")
    (tmp_path / "prefix" / "bin").mkdir(parents=True)
    for name in ("python", "python3"):
        path = tmp_path / "prefix" / "bin" / name
        path.write_text(LOG.format(log=tmp_path / "asked"))
        path.chmod(0o755)
    return tmp_path


def asked(project: Path, command: list[str]) -> list[str]:
    """What Python was asked to install by the command, run in the project."""
    prefix = project / "prefix"
    environment = {"PATH": f"{prefix / 'bin'}:{os.environ['PATH']}", "NB_PYTHON_PREFIX": str(prefix), "HOME": str(project)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in (project / "asked").read_text().splitlines() if line.startswith("-m pip install")]


def test_binder_installs_by_the_lock_into_its_own_python(project):
    """And JupyterLab of the lock over the one that Binder brings."""
    first, *_, last = asked(project, [str(project / "binder" / "postBuild")])
    assert shlex.split(first)[-4:] == ["-c", "requirements.lock", "-e", ".[book,test]"]
    assert shlex.split(last)[-4:] == ["-c", "requirements.lock", "-e", ".[lab]"]
    assert (project / ".venv").resolve() == project / "prefix"


def test_the_container_installs_by_the_lock(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(project / "prefix" / "bin" / "python", project / ".venv" / "bin")
    first, *_ = asked(project, shlex.split(CONTAINER["postCreateCommand"]))
    assert shlex.split(first)[-4:] == ["-c", "requirements.lock", "-e", ".[book,test]"]
