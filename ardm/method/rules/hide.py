"""Hide, then refill: suspects become masks, and a later call writes them without having seen them."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.streams import Chance
from ardm.method.gate import OverwriteGate
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.rules.scores import scores_of
from ardm.method.schedule import nothing, revisable
from ardm.method.selection import Selection
from ardm.method.types import Action, Step

__all__ = ["HideThenRefill"]


@dataclass(frozen=True)
class HideThenRefill(ScheduledRule):
    """Write masks on the schedule, and hide suspects: later calls see them as masks and write them anew.

    At each step but the last, the visible tokens that ``selection`` picks by p become masks: the denoiser then judges the place
    without seeing the suspect. No call is added. At the last step nothing can be hidden any more: with ``finish`` the suspects
    are overwritten in place.
    """

    gate: OverwriteGate
    selection: Selection = Selection("threshold", 0.5, budget=4)
    finish: bool = True

    def revise(self, step: Step, chance: Chance) -> Action:
        out = self.gate(step)
        suspect = self.selection(out.logit_p, revisable(step), step, chance)
        if step.t < step.T:
            return Action(write=nothing(step), remask=suspect, scores=scores_of(out))
        replaced = suspect if self.finish else nothing(step)
        return Action(write=replaced, remask=nothing(step), scores=scores_of(out))
