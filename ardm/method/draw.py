"""From probabilities to tokens: a uniform number for each position, and the inverse of the cumulative distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.devices import double, widest
from ardm.base.errors import InputError, check_number, check_whole
from ardm.method.types import Float, Int

__all__ = ["Draw"]

BLOCK = {"cpu": 2**18}
"""Weights that are worked on at once, by kind of device: those that stay in a cache."""

MOST = 2**26
"""The same where there is no such limit: half a gigabyte of float64."""


@dataclass(frozen=True)
class Draw:
    """Draws a token for every position from q^(1/temperature), normalised.

    ``temperature`` 0 takes the most probable token. ``top_k`` keeps the k likeliest tokens, ``top_p`` the fewest likeliest ones
    whose probabilities reach p (Holtzman et al. 2020, arXiv:1904.09751); both look at q after the temperature, top_k first.

    A token takes up an interval of [0, 1) as long as its probability, in the order of the ids, and is drawn when the uniform
    number lies in it. Sums are float64 (float32 on a device with nothing wider). In float32 rare tokens are lost and the draw
    acts as a lower temperature (Zheng et al. 2024, arXiv:2409.02908, for the Gumbel trick). Two distributions that are close give
    different tokens a little more often than with a Gumbel number for every word, since mass that moves between two ids shifts
    every edge between them; the number of random numbers does not grow with V.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature)
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"temperature={self.temperature}: it is at least 0 and finite")
        if self.top_k is not None:
            check_whole("top_k", self.top_k, 1)
        if self.top_p is not None:
            check_number("top_p", self.top_p)
            if not 0 < self.top_p <= 1:
                raise InputError(f"top_p={self.top_p}: it is a probability in (0, 1]")

    def __call__(
        self, log_q: Float[Tensor, "B L V"], uniform: Float[Tensor, "B L"], *, check: bool = True
    ) -> Int[Tensor, "B L"]:
        """The token of every position.

        ``log_q``: log-probabilities in nats, up to a constant a position, of any precision; -inf forbids a token. ``uniform``:
        numbers in [0, 1) as ``Chance.uniform`` gives them. Raises ``InputError`` where there is no distribution (NaN, +inf,
        every token forbidden; this waits for the device, ``check=False`` leaves it out), and for uniform numbers with too few
        bits.
        """
        if log_q.dim() != 3 or log_q.shape[:2] != uniform.shape or not log_q.is_floating_point():
            given = f"{log_q.dtype} {tuple(log_q.shape)}"
            raise InputError(f"log_q of {given}: give numbers [B, L, V] for uniform numbers of {tuple(uniform.shape)}")
        if uniform.dtype != widest(uniform.device):
            raise InputError(f"uniform numbers of {uniform.dtype}: {widest(uniform.device)} reaches the rare tokens")
        top = log_q.amax(-1, keepdim=True)
        if check and not top.isfinite().all():
            raise InputError(
                "log_q holds NaN, +inf or a row of -inf only: no distribution; look for a diverged training upstream"
            )
        if self.temperature == 0:
            return log_q.argmax(-1)
        positions = BLOCK.get(log_q.device.type, MOST) // log_q.shape[-1] + 1
        blocks = zip(*(x.flatten(0, 1).split(positions) for x in (log_q, top, uniform)), strict=True)
        return torch.cat([_inverse_cdf(self._weights(*block), u) for *block, u in blocks]).view(uniform.shape)

    def _weights(self, log_q: Tensor, top: Tensor) -> Tensor:
        """``[N, V]``: the probability of every token over that of the likeliest, 0 for those cut off."""
        score = (double(log_q) - double(top)).div_(
            float(self.temperature)
        )  # the likeliest stays at 0 however low the temperature
        if self.top_k is not None and self.top_k < score.shape[-1]:
            kept = torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(self.top_k, dim=-1).indices, True)
            score = score.masked_fill(~kept, -torch.inf)
        if self.top_p is not None:
            q, order = score.softmax(-1).sort(dim=-1, descending=True, stable=True)
            enough = q.cumsum(-1) - q >= self.top_p  # the tokens before this one already reach p
            score = score.masked_fill(torch.zeros_like(enough).scatter_(-1, order, enough), -torch.inf)
        return score.exp_()


def _inverse_cdf(weights: Float[Tensor, "N V"], uniform: Float[Tensor, " N"]) -> Int[Tensor, " N"]:
    """The token whose interval holds the uniform number, in two stages: which chunk of the vocabulary, then which of its tokens.

    One running sum over all V tokens would cost V dependent additions a position and collect V roundings; with chunks of about
    sqrt(V) both are 2 sqrt(V).
    """
    size = math.isqrt(weights.shape[-1] - 1) + 1
    chunks = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % size)).unflatten(-1, (-1, size))
    sums = chunks.sum(-1)
    edges = sums.cumsum(-1)
    target = (uniform * edges[..., -1]).unsqueeze(-1)
    chunk = _first_past(sums, edges, target)
    inside = chunks.gather(-2, chunk.unsqueeze(-1).expand(*chunk.shape[:-1], 1, size)).squeeze(-2)
    before = torch.nn.functional.pad(edges[..., :-1], (1, 0)).gather(-1, chunk)
    return (chunk * size + _first_past(inside, inside.cumsum(-1), target - before)).squeeze(-1)


def _first_past(weights: Tensor, edges: Tensor, target: Tensor) -> Tensor:
    """``[N, 1]``: the first place of positive weight whose right edge lies past the target.

    Where rounding leaves the target past every edge it is the last place of positive weight.
    """
    positive = weights > 0
    past = positive & (edges > target)
    first = past.int().argmax(-1, keepdim=True)
    last = positive.cumsum(-1).argmax(-1, keepdim=True)
    return torch.where(past.any(-1, keepdim=True), first, last)
