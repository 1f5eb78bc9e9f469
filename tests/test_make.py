"""The Makefile: whoever names another Python than that of the environment that is here is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "requirements.lock")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an environment of this Python, in which all is installed."""
    for name in ("Makefile", *SOURCES):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / ".ardm-python").touch()
    sums = subprocess.run(
        ["cksum"], input=b"".join((ROOT / name).read_bytes() for name in SOURCES), capture_output=True, check=True
    )
    (tmp_path / ".venv" / ".ardm-installed").write_bytes(sums.stdout)
    other = tmp_path / "other-python"
    other.write_text("#!/bin/sh\necho 3.99\n")
    other.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["PYTHON=./other-python"], "and ./other-python is 3.99; rm -r .venv lets make use another"),
        (["PYTHON=./no-python"], "and ./no-python is not here; rm -r .venv"),
        ([f"PYTHON={sys.executable}"], ""),
        ([], ""),
    ],
)
def test_another_python_than_that_of_the_environment_is_told(project: Path, words: list[str], said: str) -> None:
    done = subprocess.run(["make", "install", *words], cwd=project, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(said), done.stderr
    assert said in done.stderr
