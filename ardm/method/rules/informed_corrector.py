"""The informed corrector: redraw the visible tokens that the denoiser holds least by."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import lowest, nothing, revisable
from ardm.method.types import Action, Step

__all__ = ["InformedCorrector"]


@dataclass(frozen=True)
class InformedCorrector(ScheduledRule):
    """Redraw in place the ``k`` visible tokens of highest ``noise`` x Gumbel - c, with c the placed margin (arXiv:2407.21243).

    Masks are written on the schedule.
    """

    k: int = 2
    noise: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 0 or not self.noise >= 0:
            raise InputError(f"k={self.k}, noise={self.noise}: both are at least 0")

    def revise(self, step: Step, chance: Chance) -> Action:
        doubt = self.noise * chance.gumbel(step.x.shape[1]) - step.now.placed_margin(step.x)
        return Action(write=lowest(-doubt, revisable(step), self.k), remask=nothing(step))


ENTRIES = (
    Entry(
        name="informed corrector",
        source="arXiv:2407.21243",
        group="field",
        rule=InformedCorrector,
        knobs=grid(k=(2, 1, 4, 8, 16), noise=(1.0, 0.1)),
        scheduled=True,
        long=True,
        colour=SKY,
        mark="^",
    ),
)
