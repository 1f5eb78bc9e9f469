"""Notebooks as files: plain JSON of format 4, read with clear errors and written as Jupyter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError

__all__ = ["read_notebook", "write_notebook"]


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as plain JSON. What is no notebook of format 4, or has a cell that is none, is an input error."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not a notebook: {error}") from error
    parts = {"cells": list, "metadata": dict}
    whole = isinstance(notebook, dict) and all(isinstance(notebook.get(part), kind) for part, kind in parts.items())
    if not whole or notebook.get("nbformat") != 4:
        raise InputError(f"{path} is not a notebook of format 4: save it once with JupyterLab")
    for number, cell in enumerate(notebook["cells"], start=1):
        if not _is_cell(cell):
            raise InputError(f"{path}: cell {number} lacks a type, a source or metadata, or its tags are no list: mend it")
    return notebook


def _is_cell(cell: Any) -> bool:
    """Whether it has what every cell has."""
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
        return False
    return (
        isinstance(cell["metadata"].get("tags", []), list)
        and "cell_type" in cell
        and isinstance(cell.get("source"), str | list)
    )


def write_notebook(notebook: dict[str, Any], path: Path) -> None:
    """Write the notebook whole, formatted as Jupyter does."""
    import nbformat

    write_whole(path, nbformat.writes(nbformat.from_dict(notebook), indent=1).rstrip("\n") + "\n")
