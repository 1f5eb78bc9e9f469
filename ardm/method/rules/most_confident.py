"""The surest masks first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ardm.base.errors import check_choice
from ardm.base.streams import Chance
from ardm.method.entry import BLUE, Entry
from ardm.method.schedule import due, lowest, nothing
from ardm.method.types import Action, Step

__all__ = ["MostConfidentFirst"]


@dataclass(frozen=True)
class MostConfidentFirst:
    """Write the next ceil(masks left / steps left) masks, those first of which the denoiser is surest; never touch them again.

    Surest by the probability of the first choice, ``max_prob``, or by its ``margin`` over the second (arXiv:2502.06768).
    """

    by: str = "max_prob"

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("max_prob", "margin"))

    def __call__(self, step: Step, chance: Chance) -> Action:
        sure = step.now.top if self.by == "max_prob" else step.now.margin
        return Action(write=lowest(-sure, step.is_mask, due(step)), remask=nothing(step))


ENTRIES = (
    Entry(
        name="max-prob",
        source="arXiv:2502.06768",
        group="field",
        rule=MostConfidentFirst,
        revises=False,
        long=True,
        colour=BLUE,
        mark="^",
    ),
    Entry(
        name="margin",
        source="arXiv:2502.06768",
        group="field",
        rule=partial(MostConfidentFirst, by="margin"),
        revises=False,
        long=True,
    ),
)
