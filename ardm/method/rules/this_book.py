"""What this book adds: other ways to combine u and r, hiding in place of overwriting, and other gates."""

from __future__ import annotations

from functools import partial

from ardm.method.entry import GREEN, VERMILION, Entry, grid
from ardm.method.gate_recipe import GATES, RECOMMENDED
from ardm.method.rules.by_gate import hide_by_gate, overwrite_by_gate

__all__: list[str] = []

SUSPECTS = grid(how=("threshold",), threshold=(0.5, 0.2, 0.3, 0.7), budget=(4, 1, 2, 16))

IN_PLACE = (
    Entry(
        name="learned product in place",
        source="this book",
        group="ours",
        rule=partial(overwrite_by_gate, combine="product"),
        gate=GATES["mismatch"],
    ),
    Entry(
        name="learned logit-sum in place",
        source="this book",
        group="ours",
        rule=partial(overwrite_by_gate, combine="logit_sum"),
        gate=GATES["mismatch"],
    ),
    Entry(
        name="learned p=u in place",
        source="this book",
        group="ours",
        rule=partial(overwrite_by_gate, combine="gate_only"),
        knobs=(
            {"how": "bernoulli"},
            *grid(how=("threshold",), threshold=(0.3, 0.5, 0.7)),
            *grid(how=("bernoulli",), budget=(8, 16)),
        ),
        gate=GATES["mismatch"],
        long=True,
        colour=VERMILION,
        mark="s",
    ),
)

HIDING = (
    Entry(
        name="linear gate hide",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=grid(how=("threshold",), threshold=(0.5, 0.3, 0.7), budget=(4, 2)),
        scheduled=True,
        gate=GATES["linear"],
    ),
    Entry(
        name="learned hide mismatch",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=SUSPECTS,
        scheduled=True,
        gate=GATES["mismatch"],
        long=True,
        colour=GREEN,
        mark="s",
    ),
    Entry(
        name="learned hide ratio",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=SUSPECTS,
        scheduled=True,
        gate=GATES["ratio"],
        long=True,
        colour=GREEN,
        mark="^",
    ),
    Entry(
        name="attentive hide ratio",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=SUSPECTS,
        scheduled=True,
        gate=RECOMMENDED,
        long=True,
        colour=GREEN,
        mark="o",
    ),
    Entry(
        name="learned hide Bernoulli",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=({"how": "bernoulli"}, *grid(how=("bernoulli",), budget=(1, 4))),
        scheduled=True,
        gate=GATES["ratio"],
    ),
    Entry(
        name="learned hide budget",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=grid(how=("threshold",), threshold=(0.0,), budget=(2, 1, 4, 8)),
        scheduled=True,
        gate=GATES["ratio"],
    ),
)

ENTRIES = (*IN_PLACE, *HIDING)
