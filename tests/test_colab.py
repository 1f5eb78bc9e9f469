"""The notebook for Colab runs where the package is not installed, in a kernel that runs already."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
import rerun_box
from nbclient import NotebookClient

from ardm.base.provenance import commit
from ardm.book.kernel import NAME, own_settings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python that sees the libraries of this environment and not the package."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    (site,) = (tmp_path / "fresh" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"], check=True
    )  # Python 3.11 brings an old one
    assert subprocess.run([python, "-c", "import ardm"], cwd=tmp_path, capture_output=True, check=False).returncode
    return python


@pytest.mark.skipif(commit(ROOT) == "unknown", reason="no git repository to clone from")
def test_a_chapter_runs_in_colab(python, tmp_path, monkeypatch):
    """With the project cloned from here, and no package index."""
    for name, value in {
        **own_settings(tmp_path, str(python)),
        "GIT_CONFIG_COUNT": 1,
        "GIT_CONFIG_KEY_0": f"url.file://{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/me/gates",
        "PIP_NO_INDEX": 1,
        "PIP_NO_BUILD_ISOLATION": 0,  # sic: 0 is without
    }.items():
        monkeypatch.setenv(name, str(value))
    chapter = json.loads((ROOT / "notebooks" / "01_entropy.ipynb").read_text("utf8"))
    copy = nbformat.reads(json.dumps(rerun_box.in_colab(chapter, "me/gates", commit(ROOT))), 4)
    ran = NotebookClient(copy, kernel_name=NAME, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = [output.text for cell in ran.cells[1:] for output in cell.get("outputs", ()) if output.output_type == "stream"]
    stored = [
        "".join(output["text"])
        for cell in chapter["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    ]
    assert len(told) == len(stored)
    assert (tmp_path / "ardm-book" / "notebooks" / "01_entropy.ipynb").is_file()
