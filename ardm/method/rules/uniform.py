"""Overwriting at one rate everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from ardm.base.errors import check_share
from ardm.base.streams import Chance
from ardm.method.entry import GREY, Entry, grid
from ardm.method.schedule import bernoulli, nothing
from ardm.method.types import Action, Step

__all__ = ["UniformRefinement"]


@dataclass(frozen=True)
class UniformRefinement:
    """Overwrite every token, masked or visible, with the same probability at every step."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        check_share("rate", self.rate)

    def __call__(self, step: Step, chance: Chance) -> Action:
        p = torch.full(step.x.shape, self.rate, device=step.x.device)
        return Action(write=bernoulli(p, chance) & ~step.is_fixed, remask=nothing(step), scores={"p": p})


ENTRIES = (
    Entry(
        name="uniform refinement",
        source="control",
        group="control",
        rule=UniformRefinement,
        knobs=grid(rate=(0.5, 0.1, 0.25, 0.75, 0.9)),
        long=True,
        colour=GREY,
        mark="s",
    ),
    Entry(
        name="all-resample",
        source="arXiv:2112.06749, 2503.04482",
        group="field",
        rule=partial(UniformRefinement, rate=1.0),
        long=True,
        colour=GREY,
        mark="^",
    ),
)
