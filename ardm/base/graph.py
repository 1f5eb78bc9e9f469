"""One graph for all that is computed: units of work, each a command and what has to be done before it, given to Snakemake.

Who makes a plan knows what is out of date and puts only that into it. Snakemake runs it (``Snakefile`` beside this file), here or
on a cluster. A unit keeps its own results, one by one and whole, so a unit that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError

__all__ = ["Follower", "Unit", "UnitsFailed", "alone", "end_with_caller", "planned", "run", "time_left"]

FOLDER, LOCK = ".graph", ".graph.lock"
PLAN = "plan.json"
PROFILES = Path(__file__).parent / "on"
PATIENCE = 20  # seconds that interrupted units have to put things away
SUBMITS = {"slurm": "sbatch"}  # the command that an executor calls
OPTIONS = (
    *("--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "--nolock"),
    *("--scheduler", "greedy", "--quiet", "all", "--retries", "1"),
)

HERE = ("--shared-fs-usage", "input-output", "persistence", "software-deployment", "sources", "--cores")
"""On this machine nothing is kept in the caller's home, which there may not be, or which may take nothing."""


class UnitsFailed(RuntimeError):
    """Some units failed, each with the end of its log; what the others made is kept."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Work that is worth a process of its own."""

    kind: str  # train, search, play, execute, pages
    name: str  # of this unit alone, and of its rule
    command: tuple[str, ...]
    says: str  # what a person reads
    after: tuple[str, ...] = ()  # names of units
    weight: float = 1.0  # how long it takes beside the others; the heavier first
    memory: int = 2000  # MB
    minutes: int = 120  # after which a cluster may stop it
    gpu: int = 0

    @property
    def receipt(self) -> str:
        """The file that says that it is done."""
        return f"done/{self.kind}/{self.name}"

    @property
    def log(self) -> str:
        return f"logs/{self.kind}/{self.name}.log"

    @property
    def line(self) -> str:
        """Its command for a shell."""
        return shlex.join(self.command)


def planned(folder: Path) -> list[Unit]:
    """The units of the plan in the folder."""
    units = json.loads((folder / PLAN).read_text("utf8"))
    return [Unit(**{**unit, "command": tuple(unit["command"]), "after": tuple(unit["after"])}) for unit in units]


def run(
    units: Sequence[Unit],
    folder: Path,
    *,
    jobs: int,
    on: str | None = None,
    gpus: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Do the units, those that wait for none first, and the heavier of these before the lighter.

    ``jobs``: units at a time on this machine. ``on``: a cluster instead, ``slurm``, ``kubernetes`` or the folder of a Snakemake
    profile. ``gpus``: how many units that ask for a GPU may have one at a time; with none they ask for none. A unit that fails is
    tried once more and does not stop the others: ``UnitsFailed`` says which failed and why. ``InputError`` when another call is at
    work in the folder.
    """
    if jobs < 1:
        raise InputError(f"jobs={jobs}: it is at least 1")
    if gpus < 0:
        raise InputError(f"gpus={gpus}: it is at least 0")
    where = _profile(on) if on else [*HERE, str(jobs)]
    if gpus:
        where += ["--resources", f"gpu={gpus}"]
    else:
        units = [replace(unit, gpu=0) for unit in units]
    _snakemake_is_here()
    check_writable(folder / LOCK)
    with alone(folder):
        graph = folder / FOLDER
        shutil.rmtree(graph, ignore_errors=True)
        graph.mkdir()
        write_whole(graph / PLAN, json.dumps([asdict(unit) for unit in units], indent=1))
        command = ["-m", "snakemake", "--snakefile", str(Path(__file__).with_name("Snakefile")), "--directory", str(graph)]
        told = _call([sys.executable, *command, *OPTIONS, *where], say)
        failed = [unit for unit in units if not (graph / unit.receipt).is_file()]
        if not failed:
            return
        began = [unit for unit in failed if (graph / unit.log).is_file()]
        why = [f"{unit.says}: {_end(graph / unit.log)}" for unit in began[:5]] or [told or "nothing was started"]
        waiting = f", {len(failed) - len(began)} that wait for them were not started" * (len(failed) > len(began))
        raise UnitsFailed("\n".join([f"{len(began)} of {len(units)} units failed{waiting}; the same command goes on", *why]))


def _profile(on: str) -> list[str]:
    """The options that name a profile; what it needs is looked for before any work."""
    folder = PROFILES / on if (PROFILES / on).is_dir() else Path(on)
    if not (folder / "config.yaml").is_file():
        known = ", ".join(sorted(path.name for path in PROFILES.iterdir()))
        raise InputError(f"no profile {on!r}: name {known}, or a folder that holds the config.yaml of a Snakemake profile")
    executor = re.search(r"^executor:\s*(\S+)", (folder / "config.yaml").read_text(), re.MULTILINE)
    if executor:
        _executor_is_here(executor[1])
    return ["--profile", str(folder.resolve())]


def _executor_is_here(name: str) -> None:
    from importlib.util import find_spec

    if find_spec(f"snakemake_executor_plugin_{name.replace('-', '_')}") is None:
        raise InputError(f"the executor {name} is not installed: pip install snakemake-executor-plugin-{name}")
    if name in SUBMITS and shutil.which(SUBMITS[name]) is None:
        raise InputError(
            f"there is no cluster here: {SUBMITS[name]} was not found on PATH; without --on it runs on this machine"
        )


def _snakemake_is_here() -> None:
    try:
        import snakemake  # noqa: F401
    except ImportError as error:
        raise InputError("the graph is run by Snakemake: pip install 'ardm[book]'") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else works in the folder meanwhile. The lock goes with its process, however that ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another call is at work in {folder}: wait for its end, or choose another folder") from error
    try:
        yield
    finally:
        lock.release()


def _call(command: list[str], say: Callable[[str], None]) -> str:
    """Run Snakemake, saying each line; returns the last of what it complained about."""
    with TemporaryFile("w+", encoding="utf8") as complaints:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # never written to: it closes when this process ends, however that happens
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            start_new_session=True,
            env=_environment(),
        )
        try:
            assert child.stdout is not None
            for line in child.stdout:
                say(line.rstrip())
            child.wait()
        except BaseException:
            _stop(child)
            raise
        complaints.seek(0)
        lines = [line.strip() for line in complaints if line.strip()]
    return lines[-1] if lines else ""


def _environment() -> dict[str, str]:
    """That of this process, with the package that it runs, wherever that lies."""
    root, path = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, path] if path else [root]), "PYTHONUNBUFFERED": "1"}


def _stop(child: subprocess.Popen) -> None:
    """Interrupt Snakemake and what it runs, as Ctrl-C would, and wait until they have put their things away."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(PATIENCE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def end_with_caller() -> None:
    """In Snakemake's process: interrupt it and all that it runs when the process that called it is gone."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        for number in (signal.SIGINT, signal.SIGKILL):
            os.killpg(os.getpgrp(), number)
            time.sleep(PATIENCE)

    threading.Thread(target=wait, daemon=True).start()


def _end(log: Path) -> str:
    """The end of a log: from the last error that the package itself words, else its last line."""
    lines = [line.rstrip() for line in log.read_text("utf8", errors="replace").splitlines() if line.strip()]
    own = [number for number, line in enumerate(lines) if line.startswith("ardm: ")]
    told = lines[own[-1] :] if own else lines[-1:]
    return "\n".join(told[:12]).removeprefix("ardm: ") or "it said nothing"


# Progress ----------------------------------------------------------------------------------------------------------------


class Follower(logging.Handler):
    """Prints a line for each unit that ends: how many are done, how long it took, what is left.

    What a cluster says of a unit that failed goes to the end of the unit's log, which lies in the folder of the process.
    """

    def __init__(self, units: Mapping[str, Unit]) -> None:
        super().__init__()
        self.units, self.began = units, time.monotonic()
        self.running: dict[int, tuple[Unit, float]] = {}
        self.done: list[Unit] = []

    def emit(self, record: logging.LogRecord) -> None:
        event, told = str(getattr(record, "event", "")), record.__dict__
        name = event.rpartition(".")[2].lower()
        if name == "job_info" and (unit := self.units.get(told.get("rule_name", ""))):
            self.running[told["jobid"]] = unit, time.monotonic()
        elif name in ("job_finished", "job_error"):
            number = told.get("job_id", told.get("jobid"))
            if number in self.running:
                self._ended(*self.running.pop(number), failed=name == "job_error", why=told.get("rule_msg") or "")

    def _ended(self, unit: Unit, since: float, *, failed: bool, why: str) -> None:
        took = f"{time.monotonic() - since:.0f} s"
        if failed:
            print(f"{unit.says}  failed after {took}", flush=True)
            if why:  # a cluster's word on it
                with open(unit.log, "a", encoding="utf8") as log:
                    log.write(f"{why.splitlines()[0]}\n")
            return
        self.done.append(unit)
        left = time_left(self.done, self.units.values(), time.monotonic() - self.began)
        print(f"[{len(self.done)}/{len(self.units)}] {unit.says}  {took}{left}", flush=True)


def time_left(done: Sequence[Unit], units: Iterable[Unit], seconds: float) -> str:
    """How long the others take, if they go as these did; nothing when all are done."""
    units = list(units)
    whole, part = sum(unit.weight for unit in units), sum(unit.weight for unit in done)
    if len(done) == len(units):
        return ""
    left = seconds * (whole - part) / part
    return f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"
