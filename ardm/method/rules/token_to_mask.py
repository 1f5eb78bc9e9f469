"""Token to mask: a visible token whose probability is low, or has fallen, is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ardm.base.errors import check_choice, check_share
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.schedule import lowest, nothing, revisable
from ardm.method.types import Action, Bool, Float, Step

__all__ = ["TokenToMask"]


@dataclass(frozen=True)
class TokenToMask(ScheduledRule):
    """Hide a visible token whose probability is low, or has fallen (arXiv:2604.18738), to be written anew on the schedule.

    ``by="low_prob"``: q(x_i) is below ``threshold``. ``"logit_diff"``: it fell by more than ``threshold`` in one step. At most
    ``per_position`` times a position, and ``share`` of the text a step, the worst first.
    """

    by: str = "low_prob"
    threshold: float = 0.3
    per_position: int = 3
    share: float = 0.25

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("low_prob", "logit_diff"))
        check_share("share", self.share)

    def revise(self, step: Step, chance: Chance) -> Action:
        bad, rank = self.judged(step)
        allowed = bad & revisable(step) & (step.overwrites < self.per_position)
        hide = lowest(rank, allowed, int(self.share * step.x.shape[1]))
        return Action(write=nothing(step), remask=hide)

    def judged(self, step: Step) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Which tokens are bad, and a rank in which the worst is lowest. At the first step nothing can have fallen."""
        q = step.now.log_prob(step.x).exp()
        if self.by == "low_prob":
            return q < self.threshold, q
        if step.before is None:
            return nothing(step), q
        rise = q - step.before.log_prob(step.x).exp()
        return -rise > self.threshold, rise


ENTRIES = (
    Entry(
        name="T2M low-prob",
        source="arXiv:2604.18738",
        group="field",
        rule=TokenToMask,
        knobs=grid(threshold=(0.3, 0.02, 0.08, 0.15, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)),
        scheduled=True,
        long=True,
        colour=SKY,
        mark="P",
    ),
    Entry(
        name="T2M logit-diff",
        source="arXiv:2604.18738",
        group="field",
        rule=partial(TokenToMask, by="logit_diff"),
        knobs=grid(threshold=(0.3, 0.03, 0.1, 0.5)),
        scheduled=True,
    ),
)
