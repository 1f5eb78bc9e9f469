"""The overwrite gate: features -> u, positional prior -> r, both -> p. Everything is computed in logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ardm.prior import PositionalPrior
from ardm.signals import Standardiser, confidence_change, entropy, margin
from ardm.types import Bool, Float, InputError, Step

__all__ = ["COMBINE", "Features", "GateOutput", "LearnedHead", "LinearHead", "OverwriteGate", "select"]

LARGEST = 30.0  # nats; beyond e^-30 a difference no longer matters and an infinity would spoil the learned gate


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


@dataclass(frozen=True)
class Features:
    """What a gate sees of each token, in the document's order (section 2.4). The three signals are standardised."""

    hidden: Float[Tensor, "B L D"]
    entropy: Float[Tensor, "B L"]
    margin: Float[Tensor, "B L"]
    confidence_change: Float[Tensor, "B L"]
    position: Float[Tensor, "B L"]  # i / n, i from 0
    time: Float[Tensor, "B L"]  # t / T, t from 1
    prior: Float[Tensor, "B L"]  # r


class LinearHead(nn.Module):
    """logit u = beta_0 + beta_H H - beta_M M - beta_Delta dl, on standardised signals. Unit weights until trained."""

    def __init__(self, beta_0: float = 0.0, beta_H: float = 1.0, beta_M: float = 1.0, beta_Delta: float = 1.0) -> None:
        super().__init__()
        self.beta_0 = nn.Parameter(torch.tensor(float(beta_0)))
        self.beta_H = nn.Parameter(torch.tensor(float(beta_H)))
        self.beta_M = nn.Parameter(torch.tensor(float(beta_M)))
        self.beta_Delta = nn.Parameter(torch.tensor(float(beta_Delta)))

    def forward(self, f: Features) -> Float[Tensor, "B L"]:
        return self.beta_0 + self.beta_H * f.entropy - self.beta_M * f.margin - self.beta_Delta * f.confidence_change


class LearnedHead(nn.Module):
    """logit u = MLP([h; H; M; dl; i/n; t/T; r])."""

    def __init__(self, hidden: int, width: int = 64) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden + 6, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, f: Features) -> Float[Tensor, "B L"]:
        scalars = torch.stack([f.entropy, f.margin, f.confidence_change, f.position, f.time, f.prior], dim=-1)
        return self.mlp(torch.cat([f.hidden, scalars], dim=-1)).squeeze(-1)


@dataclass(frozen=True)
class GateOutput:
    """Logits of the overwrite probability p, of the uncertainty u and of the prior r; each ``[B, L]``."""

    logit_p: Float[Tensor, "B L"]
    logit_u: Float[Tensor, "B L"]
    logit_r: Float[Tensor, "B L"]


class OverwriteGate(nn.Module):
    """p_i^t, the probability to overwrite token i at step t.

    ``head`` turns features into the logit of u (:class:`LinearHead` or :class:`LearnedHead`), ``prior`` gives r, and ``combine``
    names one of :data:`COMBINE`. Each signal has its own standardiser: it learns the moments in training mode and is frozen in
    eval mode.
    """

    def __init__(self, head: nn.Module, prior: PositionalPrior | None = None, combine: str = "noisy_or") -> None:
        super().__init__()
        if combine not in COMBINE:
            raise InputError(f"combine={combine!r}: choose one of {', '.join(COMBINE)}")
        self.head = head
        self.prior = prior or PositionalPrior()
        self.combine = combine
        self.standard_entropy = Standardiser()
        self.standard_margin = Standardiser()
        self.standard_change = Standardiser()

    def combined(self, combine: str) -> OverwriteGate:
        """The same gate, parameters shared, with another way to combine u and r."""
        other = OverwriteGate(self.head, self.prior, combine).train(self.training)
        other.standard_entropy, other.standard_margin = self.standard_entropy, self.standard_margin
        other.standard_change = self.standard_change
        return other

    def features(self, step: Step, logit_r: Float[Tensor, "B L"]) -> Features:
        """The features of every token, given the logit of its prior."""
        B, L = step.x.shape
        one = torch.ones(B, L, device=step.x.device)
        change = confidence_change(step.log_q, step.log_q_before).clamp(-LARGEST, LARGEST)
        return Features(
            hidden=step.hidden.float(),
            entropy=self.standard_entropy(entropy(step.log_q).float()),
            margin=self.standard_margin(margin(step.log_q).float().clamp(max=LARGEST)),
            confidence_change=self.standard_change(change.float()),
            position=one * torch.arange(L, device=one.device) / L,
            time=one * step.t / step.T,
            prior=logit_r.sigmoid(),
        )

    def forward(self, step: Step) -> GateOutput:
        B, L = step.x.shape
        logit_r = self.prior(L, step.t, step.T).expand(B, L)
        logit_u = self.head(self.features(step, logit_r))
        return GateOutput(COMBINE[self.combine](logit_u, logit_r), logit_u, logit_r)


def select(
    logit_p: Float[Tensor, "B L"],
    allowed: Bool[Tensor, "B L"],
    generator: torch.Generator,
    *,
    how: str = "bernoulli",
    threshold: float = 0.5,
    limit: int | None = None,
) -> Bool[Tensor, "B L"]:
    """Which of the ``allowed`` tokens to act on.

    ``how="bernoulli"`` draws each with its probability p; ``"threshold"`` takes those with p > ``threshold``. ``limit`` keeps at
    most that many a sequence, the most probable first; with threshold 0 that is a fixed budget.
    """
    p = logit_p.sigmoid()
    if how == "bernoulli":
        chosen = torch.rand(p.shape, generator=generator, device=p.device) < p
    elif how == "threshold":
        chosen = p > threshold
    else:
        raise InputError(f"how={how!r}: choose bernoulli or threshold")
    chosen = chosen & allowed
    if limit is not None and limit < p.shape[-1]:
        rank = logit_p.masked_fill(~chosen, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(-1)
        chosen = chosen & (rank < limit)
    return chosen
