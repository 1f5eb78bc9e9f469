"""ReMDM: masked diffusion in which visible tokens are hidden again at random."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ardm.base.errors import check_choice, check_share
from ardm.base.streams import Chance
from ardm.method.entry import SKY, Entry, grid
from ardm.method.schedule import revisable
from ardm.method.types import Action, Float, Step

__all__ = ["ReMDM"]

LOOP_FROM, LOOP_TO = 0.55, 0.05
"""Diffusion times between which ``loop`` stands still."""

PLATEAU = 0.9
"""Share of the tokens kept meanwhile."""

DEFAULT_ETA = {"cap": 0.008, "rescale": 0.015, "loop": 0.02}
"""The paper's, for long text."""


@dataclass(frozen=True)
class ReMDM:
    """Masked diffusion that hides each visible token again with probability sigma (Wang et al. 2025, arXiv:2503.00307).

    With a share ``a`` of the tokens kept now and ``b`` after the step, sigma is at most min(1, (1 - b) / a): ``how="cap"`` takes
    the smaller of that and ``eta``, ``"rescale"`` that times ``eta``. Masks are written with probability
    (b - (1 - sigma) a) / (1 - a). ``by_confidence`` shares sigma out over the visible tokens by softmax(-q when written), so that
    the doubtful ones get most; masks, which have no confidence, are then written as if sigma were 0. ``loop`` writes nine tenths
    first, then hides and writes at a standstill between the diffusion times 0.55 and 0.05, then finishes. ``eta`` is by default
    the paper's for long text: 0.008 (cap), 0.015 (rescale), 0.02 (loop).
    """

    how: str = "cap"
    eta: float | None = None
    by_confidence: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        check_choice("how", self.how, ("cap", "rescale"))
        if self.eta is not None:
            check_share("eta", self.eta)

    def __call__(self, step: Step, chance: Chance) -> Action:
        time = 1 - (step.t - 1) / step.T
        a, b = self.kept(time), self.kept(1 - step.t / step.T)
        remask_prob = self.remask_prob(time, a, b)
        hide = remask_prob * _doubt(step) if self.by_confidence else remask_prob
        write = _write_prob(a, b, 0.0 if self.by_confidence else remask_prob)
        u = chance.uniform(step.x.shape[1])
        return Action(write=step.is_mask & (u < write), remask=revisable(step) & (u < hide))

    def kept(self, time: float) -> float:
        """The share of tokens kept at a diffusion time from 1 (none) to 0 (all)."""
        if not self.loop:
            return 1 - time
        if time > LOOP_FROM:
            return PLATEAU * (1 - time) / (1 - LOOP_FROM)
        return PLATEAU if time > LOOP_TO else 1 - (1 - PLATEAU) * time / LOOP_TO

    def remask_prob(self, time: float, a: float, b: float) -> float:
        """The paper's sigma at a diffusion time, with shares a and b kept before and after the step."""
        if self.loop and not LOOP_TO < time <= LOOP_FROM:
            return 0.0
        most = min(1.0, (1 - b) / a) if a > 0 else 1.0
        eta = self.eta or DEFAULT_ETA["loop" if self.loop else self.how]
        return min(eta, most) if self.how == "cap" else eta * most


def _write_prob(a: float, b: float, remask_prob: float) -> float:
    """The probability to write a mask that takes the share kept from a to b, in expectation."""
    if a >= 1:
        return 1.0
    return min(1.0, max(0.0, (b - (1 - remask_prob) * a) / (1 - a)))


def _doubt(step: Step) -> Float[Tensor, "B L"]:
    """softmax(-q when written) over the visible tokens of each text; 0 elsewhere and where no token is visible."""
    q = step.log_q_written.exp()
    return (-q).masked_fill(~revisable(step), -torch.inf).softmax(-1).nan_to_num(0.0)


ENTRIES = (
    Entry(
        name="ReMDM cap",
        source="arXiv:2503.00307",
        group="field",
        rule=ReMDM,
        knobs=grid(eta=(0.008, 0.05, 0.1, 0.2, 0.4, 0.8)),
        long=True,
        colour=SKY,
        mark="o",
    ),
    Entry(
        name="ReMDM rescale",
        source="arXiv:2503.00307",
        group="field",
        rule=partial(ReMDM, how="rescale"),
        knobs=grid(eta=(0.015, 0.1, 0.3, 0.6, 0.9)),
    ),
    Entry(
        name="ReMDM conf",
        source="arXiv:2503.00307",
        group="field",
        rule=partial(ReMDM, by_confidence=True),
        knobs=grid(eta=(0.008, 0.2, 0.5, 1.0)),
    ),
    Entry(
        name="ReMDM loop",
        source="arXiv:2503.00307",
        group="field",
        rule=partial(ReMDM, loop=True),
        knobs=grid(eta=(0.02, 0.1, 0.3, 0.6)),
    ),
)
