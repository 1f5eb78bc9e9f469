"""A run: a notebook, its parameters, what it read, and an executed copy that is either whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ardm.base import graph
from ardm.base.atomic import check_writable
from ardm.base.errors import InputError
from ardm.base.provenance import cores
from ardm.book import reads
from ardm.book.kernel import NAME, last_words, own_settings
from ardm.book.notebooks import read_notebook, write_notebook
from ardm.book.parameters import non_default, read_parameters, validate

__all__ = [
    "Result",
    "RunFailed",
    "execute",
    "execute_stale",
    "outputs_sum",
    "project_root",
    "record",
    "recorded",
    "steady",
    "why_stale",
]

VOLATILE = {"collapsed", "execution", "jupyter", "papermill", "scrolled", "trusted"}  # metadata that changes no result


class RunFailed(RuntimeError):
    """A notebook did not run to its end. One line: the cell, the exception, where the notebook lies up to there."""


@dataclass(frozen=True)
class Result:
    """One executed notebook, and the key of all that decided its outputs."""

    notebook: Path
    output: Path
    key: str
    seconds: float


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    progress: bool = True,
    timeout: int | None = None,
) -> Result:
    """Run ``notebook`` in its own folder and put the executed copy at ``output``, whole or not at all.

    The files of its figures lie in ``figures`` beside the copy.

    ``parameters``: typed values, validated first. ``timeout``: seconds a cell may take. Raises ``InputError`` before anything
    runs, ``RunFailed`` when a cell fails; the notebook up to there is then kept as ``<output stem>.failed.ipynb``.
    """
    declared = read_parameters(notebook)
    changed = non_default(declared, validate(declared, parameters or {}, notebook.stem))
    root = project_root(notebook)
    before = _own(notebook, root)
    if output.resolve() == notebook.resolve():
        raise InputError(f"{output} is the notebook itself: choose another folder for the executed copy")
    check_writable(output)
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    start = time.perf_counter()
    with TemporaryDirectory(prefix="ardm-", ignore_cleanup_errors=True) as scratch:
        part, told = Path(scratch) / "part.ipynb", Path(scratch) / "reads"
        places = {"ARDM_FIGURES": output.resolve().parent / "figures", "ARDM_ROOT": root, "ARDM_READS": told}
        with _environment(**{name: str(place) for name, place in places.items()}, **own_settings(Path(scratch))):
            why = _run_cells(notebook, part, changed, progress, timeout)
        executed = steady(read_notebook(part))
        seconds = round(time.perf_counter() - start, 1)
        run = {**before, "reads": reads.digests(json.loads(told.read_text("utf8")) if told.is_file() else [], root)}
    key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    about = {"parameters": changed, "seconds": seconds, "outputs": outputs_sum(executed)}
    executed["metadata"]["ardm"] = {"key": key, **run, **about}
    write_notebook(executed, failed if why else output)
    if why:
        raise RunFailed(f"{notebook.stem} failed in {why}; the notebook up to there is {failed}")
    return Result(notebook, output, key, seconds)


def steady(notebook: dict[str, Any]) -> dict[str, Any]:
    """The executed notebook without what differs from run to run: times, paths, versions, random ids."""
    metadata = notebook["metadata"]
    metadata.pop("papermill", None)
    metadata.get("language_info", {}).pop("version", None)
    for cell in notebook["cells"]:
        for name in ("execution", "papermill"):
            cell["metadata"].pop(name, None)
        if not cell["metadata"].get("tags", True):
            del cell["metadata"]["tags"]
        if "injected-parameters" in cell["metadata"].get("tags", ()):
            cell["id"] = "injected-parameters"
    states = metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    text = json.dumps(notebook)
    for number, model in enumerate(states):
        text = text.replace(model, f"{number:032x}")
    return json.loads(text)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """These variables for the kernels started within."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run_cells(notebook: Path, part: Path, parameters: dict[str, Any], progress: bool, timeout: int | None) -> str:
    """Run with papermill into ``part``; returns why a cell failed, in one line, or nothing."""
    try:
        import ipykernel  # noqa: F401
        import papermill
        import zmq
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
    except ImportError as error:
        raise InputError(f"running a notebook needs {error.name}: pip install 'ardm[book]'") from error
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its warnings and errors are reported here, in one line each
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(part),
            parameters,
            kernel_name=NAME,
            cwd=str(notebook.resolve().parent),
            progress_bar={"file": sys.stderr, "desc": notebook.stem} if progress else False,
            execution_timeout=timeout,
            shutdown_kernel="immediate",
            extra_arguments=["--IPKernelApp.log_level=ERROR", "--IPKernelApp.extra_extensions=ardm.book.reads"],
        )
    except papermill.PapermillExecutionError as error:
        return f"cell [{error.exec_count}]: {' '.join(f'{error.ename}: {error.evalue}'.split())[:300]}"
    except CellTimeoutError:
        return f"{_last_cell(part)}: it took longer than {timeout} s"
    except DeadKernelError:
        return f"{_last_cell(part)}: its kernel died; a machine short of memory does that"
    except (RuntimeError, OSError, zmq.ZMQBaseError) as error:  # no cell's: they have their own
        said = " ".join(f"{type(error).__name__}: {error}".split()), last_words(part.parent)  # where its settings lie too
        hint = "a machine short of open files (ulimit -n), memory or disk space does that"
        raise RunFailed(f"{notebook.stem} could not be run ({'; '.join(filter(None, said))}); {hint}") from error
    return ""


def _literal(path: Path) -> str:
    """The path with its braces doubled: papermill takes single ones for the names of parameters to fill in."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _last_cell(part: Path) -> str:
    """The last cell that was started, as messages name it."""
    codes = [cell["metadata"]["papermill"] for cell in read_notebook(part)["cells"] if cell["cell_type"] == "code"]
    return f"cell [{sum(bool(code['start_time']) for code in codes)}]"


def execute_stale(
    notebooks: Sequence[Path],
    into: Path,
    *,
    jobs: int | None = None,
    force: bool = False,
    then: Sequence[graph.Unit] = (),
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Execute every notebook whose copy in ``into`` is out of date, ``jobs`` at a time, then do ``then``; returns those notebooks.

    The longest of last time start first. One failure does not stop the others: ``RunFailed`` lists them all at the end.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: it is at least 1")
    copies = copies_of(notebooks, into)
    stale = [output for output, notebook in copies.items() if force or why_stale(notebook, recorded(output))]
    say(f"{len(copies) - len(stale)} of {len(copies)} notebooks are up to date")
    if not stale:
        return []
    check_writable(stale[0])
    workers = min(jobs or cores(), len(stale))
    threads = str(max(1, cores() // workers))
    units = [_unit(copies[output], output) for output in stale]
    after = tuple(unit.name for unit in units)
    try:
        with _environment(OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads):
            graph.run([*units, *(replace(unit, after=after) for unit in then)], into, jobs=workers, say=say)
    except graph.UnitsFailed as error:
        raise RunFailed(str(error)) from error
    return [copies[output] for output in stale]


def copies_of(notebooks: Sequence[Path], into: Path) -> dict[Path, Path]:
    """The notebook of each executed copy."""
    copies = {into / f"{notebook.stem}.ipynb": notebook for notebook in notebooks}
    if len(copies) < len(notebooks):
        raise InputError(f"two notebooks of the same name would share one copy in {into}: rename one")
    return copies


def _unit(notebook: Path, output: Path) -> graph.Unit:
    last = (recorded(output) or {}).get("seconds", 1000.0)  # nobody knows: first
    command = (sys.executable, "-m", "ardm", "execute-one", str(notebook.resolve()), str(output.resolve()))
    return graph.Unit(kind="execute", name=notebook.stem, command=command, says=notebook.stem, weight=max(1.0, last))


def recorded(executed: Path) -> dict[str, Any] | None:
    """What a run left in its executed copy: key, parameters, seconds. None for a file that is absent, or not what was written."""
    try:
        notebook = read_notebook(executed)
        run = notebook["metadata"]["ardm"]
        return run if run["outputs"] == outputs_sum(notebook) else None
    except (InputError, KeyError):
        return None


def outputs_sum(notebook: dict[str, Any]) -> str:
    """A checksum of all outputs, so that a bit that flipped on a disk is seen."""
    told = [cell.get("outputs") for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def record(copies: Mapping[Path, Path]) -> None:
    """Copy the outputs of each executed copy into its stored notebook, whose sources, ids, tags and formatting stay as they are.

    All are checked before the first is written.
    """
    filled = {notebook: _filled(executed, notebook) for executed, notebook in copies.items()}
    for notebook in filled:
        check_writable(notebook)
    for notebook, content in filled.items():
        write_notebook(content, notebook)


def _filled(executed: Path, notebook: Path) -> dict[str, Any]:
    """The notebook with the outputs of its executed copy, which must be those of a run of it today."""
    run = recorded(executed)
    if run is None:
        raise InputError(f"{executed} is not an executed copy of {notebook.stem}: run 'ardm execute' first")
    if run["parameters"]:
        given = ", ".join(f"{name}={value!r}" for name, value in run["parameters"].items())
        raise InputError(f"{executed} was run with {given}: only a run with the default parameters is recorded")
    if why := why_stale(notebook, run):
        raise InputError(f"{executed} is out of date ({why}): run 'ardm execute' first")
    stored, fresh = read_notebook(notebook), read_notebook(executed)
    for cell, ran in zip(stored["cells"], fresh["cells"], strict=True):
        cell |= {name: ran[name] for name in ("execution_count", "outputs") if name in ran}
    for name in ("kernelspec", "language_info", "widgets"):
        stored["metadata"].pop(name, None)
        if name in fresh["metadata"]:
            stored["metadata"][name] = fresh["metadata"][name]
    return stored


def project_root(path: Path) -> Path:
    """The nearest folder at or above ``path`` that holds a ``pyproject.toml``."""
    above = (path.resolve(), *path.resolve().parents)
    if root := next((folder for folder in above if (folder / "pyproject.toml").is_file()), None):
        return root
    raise InputError(f"{path} lies in no project: no folder above it has a pyproject.toml")


def why_stale(notebook: Path, run: Mapping[str, Any] | None) -> str:
    """Why the executed copy that a run left is not what a run would leave now, in a few words; nothing when it is.

    The notebook's cells, the modules it imported and the files it read, the lock, and which corpora are here.
    """
    if run is None or "reads" not in run:
        return "it was not executed yet"
    root = project_root(notebook)
    if run["parameters"]:
        return "it was run with other parameters"
    now = _own(notebook, root)
    names = {"cells": "its cells", "lock": "requirements.lock", "corpora": "which corpora are here"}
    other = [names[name] for name in names if now[name] != run.get(name)] + reads.changed(run["reads"], root)
    more = f" and {len(other) - 3} more" if len(other) > 3 else ""
    return f"changed: {', '.join(other[:3])}{more}" if other else ""


def _own(notebook: Path, root: Path) -> dict[str, Any]:
    """What decides the outputs besides the files that are read."""
    from ardm.worlds import registry

    lock = root / "requirements.lock"
    cells = json.dumps([_source(cell) for cell in read_notebook(notebook)["cells"]], sort_keys=True)
    return {
        "cells": hashlib.sha256(cells.encode()).hexdigest()[:16],
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.is_file() else "",
        "corpora": [name for name in registry.names() if registry.locate(name)],
    }


def _source(cell: dict[str, Any]) -> list[Any]:
    metadata = {name: value for name, value in cell["metadata"].items() if name not in VOLATILE}
    return [cell["cell_type"], "".join(cell["source"]), metadata, cell.get("attachments")]
