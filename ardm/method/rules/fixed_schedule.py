"""The positional prior alone."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.streams import Chance
from ardm.method.entry import ORANGE, Entry, grid
from ardm.method.prior import prior_logit
from ardm.method.schedule import bernoulli, nothing
from ardm.method.types import Action, Step

__all__ = ["FixedSchedule"]


@dataclass(frozen=True)
class FixedSchedule:
    """Overwrite with the positional prior r_i^t alone: the gate with u = 0 (after AR-Diffusion, arXiv:2305.09515)."""

    alpha: float = 1.25
    delta: float = 0.0

    def __call__(self, step: Step, chance: Chance) -> Action:
        logit = prior_logit(step.x.shape[1], step.t, step.T, self.alpha, self.delta, device=step.x.device)
        r = logit.sigmoid().expand(step.x.shape)
        return Action(write=bernoulli(r, chance) & ~step.is_fixed, remask=nothing(step), scores={"p": r, "r": r})


ENTRIES = (
    Entry(
        name="fixed schedule",
        source="arXiv:2305.09515",
        group="field",
        rule=FixedSchedule,
        knobs=grid(alpha=(1.25, 0.15, 0.3, 0.6, 2.5)),
        long=True,
        colour=ORANGE,
        mark="o",
    ),
)
