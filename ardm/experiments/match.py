"""One match of the arena: a rule on a task, with the models of one training seed, at a given number of calls."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ardm.base.devices import pick_device
from ardm.base.errors import InputError, at_least_one
from ardm.experiments.contestants import GATES, Contestant, choose
from ardm.experiments.store import facts_of, trained_denoiser, trained_gate
from ardm.experiments.tasks import LADDER, LARGE, TASKS, Start, Task
from ardm.method.gate import OverwriteGate
from ardm.method.sampling import refine
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.train_gate import GateRecipe
from ardm.method.types import Denoiser, Rule

__all__ = ["PROFILES", "Kit", "Settings", "digest", "outcome", "play", "plays"]


@dataclass(frozen=True)
class Settings:
    """What an arena plays. ``None``: the tasks of :data:`~ardm.experiments.tasks.ARENA`, all rules, each task's own numbers of calls, the
    recipes' own steps.
    """

    tasks: tuple[str, ...] | None = None
    rules: tuple[str, ...] | None = None
    nfe: tuple[int, ...] | None = None
    seeds: int = 5  # trainings
    count: int = 120  # texts a cell
    tuning: int = 60  # texts a setting is tried on; 0 plays the defaults
    denoiser_steps: int | None = None
    gate_steps: int | None = None
    texts_from: int = 0  # added to the seed of the texts that are played: others than those of another table
    tune_all: bool = False  # a setting is tried on every denoiser that plays, on its share of the texts; else on the first
    tuned_up_to: int = 16  # calls; with more a rule plays what was best with so many

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "count")
        if self.tuning < 0:
            raise InputError(f"tuning={self.tuning}: a number of texts, at least 0")
        for name in self.tasks or ():
            if name not in TASKS:
                raise InputError(f"no task {name!r}: choose among {', '.join(TASKS)}")
        for calls in self.nfe or ():
            if calls < 1:
                raise InputError(f"nfe={calls}: a text takes at least 1 call")
        choose(self.rules)

    def texts(self, task: Task, *, tuning: bool = False) -> int:
        """Texts a cell of the task, or those that a setting is tried on."""
        return math.ceil(task.portion * (self.tuning if tuning else self.count))

    def tuners(self, task: Task) -> range:
        """The training seeds on which a setting is tried."""
        return range(self.seeds if self.tune_all and not task.one_denoiser else 1)

    def recipe(self, task: Task, seed: int, *, causal: bool = False) -> DenoiserRecipe:
        steps = self.denoiser_steps or task.recipe.steps
        return replace(task.recipe, seed=0 if task.one_denoiser else seed, steps=steps, causal=causal)

    def gate_recipe(self, task: Task, name: str, seed: int) -> GateRecipe:
        recipe = GATES[name]
        steps = math.ceil(task.gate_share * (recipe.steps if self.gate_steps is None else self.gate_steps))
        return replace(recipe, seed=seed, steps=steps, batch=math.ceil(task.gate_share * recipe.batch))


FINALISTS = (
    *("autoregressive", "one-way", "fixed schedule", "uniform refinement", "all-resample", "Mask-Predict", "P2-self"),
    *("T2T threshold", "T2M low-prob", "informed corrector", "document's gate"),
    *("learned hide ratio", "attentive hide ratio", "shuffled gate", "oracle hide"),
)

SCALED = (
    *("one-way", "all-resample", "P2-self", "T2M low-prob", "informed corrector"),
    *("attentive hide ratio", "oracle hide"),
)

PROFILES = {
    "small": Settings(("sudoku", "parity"), seeds=2, count=60, tuning=30, denoiser_steps=600, gate_steps=60),
    "paper": Settings(),
    "final": Settings(
        ("agreement", "sudoku", "sudoku9-repair", "text8"),
        FINALISTS,
        (8, 16),
        count=320,
        tuning=240,
        tune_all=True,
        texts_from=20_000,
    ),
    "scale": Settings(tuple(task.name for task in LADDER), SCALED, count=160, tuning=60, texts_from=30_000, tuned_up_to=32),
    "scale-gpu": Settings(tuple(task.name for task in LARGE), SCALED, count=240, texts_from=30_000, tuned_up_to=128),
}
"""``small``: minutes on two cores, to see that all works. ``paper``: the book's tables. ``final``: the rivals that were best there
against this book's gates, on more texts and new ones. ``scale``: the gate and its best rivals on longer texts and with smaller and
larger models; ``scale-gpu``: the same on text, with models for a GPU.
"""


class Kit:
    """The trained parts of one task and seed: denoiser, causal twin, gates; each trained or loaded when first asked for."""

    def __init__(self, task: Task, settings: Settings, seed: int, models: Path) -> None:
        self.task, self.settings, self.seed, self.models = task, settings, seed, models
        self.device = pick_device()
        self._made: dict[str, Any] = {}

    def file(self, name: str) -> Path:
        """Where a part is kept: ``denoiser``, ``causal``, or a gate by its name."""
        of = self.settings.recipe(self.task, self.seed, causal=name == "causal").key
        if name in GATES:
            of = f"{of}-{name}-{digest(self.settings.gate_recipe(self.task, name, self.seed).choices)}"
        return self.models / f"{of}.safetensors"

    def denoiser(self, *, causal: bool = False) -> Denoiser:
        name = "causal" if causal else "denoiser"
        if name not in self._made:
            recipe = self.settings.recipe(self.task, self.seed, causal=causal)
            self._made[name] = trained_denoiser(recipe, self.models, device=self.device, progress=False)[0]
        return self._made[name]

    def gates(self, name: str | None) -> dict[str, OverwriteGate]:
        """The named gate, as contestants take it; none for a rule without one."""
        if name is None:
            return {}
        if name not in self._made:
            recipe, denoiser = self.settings.gate_recipe(self.task, name, self.seed), self.denoiser()
            self._made[name] = trained_gate(
                denoiser, self.task.corpus, recipe, self.file(name), device=self.device, progress=False
            )
        return {name: self._made[name]}

    def seconds(self, name: str) -> float:
        """How long the training of a part took."""
        return facts_of(self.file(name))["seconds"]


def play(
    task: Task, kit: Kit, contestant: Contestant, knobs: Mapping[str, Any], *, nfe: int, seed: int, count: int
) -> dict[str, Any]:
    """One rule on one task: ``nfe`` calls at temperature 1 from the task's start. Returns costs, doings and scores.

    Whatever the rule, start and random numbers depend on task and seed alone, and the loop makes exactly ``nfe`` calls.
    """
    start = task.start(count, seed=seed, denoiser=kit.denoiser(), device=kit.device)
    rule = contestant.make(kit.gates(contestant.gate), start, **knobs)
    return outcome(task, kit.denoiser(causal=contestant.causal), rule, start, nfe=nfe, seed=seed)


def outcome(task: Task, denoiser: Denoiser, rule: Rule, start: Start, *, nfe: int, seed: int) -> dict[str, Any]:
    """One run of the sampler from a start: what it cost and did a text, and its scores."""
    began = time.perf_counter()
    trace = refine(denoiser, rule, start.x, nfe, seed=seed, fixed=start.fixed)
    seconds = time.perf_counter() - began
    mean = lambda what: what.double().mean().item()  # noqa: E731
    return {
        "calls": mean(trace.calls),
        "settled": mean(trace.settled),
        "seconds": seconds / len(start.x),
        "overwrites": mean(trace.overwrites),
        "wasted": mean(trace.wasted),
        **task.score(trace.x, start, trace),
        "start": digest(start.x.tolist()),
    }


def plays(task: Task, contestant: Contestant, nfe: int) -> bool:
    """Whether the rule is played on the task with so many calls."""
    if task.rules is not None and contestant.name not in task.rules:
        return False
    if contestant.causal:
        return task.causal and nfe == task.recipe.length
    if contestant.knows and task.law is None and task.kind == "write":
        return False  # nobody knows what is wrong in a text that has no law
    return contestant.revises or task.kind in ("write", "infill")


def digest(what: Any) -> str:
    """A short name of exactly these values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:12]
