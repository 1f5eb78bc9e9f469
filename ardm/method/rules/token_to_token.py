"""Token to token: a visible token gives way to a proposal of which the denoiser is sure."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import nothing, revisable
from ardm.method.types import Action, Step

__all__ = ["TokenToToken"]


@dataclass(frozen=True)
class TokenToToken(ScheduledRule):
    """Replace a visible token by the proposal where the denoiser gives that more than ``threshold`` (LLaDA2.1, arXiv:2602.08676).

    From one half on such a proposal is the first choice. Masks are written on the schedule.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold={self.threshold}: it is a probability in [0, 1)")

    def revise(self, step: Step, chance: Chance) -> Action:
        sure = step.now.log_prob(step.proposal).exp() > self.threshold
        return Action(write=revisable(step) & (step.proposal != step.x) & sure, remask=nothing(step))


ENTRIES = (
    Entry(
        name="T2T threshold",
        source="arXiv:2602.08676",
        group="field",
        rule=TokenToToken,
        knobs=grid(threshold=(0.5, 0.0, 0.3, 0.7)),
        scheduled=True,
        long=True,
        colour=SKY,
        mark="s",
    ),
)
