"""What all rules have in common that write masks on a schedule: they differ in what becomes of visible tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field, replace

from ardm.base.streams import Chance
from ardm.method.schedule import Schedule
from ardm.method.types import Action, Step

__all__ = ["ScheduledRule"]


@dataclass(frozen=True)
class ScheduledRule(ABC):
    """A schedule, which writes masks, and :meth:`revise`, which replaces or hides visible tokens.

    The schedule draws first, so that with one seed all rules of one schedule write masks in the same random order.
    """

    _: KW_ONLY
    schedule: Schedule = field(default_factory=Schedule)

    def __call__(self, step: Step, chance: Chance) -> Action:
        masks = self.schedule(step, chance)
        action = self.revise(step, chance)
        return replace(action, write=masks | action.write)

    @abstractmethod
    def revise(self, step: Step, chance: Chance) -> Action:
        """What becomes of the visible tokens: those to replace by the proposal in ``write``, those to hide in ``remask``."""
