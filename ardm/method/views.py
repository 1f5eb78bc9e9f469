"""Views of a denoiser: what some rules play through, because they need other draws or another q of visible tokens.

The loop draws every proposal, and a rule writes nothing else. A rule that would put another word in a visible place names a view
in its class, as ``view``: a denoiser around the denoiser, which asks it once a call and changes what it says of visible tokens
alone. Masks keep their q, and with it their draw and their place in an order. By hand that is
``refine(rule.view(denoiser), rule, x, steps, seed=seed)``.

A view reads whole distributions: of a denoiser that speaks by its head it makes the logits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ardm.base.devices import single
from ardm.base.errors import InputError, check_number
from ardm.method.inputs import check_prediction
from ardm.method.types import NEVER, Bool, Denoiser, Float, Int, Prediction, Step

__all__ = ["FirstChoice", "LeaveOneOut", "View", "seen_by"]

ERROR_RATE = 0.1
"""Which share of the visible tokens is wrong where this book's denoisers learn."""


@dataclass(frozen=True)
class View(ABC):
    """A denoiser seen through something: asked once a call, as any denoiser is, and changed at visible places by :meth:`seen`.

    ``InputError`` for a ``denoiser`` that cannot be called, or whose answer is no prediction of the text.
    """

    denoiser: Denoiser

    def __post_init__(self) -> None:
        if not callable(self.denoiser):
            raise InputError(f"denoiser={self.denoiser!r}: give something that can be called")

    @property
    def vocab_size(self) -> int | None:
        """V, the mask not counted; None where the denoiser does not say it."""
        return getattr(self.denoiser, "vocab_size", None)

    def __call__(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        said = self.denoiser(x, time)
        check_prediction(said, x)
        logits = single(said.logits)
        words = torch.arange(logits.shape[-1], device=logits.device)
        return self.seen(logits, said.hidden, x.unsqueeze(-1) == words)

    @abstractmethod
    def seen(self, logits: Float[Tensor, "B L V"], hidden: Float[Tensor, "B L D"], placed: Bool[Tensor, "B L V"]) -> Prediction:
        """What is said instead. ``placed``: the word that stands at each place; none does at a mask."""


@dataclass(frozen=True)
class FirstChoice(View):
    """Of a visible token the first choice, with certainty: that is then its proposal, whatever is drawn and at any temperature.

    How sure the denoiser itself was of it stands in one more column of ``hidden``, ``[B, L, D + 1]``: log q of its first choice
    in nats, at masks too. :meth:`log_q` reads it.
    """

    def seen(self, logits: Float[Tensor, "B L V"], hidden: Float[Tensor, "B L D"], placed: Bool[Tensor, "B L V"]) -> Prediction:
        top, best = logits.max(-1, keepdim=True)
        first = torch.zeros_like(placed).scatter(-1, best, True)
        certain = (logits - top).masked_fill(~first, NEVER)  # 0 for the first choice, and NaN stays NaN
        log_q = logits.log_softmax(-1).amax(-1, keepdim=True)
        return Prediction(torch.where(placed.any(-1, keepdim=True), certain, logits), torch.cat([hidden, log_q], dim=-1))

    @staticmethod
    def log_q(step: Step) -> Float[Tensor, "B L"]:
        """log q of the denoiser's own first choice, in nats, in a step that was seen through this view or was not.

        No denoiser is so certain that all other words have a logit of :data:`~ardm.method.types.NEVER`: there the last column of
        ``hidden`` tells, and elsewhere what the denoiser says now.
        """
        if step.hidden.shape[-1] == 0:
            return step.now.top
        return torch.where(step.now.margin == -NEVER, step.hidden[..., -1], step.now.top)


@dataclass(frozen=True)
class LeaveOneOut(View):
    """Of a visible token what the others say of its place: q without the evidence of the token itself.

    A denoiser that learned on texts with planted errors (:func:`~ardm.method.corruption.corrupt`) says of a visible token x_i
    q_i(v) = P(x0_i = v | x). There each visible token is wrong with probability e, on its own, and then any other of the V - 1
    words alike: p(x_i | v) is 1 - e for v = x_i and e / (V - 1) for another word. By Bayes' rule

        q_i(v) ~ P(x0_i = v | x without x_i) p(x_i | v),    so    P(x0_i = v | x without x_i) ~ q_i(v) / p(x_i | v):

    the logit of x_i falls by log((1 - e) (V - 1) / e), the others stay. A mask tells nothing of its word, and keeps its q. Exact
    for an exact denoiser; one that has learned is as far off as its q. What :func:`~ardm.method.labels.leave_one_out` asks for in
    L calls is read from one. Hidden states are not changed.

    Uniform diffusion has the same rule with an e that depends on the time (arXiv:2605.22765, eq. 13): there a token is kept with
    probability a and drawn among all V words otherwise, so that e = (1 - a) (V - 1) / V. Here masks carry the time, and e is one
    number. Both hold of errors that were planted: those that a sampler leaves are no such draws.

    ``error_rate``: e, in (0, 1), by default that of :class:`~ardm.method.train_denoiser.DenoiserRecipe`. ``InputError`` for
    another one, and for a vocabulary of one word.
    """

    error_rate: float = ERROR_RATE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("error_rate", self.error_rate)
        if not 0 < self.error_rate < 1:
            raise InputError(f"error_rate={self.error_rate}: it is a share in (0, 1), that of the denoiser's training")

    def seen(self, logits: Float[Tensor, "B L V"], hidden: Float[Tensor, "B L D"], placed: Bool[Tensor, "B L V"]) -> Prediction:
        V, e = logits.shape[-1], self.error_rate
        if V < 2:
            raise InputError("logits of 1 word: with no other word no token can be wrong, so there is nothing to leave out")
        evidence = math.log((1 - e) * (V - 1) / e)
        return Prediction(torch.where(placed, logits - evidence, logits), hidden)


def seen_by(rule: Callable[..., Any], denoiser: Denoiser) -> Denoiser:
    """The denoiser as the rule plays with it: through the view that its class names, or itself where it names none.

    ``rule``: a rule, its class, or a partial of it, as an :class:`~ardm.method.entry.Entry` has it.
    """
    while isinstance(rule, partial):
        rule = rule.func
    view = getattr(rule, "view", None)
    return denoiser if view is None else view(denoiser)
