"""A gate that learns which tokens the sampler itself would change by the end."""

from __future__ import annotations

from ardm.method.entry import Entry, grid
from ardm.method.gate_recipe import GATES
from ardm.method.rules.by_gate import hide_by_gate

__all__: list[str] = []

ENTRIES = (
    Entry(
        name="final-token label",
        source="arXiv:2605.24697",
        group="field",
        rule=hide_by_gate,
        knobs=grid(how=("threshold",), threshold=(0.5, 0.3, 0.7), budget=(4,)),
        scheduled=True,
        gate=GATES["final"],
    ),
)
