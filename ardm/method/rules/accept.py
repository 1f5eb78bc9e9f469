"""Accept what is certain together, give everything else back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.schedule import revisable
from ardm.method.types import Action, Step

__all__ = ["AcceptAndHide"]


@dataclass(frozen=True)
class AcceptAndHide:
    """Of all tokens that are not fixed keep those of lowest entropy, up to ``gamma`` nats; every other one becomes a mask again.

    The limit is that of the entropy bound: the sum less the largest. Accepted masks are written, accepted tokens stay. After the
    generation code of DiffusionGemma (transformers 5.24), which draws what it does not accept from all words alike: its denoiser
    knows no masks, ours does.
    """

    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InputError(f"gamma={self.gamma}: a bound in nats, at least 0")

    def __call__(self, step: Step, chance: Chance) -> Action:
        H = step.now.entropy.masked_fill(step.is_fixed, torch.inf)
        ascending, order = H.sort(dim=-1, stable=True)
        lighter = ascending.cumsum(-1) - ascending
        accepted = torch.zeros_like(step.is_mask).scatter_(-1, order, lighter <= self.gamma)
        return Action(write=accepted & step.is_mask, remask=~accepted & revisable(step))


ENTRIES = (
    Entry(
        name="accept and hide",
        source="transformers 5.24, DiffusionGemma",
        group="field",
        rule=AcceptAndHide,
        knobs=grid(gamma=(0.1, 0.5, 1.0, 2.0, 4.0, 8.0)),
        long=True,
    ),
)
