"""What a gate learns from at an optimiser step: states with their signals, their labels and the numbers of their counted tokens."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.processes import Alone
from ardm.base.streams import Lots
from ardm.method.gate import OverwriteGate
from ardm.method.labels import Label
from ardm.method.types import Float, Step

__all__ = ["Lesson", "lessons", "stuck"]

STUCK = 0.001


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A state, what the gate sees of it, and what it is taught there.

    ``open`` and ``told`` count tokens of the whole batch, of which this may be a part: those that may be overwritten, and those
    that the label speaks of.
    """

    step: Step
    signals: Float[Tensor, "B L S"]
    label: Label | None = None
    uniform: Float[Tensor, "B L"] | None = None  # for a relaxed draw
    open: Float[Tensor, ""]
    told: Float[Tensor, ""]


def lessons(
    gate: OverwriteGate,
    steps: Sequence[Step],
    taught: Iterator[tuple[Label | None, Tensor | None]],
    own: Lots,
    crew: Alone,
) -> tuple[Lesson, ...]:
    """The lessons of states in their order, with the label and the uniform numbers of each; the gate's standardisers learn them."""
    made = []
    with torch.no_grad():
        for step, (label, uniform) in zip(steps, taught, strict=True):
            signals = gate.signals(step, lambda values: crew.whole(own, values))
            counts = [~step.is_fixed, torch.zeros_like(step.is_fixed) if label is None else label.where]
            made.append((step, signals, label, uniform, torch.stack([count.float().sum() for count in counts])))
        counted = crew.total(torch.stack([counts for *_, counts in made]))
    return tuple(
        Lesson(step=step, signals=signals, label=label, uniform=uniform, open=open_, told=told)
        for (step, signals, label, uniform, _), (open_, told) in zip(made, counted, strict=True)
    )


@torch.no_grad()
def stuck(gate: OverwriteGate, last: Sequence[Lesson], crew: Alone, *, by: str = "p") -> list[str]:
    """A warning where the gate's mean p over the visible tokens of its last states is next to 0 or to 1, issued and returned.

    ``by``: ``"u"`` where it is u that was taught.
    """
    sums = []
    for lesson in last:
        logit = getattr(gate(lesson.step), f"logit_{by}")
        visible = ~lesson.step.is_mask & ~lesson.step.is_fixed
        sums.append(torch.stack([(logit.sigmoid() * visible).sum(), visible.float().sum()]))
    p, count = crew.total(torch.stack(sums).sum(0)).tolist()
    if count == 0 or STUCK <= p / count <= 1 - STUCK:
        return []
    says = f"the gate is stuck at {round(p / count)}: over the last states that it learned on its mean {by} is {p / count:.4g}"
    warnings.warn(says, stacklevel=3)
    return [says]
