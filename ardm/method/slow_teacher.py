"""A teacher that needs no law: what the denoiser itself changes in a text when it takes its time.

Minimal repair asks who knows the right texts. Here the frozen denoiser repairs the text in several long runs: a token is as wrong
as often as it ends changed. Of two tokens that contradict each other each run changes one, by lot: so each counts as much as it is
likely to be the wrong one, of equals one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import at_least_one, check_share
from ardm.base.streams import WORD, Chance
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.sampling import refine
from ardm.method.schedule import Schedule, lowest, nothing, revisable
from ardm.method.signals import log_prob_of
from ardm.method.types import Action, Denoiser, Float, Int, Step

__all__ = ["CarefulRepair", "SlowTeacher"]


@dataclass(frozen=True)
class CarefulRepair(ScheduledRule):
    """Hide one doubtful token a step; a later call writes it anew without having seen it, by a draw.

    Doubtful is what the denoiser, which sees it, gives a probability q below ``threshold``. Which of several is hidden is drawn in
    proportion to 1 - q (the largest of log(1 - q) plus Gumbel noise): the likely culprit first, and of equals each as often.
    """

    threshold: float = 0.8
    at_once: int = 1

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        at_least_one(self, "at_once")

    def revise(self, step: Step, chance: Chance) -> Action:
        q = log_prob_of(step.log_q, step.x).exp()
        among = revisable(step) & (q < self.threshold)
        doubt = (1 - q).log() + chance.gumbel(q.shape[1])
        return Action(write=nothing(step), remask=lowest(-doubt, among, self.at_once))


@dataclass(frozen=True)
class SlowTeacher:
    """The share of ``runs`` careful runs of ``calls`` calls each, from the very text, in which a token ends changed.

    Called as ``(x, truth)``, of which the truth is not looked at; 0 at masks, which have to change. A text draws its random numbers
    by its own tokens: its label is the same in every batch. One state costs ``runs`` times ``calls`` calls.
    """

    denoiser: Denoiser
    vocab_size: int
    runs: int = 6
    calls: int = 8
    rule: CarefulRepair = CarefulRepair(schedule=Schedule("surest"))

    def __post_init__(self) -> None:
        at_least_one(self, "runs", "calls")

    @torch.no_grad()
    def __call__(self, x: Int[Tensor, "B L"], truth: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        ended = [refine(self.denoiser, self.rule, x, self.calls, seed=run, first_row=_number(x)).x for run in range(self.runs)]
        return torch.stack([(end != x) & (x < self.vocab_size) for end in ended]).float().mean(0)


def _number(x: Int[Tensor, "B L"]) -> Int[Tensor, " B"]:
    """A number below 2^32 for each text, by its tokens."""
    number = torch.zeros_like(x[:, 0])
    for token in x.unbind(1):
        number = (number * 0x01000193 ^ token) & WORD
    return number
