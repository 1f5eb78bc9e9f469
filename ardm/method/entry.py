"""How a rule enters a comparison: its name, its source, what it is tuned over and how it looks in a figure.

The entries of a rule stand in the file of the rule, :mod:`ardm.method.rules` finds them. Nothing that computes needs one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ardm.base.errors import InputError, check_choice
from ardm.method.schedule import ORDERS, Schedule
from ardm.method.types import Rule

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "GROUPS",
    "LIGHT",
    "MARKS",
    "ORANGE",
    "PINK",
    "SCHEDULES",
    "SKY",
    "VERMILION",
    "Entry",
    "Knobs",
    "grid",
]

GROUPS = {
    "plain": "what every other rule is held against: each token is written once, in an order that looks at nothing",
    "field": "published by others",
    "document": "what the starting document proposes",
    "ours": "found in this book: the document's gate in other hands, and other gates",
    "control": "looks at nothing: shows what amount alone achieves, without selection",
    "bound": "asks what no rule can know: how much could be gained",
}
"""What kind of rule it is, from the floor to the ceiling."""

BLACK, GREY, LIGHT = "#000000", "#777777", "#bbbbbb"
BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PINK = "#E69F00", "#D55E00", "#CC79A7"
PALETTE = (BLACK, GREY, LIGHT, BLUE, SKY, GREEN, ORANGE, VERMILION, PINK)
"""Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart by colour-blind readers, and greys."""

MARKS = ("o", "s", "^", "v", "D", "P", "X", "x", "*", ".")
"""Marks of a figure, in matplotlib's letters."""

Knobs = dict[str, Any]
"""Settings of a rule, by name."""


def grid(**choices: tuple[Any, ...]) -> tuple[Knobs, ...]:
    """Every combination of the choices, the last one running fastest."""
    return tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


SCHEDULES = grid(order=ORDERS, written_by=(0.6, 0.4, 0.8))
"""In which order masks are written, and by which share of the steps: one choice for every rule that writes on a schedule."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One rule of a comparison. ``rule`` makes it from keywords: its knobs and what the fields below add to them.

    ``knobs``: the settings that tuning tries, the first is the default of its ``source``. ``scheduled``: takes a ``schedule`` too,
    and tuning tries :data:`SCHEDULES` with the best of the knobs. ``gate``: the :class:`~ardm.method.gate_recipe.GateRecipe` of a
    trained gate that it takes as ``gate``. ``like``: plays with what the rule of this name was tuned to.
    """

    name: str
    source: str
    group: str
    rule: Callable[..., Rule]
    knobs: tuple[Knobs, ...] = ({},)
    scheduled: bool = False
    gate: Any = None  # not imported here: a rule that needs no gate does not depend on how gates are trained
    like: str | None = None
    causal: bool = False  # plays on the causal model, one call a token
    knows: bool = False  # takes ``wrong``, which says of a text what is wrong in it
    revises: bool = True  # can change what is visible
    long: bool = False  # plays the tasks with long texts, which take longest
    colour: str = LIGHT
    mark: str = "."
    module: str = field(
        default="", compare=False
    )  # where it stands, filled in when it is found: its results depend on that code

    def __post_init__(self) -> None:
        check_choice("group", self.group, GROUPS)
        check_choice("colour", self.colour, PALETTE)
        check_choice("mark", self.mark, MARKS)
        if not self.knobs:
            raise InputError(f"{self.name}: no knobs; a rule without settings has the one setting {{}}")

    @property
    def stages(self) -> tuple[tuple[Knobs, ...], ...]:
        """What tuning tries, one stage after the other, each with the best of those before; empty where nothing is tuned."""
        if self.like is not None:
            return ()
        stages = (self.knobs, SCHEDULES) if self.scheduled else (self.knobs,)
        return tuple(stage for stage in stages if len(stage) > 1)

    def make(self, gate: Any = None, wrong: Callable | None = None, **knobs: Any) -> Rule:
        """The rule with these knobs; of a scheduled one they may include ``order`` and ``written_by``.

        ``gate`` is the trained gate of the recipe, ``wrong`` tells the wrong tokens of texts ``[B, L]``; ``InputError`` where the
        rule needs one and there is none. A rule that needs none is not given it.
        """
        if self.gate is not None and gate is None:
            raise InputError(f"{self.name} needs a trained gate: train one with the recipe in its entry")
        if self.knows and wrong is None:
            raise InputError(f"{self.name} asks what is wrong: play it on a task that can tell, which real text is not")
        given = dict(knobs)
        if self.scheduled:
            given["schedule"] = Schedule(**{name: given.pop(name) for name in ("order", "written_by") if name in given})
        if self.gate is not None:
            given["gate"] = gate
        if self.knows:
            given["wrong"] = wrong
        return self.rule(**given)
