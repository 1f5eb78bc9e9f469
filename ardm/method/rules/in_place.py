"""Hide then refill without the hiding: what would become a mask is overwritten at once."""

from __future__ import annotations

from ardm.base.streams import Chance
from ardm.method.rules.hide import HideThenRefill
from ardm.method.schedule import nothing
from ardm.method.types import Action, Step

__all__ = ["InPlace"]


class InPlace(HideThenRefill):
    """Overwrite suspects by their proposals: the denoiser judges the place while it sees the suspect.

    It picks the same suspects at the same steps as hide then refill, and differs in nothing else.
    """

    def revise(self, step: Step, chance: Chance) -> Action:
        action = super().revise(step, chance)
        return Action(write=action.write | action.remask, remask=nothing(step), scores=action.scores)
