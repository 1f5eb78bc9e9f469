"""Controls: revise as much as a gate does, but anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import GREY, Entry, grid
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.rules.by_gate import hide_by_gate
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import lowest, nothing, revisable
from ardm.method.types import Action, Rule, Step

__all__ = ["RandomGate", "Shuffled"]


@dataclass(frozen=True)
class Shuffled:
    """The control: revise as many visible tokens as ``rule`` does, but at random places; it writes the same masks.

    What is lost against the rule itself is what its *selection* is worth, as apart from its amount.
    """

    rule: Rule

    def __call__(self, step: Step, chance: Chance) -> Action:
        action = self.rule(step, chance)
        visible = revisable(step)
        replaced, hidden = (action.write & visible).sum(-1), action.remask.sum(-1)
        order = chance.uniform(step.x.shape[1])
        touched = lowest(order, visible, replaced + hidden)
        replace = lowest(order, visible, replaced)
        return Action(write=replace | (action.write & step.is_mask), remask=touched & ~replace, scores=action.scores)


@dataclass(frozen=True)
class RandomGate(ScheduledRule):
    """The control that looks at nothing: at each step hide ``k`` visible tokens at random, to be written anew."""

    k: int = 2

    def __post_init__(self) -> None:
        if self.k < 0:
            raise InputError(f"k={self.k}: a number of tokens is at least 0")

    def revise(self, step: Step, chance: Chance) -> Action:
        return Action(write=nothing(step), remask=lowest(chance.uniform(step.x.shape[1]), revisable(step), self.k))


def shuffled_gate(**given: Any) -> Shuffled:
    """The recommended rule with its places shuffled."""
    return Shuffled(hide_by_gate(**given))


ENTRIES = (
    Entry(
        name="shuffled gate",
        source="control",
        group="control",
        rule=shuffled_gate,
        scheduled=True,
        gate=RECOMMENDED,
        like="attentive hide ratio",
        long=True,
        colour=GREY,
        mark="x",
    ),
    Entry(
        name="random gate",
        source="control",
        group="control",
        rule=RandomGate,
        knobs=grid(k=(2, 1, 4, 8)),
        scheduled=True,
        long=True,
    ),
)
