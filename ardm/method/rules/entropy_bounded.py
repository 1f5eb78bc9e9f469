"""As many masks at once as their entropies allow."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.schedule import nothing
from ardm.method.types import Action, Step

__all__ = ["EntropyBounded"]


@dataclass(frozen=True)
class EntropyBounded:
    """Write the most masks, lowest entropy first, for which the sum of their entropies less the largest is at most ``gamma``.

    That difference bounds what writing them at once can lose, and one mask is always written (arXiv:2505.24857). The number
    of steps is an upper limit: a text may be finished earlier, and the last step writes what is left.
    """

    gamma: float = 0.1  # nats

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InputError(f"gamma={self.gamma}: a bound in nats, at least 0")

    def __call__(self, step: Step, chance: Chance) -> Action:
        H = step.now.entropy.masked_fill(~step.is_mask, torch.inf)
        ascending, order = H.sort(dim=-1, stable=True)
        lighter = ascending.cumsum(-1) - ascending  # the sum of those before: the sum up to here, less the largest
        within = torch.zeros_like(step.is_mask).scatter_(-1, order, lighter <= self.gamma)
        return Action(write=within & step.is_mask, remask=nothing(step))


ENTRIES = (
    Entry(
        name="entropy-bounded",
        source="arXiv:2505.24857",
        group="field",
        rule=EntropyBounded,
        knobs=grid(gamma=(0.1, 0.01, 0.5, 1.0, 2.0)),
        revises=False,
    ),
)
