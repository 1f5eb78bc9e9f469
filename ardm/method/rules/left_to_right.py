"""From the left: an autoregressive model's order, or blocks of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.streams import Chance
from ardm.method.entry import BLACK, Entry
from ardm.method.schedule import due, lowest, nothing
from ardm.method.types import Action, Step

__all__ = ["LeftToRight"]


@dataclass(frozen=True)
class LeftToRight:
    """Write the next ceil(masks left / steps left) masks from the left. With T = n this is one token a call."""

    def __call__(self, step: Step, chance: Chance) -> Action:
        place = torch.arange(step.x.shape[1], device=step.x.device).expand_as(step.x).float()
        return Action(write=lowest(place, step.is_mask, due(step)), remask=nothing(step))


ENTRIES = (
    Entry(
        name="autoregressive",
        source="a causal model of the same size",
        group="plain",
        rule=LeftToRight,
        causal=True,
        revises=False,
        colour=BLACK,
        mark="*",
    ),
    Entry(
        name="left-to-right",
        source="blocks, bidirectional",
        group="plain",
        rule=LeftToRight,
        revises=False,
        long=True,
        colour=BLACK,
        mark="s",
    ),
)
