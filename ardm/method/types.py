"""The nouns of the package: denoiser, prediction, step, action, rule.

Sizes are spelt ``B`` (sequences), ``L`` (positions), ``V`` (vocabulary) and ``D`` (hidden width). Tokens are ``0 .. V-1``. The
mask is the one extra *input* id ``V``: a denoiser reads it and has no logit for it, so a mask can never be proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ardm.base.streams import Chance

try:  # annotations only: checked under pytest, not needed to run
    from jaxtyping import Bool, Float, Int
except ImportError:  # pragma: no cover
    Bool = Float = Int = object

__all__ = [
    "Action",
    "Bool",
    "Corpus",
    "Denoiser",
    "Float",
    "Int",
    "Prediction",
    "Rule",
    "Step",
]


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says of every position.

    ``logits``: ``[B, L, V]``, in nats up to a constant; softmax gives q. ``hidden``: ``[B, L, D]``, whatever the denoiser has
    to offer a learned gate (D may be 0).
    """

    logits: Float[Tensor, "B L V"]
    hidden: Float[Tensor, "B L D"]


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

    ``log_q`` and ``log_q_before`` are the denoiser's log-probabilities now and one step ago (``None`` at the first step), before
    any temperature. ``proposal`` is the token drawn for every position: one draw, the same whatever the rule.
    ``log_q_written`` is log q of the visible token at the step that wrote it, 0 where it was given or never written.
    ``overwrites`` counts how often each position has lost a visible token so far, replaced in place or hidden.
    """

    t: int
    T: int
    x: Int[Tensor, "B L"]
    proposal: Int[Tensor, "B L"]
    log_q: Float[Tensor, "B L V"]
    log_q_before: Float[Tensor, "B L V"] | None
    log_q_written: Float[Tensor, "B L"]
    hidden: Float[Tensor, "B L D"]
    is_mask: Bool[Tensor, "B L"]
    is_fixed: Bool[Tensor, "B L"]
    overwrites: Int[Tensor, "B L"]


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
