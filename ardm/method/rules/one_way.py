"""One-way masked diffusion: each token is written once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.streams import Chance
from ardm.method.entry import BLUE, Entry
from ardm.method.schedule import bernoulli, nothing
from ardm.method.types import Action, Step

__all__ = ["OneWay"]


@dataclass(frozen=True)
class OneWay:
    """Masked diffusion: write each mask with probability (alpha_s - alpha_t) / (1 - alpha_t), never touch it again.

    With the linear schedule that probability is 1 / (T - t + 1), and step T writes the rest (arXiv:2406.07524).
    """

    def __call__(self, step: Step, chance: Chance) -> Action:
        p = torch.full(step.x.shape, 1 / (step.T - step.t + 1), device=step.x.device)
        return Action(write=step.is_mask & bernoulli(p, chance), remask=nothing(step))


ENTRIES = (
    Entry(
        name="one-way",
        source="arXiv:2406.07524",
        group="plain",
        rule=OneWay,
        revises=False,
        long=True,
        colour=BLUE,
        mark="o",
    ),
)
