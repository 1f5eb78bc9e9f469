"""Tag a release: ``python book/release.py``, or ``make release``. Nothing is pushed.

The version stands in four files, which have to agree first; the changelog begins with it.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def version_of(root: Path) -> str:
    """The version that ``pyproject.toml`` says."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]["version"]


def disagreements(root: Path = ROOT) -> list[str]:
    """One line for each file that does not say the version of ``pyproject.toml``, and its date, as the others do."""
    version = version_of(root)
    cited = yaml.safe_load((root / "CITATION.cff").read_text("utf8"))
    stated = re.search(r'^__version__ = "(.*)"$', (root / "ardm" / "base" / "__init__.py").read_text("utf8"), re.MULTILINE)
    head = re.search(r"^## (.*)$", (root / "CHANGELOG.md").read_text("utf8"), re.MULTILINE)
    found = {
        "CITATION.cff, version": (str(cited["version"]), version),
        "ardm/base/__init__.py, __version__": (stated[1] if stated else "", version),
        "CHANGELOG.md, first heading": (head[1] if head else "", f"{version} - {cited['date-released']}"),
    }
    return [f"{where}: it is {said!r}, not {wanted!r}" for where, (said, wanted) in found.items() if said != wanted]


def tag(root: Path = ROOT) -> str:
    """Tag the commit with the version; returns the tag. ``SystemExit`` with one line for each reason not to."""
    version = version_of(root)
    name, reasons = f"v{version}", disagreements(root)
    if git(root, "status", "--porcelain"):
        reasons.append("the folder has changes that are in no commit: commit them first")
    if git(root, "tag", "--list", name):
        reasons.append(f"the tag {name} is there already: raise the version")
    if reasons:
        raise SystemExit("\n".join(f"release: {reason}" for reason in reasons))
    git(root, "tag", "--annotate", name, "--message", f"Version {version}")
    return name


def git(root: Path, *words: str) -> str:
    """What git prints; ``SystemExit`` with its own words when it fails."""
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={root}", *words], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit("release: git is not installed") from None
    if done.returncode:
        raise SystemExit(f"release: {' '.join(done.stderr.split())}")
    return done.stdout.strip()


if __name__ == "__main__":
    name = tag()
    print(f"tagged {name}; git push origin {name} publishes it")
