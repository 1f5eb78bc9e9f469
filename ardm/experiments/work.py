"""The work of a table: its jobs in batches that are worth a process, what is kept of each, and the graph of what is missing.

A job is a training, a search or a cell. What comes out is one small file, written whole and named by its key: an interrupted run
goes on where it stopped, and another version of the code does anew what depends on it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from ardm.base import fingerprint, graph
from ardm.base.atomic import check_writable, write_whole
from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.provenance import cores, provenance
from ardm.base.sheets import inert
from ardm.experiments.cells import Loaded, Played, Settings, Training
from ardm.experiments.published import published_files
from ardm.experiments.store import Store, facts_of
from ardm.method.gate_recipe import GateRecipe
from ardm.method.train_denoiser import DenoiserRecipe

__all__ = ["Batch", "Experiment", "Job", "JobsFailed", "Place", "as_csv", "made_of", "parted", "seconds_of", "sources"]

Job = Training | Played
Kept = Mapping[str, Any]

ASKED = "asked.json"
WEIGHT = {"train": 30.0, "search": 5.0, "play": 1.0}  # of one job: roughly its seconds on one core
WIDE = 256  # width of a denoiser: a match of smaller models is played on the cores while a GPU trains


class JobsFailed(graph.UnitsFailed):
    """Some jobs of a batch failed; the others are kept."""


@dataclass(frozen=True)
class Place:
    """Where results and models are kept: ``folder / "cells"``, and the folder of a store."""

    folder: Path
    models: Path

    @cached_property
    def store(self) -> Store:
        self.models.mkdir(parents=True, exist_ok=True)
        return Store(self.models, also=published_files())

    @cached_property
    def loaded(self) -> Loaded:
        return Loaded(self.store)

    def file(self, job: Job) -> Path:
        return self.store.file(job.made) if isinstance(job, Training) else job.file(self.folder / "cells")

    def has(self, job: Job) -> bool:
        """Whether its file is there, and to its end: one that was cut off is made again."""
        path = self.file(job)
        return path.is_file() and (isinstance(job, Training) or _last_byte(path) == b"\n")

    def kept(self, job: Played) -> Kept:
        """What is kept of the job; ``InputError`` when its file holds anything else."""
        path = self.file(job)
        try:
            kept = json.loads(path.read_text("utf8"))
            if kept["key"] == job.key:
                return kept
            why = f"it is that of {kept['key']}"
        except (ValueError, TypeError, KeyError) as error:
            why = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged ({why}): remove it, and the same command makes it again")

    def do(self, job: Job) -> Any:
        """What comes out of the job. A store keeps what is trained; nothing else is kept."""
        return job.parts(self.loaded) if isinstance(job, Training) else job.run(self.loaded)

    def do_and_keep(self, job: Job) -> None:
        check_writable(self.file(job))
        began = time.perf_counter()
        result = self.do(job)
        if not isinstance(job, Training):
            self.keep(job, result, seconds=time.perf_counter() - began)

    def keep(self, job: Played, result: Any, *, seconds: float) -> None:
        """Write a result with all that decided and made it, whole or not at all."""
        kept = {"key": job.key, "result": result, "made": job.made, "seconds": round(seconds, 3), "provenance": provenance()}
        write_whole(self.file(job), json.dumps(kept, ensure_ascii=False) + "\n")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(1, path.stat().st_size), os.SEEK_END)
        return file.read()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Jobs that one process does, one after the other."""

    kind: str  # train, search or play
    name: str
    says: str
    jobs: tuple[Job, ...]
    after: tuple[str, ...] = ()  # names of batches
    unknown: frozenset[Job] = frozenset()  # those that are only known after these batches

    @property
    def task(self) -> str | None:
        """The one task of its jobs; None for models, which may serve several."""
        return None if self.kind == "train" else next(iter(self.jobs)).task.name

    @property
    def large(self) -> bool:
        """Whether a GPU is worth it: to train, and to play with models of :data:`WIDE` or more."""
        return self.kind == "train" or any(one.denoiser.width >= WIDE for job in self.jobs for one in _models(job))


def training_batches(jobs: Iterable[Played]) -> list[Batch]:
    """What these jobs wait for, a batch for each training seed of each kind of denoiser: it, its causal twin, their gates."""
    wanted = dict.fromkeys(one for job in jobs for one in _models(job))
    together: dict[tuple[DenoiserRecipe, int], list[Training]] = {}
    for one in sorted(wanted, key=lambda training: training.gate is not None):
        together.setdefault(_together(one), []).append(one)
    found = []
    for (recipe, seed), trainings in together.items():
        of = _together(Training(trainings[0].denoiser))
        after = (_name(*of),) if of in together and of != (recipe, seed) else ()
        says = f"models of {recipe.corpus}, {recipe.length} tokens, training {seed}"
        found.append(Batch(kind="train", name=_name(recipe, seed), says=says, jobs=tuple(trainings), after=after))
    return found


def _models(job: Played) -> list[Training]:
    """Every model that a job plays with: a gate's denoiser too."""
    return [one for training in job.needs for one in (Training(training.denoiser), training)]


def _together(training: Training) -> tuple[DenoiserRecipe, int]:
    """What the trainings of a batch have in common: the denoiser but for its direction, and the seed."""
    return replace(training.denoiser, causal=False), (training.gate or training.denoiser).seed


def _name(recipe: DenoiserRecipe, seed: int) -> str:
    return f"train-{recipe.corpus}-{Training(recipe).key[:8]}-{seed}"


def parted(jobs: Sequence[Any], most: int) -> list[Sequence[Any]]:
    """The jobs in as few parts as hold at most so many each, of equal size but for one."""
    parts = math.ceil(len(jobs) / most)
    return [jobs[part::parts] for part in range(parts)]


def playing_batches(
    cells: Iterable[Played], most: int, *, after: Mapping[str, tuple[str, ...]] | None = None, unknown: Container[Played] = ()
) -> list[Batch]:
    """Batches of cells, each of one task and training seed. ``after``: by task, what they wait for; ``unknown``: as in a batch."""
    together: dict[tuple[str, int], list[Played]] = {}
    for cell in cells:
        together.setdefault((cell.task.name, cell.seed), []).append(cell)
    return [
        Batch(
            kind="play",
            name=f"play-{task}-{seed}-{part}",
            says=f"{task}, training {seed}, part {part + 1}",
            jobs=tuple(jobs),
            after=(after or {}).get(task, ()),
            unknown=frozenset(job for job in jobs if job in unknown),
        )
        for (task, seed), found in together.items()
        for part, jobs in enumerate(parted(found, most))
    ]


# An experiment -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """A table to be made: its settings, its jobs and where they are kept."""

    kind: ClassVar[str]
    settings: Settings
    place: Place

    def batches(self) -> list[Batch]:
        """All searches and cells, in batches; cells as far as their searches say what they are."""
        raise NotImplementedError

    def write(self) -> Path:
        """Write the tables of all that was done; returns the first."""
        raise NotImplementedError

    def asked(self) -> dict[str, Any]:
        """What makes the same experiment again, in another process."""
        return {"kind": self.kind, "settings": asdict(self.settings), "models": str(self.place.models.resolve())}

    # Doing it

    def open(self) -> list[Batch]:
        """What is to be done: batches of the jobs that are missing, and of the trainings that these wait for."""
        left = [replace(batch, jobs=tuple(jobs)) for batch in self.batches() if (jobs := self._missing(batch))]
        before = training_batches(job for batch in left for job in batch.jobs)
        absent = [replace(batch, jobs=tuple(jobs)) for batch in before if (jobs := self._missing(batch))]
        trained = {job: batch.name for batch in absent for job in batch.jobs}
        return absent + [replace(batch, after=(*batch.after, *_before(batch, trained))) for batch in left]

    def _missing(self, batch: Batch) -> list[Job]:
        return [job for job in batch.jobs if job in batch.unknown or not self.place.has(job)]

    def run(
        self, *, jobs: int | None = None, on: str | None = None, gpus: int | None = None, say: Callable[[str], None] = print
    ) -> Path:
        """Do all that is missing, by the graph, and write the tables; how, is as in :func:`ardm.base.graph.run`."""
        if jobs is not None and jobs < 1:
            raise InputError(f"jobs={jobs}: it is at least 1")
        open_ = self.open()
        check_writable(self.place.folder / ASKED)
        write_whole(self.place.folder / ASKED, json.dumps(self.asked(), indent=1) + "\n")
        if open_:
            gpus = _gpus_here() if gpus is None and on is None else gpus or 0
            units = self._units(open_, with_gpus=gpus > 0)
            graph.run(units, self.place.folder, jobs=jobs or cores(), on=on, gpus=gpus, say=say)
            if self.open():
                raise InputError("the code has changed while this ran: call it again, what still holds is kept")
        return self.write()

    def _units(self, batches: Sequence[Batch], *, with_gpus: bool) -> list[graph.Unit]:
        names = {batch.name for batch in batches}
        return [
            graph.Unit(
                kind=batch.kind,
                name=batch.name,
                command=self._command(batch, on_cores=with_gpus and not batch.large),
                says=f"{batch.kind}: {batch.says}",
                after=tuple(name for name in batch.after if name in names),
                weight=WEIGHT[batch.kind] * len(batch.jobs),
                gpu=int(batch.large),
            )
            for batch in batches
        ]

    def _command(self, batch: Batch, *, on_cores: bool) -> tuple[str, ...]:
        where = ("env", "ARDM_DEVICE=cpu") if on_cores else ()
        task = ("--task", batch.task) if batch.task else ()
        return (*where, sys.executable, "-m", "ardm", "work", str(self.place.folder.resolve()), batch.name, *task)

    def work(self, name: str, task: str | None = None) -> None:
        """Do the missing jobs of the batch of this name, here and now; what fails is named at the end and stops no other.

        ``task``: that of the batch, if it has one: no other is looked at then, which can take longer than the work.
        """
        _fix_keys()
        among = self if task is None else replace(self, settings=replace(self.settings, tasks=(task,)))
        jobs = next((batch.jobs for batch in among.open() if batch.name == name), ())  # none: somebody was faster
        failed = []
        for job in jobs:
            try:
                self.place.do_and_keep(job)
            except Exception as error:
                told = " ".join(f"{type(error).__name__}: {error}".split())
                failed.append(f"{job}: {told}\n  ardm again {shlex.quote(str(self.place.folder))} {job.key}")
        if failed:
            head = f"{len(failed)} of {len(jobs)} jobs failed; the line below each does it alone"
            raise JobsFailed("\n".join([head, *failed[:5]]))

    def again(self, key: str) -> Any:
        """Do the one job with this key, here and now, and return what came out; nothing but trained models is kept."""
        played = [job for batch in self.batches() for job in batch.jobs]
        for job in [*(one for batch in training_batches(played) for one in batch.jobs), *played]:
            if job.key == key:
                return self.place.do(job)
        raise InputError(f"no job {key!r} in this experiment: its code or its settings have changed, or searches are missing")


def _gpus_here() -> int:
    return torch.cuda.device_count() if pick_device().type == "cuda" else 0


def _before(batch: Batch, trained: Mapping[Training, str]) -> list[str]:
    """The batches that train what the jobs of this one play with."""
    return list(dict.fromkeys(trained[one] for job in batch.jobs for one in _models(job) if one in trained))


def _fix_keys() -> None:
    """One thread, and the keys of models by the code as it is now: the process trains with this code to its end."""
    torch.set_num_threads(1)
    assert Training(DenoiserRecipe(), GateRecipe()).key


# Tables ------------------------------------------------------------------------------------------------------------------


def trained_facts(place: Place, jobs: Iterable[Played]) -> list[Kept]:
    """What the files of the models that these jobs play with say of themselves, of those that are there."""
    trainings = (one for batch in training_batches(jobs) for one in batch.jobs)
    return [facts_of(place.file(one)) for one in trainings if place.has(one)]


def made_of(names: Iterable[str], jobs: Iterable[Played], kept: Iterable[Kept]) -> dict[str, Any]:
    """Of which code, by name, corpora and versions the results are."""
    all_of = list(zip(names, jobs, kept, strict=True))
    return {
        "code": {name: told["made"]["code"] for name, _, told in all_of},
        "data": {job.task.recipe.corpus: told["made"]["data"] for _, job, told in all_of},
        "versions": fingerprint.versions(),
    }


def seconds_of(kept: Iterable[Kept]) -> int:
    """What all of it took, in whole seconds."""
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
        table.writerow({name: f"{value:.6g}" if isinstance(value, float) else inert(value) for name, value in row.items()})
    return text.getvalue()
