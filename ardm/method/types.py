"""The nouns of the package: denoiser, prediction, step, action, rule.

Sizes are spelt ``B`` (sequences), ``L`` (positions), ``V`` (vocabulary) and ``D`` (hidden width). Tokens are ``0 .. V-1``. The
mask is the one extra *input* id ``V``: a denoiser reads it and has no logit for it, so a mask can never be proposed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ardm.base.devices import single
from ardm.base.errors import InputError
from ardm.base.streams import Chance

try:  # annotations only: checked under pytest, not needed to run
    from jaxtyping import Bool, Float, Int
except ImportError:  # pragma: no cover
    Bool = Float = Int = object

__all__ = [
    "NEVER",
    "Action",
    "Belief",
    "Bool",
    "Corpus",
    "Denoiser",
    "Float",
    "Head",
    "Int",
    "Prediction",
    "Rule",
    "Step",
]


NEVER = -1e4
"""The logit of a token that is never proposed: next to nothing in any precision, and no infinity that would make a signal NaN."""


class Head(NamedTuple):
    """The last layer of a denoiser: logits are ``hidden @ weight.T + bias``. A bias of -inf forbids a word.

    ``never``: words whose logit is :data:`NEVER`, whatever the layer says.
    """

    weight: Float[Tensor, "V D"]
    bias: Float[Tensor, " V"] | None = None
    never: Bool[Tensor, " V"] | None = None

    def logits(self, hidden: Float[Tensor, "... D"]) -> Float[Tensor, "... V"]:
        """The logits of every word, float32 or wider."""
        logits = single(torch.nn.functional.linear(hidden, self.weight, self.bias))
        return logits if self.never is None else logits.masked_fill(self.never, NEVER)

    def log_prob(
        self, hidden: Float[Tensor, "B L D"], tokens: Int[Tensor, "B L"], log_sum: Float[Tensor, "B L"]
    ) -> Float[Tensor, "B L"]:
        """log q_i(tokens_i) in nats, given the log of the sum of exp(logits): one product of two vectors a position.

        A token outside the vocabulary (a mask) has no probability: its entry is 0. So the confidence change needs of the step
        before its hidden states and ``log_sum`` alone.
        """
        known = (tokens >= 0) & (tokens < len(self.weight))
        chosen = torch.where(known, tokens, 0)
        logit = (single(hidden) * single(self.weight[chosen])).sum(-1)
        if self.bias is not None:
            logit = logit + self.bias[chosen]
        logit = single(logit.to(hidden.dtype))  # as the layer rounds it
        if self.never is not None:
            logit = logit.masked_fill(self.never[chosen], NEVER)
        return torch.where(known, logit - log_sum, 0.0)


@dataclass(frozen=True, init=False, eq=False)
class Prediction:
    """What a denoiser says of every position: by ``logits``, or by a ``head`` and what it reads.

    ``logits``: ``[B, L, V]``, in nats up to a constant; softmax gives q. ``hidden``: ``[B, L, D]``, whatever the denoiser has
    to offer a learned gate (D may be 0). ``head`` stands for logits that are not made: it reads ``state``, ``[B, L, E]``, by
    default the hidden states. Where V is large this is the form to give; :attr:`logits` are then made when they are asked for.
    """

    hidden: Float[Tensor, "B L D"]
    head: Head | None
    state: Float[Tensor, "B L E"]

    def __init__(
        self,
        logits: Float[Tensor, "B L V"] | None = None,
        hidden: Float[Tensor, "B L D"] | None = None,
        *,
        head: Head | None = None,
        state: Float[Tensor, "B L E"] | None = None,
    ) -> None:
        """``InputError`` unless there are hidden states and either logits or a head."""
        if hidden is None:
            raise InputError("a prediction without hidden states: give hidden=logits[..., :0] where there are none")
        if (logits is None) == (head is None):
            raise InputError("a prediction is made from logits or from a head: give one of the two")
        vars(self).update(hidden=hidden, head=head, state=hidden if state is None else state)
        if logits is not None:
            vars(self).update(logits=logits)

    @cached_property
    def logits(self) -> Float[Tensor, "B L V"]:
        """The logits that were given, or those of the head, kept once they are made."""
        return self.head.logits(self.state)


class Belief(ABC):
    """q: what a denoiser holds every token to be, before any temperature. Everything is in nats.

    It has two forms, a table of log q and a head with what it reads (:mod:`ardm.method.belief`): a rule that asks for single
    numbers of each position works on both, and never needs the table of the second.
    """

    log_q: Float[Tensor, "B L V"]
    """log q of every word: the whole table, which the second form makes when it is first asked for."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V: how many words there are, which is the id of the mask."""

    @property
    @abstractmethod
    def entropy(self) -> Float[Tensor, "B L"]:
        """As :func:`ardm.method.signals.entropy`."""

    @property
    @abstractmethod
    def margin(self) -> Float[Tensor, "B L"]:
        """As :func:`ardm.method.signals.margin`."""

    @property
    @abstractmethod
    def best(self) -> Int[Tensor, "B L"]:
        """The likeliest token."""

    @property
    @abstractmethod
    def top(self) -> Float[Tensor, "B L"]:
        """log q of the likeliest token."""

    @abstractmethod
    def log_prob(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """As :func:`ardm.method.signals.log_prob_of`: 0 for a mask."""

    @abstractmethod
    def placed_margin(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """As :func:`ardm.method.signals.placed_margin`: 0 for a mask."""

    @abstractmethod
    def rows(self, where: Tensor) -> Belief:
        """The same of some sequences, by number or by a mask over B."""

    def change(self, before: Belief | None, tokens: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B L"]:
        """As :func:`ardm.method.signals.confidence_change`: of the likeliest tokens by default, 0 without a step before."""
        if before is None:
            return torch.zeros_like(self.top)
        tokens = self.best if tokens is None else tokens
        now, then = self.log_prob(tokens), before.log_prob(tokens)
        return torch.where(now == then, 0.0, now - then)  # -inf - (-inf) is no number


@runtime_checkable
class Corpus(Protocol):
    """Sequences to learn from: a law's, Sudoku grids, windows of a text. ``words`` are the vocabulary."""

    name: str
    words: tuple[str, ...]
    length: int

    @property
    def vocab_size(self) -> int: ...
    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]: ...
    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]: ...
    def decode(self, x: Int[Tensor, " L"]) -> str: ...


@runtime_checkable
class Denoiser(Protocol):
    """Anything that reads a corrupted sequence and predicts the clean token at every position.

    ``x``: ``[B, L]`` with ids ``0 .. V`` (``V`` is the mask). ``time``: diffusion time in (0, 1], 1 = nothing known yet.
    Our transformer, the exact oracle of a law and an adapter around another model are all denoisers.
    """

    def __call__(self, x: Int[Tensor, "B L"], time: float) -> Prediction: ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that a rule may look at when it decides, at step ``t`` of ``T``.

    ``now`` and ``before`` are what the denoiser says now and what it said one step ago (``None`` at the first step), before any
    temperature. ``proposal`` is the token drawn for every position: one draw, the same whatever the rule.
    ``log_q_written`` is log q of the visible token at the step that wrote it, 0 where it was given or never written.
    ``overwrites`` counts how often each position has lost a visible token so far, replaced in place or hidden.
    """

    t: int
    T: int
    x: Int[Tensor, "B L"]
    proposal: Int[Tensor, "B L"]
    now: Belief
    before: Belief | None
    log_q_written: Float[Tensor, "B L"]
    hidden: Float[Tensor, "B L D"]
    is_mask: Bool[Tensor, "B L"]
    is_fixed: Bool[Tensor, "B L"]
    overwrites: Int[Tensor, "B L"]

    @property
    def log_q(self) -> Float[Tensor, "B L V"]:
        """log q of every word now, for rules that need the whole distribution: with a head this makes the table."""
        return self.now.log_q

    @property
    def log_q_before(self) -> Float[Tensor, "B L V"] | None:
        """The same of the step before, None at the first step."""
        return None if self.before is None else self.before.log_q

    @property
    def change(self) -> Float[Tensor, "B L"]:
        """How the log-probability of the first choice moved in one step: 0 at the first."""
        return self.now.change(self.before)


@dataclass(frozen=True)
class Action:
    """What a rule does to each position: ``write`` the proposal, ``remask`` it, or (neither) keep it.

    The two masks are disjoint and never touch a fixed position. ``scores`` are per-position quantities worth recording, such as
    p, u and r.
    """

    write: Bool[Tensor, "B L"]
    remask: Bool[Tensor, "B L"]
    scores: Mapping[str, Float[Tensor, "B L"]] = field(default_factory=dict)


@runtime_checkable
class Rule(Protocol):
    """Decides, token by token, what a step does. Holds no state between steps: all it may use is in ``Step``, and random
    numbers of which each text has its own.
    """

    def __call__(self, step: Step, chance: Chance) -> Action: ...
