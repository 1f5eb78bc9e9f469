"""Hide then refill by a gate whose teacher is the frozen denoiser in long runs."""

from __future__ import annotations

from ardm.method.entry import GREEN, Entry, grid
from ardm.method.own_runs import SLOW, OwnRuns
from ardm.method.rules.by_gate import hide_by_gate

__all__: list[str] = []

ENTRIES = (
    Entry(
        name="slow hide",
        source="this book",
        group="ours",
        rule=hide_by_gate,
        knobs=grid(how=("threshold",), threshold=(0.1, 0.05, 0.2, 0.3, 0.5), budget=(4, 16)),
        scheduled=True,
        gate=OwnRuns(label=SLOW, blocks=2, reads=True, steps=120, batch=24),
        colour=GREEN,
        mark="^",
    ),
)
"""Its labels cost 48 calls a state, so it is trained on short texts alone and for fewer steps than the others."""
