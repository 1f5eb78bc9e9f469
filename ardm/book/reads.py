"""What a notebook reads while it runs: the modules that it imports, and the files of the project that it opens.

Its executed copy is out of date when one of them is another, or one of its own cells, or the lock; nothing else makes it so.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardm.base import fingerprint
from ardm.base.atomic import write_whole

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["changed", "digests", "load_ipython_extension", "name_of"]

WRITTEN = ("_build", "runs")  # folders of results
PACKAGE = Path(__file__).parents[2]  # what holds the package: the project, or the folder where it is installed


def name_of(path: str | Path, root: Path) -> str | None:
    """The name of a source or data file of the project or the package; None for all else: results, hidden files, libraries."""
    for top in (root, PACKAGE):
        try:
            name = Path(path).resolve().relative_to(top)
        except ValueError:
            continue
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if not hidden and not name.parts[0].endswith((*WRITTEN, ".egg-info")) and (top == root or name.parts[0] == "ardm"):
            return name.as_posix()
    return None


def digests(names: Iterable[str], root: Path) -> dict[str, str]:
    """A digest of each file: of Python its code, without comments and docstrings; of all else its bytes; "" when it is gone."""
    return {name: _digest(_find(name, root)) for name in sorted(names)}


def _find(name: str, root: Path) -> Path | None:
    return next((top / name for top in (root, PACKAGE) if (top / name).is_file()), None)


def _digest(path: Path | None) -> str:
    if path is None:
        return ""
    content = fingerprint.source(path).encode() if path.suffix == ".py" else path.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def changed(reads: Mapping[str, str], root: Path) -> list[str]:
    """The names of the files that are others than they were."""
    now = digests(reads, root)
    return [name for name, digest in reads.items() if now[name] != digest]


# Inside the kernel -------------------------------------------------------------------------------------------------------


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Note what is read from now on; after each cell the names are in the file that ``ARDM_READS`` names."""
    root, told = Path(os.environ["ARDM_ROOT"]), Path(os.environ["ARDM_READS"])
    opened: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "ardm.read") and isinstance(arguments[0], str) and not arguments[0].endswith((".py", ".pyc")):
            writes = event == "open" and isinstance(arguments[1], str) and not arguments[1].startswith("r")
            if not writes:
                opened.add(arguments[0])

    def tell(*_: Any) -> None:
        modules = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
        files = {name for path in (*modules, *opened) if (name := name_of(path, root)) and _find(name, root)}
        write_whole(told, json.dumps(sorted(files)))

    sys.addaudithook(note)
    shell.events.register("post_run_cell", tell)
