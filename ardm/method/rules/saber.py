"""Write more as confidence grows, and take back what has lost most of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.errors import at_least_one
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.schedule import lowest, revisable
from ardm.method.types import Action, Step

__all__ = ["Saber"]


@dataclass(frozen=True)
class Saber:
    """Write masks surer than what was written so far is on average, at least ``n``; hide the tokens whose confidence fell most.

    As arXiv:2510.18165 describes it: confidence is that of the placed token, when it was written and now. At most the larger of
    n / 2 and an eighth of the tokens now written are hidden (both rounded up), and none that has not fallen. The released code
    scores the current first choice in place of the placed token.
    """

    n: int = 2

    def __post_init__(self) -> None:
        at_least_one(self, "n")

    def __call__(self, step: Step, chance: Chance) -> Action:
        proposed = step.now.log_prob(step.proposal)
        placed = step.now.log_prob(torch.where(step.is_mask, 0, step.x))
        own = revisable(step) & (step.log_q_written < 0)  # given tokens were never written
        mean = (step.log_q_written.exp() * own).sum(-1) / own.sum(-1).clamp(min=1)
        above = step.is_mask & (proposed.exp() > torch.where(own.any(-1), mean, 1.0).unsqueeze(-1))
        write = above | lowest(-proposed, step.is_mask, self.n)
        change = placed - step.log_q_written
        limit = ((write.sum(-1) + 7) // 8).clamp(min=(self.n + 1) // 2)
        return Action(write=write, remask=lowest(change, own & (change < 0), torch.where(step.is_mask.any(-1), limit, 0)))


ENTRIES = (
    Entry(
        name="Saber",
        source="arXiv:2510.18165",
        group="field",
        rule=Saber,
        knobs=grid(n=(2, 1, 4, 8)),
        long=True,
    ),
)
