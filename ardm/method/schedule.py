"""When masks are written, and what rules choose positions with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import check_choice, check_share
from ardm.base.streams import Chance
from ardm.method.types import Bool, Float, Int, Step

__all__ = ["ORDERS", "Schedule", "bernoulli", "due", "lowest", "nothing", "revisable"]

ORDERS = ("random", "surest", "left")
"""In which order masks are written: by lot, the highest max q first, or from the left. None of them looks at the proposal."""


@dataclass(frozen=True)
class Schedule:
    """Which masks to write at a step: in one of :data:`ORDERS`, so many that none is left after ``written_by`` of the steps.

    Hidden tokens join the masks. From ``written_by`` of the steps on every mask is written at the next call; before that a hidden
    token waits its turn, in a text that started full until few masks are allowed: suspects are gathered before they are written.
    """

    order: str = "random"
    written_by: float = 0.6

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)
        check_share("written_by", self.written_by)

    def __call__(self, step: Step, chance: Chance) -> Bool[Tensor, "B L"]:
        surplus = step.is_mask.sum(-1) - self.allowed(step)
        return lowest(self.rank(step, chance), step.is_mask, surplus.clamp(min=0))

    def allowed(self, step: Step) -> Int[Tensor, " B"]:
        """How many masks each text may have after the step: in a straight line from all that is not fixed down to none."""
        last = max(1, math.ceil(self.written_by * step.T))  # the step after which none is left
        return (~step.is_fixed).sum(-1) * max(0, last - step.t) // last

    def rank(self, step: Step, chance: Chance) -> Float[Tensor, "B L"]:
        """The lowest is written first."""
        if self.order == "surest":
            return -step.now.top
        if self.order == "left":
            return torch.arange(step.x.shape[1], device=step.x.device).expand_as(step.x).float()
        return chance.uniform(step.x.shape[1])


def nothing(step: Step) -> Bool[Tensor, "B L"]:
    """No position."""
    return torch.zeros_like(step.is_mask)


def revisable(step: Step) -> Bool[Tensor, "B L"]:
    """The visible tokens that a rule may replace or hide."""
    return ~step.is_mask & ~step.is_fixed


def lowest(rank: Float[Tensor, "B L"], among: Bool[Tensor, "B L"], count: Tensor | int) -> Bool[Tensor, "B L"]:
    """The ``count`` (a number, or ``[B]``) positions of lowest ``rank`` in each row of ``among``, the first of equals."""
    order = rank.masked_fill(~among, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    return among & (order < (count.reshape(-1, 1) if isinstance(count, Tensor) else count))


def due(step: Step) -> Int[Tensor, " B"]:
    """ceil(masks left / steps left): how many masks of each row to write now, so that the last step ends with none."""
    steps_left = step.T - step.t + 1
    return (step.is_mask.sum(-1) + steps_left - 1) // steps_left


def bernoulli(p: Float[Tensor, "B L"], chance: Chance) -> Bool[Tensor, "B L"]:
    """Each position with its probability p."""
    return chance.uniform(p.shape[1]) < p
