"""Finish first, then take parts out and predict them from the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ardm.base.errors import check_share
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import bernoulli, nothing, revisable
from ardm.method.types import Action, Step

__all__ = ["Tolerator"]


@dataclass(frozen=True)
class Tolerator(ScheduledRule):
    """Fill on the schedule; from then on hide every token with probability ``share`` at each step, to be predicted from the rest.

    After "Finish first, perfect later". Which tokens are taken out is a matter of lot, and the share falls to nothing in a straight
    line until the end.
    """

    share: float = 0.3

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def revise(self, step: Step, chance: Chance) -> Action:
        filled = math.ceil(self.schedule.written_by * step.T)
        if step.t <= filled or step.t == step.T:
            return Action(write=nothing(step), remask=nothing(step))
        p = self.share * (step.T - step.t) / max(1, step.T - filled)
        hide = bernoulli(step.now.top.new_full(step.x.shape, p), chance)
        return Action(write=nothing(step), remask=hide & revisable(step))


ENTRIES = (
    Entry(
        name="Tolerator",
        source="Finish First, Perfect Later",
        group="field",
        rule=Tolerator,
        knobs=grid(share=(0.3, 0.1, 0.2, 0.5)),
        scheduled=True,
        long=True,
    ),
)
