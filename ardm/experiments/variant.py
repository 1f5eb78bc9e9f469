"""One variant of the recommended gate and its use, and how it is played. Which ones there are stands in ``ablations.py``: a new one
changes no result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from typing import Any

from ardm.experiments.play import Parts, outcome
from ardm.experiments.scores import Row
from ardm.experiments.task import Task
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED, GateRecipe
from ardm.method.rules.hide import HideThenRefill
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection
from ardm.method.types import Denoiser, Rule

__all__ = ["BASE", "ORDER", "SELECTION", "Variant", "hiding", "play_variant"]

BASE = RECOMMENDED  # attentive head, four signals and the hidden state, likelihood ratio
ORDER = "surest"
SELECTION = Selection("threshold", 0.5, budget=4)


def hiding(
    selection: Selection = SELECTION, schedule: Schedule = Schedule(ORDER), *, rule: type = HideThenRefill, **more: Any
) -> partial[Rule]:
    """The rule of the base, or one like it, that still lacks its gate."""
    return partial(rule, selection=selection, schedule=schedule, **more)


HIDING = hiding()


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A gate and how it is used; by default those of the base.

    ``rule`` still lacks its gate. ``calls`` are played besides those of the settings.
    """

    gate: GateRecipe = BASE
    combine: str = "gate_only"  # how u and r make p
    rule: partial[Rule] = HIDING
    calls: tuple[int, ...] = ()

    @property
    def own_gate(self) -> bool:
        """Whether it trains a gate of its own, instead of sharing that of the base."""
        return self.gate != BASE

    @property
    def use(self) -> dict[str, Any]:
        """How the gate is used, as JSON has it."""
        values = {name: asdict(value) if is_dataclass(value) else value for name, value in self.rule.keywords.items()}
        return {"combine": self.combine, "rule": self.rule.func.__name__, **values}

    def playing(self, gate: OverwriteGate) -> Rule:
        """The rule with its trained gate."""
        return self.rule(gate=gate.combined(self.combine))


def play_variant(
    variant: Variant, task: Task, parts: Parts, *, starts_by: Denoiser, calls: Iterable[int], seed: int, count: int
) -> list[Row]:
    """A row for each number of calls, all from one start.

    ``starts_by``: the denoiser that the start is made with where it shows a denoiser's errors. It is the same for all variants,
    also for one that plays with another.
    """
    start = task.start(count, seed=seed, denoiser=starts_by, device=parts.device)
    rule = variant.playing(parts.gate)
    return [{"nfe": nfe, **outcome(task, parts.denoiser, rule, start, nfe=nfe, seed=seed)} for nfe in calls]
