"""The arena: every rule on every task, at equal calls, tuned by one search, over several trainings, kept cell by cell.

Three phases, each on all cores: train what is missing, tune each rule on texts of its own, play. Every result is one small file,
written whole and named by its key: an interrupted run goes on where it stopped, and another version of the code plays anew.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch

from ardm.base import fingerprint
from ardm.base.atomic import check_writable, write_whole
from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.provenance import cores, provenance
from ardm.experiments.cells import Cell, Loaded, Played, Reference, Search, Settings, Training
from ardm.experiments.published import published_files
from ardm.experiments.store import Store, facts_of
from ardm.method.gate_recipe import GateRecipe
from ardm.method.train_denoiser import DenoiserRecipe

__all__ = ["CellsFailed", "again", "arena", "as_csv", "keep_result", "sources"]

Job = Training | Search | Cell | Reference
Kept = Mapping[str, Any]


class CellsFailed(RuntimeError):
    """Some cells, searches or trainings failed; the others are kept."""


@dataclass(frozen=True)
class Place:
    """Where results and models are kept: ``folder / "cells"``, and the folder of a store."""

    folder: Path
    models: Path

    def file(self, job: Job) -> Path:
        return _store(self.models).file(job.made) if isinstance(job, Training) else job.file(self.folder / "cells")

    def kept(self, job: Played) -> Kept:
        return json.loads(self.file(job).read_text("utf8"))


def arena(
    settings: Settings,
    folder: Path,
    *,
    models: Path | None = None,
    jobs: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Play all that is missing and write ``arena.csv``, ``tuning.csv`` and ``arena.json`` into ``folder``; returns the first.

    ``models``: where trained models are kept (default: in the folder). ``jobs``: cells at a time (default: one a core, one on a
    GPU). What failed is named at the end (``CellsFailed``) and tried again by the next call.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: it is at least 1")
    searches, trainings = _planned(settings)
    check_writable(folder / "arena.csv")
    place = Place(folder, models or folder / "models")
    workers = jobs or (cores() if pick_device().type == "cpu" else 1)
    with _pool(workers) as pool:
        work = Work(pool, place, settings, say)
        work.all("denoisers", [training for training in trainings if training.gate is None])
        work.all("gates", [training for training in trainings if training.gate is not None])
        work.all("searches", searches)
        cells = settings.cells(_best(searches, place))
        work.all("cells", cells)
    _write(settings, place, cells, searches, trainings)
    return folder / "arena.csv"


def again(settings: Settings, folder: Path, key: str, *, models: Path | None = None) -> Any:
    """Do the one job of an arena with this key, here and now, and return what came out; nothing but trained models is kept."""
    searches, trainings = _planned(settings)
    place = Place(folder, models or folder / "models")
    tuned = all(place.file(search).is_file() for search in searches)
    jobs: list[Job] = [*trainings, *searches, *(settings.cells(_best(searches, place)) if tuned else ())]
    for job in jobs:
        if job.key == key:
            return _result(job, place)
    raise InputError(f"no job {key!r} in this arena: its code or its settings have changed, or searches are missing")


# What is to be done ------------------------------------------------------------------------------------------------------


def _planned(settings: Settings) -> tuple[list[Search], list[Training]]:
    """The searches, and all that has to be trained, each once: every denoiser, and every gate with its denoiser."""
    searches = list(dict.fromkeys(filter(None, (settings.search(*match) for match in settings.matches()))))
    played = [cell.training for cell in settings.cells({}) if isinstance(cell, Cell)]
    if not played:
        raise InputError("nothing to play: none of these rules plays these tasks with these numbers of calls")
    wanted = [*played, *(training for search in searches for training, *_ in search.tuners)]
    return searches, list(dict.fromkeys(one for training in wanted for one in (Training(training.denoiser), training)))


def _best(searches: Iterable[Search], place: Place) -> dict[Search, Mapping[str, Any]]:
    return {search: place.kept(search)["result"]["best"] for search in searches}


# Doing it ----------------------------------------------------------------------------------------------------------------


@cache
def _store(models: Path) -> Store:
    models.mkdir(parents=True, exist_ok=True)
    return Store(models, also=published_files())


@cache
def _loaded(models: Path) -> Loaded:
    return Loaded(_store(models))


@cache
def _provenance() -> dict[str, str | int]:
    """Of this process, which imported its code once."""
    return provenance()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes; when something goes wrong they are stopped at once, since files are whole or absent."""
    with ProcessPoolExecutor(workers, get_context("forkserver"), initializer=_begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _begin() -> None:
    """One thread a process, and the keys of models by the code as it is now: the process trains with this code to its end."""
    torch.set_num_threads(1)
    _provenance()
    assert Training(DenoiserRecipe(), GateRecipe()).key


@dataclass(frozen=True)
class Work:
    """Does the jobs of each phase."""

    pool: ProcessPoolExecutor
    place: Place
    settings: Settings
    say: Callable[[str], None]

    def all(self, what: str, jobs: Sequence[Job]) -> None:
        """Do the jobs whose files are missing; failures are collected and named together."""
        began, failed = time.perf_counter(), []
        missing = [job for job in jobs if not self.place.file(job).is_file()]
        running = {self.pool.submit(_do, job, self.place): job for job in missing}
        for done, future in enumerate(as_completed(running), start=1):
            if error := future.exception():
                failed.append(f"{running[future]}: {type(error).__name__}: {error}\n  {self.line(running[future])}")
            if done % max(1, len(missing) // 10) == 0 or done == len(missing):
                self.say(f"{what}: {done} of {len(missing)} after {time.perf_counter() - began:.0f} s")
        if failed:
            head = (
                f"{len(failed)} of {len(missing)} {what} failed; the next call tries them again, the line below does one alone"
            )
            raise CellsFailed("\n".join([f"{head}:", *failed[:5]]))

    def line(self, job: Job) -> str:
        """The command that does one job alone."""
        changed = (field.name for field in fields(Settings) if getattr(self.settings, field.name) != field.default)
        settings = ", ".join(f"{name}={getattr(self.settings, name)!r}" for name in changed)
        folder, models = str(self.place.folder), str(self.place.models)
        imports = (
            "from pathlib import Path; from ardm.experiments.arena import again; from ardm.experiments.cells import Settings"
        )
        call = f"print(again(Settings({settings}), Path({folder!r}), {job.key!r}, models=Path({models!r})))"
        return f"python -c {shlex.quote(f'{imports}; {call}')}"


def _result(job: Job, place: Place) -> Any:
    models = _loaded(place.models)
    return job.parts(models) if isinstance(job, Training) else job.run(models)


def _do(job: Job, place: Place) -> None:
    """Do one job and keep what came out. A store keeps what is trained."""
    began = time.perf_counter()
    result = _result(job, place)
    if isinstance(job, Training):
        return
    keep_result(job, result, place.file(job), seconds=time.perf_counter() - began)


def keep_result(job: Played, result: Any, file: Path, *, seconds: float) -> None:
    """Write a result with all that decided and made it, whole or not at all."""
    kept = {"key": job.key, "result": result, "made": job.made, "seconds": round(seconds, 3), "provenance": _provenance()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(kept, ensure_ascii=False) + "\n")


# Tables ------------------------------------------------------------------------------------------------------------------


def _write(
    settings: Settings, place: Place, cells: list[Cell | Reference], searches: list[Search], trainings: list[Training]
) -> None:
    """The tables of all cells and searches, and what made them, whoever made them and when."""
    played, tuned = [place.kept(cell) for cell in cells], [place.kept(search) for search in searches]
    trained = [facts_of(place.file(training)) for training in trainings]
    rows = [{**cell.at, **kept["result"], "key": cell.key} for cell, kept in zip(cells, played, strict=True)]
    tried = [
        {**search.at, **row, "key": search.key}
        for search, kept in zip(searches, tuned, strict=True)
        for row in kept["result"]["tried"]
    ]
    facts = {
        "settings": asdict(settings),
        "key": fingerprint.digest(sorted(cell.key for cell in cells)),
        "search_key": fingerprint.digest(sorted(search.key for search in searches)),
        "code": {kept["made"]["rule"]: kept["made"]["code"] for kept in played},
        "data": {cell.task.recipe.corpus: kept["made"]["data"] for cell, kept in zip(cells, played, strict=True)},
        "versions": fingerprint.versions(),
        "training_seconds": _seconds(trained),
        "search_seconds": _seconds(tuned),
        "playing_seconds": _seconds(played),
        "provenance": sources(cells=played, searches=tuned, trainings=trained),
    }
    write_whole(place.folder / "arena.csv", as_csv(rows))
    write_whole(place.folder / "tuning.csv", as_csv(tried))
    write_whole(place.folder / "arena.json", json.dumps(facts, indent=1) + "\n")


def _seconds(kept: Iterable[Kept]) -> int:
    return round(sum(one["seconds"] for one in kept))


def sources(**kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """What made the results: commit, versions, device, and how many of each kind they made."""
    counts = {kind: Counter(json.dumps(one["provenance"]) for one in results) for kind, results in kept.items()}
    sources = dict.fromkeys(source for count in counts.values() for source in count)
    return [{**json.loads(source), **{kind: count[source] for kind, count in counts.items()}} for source in sources]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with the columns of all rows; numbers to six significant digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()
