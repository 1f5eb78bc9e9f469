"""What a denoiser's prediction is worth in bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ardm.base.devices import double
from ardm.base.streams import generator
from ardm.method.signals import log_prob_of
from ardm.method.types import Denoiser, Float, Int

__all__ = ["bits_per_token"]


@torch.no_grad()
def bits_per_token(
    denoiser: Denoiser, x0: Int[Tensor, "B L"], vocab_size: int, *, seed: int, repeats: int = 4
) -> Float[Tensor, " B"]:
    r"""An upper bound, in bits per token, on what the denoiser needs to write each sequence in a random order.

    The mean over k = 1 .. L of (1/k) sum over k random masked positions of -log2 q_i(x0_i | the rest visible): the bound of
    order-agnostic models (Hoogeboom et al. 2022, arXiv:2110.02037, eq. 5), estimated from ``repeats`` times L masks spread
    evenly over k. With the exact conditionals it is the exact -log2 P(x0) / L in expectation over orders.
    """
    rng = generator(seed, "bits", "cpu")
    B, L = x0.shape
    total = torch.zeros(B, dtype=torch.float64)
    for _ in range(repeats):
        order = torch.rand(B, L, generator=rng).argsort(-1).argsort(-1)
        for k in range(1, L + 1):
            hidden = (order < k).to(x0.device)
            log_q = log_prob_of(denoiser(torch.where(hidden, vocab_size, x0), k / L).logits, x0)
            total -= double(((log_q * hidden).sum(-1) / k).cpu())
    return total / (repeats * L * math.log(2))
