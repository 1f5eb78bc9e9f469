"""The unified gate: one p for tokens and proposals decides what is written and what is hidden."""

from __future__ import annotations

from typing import Any

from ardm.method.entry import VERMILION, Entry, grid
from ardm.method.gate import OverwriteGate
from ardm.method.rules.write_and_hide import WriteAndHide
from ardm.method.schedule import Schedule
from ardm.method.unified import UNIFIED, WAYS

__all__ = ["unified_by_gate"]


def unified_by_gate(gate: OverwriteGate, schedule: Schedule, **how: Any) -> WriteAndHide:
    """Write and hide by the gate alone, p = u.

    ``how`` holds the other fields of a :class:`WriteAndHide`.
    """
    return WriteAndHide(gate.combined("gate_only"), schedule=schedule, **how)


ENTRIES = (
    Entry(
        name="unified gate",
        source="this book",
        group="ours",
        rule=unified_by_gate,
        knobs=(
            *grid(write=WAYS, threshold=(0.3, 0.2, 0.4), lot=(False,), spacing=(0,)),
            *grid(write=WAYS, threshold=(0.2,), lot=(True,), spacing=(0,)),
            *grid(write=("schedule", "fit"), threshold=(0.3,), lot=(False,), spacing=(2,)),
        ),
        scheduled=True,
        gate=UNIFIED,
        long=True,
        colour=VERMILION,
        mark="*",
    ),
)
