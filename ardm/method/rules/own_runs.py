"""Hide then refill by gates that learned on their own runs."""

from __future__ import annotations

from ardm.method.entry import GREEN, VERMILION, Entry, grid
from ardm.method.own_runs import OWN_RUNS
from ardm.method.rules.by_gate import hide_by_gate

__all__: list[str] = []

SUSPECTS = grid(how=("threshold",), threshold=(0.3, 0.2, 0.4, 0.5, 0.6), budget=(4, 16))

ENTRIES = tuple(
    Entry(
        name=name,
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=SUSPECTS,
        scheduled=True,
        gate=OWN_RUNS[recipe],
        long=True,
        colour=colour,
        mark=mark,
    )
    for name, recipe, colour, mark in (
        ("own ratio hide", "own ratio", GREEN, "v"),
        ("repair hide", "repair", VERMILION, "D"),
    )
)
