"""The arena: every rule on every task, at equal calls, tuned by one search, over several trainings, kept cell by cell.

A cell is one rule on one task with one number of calls and one training seed: one small file, written whole. An interrupted
run goes on where it stopped. Three phases, each on all cores: train what is missing, tune each rule on texts of its own, play.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ardm.base.atomic import check_writable, write_whole
from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.provenance import cores, provenance
from ardm.book.runs import RunFailed
from ardm.experiments.contestants import CONTESTANTS, GATES, Contestant, choose
from ardm.experiments.match import Kit, Settings, digest, play, plays
from ardm.experiments.tasks import ARENA, TASKS, Task

__all__ = ["arena"]

TUNING_SEED = 10_000  # of the texts that knobs are chosen on; the reported ones have the training seeds 0, 1, ...
REAL = "the law itself"  # the row of what a perfect sampler scores


@dataclass(frozen=True)
class Part:
    """Something to train: the denoiser of a task and seed, its ``causal`` twin, or a gate by its name."""

    task: str
    seed: int
    name: str
    settings: Settings
    folder: Path

    def __str__(self) -> str:
        return f"{self.name} of {self.task}, seed {self.seed}"

    @property
    def key(self) -> tuple[str, str]:
        """Tasks that share a denoiser share its parts."""
        seed = self.seed if self.name in GATES else 0
        return f"{self.settings.recipe(TASKS[self.task], self.seed).key}-{seed}", self.name


@dataclass(frozen=True)
class Job:
    """One file to make: a cell, or (without ``knobs``) the search for the knobs of a rule."""

    task: str
    rule: str
    nfe: int
    seed: int
    knobs: tuple[tuple[str, Any], ...] | None
    settings: Settings
    folder: Path

    def __str__(self) -> str:
        return f"{self.rule} on {self.task}, {self.nfe} calls, seed {self.seed}"

    @property
    def texts_seed(self) -> int:
        return self.seed + self.settings.texts_from

    @property
    def file(self) -> Path:
        """Named after all that decides its content, but for the code."""
        task, rule, settings = TASKS[self.task], CONTESTANTS.get(self.rule), self.settings
        gate = settings.gate_recipe(task, rule.gate, self.seed).choices if rule and rule.gate else None
        texts = settings.texts(task, tuning=self.knobs is None), rule.stages if rule and self.knobs is None else ()
        recipe = settings.recipe(task, self.seed)
        model = {**recipe.choices, "causal": recipe.causal, "grid": recipe.grid}  # in these names from the beginning
        at = self.rule, self.nfe, self.seed if self.knobs is None else self.texts_seed
        if self.knobs is None and len(settings.tuners(task)) > 1:
            at += (len(settings.tuners(task)),)
        what = [self.task, task.kind, task.amount, model, gate, *at, self.knobs, texts]
        return self.folder / "cells" / self.task / f"{digest(what)}.json"


@cache
def _kit(task: str, settings: Settings, seed: int, models: Path) -> Kit:
    return Kit(TASKS[task], settings, seed, models)


def _train(part: Part) -> None:
    kit = _kit(part.task, part.settings, part.seed, part.folder)
    if part.name in ("denoiser", "causal"):
        kit.denoiser(causal=part.name == "causal")
    else:
        kit.gates(part.name)


def _work(job: Job) -> None:
    """Play one cell, or search the knobs of one rule, and keep what came out."""
    task, kit = TASKS[job.task], _kit(job.task, job.settings, job.seed, job.folder / "models")
    at = {"task": job.task, "rule": job.rule, "nfe": job.nfe, "seed": job.seed}
    count = job.settings.texts(task, tuning=job.knobs is None)
    if job.rule == REAL:
        start = task.start(1, seed=0, denoiser=kit.denoiser())
        return _keep(job, {**at, "count": count, **task.score(task.real(count, seed=job.texts_seed), start)})
    contestant = CONTESTANTS[job.rule]
    if job.knobs is not None:
        knobs = dict(job.knobs)
        row = play(task, kit, contestant, knobs, nfe=job.nfe, seed=job.texts_seed, count=count)
        return _keep(job, {**at, "knobs": json.dumps(knobs), "count": count, **row})
    tuners = job.settings.tuners(task)
    kits = [_kit(job.task, job.settings, seed, job.folder / "models") for seed in tuners]
    count = math.ceil(count / len(kits))
    tried, best = [], {}
    for stage in contestant.stages:
        rows = []
        for choice in stage:
            knobs = {**best, **choice}
            played = [play(task, kit, contestant, knobs, nfe=job.nfe, seed=TUNING_SEED, count=count) for kit in kits]
            told = {name: fmean(row[name] for row in played) for name in ("loss", "quality", "overwrites", "seconds")}
            rows.append({**at, "knobs": json.dumps(knobs), "count": count * len(kits), **told})
        best = json.loads(min(rows, key=lambda row: row["loss"])["knobs"])  # the first of equals: the default before the others
        tried += rows
    return _keep(job, {"best": best, "tried": tried})


def _keep(job: Job, result: dict[str, Any]) -> None:
    job.file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(job.file, json.dumps(result, ensure_ascii=False) + "\n")


def arena(settings: Settings, folder: Path, *, jobs: int | None = None, say: Callable[[str], None] = print) -> Path:
    """Play all that is missing and write ``arena.csv``, ``tuning.csv`` and ``arena.json`` into ``folder``; returns the first.

    Cells that failed are named at the end (``RunFailed``) and tried again by the next call.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: it is at least 1")
    tasks = [TASKS[name] for name in settings.tasks] if settings.tasks else list(ARENA)
    entries = [
        (task, contestant, nfe)
        for task in tasks
        for contestant in choose(settings.rules)
        for nfe in settings.nfe or task.nfe
        if plays(task, contestant, nfe)
    ]
    if not entries:
        raise InputError("nothing to play: none of these rules plays these tasks with these numbers of calls")
    check_writable(folder / "arena.csv")
    began, seeds = time.perf_counter(), range(settings.seeds)
    workers = jobs or (cores() if pick_device().type == "cpu" else 1)
    parts = {
        part.key: part
        for seed in seeds
        for task, contestant, _ in entries
        for name in ("denoiser", "causal" if contestant.causal else contestant.gate)
        if name
        for part in [Part(task.name, seed, name, settings, folder / "models")]
    }
    searches = {
        key: Job(*key, 0, None, settings, folder)
        for task, contestant, nfe in entries
        for key in [_tuned_as(settings, task, contestant, nfe)]
        if settings.tuning and CONTESTANTS[key[1]].stages
    }
    context = get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for what, wanted in (("denoisers", False), ("gates", True)):  # a gate needs its denoiser
                _all(pool, what, _train, [part for part in parts.values() if (part.name in GATES) is wanted], say)
            _all(pool, "searches", _work, _missing(searches.values()), say)
            found = {key: json.loads(job.file.read_text()) for key, job in searches.items()}
            cells = [
                Job(task.name, contestant.name, nfe, seed, _knobs(found, settings, task, contestant, nfe), settings, folder)
                for task, contestant, nfe in entries
                for seed in seeds
            ]
            cells += [Job(t.name, REAL, 0, seed, (), settings, folder) for t in tasks if t.kind == "write" for seed in seeds]
            _all(pool, "cells", _work, _missing(cells), say)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():  # files are whole or absent, so nobody has to be waited for
                child.terminate()
            raise
    rows = [json.loads(job.file.read_text()) for job in cells]
    tried = [row for search in found.values() for row in search["tried"]]
    write_whole(folder / "arena.csv", _csv(rows))
    write_whole(folder / "tuning.csv", _csv(tried))
    trained = [Kit(TASKS[p.task], settings, p.seed, p.folder).seconds(p.name) for p in parts.values()]
    facts = {
        "settings": asdict(settings),
        "training_seconds": round(sum(trained)),  # of all parts, whenever they were trained
        "search_seconds": round(sum(row["seconds"] * row["count"] for row in tried)),
        "playing_seconds": round(sum(row.get("seconds", 0) * row["count"] for row in rows)),
        "this_call_seconds": round(time.perf_counter() - began),
        "workers": workers,
        "provenance": provenance(),
    }
    write_whole(folder / "arena.json", json.dumps(facts, indent=1) + "\n")
    return folder / "arena.csv"


def _tuned_as(settings: Settings, task: Task, contestant: Contestant, nfe: int) -> tuple[str, str, int]:
    """The search whose outcome it plays with."""
    return task.name, contestant.like or contestant.name, min(nfe, settings.tuned_up_to)


def _knobs(
    found: Mapping[tuple, dict], settings: Settings, task: Task, contestant: Contestant, nfe: int
) -> tuple[tuple[str, Any], ...]:
    """What the search chose, or the default."""
    key = _tuned_as(settings, task, contestant, nfe)
    return tuple((found[key]["best"] if key in found else CONTESTANTS[key[1]].grid[0]).items())


def _missing(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if not job.file.is_file()]


def _all(
    pool: ProcessPoolExecutor, what: str, do: Callable[[Any], None], jobs: Sequence[Any], say: Callable[[str], None]
) -> None:
    """Do all jobs; failures are collected and named together."""
    began, failed = time.perf_counter(), []
    running = {pool.submit(do, job): job for job in jobs}
    for done, future in enumerate(as_completed(running), start=1):
        if error := future.exception():
            failed.append(f"{running[future]}: {type(error).__name__}: {error}")
        if done % max(1, len(jobs) // 10) == 0 or done == len(jobs):
            say(f"{what}: {done} of {len(jobs)} after {time.perf_counter() - began:.0f} s")
    if failed:
        raise RunFailed(f"{len(failed)} of {len(jobs)} {what} failed; call again to try them again: {'; '.join(failed[:5])}")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with the columns of all rows; numbers to six significant digits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()
