"""Path planning: what to hide is decided by what the denoiser thinks now."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.rules.mask_predict import keep_best
from ardm.method.types import Action, Step

__all__ = ["PathPlanning"]


@dataclass(frozen=True)
class PathPlanning:
    """P2 with the denoiser as its own planner: like Mask-Predict, but visible tokens are judged anew at each step, by q(x_i).

    ``eta`` multiplies the log-probability of visible tokens: 0 never hides one, above 1 hides more (arXiv:2502.03540).
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not self.eta >= 0:
            raise InputError(f"eta={self.eta}: it is at least 0")

    def __call__(self, step: Step, chance: Chance) -> Action:
        visible = self.eta * step.now.log_prob(step.x)
        return keep_best(step, torch.where(step.is_mask, step.now.log_prob(step.proposal), visible))


ENTRIES = (
    Entry(
        name="P2-self",
        source="arXiv:2502.03540",
        group="field",
        rule=PathPlanning,
        knobs=grid(eta=(1.0, 0.5, 2.0, 4.0, 8.0)),
        long=True,
        colour=SKY,
        mark="D",
    ),
)
