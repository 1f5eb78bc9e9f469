"""The recipe of the unified gate: one p for every place, for tokens that stand and for proposals at masks alike."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import InputError, check_choice
from ardm.method.own_runs import RATIO, OwnRuns

__all__ = ["UNIFIED", "WAYS", "Unified"]

WAYS = ("schedule", "fit", "threshold", "both")
"""Which proposals are written at a step: see :class:`ardm.method.rules.write_and_hide.WriteAndHide`."""


@dataclass(frozen=True)
class Unified(OwnRuns):
    """All that decides what a unified gate becomes, given its denoiser.

    It learns on its own runs as :class:`~ardm.method.own_runs.OwnRuns` says. What is wrong is said of each text as it would stand
    with every proposal written, so the label is one that speaks of whole texts: ``InputError`` for the likelihood ratio.
    """

    blocks: int = 2
    reads: bool = True
    ways: tuple[str, ...] = WAYS  # in which its runs write, one an optimiser step, in turn

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label == RATIO:
            raise InputError(f"label={RATIO!r} says nothing of proposals: choose one that has a teacher")
        if not self.ways:
            raise InputError(f"ways={self.ways}: name at least one of {', '.join(WAYS)}")
        for way in self.ways:
            check_choice("ways", way, WAYS)


UNIFIED = Unified()
"""The gate of the arena.

:meta hide-value:
"""
