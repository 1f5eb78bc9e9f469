"""Write and hide by one p: of every token that stands, and of every proposal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, max_pool1d

from ardm.base.errors import check_choice, check_whole
from ardm.base.streams import Chance
from ardm.method.gate import OverwriteGate
from ardm.method.rules.scores import scores_of
from ardm.method.schedule import Schedule, due, lowest, nothing, revisable
from ardm.method.selection import Selection
from ardm.method.types import Action, Bool, Float, Step
from ardm.method.unified import WAYS

__all__ = ["WriteAndHide"]


@dataclass(frozen=True)
class WriteAndHide:
    """Write the proposals that fit and hide the tokens that do not, by one p for all: that a token would be wrong in the text as
    it would stand if every proposal were written.

    What has p > ``threshold``, token or proposal, is a suspect. Suspects that stand become masks, the highest p first, ``budget``
    a step at most; at the last step, where nothing can be hidden, they are overwritten in place. Which masks are written, ``write``
    says. ``"schedule"``: as many as the schedule says and in its order, whatever their p. ``"fit"``: as many, the lowest p first.
    ``"threshold"``: every proposal that is no suspect. ``"both"``: those, but no more than the schedule says. The last two write
    ceil(masks left / calls left) at least, the lowest p first.

    Two tokens that contradict each other share a p of one half, and both are suspects. There are two ways to let one of them be.
    With ``lot`` only so many suspects go as the p of all of them add up to, rounded, one at least; they are drawn in proportion to
    p without replacement (Gumbel top-k, Kool et al. 2019, arXiv:1903.06059). Minimal repair adds up to the number of changes that
    the nearest right text takes. With ``spacing`` none goes within so many places of one that goes by a higher p.
    """

    gate: OverwriteGate
    write: str = "schedule"
    threshold: float = 0.3
    budget: int = 4
    lot: bool = False
    spacing: int = 0
    schedule: Schedule = field(default_factory=Schedule)

    def __post_init__(self) -> None:
        check_choice("write", self.write, WAYS)
        check_whole("budget", self.budget, 0, 2**31)
        check_whole("spacing", self.spacing, 0, 2**31)
        Selection("threshold", self.threshold)  # refuses what is no probability

    @cached_property
    def suspects(self) -> Selection:
        """What has p > threshold; kept, as it reads a number from the device once."""
        return Selection("threshold", self.threshold)

    def __call__(self, step: Step, chance: Chance) -> Action:
        scheduled, out = self.schedule(step, chance), self.gate(step)
        goes = self.going(out.logit_p, step, chance)
        doubted = lowest(-out.logit_p, goes & revisable(step), self.budget)
        write, last = self.written(out.logit_p, goes, scheduled, step), step.t == step.T
        write, remask = (write | doubted, nothing(step)) if last else (write, doubted)
        return Action(write=write, remask=remask, scores=scores_of(out))

    def going(self, logit_p: Float[Tensor, "B L"], step: Step, chance: Chance) -> Bool[Tensor, "B L"]:
        """The tokens and proposals that go: the suspects, less those that the breaking of ties lets be."""
        goes, rank = self.suspects(logit_p, ~step.is_fixed, step, chance), -logit_p
        if self.lot:
            rank = -logsigmoid(logit_p) - chance.gumbel(logit_p.shape[1])
            changes = (logit_p.sigmoid() * goes).sum(-1).round().clamp(min=1)
            goes = lowest(rank, goes, changes)
        return spaced(rank, goes, self.spacing) if self.spacing else goes

    def written(
        self, logit_p: Float[Tensor, "B L"], goes: Bool[Tensor, "B L"], scheduled: Bool[Tensor, "B L"], step: Step
    ) -> Bool[Tensor, "B L"]:
        """The masks to write; ``scheduled`` are those that the schedule alone would write."""
        if self.write == "schedule":
            return scheduled
        rank = logit_p.sigmoid() + goes  # what goes is written last
        most = (step.is_mask if self.write == "threshold" else scheduled).sum(-1)
        if self.write == "fit":
            return lowest(rank, step.is_mask, most)
        fits = (step.is_mask & ~goes).sum(-1)
        return lowest(rank, step.is_mask, fits.maximum(due(step)).minimum(most))


def spaced(rank: Float[Tensor, "B L"], among: Bool[Tensor, "B L"], apart: int) -> Bool[Tensor, "B L"]:
    """Positions of ``among``, the lowest ``rank`` first and of equals the first, none within ``apart`` places of one before it."""
    chosen, left = torch.zeros_like(among), among
    for _ in range(-(-among.shape[1] // (apart + 1))):  # more do not fit in
        best = lowest(rank, left, 1)
        near = max_pool1d(best.float(), 2 * apart + 1, 1, apart) > 0
        chosen, left = chosen | best, left & ~near
    return chosen
