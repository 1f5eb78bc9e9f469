"""The recipe of a gate that learns on its own runs: the states are those that it will meet, whatever it has learnt so far."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ardm.base.errors import InputError, at_least_one, check_choice
from ardm.method.gate import ATTENTION_HEADS, FOUR

__all__ = ["OWN_RUNS", "RATIO", "REPAIR", "SLOW", "OwnRuns"]

REPAIR, RATIO, SLOW = "minimal repair", "likelihood ratio", "slow teacher"


@dataclass(frozen=True)
class OwnRuns:
    """All that decides what a gate becomes that learns on its own runs, given its denoiser.

    A run starts from a text of the corpus of which a random share is hidden and ``error_rate`` of the rest is wrong; a share
    ``blank`` of the texts starts from nothing. It hides suspects with p > ``threshold`` and refills them.
    """

    label: str = REPAIR  # or RATIO or SLOW, for which the denoiser alone is asked: in one call, or in long runs from each state
    blocks: int = 1  # transformer blocks of the head
    reads: bool = False  # the head has an embedding of the tokens too, besides the denoiser's hidden state
    width: int = 64  # units of the head
    signals: tuple[str, ...] = FOUR
    calls: int = 8  # of a run
    threshold: float = 0.3
    budget: int = 4
    order: str = "surest"
    blank: float = 0.5
    error_rate: float = 0.1
    most_hidden: float = 1.0  # largest share hidden of a text that does not start from nothing
    steps: int = 300  # optimiser steps
    batch: int = 48  # texts an optimiser step
    rate: float = 2e-3  # peak learning rate
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("label", self.label, (REPAIR, RATIO, SLOW))
        at_least_one(self, "blocks", "width", "calls", "budget", "steps", "batch")
        for name in ("threshold", "blank", "error_rate", "most_hidden"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)}: it is a share in [0, 1]")
        if self.width % ATTENTION_HEADS:
            raise InputError(f"width={self.width}: the head needs a multiple of its {ATTENTION_HEADS} attention heads")
        if not self.rate > 0:
            raise InputError(f"rate={self.rate}: it is above 0")

    @property
    def verified(self) -> bool:
        """Whether its teacher knows the right texts, as a law or a verifier does."""
        return self.label == REPAIR

    @property
    def has_teacher(self) -> bool:
        """Whether somebody is asked what is wrong in a state, be it by right texts or by the denoiser's own long runs."""
        return self.label != RATIO

    @property
    def from_clues(self) -> OwnRuns:
        """The same where only those know a text's right tokens who made it: so much of each stays visible that it has one truth."""
        return replace(self, blank=0.0, most_hidden=0.6)


OWN_RUNS = {
    "repair": OwnRuns(blocks=2, reads=True),
    "own ratio": OwnRuns(label=RATIO, steps=150),
}
"""The gates of this kind that rules ask for, by name.

:meta hide-value:
"""
