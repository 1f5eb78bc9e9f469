"""A release is tagged when the version, the changelog and the citation agree and all is committed, and only then."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import release

FILES = ("pyproject.toml", "CITATION.cff", "ardm/base/__init__.py", "CHANGELOG.md")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=n", "-c", "user.email=n@n")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of this project that say the version, with a changelog that begins with it, in a repository of their own."""
    for variable in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{variable}_NAME", "n")
        monkeypatch.setenv(f"{variable}_EMAIL", "n@n")
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.ROOT / name, tmp_path / name)
    log = tmp_path / "CHANGELOG.md"
    log.write_text(re.sub(r"^## Unreleased.*?(?=^## \d)", "", log.read_text("utf8"), flags=re.DOTALL | re.MULTILINE), "utf8")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    return tmp_path


def test_a_release_is_tagged_once(project: Path) -> None:
    assert release.disagreements(project) == []
    name = release.tag(project)
    assert git(project, "describe", "--exact-match") == name
    with pytest.raises(SystemExit, match=f"the tag {name} is there already"):
        release.tag(project)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("pyproject.toml", 'version = "', 'version = "9', "CITATION.cff, version: it is '"),
        ("CITATION.cff", "date-released: ", "date-released: 1", "CHANGELOG.md, first heading: it is '"),
        ("ardm/base/__init__.py", '__version__ = "', '__version__ = "9', "ardm/base/__init__.py, __version__: it is '9"),
        ("CHANGELOG.md", "## ", "## Unreleased\n\n## ", "CHANGELOG.md, first heading: it is 'Unreleased', not '"),
        ("CHANGELOG.md", "# Changelog", "# Changes", "the folder has changes that are in no commit"),
    ],
)
def test_nothing_is_tagged_while_files_disagree_or_are_not_committed(
    project: Path, file: str, old: str, new: str, said: str
) -> None:
    text = (project / file).read_text("utf8")
    assert old in text
    (project / file).write_text(text.replace(old, new, 1), "utf8")
    with pytest.raises(SystemExit) as refused:
        release.tag(project)
    assert said in str(refused.value)
    assert git(project, "tag") == ""
