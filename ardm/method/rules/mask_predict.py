"""Mask-Predict: write everything, hide what was least probable, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry
from ardm.method.schedule import lowest
from ardm.method.types import Action, Float, Step

__all__ = ["MaskPredict", "keep_best"]


@dataclass(frozen=True)
class MaskPredict:
    """After step t the open positions of lowest probability, n (T - t) / T of them, are masks; all others are written.

    A token's probability is the one it had when it was written (Ghazvininejad et al. 2019, arXiv:1904.09324); a given token
    has probability 1.
    """

    def __call__(self, step: Step, chance: Chance) -> Action:
        return keep_best(step, torch.where(step.is_mask, step.now.log_prob(step.proposal), step.log_q_written))


def keep_best(step: Step, score: Float[Tensor, "B L"]) -> Action:
    """Of the n open positions leave n (T - t) / T masks, those of lowest score: the proposal's at a mask, the token's elsewhere."""
    masks_after = (~step.is_fixed).sum(-1) * (step.T - step.t) // step.T
    low = lowest(score, ~step.is_fixed, masks_after)
    return Action(write=step.is_mask & ~low, remask=low & ~step.is_mask)


ENTRIES = (
    Entry(
        name="Mask-Predict",
        source="arXiv:1904.09324",
        group="field",
        rule=MaskPredict,
        long=True,
        colour=SKY,
        mark="v",
    ),
)
