"""Every mask of which the denoiser is sure, at once."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import check_share
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.schedule import lowest, nothing
from ardm.method.types import Action, Step

__all__ = ["ConfidenceThreshold"]


@dataclass(frozen=True)
class ConfidenceThreshold:
    """Write every mask whose most probable token has more than ``threshold``, and the surest one in any case; never touch it again.

    Fast-dLLM (arXiv:2505.22618). A text may be finished early; the last step writes what is left, sure or not.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)

    def __call__(self, step: Step, chance: Chance) -> Action:
        top = step.now.top
        sure = step.is_mask & (top.exp() > self.threshold)
        return Action(write=sure | lowest(-top, step.is_mask, 1), remask=nothing(step))


ENTRIES = (
    Entry(
        name="confidence threshold",
        source="arXiv:2505.22618",
        group="field",
        rule=ConfidenceThreshold,
        knobs=grid(threshold=(0.9, 0.5, 0.6, 0.7, 0.8, 0.95, 0.99)),
        revises=False,
        long=True,
    ),
)
