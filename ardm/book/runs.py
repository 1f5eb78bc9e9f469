"""A run: a notebook, its parameters, a key of all it depends on, and an executed copy that is either whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ardm.base.atomic import check_writable
from ardm.base.errors import InputError
from ardm.base.provenance import cores
from ardm.book.notebooks import read_notebook, write_notebook
from ardm.book.parameters import non_default, read_parameters, validate

__all__ = [
    "Result",
    "RunFailed",
    "execute",
    "execute_stale",
    "project_root",
    "record",
    "recorded",
    "stale_key",
    "steady",
]

VOLATILE = {"collapsed", "execution", "jupyter", "papermill", "scrolled", "trusted"}  # metadata that changes no result


class RunFailed(RuntimeError):
    """A notebook did not run to its end. One line: the cell, the exception, where the notebook lies up to there."""


@dataclass(frozen=True)
class Result:
    """One executed notebook, and the key of all it depends on. ``ran`` is false when the copy was up to date."""

    notebook: Path
    output: Path
    key: str
    seconds: float
    ran: bool = True


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
    key = stale_key(notebook)
    if output.resolve() == notebook.resolve():
        raise InputError(f"{output} is the notebook itself: choose another folder for the executed copy")
    check_writable(output)
    part = output.with_name(f".{output.stem}.{os.getpid()}.part.ipynb")
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    failed.unlink(missing_ok=True)
    start = time.perf_counter()
    try:
        with _environment(ARDM_FIGURES=str(output.resolve().parent / "figures")):
            why = _run_cells(notebook, part, changed, progress, timeout)
        executed = steady(read_notebook(part))
        seconds = round(time.perf_counter() - start, 1)
        executed["metadata"]["ardm"] = {"key": key, "parameters": changed, "seconds": seconds}
        write_notebook(executed, failed if why else output)
    finally:
        part.unlink(missing_ok=True)
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
        import papermill
        from jupyter_client.kernelspec import NoSuchKernel
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
    except ImportError as error:
        raise InputError(f"running a notebook needs {error.name}: pip install 'ardm[book]'") from error
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its warnings and errors are reported here, in one line each
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(part),
            parameters,
            kernel_name="python3",
            cwd=str(notebook.resolve().parent),
            progress_bar={"file": sys.stderr, "desc": notebook.stem} if progress else False,
            execution_timeout=timeout,
            shutdown_kernel="immediate",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except papermill.PapermillExecutionError as error:
        return f"cell [{error.exec_count}]: {' '.join(f'{error.ename}: {error.evalue}'.split())[:300]}"
    except CellTimeoutError:
        return f"{_last_cell(part)}: it took longer than {timeout} s"
    except DeadKernelError:
        return f"{_last_cell(part)}: its kernel died; a machine short of memory does that"
    except NoSuchKernel as error:
        raise InputError("there is no Jupyter kernel 'python3': python -m ipykernel install --sys-prefix") from error
    return ""


def _literal(path: Path) -> str:
    """The path with its braces doubled: papermill takes single ones for the names of parameters to fill in."""
    return str(path.resolve()).replace("{", "{{").replace("}", "}}")


def _last_cell(part: Path) -> str:
    """The last cell that was started, as messages name it."""
    codes = [cell["metadata"]["papermill"] for cell in read_notebook(part)["cells"] if cell["cell_type"] == "code"]
    return f"cell [{sum(bool(code['start_time']) for code in codes)}]"


def execute_stale(notebooks: Sequence[Path], into: Path, *, jobs: int | None = None, force: bool = False) -> list[Result]:
    """Execute every notebook whose copy in ``into`` is absent or older than what it depends on, ``jobs`` at a time.

    The longest of last time start first. One failure does not stop the others: ``RunFailed`` lists them all at the end.
    """
    tasks = {into / f"{notebook.stem}.ipynb": notebook for notebook in notebooks}
    if len(tasks) < len(notebooks):
        raise InputError(f"two notebooks of the same name would share one copy in {into}: rename one")
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: it is at least 1")
    before = {output: recorded(output) or {} for output in tasks}
    keys = {output: stale_key(notebook) for output, notebook in tasks.items()}
    stale = [
        output for output in tasks if force or before[output].get("key") != keys[output] or before[output].get("parameters")
    ]
    stale.sort(key=lambda output: before[output].get("seconds", math.inf), reverse=True)
    print(f"{len(tasks) - len(stale)} of {len(tasks)} notebooks are up to date", flush=True)
    if stale:
        check_writable(stale[0])
        failures = _run_all([(tasks[output], output) for output in stale], min(jobs or cores(), len(stale)))
        if failures:
            raise RunFailed(f"{len(failures)} of {len(stale)} notebooks failed: {'; '.join(failures)}")
    after = {output: recorded(output) or {} for output in tasks}
    return [Result(tasks[o], o, after[o]["key"], after[o]["seconds"], o in stale) for o in tasks]


def _run_all(tasks: list[tuple[Path, Path]], jobs: int) -> list[str]:
    """Run the tasks in ``jobs`` processes, one line of progress a start and a finish; returns what went wrong."""
    context = get_context("forkserver")  # children are forked from a server process that has done the slow imports
    context.set_forkserver_preload(["ardm.book.runs", "papermill"])
    threads, waiting, running, failures, done = max(1, cores() // jobs), list(tasks), {}, [], 0
    indent = " " * len(f"[{len(tasks)}/{len(tasks)}]")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                notebook, output = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                child = context.Process(target=_run_child, args=(notebook, output, dict(os.environ), threads, theirs))
                print(f"{indent} {notebook.stem} starts", flush=True)
                child.start()
                theirs.close()  # now the child alone holds the writing end, so the pipe ends when the child dies
                running[ours] = child, notebook, time.perf_counter()
            for ours in wait(list(running)):
                child, notebook, start = running.pop(ours)
                why, done = _outcome(ours, child, notebook), done + 1
                if why:
                    failures.append(why)
                took = f"{'failed after ' if why else ''}{time.perf_counter() - start:.0f} s"
                print(f"[{done}/{len(tasks)}] {notebook.stem}  {took}", flush=True)
    finally:
        _stop([child for child, *_ in running.values()])
    return failures


def _run_child(notebook: Path, output: Path, environment: dict[str, str], threads: int, say: Connection) -> None:
    os.environ.clear()  # what was inherited is the environment of the call that started the server
    os.environ.update(environment)
    os.setsid()  # a session of its own: Ctrl-C reaches the parent alone, which then stops its children
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    os.environ.update({name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")})
    try:
        execute(notebook, output, progress=False)
        say.send("")
    except (InputError, RunFailed) as error:
        say.send(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _outcome(ours: Connection, child: BaseProcess, notebook: Path) -> str:
    """What the child said: why it failed, or nothing."""
    try:
        why = ours.recv()
    except EOFError:
        why = None
    ours.close()
    child.join()
    return f"{notebook.stem}: its process ended with code {child.exitcode}" if why is None else why


def _stop(children: list[BaseProcess]) -> None:
    """Interrupt the children, so that each shuts its kernel down and removes its half-written copy."""
    for child in children:
        child.terminate()
    for child in children:
        child.join(timeout=20)
        child.kill()


def recorded(executed: Path) -> dict[str, Any] | None:
    """What a run left in its executed copy: key, parameters, seconds. None for a file that is absent or not whole."""
    try:
        return read_notebook(executed)["metadata"]["ardm"]
    except (InputError, KeyError):
        return None


def record(executed: Path, notebook: Path) -> None:
    """Copy the outputs of ``executed`` into the stored notebook; its sources, ids, tags and formatting stay as they are."""
    run = recorded(executed)
    if run is None:
        raise InputError(f"{executed} is not an executed copy of {notebook.stem}: run 'ardm execute' first")
    if run["parameters"]:
        given = ", ".join(f"{name}={value!r}" for name, value in run["parameters"].items())
        raise InputError(f"{executed} was run with {given}: only a run with the default parameters is recorded")
    if run["key"] != stale_key(notebook):
        raise InputError(f"{executed} is older than {notebook.stem} or what it depends on: run 'ardm execute' first")
    stored, fresh = read_notebook(notebook), read_notebook(executed)
    for cell, ran in zip(stored["cells"], fresh["cells"], strict=True):
        cell |= {name: ran[name] for name in ("execution_count", "outputs") if name in ran}
    for name in ("kernelspec", "language_info", "widgets"):
        stored["metadata"].pop(name, None)
        if name in fresh["metadata"]:
            stored["metadata"][name] = fresh["metadata"][name]
    write_notebook(stored, notebook)


def project_root(path: Path) -> Path:
    """The nearest folder at or above ``path`` that holds a ``pyproject.toml``."""
    above = (path.resolve(), *path.resolve().parents)
    if root := next((folder for folder in above if (folder / "pyproject.toml").is_file()), None):
        return root
    raise InputError(f"{path} lies in no project: no folder above it has a pyproject.toml")


def stale_key(notebook: Path) -> str:
    """SHA-256 of all that decides the outputs: the sources, the package with its data, the lock, and which corpora are here."""
    from ardm.worlds import corpora

    root = project_root(notebook)
    cells = [_source(cell) for cell in read_notebook(notebook)["cells"]]
    sources = (path for kind in ("py", "js", "css") for path in root.glob(f"ardm/**/*.{kind}"))
    files = [*sources, *root.glob("ardm/data/**/*"), root / "requirements.lock"]
    known = {file.relative_to(root).as_posix(): file for file in files if file.is_file()}
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in known.items() if "/." not in name}
    here = [name for name in corpora.names() if corpora.locate(name)]
    return hashlib.sha256(json.dumps([cells, digests, here], sort_keys=True).encode()).hexdigest()


def _source(cell: dict[str, Any]) -> list[Any]:
    metadata = {name: value for name, value in cell["metadata"].items() if name not in VOLATILE}
    return [cell["cell_type"], "".join(cell["source"]), metadata, cell.get("attachments")]
