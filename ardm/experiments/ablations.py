"""The ablations: one gate, and what changes when one thing about it does, from the same trainings and on the same starts.

One thing at a time. The full grid of these choices would be millions of cells, so how two of them act together is not measured.
`ardm ablations` plays the cells (:mod:`.work`); ``book/rerun.md`` says how.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ardm.base import fingerprint
from ardm.base.atomic import write_whole
from ardm.base.errors import InputError, check_choice
from ardm.experiments.cells import Models, Played, Settings, Training
from ardm.experiments.play import Parts
from ardm.experiments.scores import Row
from ardm.experiments.task import Task
from ardm.experiments.tasks import ARENA, TASKS
from ardm.experiments.variant import BASE, ORDER, SELECTION, Variant, hiding, play_variant
from ardm.experiments.work import Batch, Experiment, Place, as_csv, made_of, playing_batches, seconds_of, sources
from ardm.method.gate import FOUR, SIGNALS
from ardm.method.gate_recipe import EndToEnd, Head, Rollout, Taught
from ardm.method.rules.in_place import InPlace
from ardm.method.rules.overwrite import Overwrite
from ardm.method.schedule import Schedule
from ardm.method.train_gate import TrainedGate, train_gate
from ardm.worlds.corpora import checksum

__all__ = ["AXES", "PROFILES", "VARIANTS", "Ablation", "Ablations", "cell", "cells", "collect"]

PROFILES = {
    "small": Settings(tasks=("sudoku",), nfe=(8, 16), seeds=2, count=60, tuning=0, denoiser_steps=600, gate_steps=60),
    "paper": Settings(tasks=("agreement", "sudoku"), nfe=(8, 16), count=160, tuning=0, gate_steps=100),
}
"""``small``: minutes on two cores, to see that all works. ``paper``: what is published. ``gate_steps`` are those of the base.

:meta hide-value:
"""


# What is changed ---------------------------------------------------------------------------------------------------------


def _gates(**changes: dict[str, Any]) -> dict[str, Variant]:
    """Variants that train a gate of their own: the base's recipe with these fields changed."""
    return {name: Variant(gate=replace(BASE, **fields)) for name, fields in changes.items()}


def _selections(**changes: dict[str, Any]) -> dict[str, Variant]:
    return {name: Variant(rule=hiding(replace(SELECTION, **fields))) for name, fields in changes.items()}


ROLLOUT = {"states": Rollout("hide", steps=8), "batch": 8}  # 8 texts, 8 steps of each: 64 states, as in the base
ALONE = replace(BASE.head, hidden=False)
END = EndToEnd(combine="gate_only", edit="hide")  # the gate learns for the rule that plays it
END_AND_LABEL = replace(END, taught=BASE.taught, weight=1.0)

AXES = {
    "combine": {name: Variant(combine=name) for name in ("noisy_or", "product", "logit_sum", "prior_only")},
    "selection": _selections(
        **{f"threshold_{level}": {"threshold": level} for level in (0.3, 0.7)},
        bernoulli={"how": "bernoulli"},
        **{f"top_{k}": {"threshold": 0.0, "budget": k} for k in (1, 2, 4)},
        no_budget={"budget": None},
        annealed={"last_budget": 0},
    ),
    "features": _gates(
        **{f"without_{name}": {"signals": tuple(s for s in FOUR if s != name)} for name in FOUR},
        **{f"only_{name}": {"signals": (name,), "head": ALONE} for name in FOUR},
        without_hidden_state={"head": ALONE},
        only_hidden_state={"signals": ()},
        all_signals={"signals": tuple(SIGNALS)},
        linear={"head": Head("linear"), "rate": 3e-2},  # five weights: at the attentive head's rate they would not arrive
        each_alone={"head": Head("learned"), "rate": 5e-3},  # no attention between the tokens
    ),
    "label": _gates(
        mismatch={"objective": Taught("mismatch")},
        final={"objective": Taught("final"), **ROLLOUT},
    ),
    "states": _gates(rollout=ROLLOUT),
    "loss": _gates(
        sparsity={"sparsity": 0.05},
        stability={"stability": 0.1},
        gumbel_sigmoid={"objective": END},
        gumbel_sigmoid_auxiliary={"objective": END_AND_LABEL},
        gumbel_sigmoid_sparsity={"objective": END, "sparsity": 0.05},
        gumbel_sigmoid_stability={"objective": END, "stability": 0.1},
        straight_through={"objective": replace(END, how="straight_through")},
        straight_through_auxiliary={"objective": replace(END_AND_LABEL, how="straight_through")},
    ),
    "denoiser": _gates(joint={"joint": True, "steps": 500}),  # for longer: the denoiser moves along
    "width": _gates(**{f"{width}": {"head": replace(BASE.head, width=width)} for width in (16, 128)}),
    "steps": _gates(quarter={"steps": BASE.steps // 4}, triple={"steps": 3 * BASE.steps}),
    "edit": {
        "in_place": Variant(rule=hiding(rule=InPlace)),
        # the document's sampler: the gate decides when masks are written too
        "overwrite": Variant(rule=partial(Overwrite, selection=SELECTION)),
        "no_finish": Variant(rule=hiding(finish=False)),
    },
    "order": {order: Variant(rule=hiding(schedule=Schedule(order))) for order in ("random", "left")},
    "written_by": {f"{share}": Variant(rule=hiding(schedule=Schedule(ORDER, share))) for share in (0.4, 0.8)},
}
VARIANTS = {
    "base": Variant(calls=(4, 8, 16, 32)),
    **{f"{axis}/{name}": variant for axis, named in AXES.items() for name, variant in named.items()},
}
"""``base``, and what differs from it by axis and name; the base's own choice is in no axis.

:meta hide-value:
"""


def variant_named(name: str) -> Variant:
    """The variant of this name; ``InputError`` names those that are close to it."""
    if name not in VARIANTS:
        close = difflib.get_close_matches(name, VARIANTS, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose among {', '.join(VARIANTS)}"
        raise InputError(f"no variant {name!r}: {hint}")
    return VARIANTS[name]


# Cells -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ablation(Played):
    """One variant on one task with the models of one training seed, at each of its numbers of calls."""

    name: str
    variant: Variant
    training: Training  # of the denoiser and of the variant's gate
    calls: tuple[int, ...]
    seed: int  # of the training
    texts: int  # seed of the texts, and of the sampler
    count: int

    def __str__(self) -> str:
        return f"{self.name} on {self.task.name}, seed {self.seed}"

    @property
    def at(self) -> dict[str, Any]:
        """Where its rows stand in the table."""
        return {"variant": self.name, "task": self.task.name, "seed": self.seed, "count": self.count}

    @cached_property
    def made(self) -> dict[str, Any]:
        """All that decides its rows; the code of the training is in the key of the gate, be it kept or not."""
        return {
            "task": self.task.data,
            "use": self.variant.use,
            "recipe": asdict(self.training.gate),
            **self.training.keys,
            "calls": self.calls,
            "texts": self.texts,
            "count": self.count,
            "code": fingerprint.code("ardm.experiments.variant", self.variant.rule.func.__module__),
            "data": checksum(self.task.recipe.corpus),
            "versions": fingerprint.versions(),
        }

    @property
    def needs(self) -> list[Training]:
        """Its denoiser, and the gate of the base unless the variant trains its own."""
        return [Training(self.training.denoiser)] if self.variant.own_gate else [self.training]

    def trained(self, models: Models) -> TrainedGate:
        """The gate and the denoiser that it plays with. A gate of the variant's own is trained here; that of the base is kept
        with the models, and its losses with it.
        """
        denoiser, recipe = models.denoiser(self.training.denoiser), self.training.gate
        if self.variant.own_gate:
            return train_gate(denoiser, self.task.corpus, recipe, device=models.device, progress=False)
        return TrainedGate(models.gate(recipe, self.training.denoiser), denoiser, [])

    def play(self, made: TrainedGate, models: Models) -> list[Row]:
        """A row for each number of calls."""
        parts = Parts(made.denoiser, made.gate, models.device)
        how = {"calls": self.calls, "seed": self.texts, "count": self.count}
        return play_variant(self.variant, self.task, parts, starts_by=models.denoiser(self.training.denoiser), **how)

    def run(self, models: Models) -> list[Row]:
        """Its rows; what is missing is trained."""
        return self.play(self.trained(models), models)


def cell(settings: Settings, name: str, task: Task, seed: int) -> Ablation:
    """The cell of a variant, by name, on a task with the models of a training seed."""
    variant = variant_named(name)
    steps = math.ceil(variant.gate.steps * (settings.gate_steps or BASE.steps) / BASE.steps)  # in proportion to the base's
    return Ablation(
        task=task,
        name=name,
        variant=variant,
        training=Training(settings.recipe(task, seed), replace(variant.gate, seed=seed, steps=steps)),
        calls=tuple(sorted({*(settings.nfe or task.nfe), *variant.calls})),
        seed=seed,
        texts=seed + settings.texts_from,
        count=settings.texts(task),
    )


def cells(settings: Settings, axes: Iterable[str] = tuple(AXES)) -> list[Ablation]:
    """The base and the variants of the axes, on every task of the settings with every training."""
    names = [name for name in VARIANTS if name.partition("/")[0] in ("base", *axes)]
    tasks = ARENA if settings.tasks is None else [TASKS[name] for name in settings.tasks]
    return [cell(settings, name, task, seed) for name in names for task in tasks for seed in range(settings.seeds)]


# The experiment ----------------------------------------------------------------------------------------------------------

CELLS = 20  # at most in a batch


@dataclass(frozen=True)
class Ablations(Experiment):
    """The tables of the ablations: the base, and the variants of some axes."""

    kind = "ablations"
    axes: tuple[str, ...] = tuple(AXES)

    def __post_init__(self) -> None:
        for axis in self.axes:
            check_choice("axis", axis, AXES)
        if self.settings.seeds < 2:
            raise InputError(f"seeds={self.settings.seeds}: an interval over trainings needs at least 2")

    def batches(self) -> list[Batch]:
        return playing_batches(cells(self.settings, self.axes), CELLS)

    def asked(self) -> dict[str, Any]:
        return {**super().asked(), "axes": self.axes}

    def write(self) -> Path:
        """``ablations.csv`` (a row a cell and number of calls) and ``ablations.json``."""
        collect(cells(self.settings, self.axes), self.settings, self.place)
        return self.place.folder / "ablations.csv"


def collect(played: Sequence[Ablation], settings: Settings, place: Place) -> None:
    """Write ``ablations.csv`` (a row a cell and number of calls) and ``ablations.json`` from cells that are kept."""
    kept = [place.kept(one) for one in played]
    base = cell(settings, "base", played[0].task, 0)
    facts = {
        "settings": asdict(replace(settings, tasks=tuple(dict.fromkeys(one.task.name for one in played)))),
        "base": {"gate": asdict(base.training.gate), **base.variant.use},
        "key": fingerprint.digest(sorted(one.key for one in played)),
        **made_of([one.name for one in played], played, kept),
        "cells": len(played),
        "seconds": seconds_of(kept),
        "provenance": sources(cells=kept),
    }
    rows = [{**one.at, **row, "key": one.key} for one, found in zip(played, kept, strict=True) for row in found["result"]]
    write_whole(place.folder / "ablations.csv", as_csv(rows))
    write_whole(place.folder / "ablations.json", json.dumps(facts, indent=1) + "\n")
