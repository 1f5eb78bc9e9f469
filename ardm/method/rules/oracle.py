"""The upper bound: a gate that knows what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ardm.base.streams import Chance
from ardm.method.entry import BLACK, Entry
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import nothing, revisable
from ardm.method.types import Action, Bool, Int, Step

__all__ = ["OracleGate"]


@dataclass(frozen=True)
class OracleGate(ScheduledRule):
    """The upper bound: revise exactly the tokens that are wrong, as ``wrong`` knows, all at once.

    ``wrong`` maps the texts ``[B, L]`` to the visible tokens that have to change; no gate can ask it. They are hidden to be
    written anew on the schedule, or ``in_place`` overwritten by the proposal.
    """

    wrong: Callable[[Int[Tensor, "B L"]], Bool[Tensor, "B L"]]
    in_place: bool = False

    def revise(self, step: Step, chance: Chance) -> Action:
        wrong = self.wrong(step.x) & revisable(step)
        none, scores = nothing(step), {"p": wrong.float()}
        if self.in_place:
            return Action(write=wrong, remask=none, scores=scores)
        return Action(write=none, remask=wrong, scores=scores)


ENTRIES = (
    Entry(
        name="oracle in place",
        source="upper bound",
        group="bound",
        rule=partial(OracleGate, in_place=True),
        scheduled=True,
        knows=True,
    ),
    Entry(
        name="oracle hide",
        source="upper bound",
        group="bound",
        rule=OracleGate,
        scheduled=True,
        knows=True,
        long=True,
        colour=BLACK,
        mark="P",
    ),
)
