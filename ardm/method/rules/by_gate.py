"""Rules of a trained gate, from flat knobs: how u and r are combined, and how tokens are selected by the p that results."""

from __future__ import annotations

from typing import Any

from ardm.method.gate import OverwriteGate
from ardm.method.rules.hide import HideThenRefill
from ardm.method.rules.overwrite import Overwrite
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection

__all__ = ["hide_by_gate", "overwrite_by_gate"]


def hide_by_gate(gate: OverwriteGate, schedule: Schedule, finish: bool = True, **selection: Any) -> HideThenRefill:
    """Hide what the gate alone doubts, p = u.

    ``selection`` holds the fields of a :class:`Selection`.
    """
    return HideThenRefill(gate.combined("gate_only"), Selection(**selection), finish, schedule=schedule)


def overwrite_by_gate(gate: OverwriteGate, combine: str, **selection: Any) -> Overwrite:
    """Overwrite in place with p from u and r by ``combine``.

    ``selection`` holds the fields of a :class:`Selection`.
    """
    return Overwrite(gate.combined(combine), Selection(**selection))
