"""Which notebook a name means, and where its executed copy and its runs go."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ardm.base.errors import InputError
from ardm.book.runs import project_root

__all__ = ["copies", "find", "folder_name", "here", "home", "several"]


def home() -> Path:
    """The project around the current folder; outside a project, the current folder."""
    try:
        return project_root(Path.cwd())
    except InputError:
        return Path.cwd()


def find(name: str) -> Path:
    """The notebook that a path, a stem or the start of a stem names."""
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in _notebooks()}
    wanted = Path(name).name.removesuffix(".ipynb")
    matches = [wanted] if wanted in known else [stem for stem in known if stem.startswith(wanted)]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise InputError(f"{name!r} may be {', '.join(matches)}: write more of it")
    close = difflib.get_close_matches(wanted, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}."
    raise InputError(f"no notebook {name!r}: {hint}")


def several(names: Sequence[str]) -> list[Path]:
    """The notebooks that the names name; all of them for no names."""
    return [find(name) for name in names] or _notebooks()


def _notebooks() -> list[Path]:
    """The notebooks of the project around the current folder, in the order of their names."""
    found = sorted((home() / "notebooks").glob("[!.]*.ipynb"))
    if not found:
        raise InputError(f"no notebooks in {home() / 'notebooks'}: call this inside a copy of the book's repository")
    return found


def copies(notebooks: Sequence[Path]) -> Path:
    """The folder of the executed copies of the notebooks, unless a caller names another."""
    return here(project_root(notebooks[0]) / "_build" / "executed")


def here(path: Path) -> Path:
    """The path as seen from the current folder, so that messages stay short."""
    return Path(os.path.relpath(path))


def folder_name(changed: Mapping[str, Any]) -> str:
    """``seed=1,steps=2000``, or ``defaults``. A name that cannot be a folder is cut and ends in a digest of the values."""
    if not changed:
        return "defaults"
    name = ",".join(f"{key}={_word(changed[key])}" for key in sorted(changed))
    safe = re.sub(r"[^\w.=,+-]", "-", name)[:100]
    if safe == name and not any(re.search("[=,+]", text) for text in changed.values() if isinstance(text, str)):
        return name
    return f"{safe}-{hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]}"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
