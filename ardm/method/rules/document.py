"""The rules of the starting document: its gate, with a noisy-OR, overwriting in place."""

from __future__ import annotations

from functools import partial

from ardm.method.entry import PINK, VERMILION, Entry
from ardm.method.gate import LinearHead, OverwriteGate
from ardm.method.gate_recipe import GATES
from ardm.method.rules.by_gate import overwrite_by_gate
from ardm.method.rules.overwrite import Overwrite

__all__ = ["overwrite_by_unit_weights"]


def overwrite_by_unit_weights(gate: OverwriteGate) -> Overwrite:
    """The document's formula as written: unit weights, and of the trained gate only the moments of its signals and its prior."""
    head = LinearHead().to(gate.prior.delta.device)
    unit = OverwriteGate(head, gate.prior, "noisy_or", tuple(gate.standard)).eval()
    unit.standard = gate.standard
    return Overwrite(unit)


ENTRIES = (
    Entry(
        name="document's gate",
        source="the starting document, unit weights",
        group="document",
        rule=overwrite_by_unit_weights,
        gate=GATES["linear"],
        long=True,
        colour=PINK,
        mark="o",
    ),
    Entry(
        name="linear gate in place",
        source="the starting document, trained",
        group="document",
        rule=partial(overwrite_by_gate, combine="noisy_or"),
        gate=GATES["linear"],
        colour=PINK,
        mark="s",
    ),
    Entry(
        name="learned noisy-OR in place",
        source="the starting document",
        group="document",
        rule=partial(overwrite_by_gate, combine="noisy_or"),
        gate=GATES["mismatch"],
        long=True,
        colour=VERMILION,
        mark="o",
    ),
)
