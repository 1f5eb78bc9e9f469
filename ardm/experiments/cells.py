"""The cells of a table: what an arena plays, and the name of each file by all that decides what is in it.

A cell is one rule on one task with one number of calls and the models of one training seed. Its key holds the task, the rule with
its knobs, the keys of its models, its texts, the code that it runs, the checksum of its corpus and the versions of what computes:
it is played again when any of these is another, and only then.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from ardm.base import fingerprint
from ardm.base.errors import InputError, at_least_one
from ardm.experiments.play import Parts, Tuner, outcome, play, search
from ardm.experiments.store import GateOf, Made, Store, denoiser_made, gate_made
from ardm.experiments.task import Task
from ardm.experiments.tasks import ARENA, TASKS
from ardm.method.denoiser import Transformer
from ardm.method.entry import Entry
from ardm.method.gate import OverwriteGate
from ardm.method.own_runs import OwnRuns
from ardm.method.rules import choose, entries
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.views import seen_by
from ardm.worlds.corpora import checksum
from ardm.worlds.repairs import verifies
from ardm.worlds.world import GridWorld

__all__ = [
    "CHALLENGERS",
    "REAL",
    "Cell",
    "Loaded",
    "Models",
    "Parts",
    "Reference",
    "Search",
    "Settings",
    "Training",
    "outcome",
    "play",
    "plays",
]

TUNING, CLOSER = 10_000, 15_000
"""Added to a training seed: the seeds of the texts that knobs are chosen on, and of those on which the best are tried again."""

CHALLENGERS = (
    *("own ratio hide", "repair hide", "unified gate"),
    *("confidence threshold", "KLASS", "WINO", "Saber", "accept and hide", "Tolerator"),
    *("WINO leave-one-out", "context probe", "T2T argmax", "leave-one-out corrector", "BackPlay head"),
)
"""Rules that a table plays only where its settings name them: they meet the best of the arena in the final."""

REAL = "the law itself"
"""The row of what a perfect sampler scores."""


@cache
def _rules() -> Mapping[str, Entry]:
    """The rules by name, read once: a large arena asks for them thousands of times."""
    return entries()


@runtime_checkable
class Models(Protocol):
    """Where trained models come from: a :class:`~ardm.experiments.store.Store`, or one that keeps what it has read."""

    device: torch.device

    def denoiser(self, recipe: DenoiserRecipe, /) -> Transformer: ...
    def gate(self, recipe: GateOf, of: DenoiserRecipe, /) -> OverwriteGate: ...


class Loaded:
    """A store that keeps what it has read: a process that plays many cells reads each model once."""

    def __init__(self, store: Store) -> None:
        self.device = store.device
        self.denoiser = lru_cache(maxsize=64)(store.denoiser)
        self.gate = lru_cache(maxsize=256)(store.gate)


@dataclass(frozen=True)
class Training:
    """The recipes of what a rule plays with: a denoiser, and the gate trained for it where the rule has one."""

    denoiser: DenoiserRecipe
    gate: GateOf | None = None

    def __str__(self) -> str:
        what = f"the denoiser of {self.denoiser.corpus}" if self.gate is None else f"a gate for {self.denoiser.corpus}"
        return f"{what}, seed {(self.gate or self.denoiser).seed}"

    @property
    def made(self) -> Made:
        return denoiser_made(self.denoiser) if self.gate is None else gate_made(self.gate, self.denoiser)

    @property
    def key(self) -> str:
        return self.made.key

    def parts(self, models: Models, entry: Entry | None = None) -> Parts:
        """The trained parts; what is missing is trained. With an ``entry`` the denoiser is as its rule sees it: through a view,
        where it has one (:mod:`ardm.method.views`).
        """
        gate = None if self.gate is None else models.gate(self.gate, self.denoiser)
        denoiser = models.denoiser(self.denoiser)
        return Parts(denoiser if entry is None else seen_by(entry.rule, denoiser), gate, models.device)

    @property
    def keys(self) -> dict[str, str | None]:
        return {"denoiser": denoiser_made(self.denoiser).key, "gate": self.key if self.gate else None}


@dataclass(frozen=True, kw_only=True)
class Played:
    """What cells, searches and references have in common: one file, named by its key."""

    task: Task

    @cached_property
    def made(self) -> dict[str, Any]:
        """All that decides the result; it goes with the job to another process, as does the key."""
        raise NotImplementedError

    @cached_property
    def key(self) -> str:
        return fingerprint.digest(self.made)

    @property
    def needs(self) -> list[Training]:
        """What has to be trained before it."""
        raise NotImplementedError

    def run(self, models: Models) -> Any:
        """What is kept of it: models that are missing are trained."""
        raise NotImplementedError

    def file(self, folder: Path) -> Path:
        return folder / self.task.name / f"{self.key}.json"


def _made(task: Task, entry: Entry | None) -> dict[str, Any]:
    """What decides every result on a task with a rule; ``code`` is that of the match, the task and the file of this rule alone."""
    parts = (type(task.start_from).__module__, type(task.score_by).__module__)
    modules = "ardm.experiments.play", "ardm.experiments.task", *parts, *([] if entry is None else [entry.module])
    return {
        "task": task.data,
        "rule": REAL if entry is None else entry.name,
        "code": fingerprint.code(*modules),
        "data": checksum(task.recipe.corpus),
        "versions": fingerprint.versions(),
    }


@dataclass(frozen=True, kw_only=True)
class Cell(Played):
    """One rule on one task, with all that decides its row."""

    rule: str
    knobs: tuple[tuple[str, Any], ...]
    training: Training
    nfe: int
    seed: int  # of the training
    texts: int  # seed of the texts, and of the sampler
    count: int

    def __str__(self) -> str:
        return f"{self.rule} on {self.task.name}, {self.nfe} calls, seed {self.seed}"

    @property
    def at(self) -> dict[str, Any]:
        """Where its row stands in the table."""
        told = {"knobs": json.dumps(dict(self.knobs)), "count": self.count}
        return {"task": self.task.name, "rule": self.rule, "nfe": self.nfe, "seed": self.seed, **told}

    @cached_property
    def made(self) -> dict[str, Any]:
        run = {"knobs": dict(self.knobs), "nfe": self.nfe, "texts": self.texts, "count": self.count}
        return {**_made(self.task, _rules()[self.rule]), **self.training.keys, **run}

    @property
    def needs(self) -> list[Training]:
        return [self.training]

    def run(self, models: Models) -> Row:
        """Its row."""
        entry = _rules()[self.rule]
        parts = self.training.parts(models, entry)
        return play(self.task, entry, parts, dict(self.knobs), nfe=self.nfe, seed=self.texts, count=self.count)


@dataclass(frozen=True, kw_only=True)
class Reference(Played):
    """What texts of the law, or real ones, score."""

    seed: int
    texts: int
    count: int

    def __str__(self) -> str:
        return f"{REAL} on {self.task.name}, seed {self.seed}"

    @property
    def at(self) -> dict[str, Any]:
        return {"task": self.task.name, "rule": REAL, "nfe": 0, "seed": self.seed, "count": self.count}

    @cached_property
    def made(self) -> dict[str, Any]:
        return {**_made(self.task, None), "texts": self.texts, "count": self.count}

    @property
    def needs(self) -> list[Training]:
        return []

    def run(self, models: Models) -> Row:
        """The scores of as many real texts; no model is asked."""
        return self.task.score(self.task.real(self.count, seed=self.texts))


@dataclass(frozen=True, kw_only=True)
class Search(Played):
    """The search for the knobs of one rule on one task: each ``(training, seed of the texts, texts)`` tries every setting."""

    rule: str
    nfe: int
    tuners: tuple[tuple[Training, int, int], ...]
    closer: tuple[tuple[Training, int, int], ...] = ()  # on which the best third of each stage is tried too

    def __str__(self) -> str:
        return f"the search for {self.rule} on {self.task.name}, {self.nfe} calls"

    @property
    def at(self) -> dict[str, Any]:
        return {"task": self.task.name, "rule": self.rule, "nfe": self.nfe, "seed": 0}

    @cached_property
    def made(self) -> dict[str, Any]:
        entry = _rules()[self.rule]
        groups = {"tuners": self.tuners, "closer": self.closer}
        named = {name: [[training.keys, *how] for training, *how in group] for name, group in groups.items()}
        return {**_made(self.task, entry), "stages": entry.stages, "nfe": self.nfe, **named}

    @property
    def needs(self) -> list[Training]:
        return [training for training, *_ in self.tuners]

    def run(self, models: Models) -> dict[str, Any]:
        """The ``best`` knobs and all that were ``tried``."""
        entry, groups = _rules()[self.rule], (self.tuners, self.closer)
        tuners, closer = ([Tuner(training.parts(models, entry), *how) for training, *how in group] for group in groups)
        return search(self.task, entry, tuners, nfe=self.nfe, closer=closer)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an arena plays. ``None``: the tasks of :data:`~ardm.experiments.tasks.ARENA`, all rules but :data:`CHALLENGERS`, each
    task's own numbers of calls, the recipes' own steps. Names that do not exist are an ``InputError``.
    """

    tasks: tuple[str, ...] | None = None
    rules: tuple[str, ...] | None = None
    nfe: tuple[int, ...] | None = None
    seeds: int = 5  # trainings
    count: int = 120  # texts a cell
    tuning: int = 60  # texts a setting is tried on; 0 plays the defaults
    closer: int = 0  # more texts, on which the best third of the settings of a stage is tried too
    denoiser_steps: int | None = None
    gate_steps: int | None = None
    texts_from: int = 0  # added to the seed of the texts that are played: others than those of another table
    tune_all: bool = False  # a setting is tried on every denoiser that plays, on its share of the texts; else on the first
    tuned_up_to: int = 16  # calls; with more a rule plays what was best with so many

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "count")
        for name in ("tuning", "closer"):
            if getattr(self, name) < 0:
                raise InputError(f"{name}={getattr(self, name)}: a number of texts, at least 0")
        if self.seeds > CLOSER - TUNING:
            raise InputError(f"seeds={self.seeds}: it is at most {CLOSER - TUNING}")
        if any(abs(self.texts_from - chosen_on) < self.seeds for chosen_on in (TUNING, CLOSER)):
            raise InputError(f"texts_from={self.texts_from}: the texts would be those that knobs are chosen on")
        for name in self.tasks or ():
            if name not in TASKS:
                raise InputError(f"no task {name!r}: choose among {', '.join(TASKS)}")
        for calls in self.nfe or ():
            if calls < 1:
                raise InputError(f"nfe={calls}: a text takes at least 1 call")
        choose(self.rules)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Settings:
        """The settings that a JSON file holds; ``InputError`` when it is of a version that had others."""
        if set(told) != {field.name for field in fields(cls)}:
            raise InputError("these settings are of another version of the code: start anew")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})

    def texts(self, task: Task, count: int | None = None) -> int:
        """Texts a cell of the task; or so many as are played of ``count`` on it."""
        return math.ceil(task.portion * (self.count if count is None else count))

    def recipe(self, task: Task, seed: int, *, causal: bool = False) -> DenoiserRecipe:
        """The recipe of the denoiser, or of its causal twin, of a training seed."""
        steps = self.denoiser_steps or task.recipe.steps
        return replace(task.recipe, seed=0 if task.one_denoiser else seed, steps=steps, causal=causal)

    def gate_recipe(self, task: Task, recipe: GateOf, seed: int) -> GateOf:
        """The recipe as it is trained for the task and training seed."""
        if isinstance(recipe, OwnRuns) and isinstance(task.world, GridWorld):
            recipe = recipe.from_clues
        steps = math.ceil(task.gate_share * (self.gate_steps or recipe.steps))
        return replace(recipe, seed=seed, steps=steps, batch=math.ceil(task.gate_share * recipe.batch))

    def training(self, task: Task, entry: Entry, seed: int) -> Training:
        """What the rule plays with."""
        gate = None if entry.gate is None else self.gate_recipe(task, entry.gate, seed)
        return Training(self.recipe(task, seed, causal=entry.causal), gate)

    def matches(self) -> list[tuple[Task, Entry, int]]:
        """Every task, rule and number of calls that is played."""
        tasks = ARENA if self.tasks is None else [TASKS[name] for name in self.tasks]
        rules = [name for name in entries() if name not in CHALLENGERS] if self.rules is None else self.rules
        return [
            (task, entry, nfe)
            for task in tasks
            for entry in choose(rules)
            for nfe in self.nfe or task.nfe
            if plays(task, entry, nfe)
        ]

    def search(self, task: Task, entry: Entry, nfe: int) -> Search | None:
        """The search whose outcome the rule plays with; None where nothing is tuned.

        With ``tune_all`` the denoisers share the texts of a setting among themselves, and each has its own.
        """
        tuned = _rules()[entry.like or entry.name]
        if not self.tuning or not tuned.stages:
            return None
        seeds = range(self.seeds if self.tune_all and not task.one_denoiser else 1)

        def tuners(texts: int, first: int) -> tuple[tuple[Training, int, int], ...]:
            each, more = divmod(texts, len(seeds))
            shares = {seed: each + (seed < more) for seed in seeds}
            return tuple((self.training(task, tuned, seed), first + seed, count) for seed, count in shares.items() if count)

        return Search(
            task=task,
            rule=tuned.name,
            nfe=min(nfe, self.tuned_up_to),
            tuners=tuners(self.texts(task, self.tuning), TUNING),
            closer=tuners(self.texts(task, self.closer), CLOSER),
        )

    def cell(self, task: Task, entry: Entry, *, nfe: int, seed: int, knobs: Mapping[str, Any]) -> Cell:
        """The cell of one training seed, with these knobs."""
        return Cell(
            task=task,
            rule=entry.name,
            knobs=tuple(knobs.items()),
            training=self.training(task, entry, seed),
            nfe=nfe,
            seed=seed,
            texts=seed + self.texts_from,
            count=self.texts(task),
        )

    def cells(self, best: Mapping[Search, Mapping[str, Any]]) -> list[Cell | Reference]:
        """All cells with the ``best`` knobs of their searches; where there is none, with the default."""
        found: list[Cell | Reference] = []
        for task, entry, nfe in self.matches():
            wanted = self.search(task, entry, nfe)
            knobs = best[wanted] if wanted in best else _rules()[entry.like or entry.name].knobs[0]
            found += [self.cell(task, entry, nfe=nfe, seed=seed, knobs=knobs) for seed in range(self.seeds)]
        for task in dict.fromkeys(task for task, *_ in self.matches()):
            if task.from_nothing:
                count = self.texts(task)
                found += [Reference(task=task, seed=s, texts=s + self.texts_from, count=count) for s in range(self.seeds)]
        return found


def plays(task: Task, entry: Entry, nfe: int) -> bool:
    """Whether the rule is played on the task with so many calls."""
    if task.long and not entry.long:
        return False
    if entry.causal:
        return task.causal and nfe == task.recipe.length
    if entry.knows and not task.tells:
        return False
    if isinstance(entry.gate, OwnRuns) and entry.gate.verified and not verifies(task.world):
        return False
    return entry.revises or task.start_from.hides
