"""Probe the context: hide some of it, and then the tokens that had leaned on it."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import InputError, at_least_one
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import lowest, nothing, revisable
from ardm.method.types import Action, Step

__all__ = ["ContextProbe"]


@dataclass(frozen=True)
class ContextProbe(ScheduledRule):
    """Hide ``probes`` visible tokens by lot, and at the next step those whose log q has fallen most without them.

    After context-robust remasking, CoRe (arXiv:2602.04096), which asks of each token whether its support holds when context is
    hidden. There a second call reads the text with the probes hidden, and they come back as they were. A rule of this loop has one
    call a step and remembers nothing, so the probes stay hidden, that call also serves the schedule, and they are written anew on
    it. Support has fallen where log q(x_i) is lower than one step ago by more than ``fall`` nats; of these at most ``most`` are
    hidden, the deepest fall first. A token that was written one step ago is compared with the q that it was drawn by.

    ``InputError`` for ``probes`` or ``most`` below 1, and for a ``fall`` that is not above 0.
    """

    probes: int = 1
    fall: float = 0.5
    most: int = 4

    def __post_init__(self) -> None:
        at_least_one(self, "probes", "most")
        if not self.fall > 0:
            raise InputError(f"fall={self.fall}: it is above 0, in nats")

    def revise(self, step: Step, chance: Chance) -> Action:
        may = revisable(step)
        by_lot = chance.gumbel(step.x.shape[1])
        brittle = nothing(step)
        if step.before is not None:
            rise = step.now.log_prob(step.x) - step.before.log_prob(step.x)
            brittle = lowest(rise, may & (rise < -self.fall), self.most)
        return Action(write=nothing(step), remask=brittle | lowest(by_lot, may & ~brittle, self.probes))


ENTRIES = (
    Entry(
        name="context probe",
        source="after arXiv:2602.04096",
        group="field",
        rule=ContextProbe,
        knobs=grid(probes=(1, 2, 4), fall=(0.5, 0.1, 2.0)),
        scheduled=True,
        long=True,
    ),
)
