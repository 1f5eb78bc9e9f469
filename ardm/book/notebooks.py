"""Notebooks as files: plain JSON of format 4, read with clear errors and written as Jupyter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError

__all__ = ["read_notebook", "write_notebook"]


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as plain JSON. A missing file and one that is not a notebook of format 4 are input errors."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not a notebook: {error}") from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path} is not a notebook of format 4: save it once with JupyterLab")
    return notebook


def write_notebook(notebook: dict[str, Any], path: Path) -> None:
    """Write the notebook whole, formatted as Jupyter does."""
    import nbformat

    write_whole(path, nbformat.writes(nbformat.from_dict(notebook), indent=1).rstrip("\n") + "\n")
