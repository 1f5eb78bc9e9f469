"""x0 -> xt: masks, visible errors, and the positional schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.method.types import Bool, Float, Int

__all__ = ["Corrupted", "corrupt", "mask_more", "wrong_tokens"]


@dataclass(frozen=True)
class Corrupted:
    """``x``: the corrupted sequence, ids ``0 .. V``. ``is_mask`` and ``is_error`` say, per position, what was done to it."""

    x: Int[Tensor, "B L"]
    is_mask: Bool[Tensor, "B L"]
    is_error: Bool[Tensor, "B L"]


def corrupt(
    x0: Int[Tensor, "B L"],
    vocab_size: int,
    *,
    mask_rate: float | Float[Tensor, "..."],
    error_rate: float,
    generator: torch.Generator,
) -> Corrupted:
    """Mask each token with probability ``mask_rate``; replace each that stays visible with probability ``error_rate``.

    ``mask_rate`` broadcasts to ``[B, L]``: a number, a rate per sequence ``[B, 1]``, or a rate per position such as the
    positional prior r_i at a step. A replacement is any of the other V-1 tokens alike, so an error is always wrong.
    """
    if not 0.0 <= error_rate < 1.0:
        raise InputError(f"error_rate={error_rate}: it is a probability in [0, 1)")
    rate = torch.as_tensor(mask_rate, dtype=torch.float32, device=x0.device)
    if not ((rate >= 0) & (rate <= 1)).all():
        raise InputError(f"mask_rate from {rate.min():g} to {rate.max():g}: it is a probability in [0, 1]")
    uniform = torch.rand(2, *x0.shape, generator=generator, device=x0.device)
    is_mask = uniform[0] < rate
    is_error = ~is_mask & (uniform[1] < error_rate)
    x = torch.where(is_error, wrong_tokens(x0, vocab_size, generator=generator), x0)
    return Corrupted(torch.where(is_mask, vocab_size, x), is_mask, is_error)


def wrong_tokens(x0: Int[Tensor, "B L"], vocab_size: int, *, generator: torch.Generator) -> Int[Tensor, "B L"]:
    """For every position one of the V-1 tokens that differ from ``x0``, all alike."""
    if vocab_size < 2:
        raise InputError(f"vocab_size={vocab_size}: a wrong token needs a vocabulary of at least 2")
    shift = torch.randint(1, vocab_size, x0.shape, generator=generator, device=x0.device)
    return (x0 + shift) % vocab_size


def mask_more(x: Int[Tensor, "B L"], vocab_size: int, *, rate: float, generator: torch.Generator) -> Int[Tensor, "B L"]:
    """The same sequence a little earlier in its making: each token masked with probability ``rate`` on top."""
    hide = torch.rand(x.shape, generator=generator, device=x.device) < rate
    return torch.where(hide, vocab_size, x)
