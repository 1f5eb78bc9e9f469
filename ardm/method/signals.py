"""Uncertainty signals: one number per token from the denoiser's prediction, and the running standardiser.

Every function takes logits or log-probabilities alike (softmax of either is q) and works in float32 or better. Entropies and
log-probabilities are in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ardm.base.devices import double, single
from ardm.base.errors import InputError
from ardm.method.types import Bool, Float, Int

__all__ = [
    "Standardiser",
    "confidence_change",
    "divergence",
    "entropy",
    "log_prob_of",
    "margin",
    "placed_margin",
    "top_mass",
]


def normalised(logits: Float[Tensor, "... V"], check: bool = True) -> Float[Tensor, "... V"]:
    """log q, float32 or wider. ``check`` looks for NaN (``InputError``), and so waits for the device."""
    log_q = single(logits).log_softmax(-1)
    if check and log_q.isnan().any():
        raise InputError("logits hold NaN, +inf or a row of -inf only: no distribution; look for a diverged training upstream")
    return log_q


def entropy(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    r"""H_i = -sum_y q_i(y) log q_i(y), in [0, log V] nats. Forbidden tokens (logit -inf) count 0."""
    return entropy_in(normalised(logits))


def entropy_in(log_q: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    """The entropy, given log q."""
    q = log_q.exp()
    return -(q * log_q.masked_fill(q == 0, 0.0)).sum(-1)


def margin(logits: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    r"""M_i = z_(1) - z_(2): the log of how many times the first choice is likelier than the second, in [0, inf].

    Infinite when there is no second choice (V = 1, or all others forbidden).
    """
    return margin_in(normalised(logits))


def margin_in(log_q: Float[Tensor, "... V"]) -> Float[Tensor, "..."]:
    """The margin, given log q."""
    if log_q.shape[-1] < 2:
        return torch.full_like(log_q[..., 0], torch.inf)
    first, second = log_q.topk(2, dim=-1).values.unbind(-1)
    return first - second


def log_prob_of(logits: Float[Tensor, "... V"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """log q_i(tokens_i) in nats. A token outside the vocabulary (a mask) has no probability: its entry is 0."""
    return log_prob_in(normalised(logits), tokens)


def placed_margin(logits: Float[Tensor, "... V"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    r"""c_i = log q_i(tokens_i) - max over y != tokens_i of log q_i(y): how far the token leads its best rival, in nats.

    Below 0 when another token is likelier, +inf without a rival, -inf for a forbidden token; 0 for a mask, as in
    :func:`log_prob_of` (the confidence of Zhao et al. 2024, arXiv:2407.21243).
    """
    return placed_margin_in(normalised(logits), tokens)


def placed_margin_in(log_q: Float[Tensor, "... V"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The margin of these tokens, given log q."""
    known = _known(tokens, log_q)
    own = torch.zeros_like(log_q, dtype=torch.bool).scatter_(-1, torch.where(known, tokens, 0).unsqueeze(-1), True)
    return torch.where(known, log_prob_in(log_q, tokens) - log_q.masked_fill(own, -torch.inf).amax(-1), 0.0)


def top_mass(logits: Float[Tensor, "... V"], k: int = 5) -> Float[Tensor, "..."]:
    """The probability of the ``k`` likeliest tokens together, in (0, 1]; 1 when there are no more than ``k`` tokens."""
    if k < 1:
        raise InputError(f"k={k}: it is at least 1")
    log_q = normalised(logits)
    return log_q.topk(min(k, log_q.shape[-1]), dim=-1).values.exp().sum(-1)


def divergence(logits: Float[Tensor, "... V"], logits_before: Float[Tensor, "... V"] | None) -> Float[Tensor, "..."]:
    r"""How far the whole distribution moved in one step: the Jensen-Shannon divergence of q^t and q^(t-1), in [0, log 2] nats.

    H((q + q') / 2) - (H(q) + H(q')) / 2 (Lin 1991, doi:10.1109/18.61115): symmetric, and finite where the Kullback-Leibler
    divergence is not. Without a step before it is 0.
    """
    log_q = normalised(logits)
    if logits_before is None:
        return torch.zeros_like(log_q[..., 0])
    before = normalised(logits_before)
    q, r = log_q.exp(), before.exp()
    middle = torch.special.entr((q + r) / 2)
    return (middle - (torch.special.entr(q) + torch.special.entr(r)) / 2).sum(-1).clamp_min(0.0)


def _known(tokens: Int[Tensor, "..."], log_q: Float[Tensor, "... V"]) -> Bool[Tensor, "..."]:
    return (tokens >= 0) & (tokens < log_q.shape[-1])


def log_prob_in(log_q: Float[Tensor, "... V"], tokens: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
    """log q of these tokens, given log q of all."""
    known = _known(tokens, log_q)
    picked = log_q.gather(-1, torch.where(known, tokens, 0).unsqueeze(-1)).squeeze(-1)
    return torch.where(known, picked, 0.0)


def confidence_change(
    logits: Float[Tensor, "... V"],
    logits_before: Float[Tensor, "... V"] | None,
    tokens: Int[Tensor, "..."] | None = None,
) -> Float[Tensor, "..."]:
    r"""Delta-l_i = log q_i^t(y_i) - log q_i^(t-1)(y_i) in nats: how a token's log-probability moved in one step.

    ``tokens``: the true tokens in training; in sampling the placed ones, or the current argmax (the default). It is 0 without a
    step before, and for a token forbidden both times.
    """
    log_q = normalised(logits)
    if logits_before is None:
        return torch.zeros_like(log_q[..., 0])
    if tokens is None:
        tokens = log_q.argmax(-1)
    now, before = log_prob_in(log_q, tokens), log_prob_of(logits_before, tokens)
    return torch.where(now == before, 0.0, now - before)  # -inf - (-inf) is no number


class Standardiser(nn.Module):
    """Running mean and variance of all values seen in training mode; frozen in eval mode; saved in the state dict.

    The moments are those of the pooled values, merged batch by batch (Chan, Golub and LeVeque 1983,
    doi:10.1080/00031305.1983.10483115), so they equal what numpy gives on everything at once. Until some spread has been seen
    the scale is 1: a constant first batch, such as the confidence change of step 1, is centred and not blown up.
    """

    count: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("spread", torch.zeros((), dtype=torch.float64))  # sum of squared distances from the mean

    def _apply(self, fn: object, recurse: bool = True) -> Standardiser:
        """Stay where it is: three float64 numbers on the CPU serve every device, also those without float64 (MPS)."""
        return self

    @property
    def variance(self) -> Tensor:
        return self.spread / self.count.clamp_min(1)

    @torch.no_grad()
    def update(self, values: Float[Tensor, "..."], where: Bool[Tensor, "..."] | None = None) -> None:
        """Merge the finite ``values`` (those ``where`` it is true) into the running moments."""
        chosen = values if where is None else values[where]
        chosen = double(chosen[chosen.isfinite()].detach().cpu())
        if chosen.numel() == 0:
            return
        total = self.count + chosen.numel()
        gap = chosen.mean() - self.mean
        self.spread += (chosen - chosen.mean()).square().sum() + gap.square() * self.count * chosen.numel() / total
        self.mean += gap * chosen.numel() / total
        self.count.copy_(total)

    def forward(self, values: Float[Tensor, "..."], where: Bool[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
        """(values - mean) / standard deviation, after an update when in training mode."""
        if self.training:
            self.update(values, where)
        return self.scaled(values)

    def scaled(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """(values - mean) / standard deviation, by the moments as they are."""
        scale = self.variance.sqrt().item() if self.variance > 1e-12 else 1.0
        return (values - self.mean.item()) / scale
