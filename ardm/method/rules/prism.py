"""PRISM: a head that learns which filled-in tokens are wrong; the doubtful ones are hidden again."""

from __future__ import annotations

from functools import partial

from ardm.method.entry import Entry, grid
from ardm.method.gate_recipe import GATES
from ardm.method.rules.by_gate import hide_by_gate

__all__: list[str] = []

ENTRIES = (
    Entry(
        name="PRISM head",
        source="arXiv:2510.01384",
        group="field",
        rule=partial(hide_by_gate, finish=False),
        knobs=grid(how=("threshold",), threshold=(0.0,), budget=(2, 1, 4, 8)),
        scheduled=True,
        gate=GATES["hidden"],
        long=True,
    ),
)
