"""The overwrite gate: features -> u, positional prior -> r, both -> p. Everything is computed in logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ardm.base.errors import InputError, check_choice, check_number, check_whole
from ardm.method.denoiser import Block
from ardm.method.prior import PositionalPrior
from ardm.method.signals import (
    Standardiser,
    divergence,
    top_mass,
)
from ardm.method.types import Float, Step

__all__ = [
    "ATTENTION_HEADS",
    "COMBINE",
    "DOCUMENT",
    "FOUR",
    "SIGNALS",
    "AttentiveHead",
    "Features",
    "GateOutput",
    "LearnedHead",
    "LinearHead",
    "OverwriteGate",
]

ATTENTION_HEADS = 4
"""How many attention heads an attentive head has by default; its width is a multiple of it."""

LARGEST = 30.0
"""Nats at which signals are cut: e^-30 is next to nothing, and an infinite signal would turn the weights into NaN."""


def _either(a: Tensor, b: Tensor) -> Tensor:
    """Logit of 1 - (1 - sigmoid(a))(1 - sigmoid(b)): the odds are e^a + e^b + e^(a+b), so no cancellation at 0 or 1."""
    return torch.stack(torch.broadcast_tensors(a, b, a + b)).logsumexp(0)


COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "noisy_or": _either,  # p = 1 - (1 - u)(1 - r): the document's; p >= max(u, r), so the gate can never veto
    "product": lambda u, r: -_either(-u, -r),  # p = u r: p <= min(u, r), so the prior can veto
    "logit_sum": lambda u, r: u + r,  # odds multiply
    "gate_only": lambda u, r: u + torch.zeros_like(r),  # p = u
    "prior_only": lambda u, r: torch.zeros_like(u) + r,  # p = r: the fixed schedule
}
"""How the logits of u and r make the logit of p."""

SIGNALS: dict[str, Callable[[Step], Float[Tensor, "B L"]]] = {
    "entropy": lambda step: step.now.entropy,
    "margin": lambda step: step.now.margin,
    "confidence_change": lambda step: step.change,
    "placed_log_prob": lambda step: step.now.log_prob(step.x),
    "placed_margin": lambda step: step.now.placed_margin(step.x),
    "placed_change": lambda step: step.now.change(step.before, step.x),
    "top_mass": lambda step: top_mass(step.log_q),
    "divergence": lambda step: divergence(step.log_q, step.log_q_before),
}
"""What a gate can be given of each token: the document's three, those of the placed token, and two of the whole distribution."""

DOCUMENT = ("entropy", "margin", "confidence_change")
"""The three signals of the starting document, in its order (section 2.4)."""

FOUR = (*DOCUMENT, "placed_log_prob")
"""The document's three signals, and the log-probability of the token that stands there."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What a head sees of each token, in the document's order (section 2.4). The signals are standardised."""

    hidden: Float[Tensor, "B L D"]
    signals: Float[Tensor, "B L S"]
    position: Float[Tensor, "B L"]  # i / n, i from 0
    time: Float[Tensor, "B L"]  # t / T, t from 1
    prior: Float[Tensor, "B L"]  # r

    def joined(self, hidden: int) -> Float[Tensor, "B L F"]:
        """[h; signals; i/n; t/T; r] of each token, F = D + S + 3; without h, F = S + 3.

        ``hidden``: how wide h has to be, 0 leaves it out. ``InputError`` for another denoiser's.
        """
        columns = [self.signals, torch.stack([self.position, self.time, self.prior], dim=-1)]
        if not hidden:
            return torch.cat(columns, dim=-1)
        if self.hidden.shape[-1] != hidden:
            raise InputError(f"hidden states of width {self.hidden.shape[-1]}: this gate is for {hidden}, that of its denoiser")
        return torch.cat([self.hidden, *columns], dim=-1)


class LinearHead(nn.Module):
    """logit u = beta_0 + sum_s beta_s s, on the standardised signals s.

    The default is the document's formula with unit weights: beta = (beta_H, -beta_M, -beta_Delta) = (1, -1, -1).
    """

    def __init__(self, beta: Sequence[float] = (1.0, -1.0, -1.0), beta_0: float = 0.0) -> None:
        super().__init__()
        for weight in (beta_0, *beta):
            check_number("beta", weight)
        self.beta_0 = nn.Parameter(torch.tensor(float(beta_0)))
        self.beta = nn.Parameter(torch.tensor([float(weight) for weight in beta]))

    def forward(self, f: Features) -> Float[Tensor, "B L"]:
        if f.signals.shape[-1] != len(self.beta):
            raise InputError(f"beta has {len(self.beta)} weights for {f.signals.shape[-1]} signals: give one for each")
        return self.beta_0 + f.signals @ self.beta


def _check_sizes(hidden: int, signals: int, width: int) -> None:
    check_whole("hidden", hidden, 0, 2**31)
    check_whole("signals", signals, 0, 2**31)
    check_whole("width", width, 1, 2**31)


class LearnedHead(nn.Module):
    """logit u = MLP([h; signals; i/n; t/T; r]), by default with the document's three signals; ``hidden=0`` leaves h out."""

    def __init__(self, hidden: int, signals: int = len(DOCUMENT), width: int = 64) -> None:
        super().__init__()
        _check_sizes(hidden, signals, width)
        self.hidden = hidden
        self.mlp = nn.Sequential(nn.Linear(hidden + signals + 3, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, f: Features) -> Float[Tensor, "B L"]:
        return self.mlp(f.joined(self.hidden)).squeeze(-1)


class AttentiveHead(nn.Module):
    """logit u = w . block(W [h; signals; i/n; t/T; r]), with one transformer block over the positions.

    The other heads judge each token alone. Here tokens see each other, so that of two which contradict each other one can stay.
    """

    def __init__(self, hidden: int, signals: int = len(DOCUMENT), width: int = 64, heads: int = ATTENTION_HEADS) -> None:
        super().__init__()
        _check_sizes(hidden, signals, width)
        self.hidden = hidden
        self.read = nn.Linear(hidden + signals + 3, width)
        self.block = Block(width, heads)
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 1)

    def forward(self, f: Features) -> Float[Tensor, "B L"]:
        return self.readout(self.norm(self.block(self.read(f.joined(self.hidden))))).squeeze(-1)


@dataclass(frozen=True)
class GateOutput:
    """Logits of the overwrite probability p, of the uncertainty u and of the prior r; each ``[B, L]``."""

    logit_p: Float[Tensor, "B L"]
    logit_u: Float[Tensor, "B L"]
    logit_r: Float[Tensor, "B L"]


class OverwriteGate(nn.Module):
    """p_i^t, the probability to overwrite token i at step t.

    ``head`` turns features into the logit of u (:class:`LinearHead`, :class:`LearnedHead` or :class:`AttentiveHead`), ``prior``
    gives r. ``combine`` names one of :data:`COMBINE`, ``signals`` some of :data:`SIGNALS`. Each signal has a standardiser of its
    own, which learns the moments in training mode, is frozen in eval mode, and is saved in the state dict.
    """

    def __init__(
        self,
        head: nn.Module,
        prior: PositionalPrior | None = None,
        combine: str = "noisy_or",
        signals: Sequence[str] = DOCUMENT,
    ) -> None:
        super().__init__()
        check_choice("combine", combine, COMBINE)
        if isinstance(signals, str) or not isinstance(signals, Sequence):
            raise InputError(f"signals={signals!r}: give a tuple of names out of {', '.join(SIGNALS)}")
        for name in signals:
            check_choice("signals", name, SIGNALS)
        self.head = head
        self.prior = prior or PositionalPrior()
        self.combine = combine
        self.standard = nn.ModuleDict({name: Standardiser() for name in signals})

    def combined(self, combine: str) -> OverwriteGate:
        """The same gate, parameters and moments shared, with another way to combine u and r."""
        other = OverwriteGate(self.head, self.prior, combine, tuple(self.standard)).train(self.training)
        other.standard = self.standard
        return other

    def measure(self, name: str, step: Step) -> Float[Tensor, "B L"]:
        """One signal of every token, finite, before standardisation."""
        return SIGNALS[name](step).float().clamp(-LARGEST, LARGEST)

    def signals(self, step: Step, whole: Callable[[Tensor], Tensor] | None = None) -> Float[Tensor, "B L S"]:
        """The standardised signals of every token; in training mode the standardisers learn them first.

        ``whole`` makes of the values of some rows those of the whole batch, where other processes hold the rest.
        """
        columns = []
        for name, standard in self.standard.items():
            values = self.measure(name, step)
            if standard.training:
                standard.update(values if whole is None else whole(values))
            columns.append(standard.scaled(values))
        return torch.stack(columns, dim=-1) if columns else torch.zeros(*step.x.shape, 0, device=step.x.device)

    def features(self, step: Step, logit_r: Float[Tensor, "B L"], signals: Float[Tensor, "B L S"] | None = None) -> Features:
        """The features of every token, given the logit of its prior and, where they are known, its standardised signals."""
        B, L = step.x.shape
        one = torch.ones(B, L, device=step.x.device)
        return Features(
            hidden=step.hidden.float(),
            signals=self.signals(step) if signals is None else signals,
            position=one * torch.arange(L, device=one.device) / L,
            time=one * step.t / step.T,
            prior=logit_r.sigmoid(),
        )

    def forward(self, step: Step, signals: Float[Tensor, "B L S"] | None = None) -> GateOutput:
        """The logits of p, u and r of every token; ``signals``, where they are known, are :meth:`signals` of the step."""
        B, L = step.x.shape
        logit_r = self.prior(L, step.t, step.T).expand(B, L)
        logit_u = self.head(self.features(step, logit_r, signals))
        return GateOutput(COMBINE[self.combine](logit_u, logit_r), logit_u, logit_r)
