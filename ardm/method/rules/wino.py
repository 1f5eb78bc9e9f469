"""Write widely, hide narrowly: many masks at once, and back to masks what the denoiser then finds unlikely."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.errors import check_share
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.schedule import lowest, revisable
from ardm.method.types import Action, Step

__all__ = ["WideInNarrowOut"]


@dataclass(frozen=True)
class WideInNarrowOut:
    """Write masks whose proposal has more than ``write_above``, hide visible tokens that have less than ``hide_below``.

    WINO (arXiv:2507.18578). Written are at least one mask and at most the larger of ``most`` of them and five; hidden are fewer
    than are written in the same step, the least likely first, so that every step brings the end nearer. q(x_i) is that of the
    call itself, in which the place sees its own token, as it partly does in the released code; asking without it would be a
    second call.
    """

    write_above: float = 0.6
    hide_below: float = 0.9
    most: float = 0.7

    def __post_init__(self) -> None:
        for name in ("write_above", "hide_below", "most"):
            check_share(name, getattr(self, name))

    def __call__(self, step: Step, chance: Chance) -> Action:
        proposed = step.now.log_prob(step.proposal)
        surest = lowest(-proposed, step.is_mask, 1)
        sure = (step.is_mask & (proposed.exp() > self.write_above)) | surest
        limit = (self.most * step.is_mask.sum(-1)).long().clamp(min=5, max=20)
        write = lowest(-proposed, sure, limit)
        placed = step.now.log_prob(torch.where(step.is_mask, 0, step.x))
        unlikely = revisable(step) & (placed.exp() < self.hide_below)
        return Action(write=write, remask=lowest(placed, unlikely, (write.sum(-1) - 1).clamp(min=0)))


ENTRIES = (
    Entry(
        name="WINO",
        source="arXiv:2507.18578",
        group="field",
        rule=WideInNarrowOut,
        knobs=grid(write_above=(0.6, 0.3, 0.8), hide_below=(0.9, 0.97, 0.7, 0.5, 0.2)),
        long=True,
        colour=SKY,
        mark="X",
    ),
)
