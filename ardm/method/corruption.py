"""x0 -> xt: masks, visible errors, and the positional schedule."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_number, check_whole
from ardm.method.inputs import check_ids, check_range
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
    check_ids("x0", x0)
    check_range("x0", x0, vocab_size)
    check_number("error_rate", error_rate)
    if not 0.0 <= error_rate < 1.0:
        raise InputError(f"error_rate={error_rate}: it is a probability in [0, 1)")
    if not isinstance(mask_rate, Tensor):
        check_number("mask_rate", mask_rate)
    rate = torch.as_tensor(mask_rate, dtype=torch.float32, device=x0.device)
    if not _broadcasts(rate.shape, x0.shape):
        raise InputError(f"mask_rate of shape {tuple(rate.shape)}: give a number, or rates that broadcast to {tuple(x0.shape)}")
    if not ((rate >= 0) & (rate <= 1)).all():
        raise InputError(f"mask_rate from {rate.min():g} to {rate.max():g}: it is a probability in [0, 1]")
    uniform = torch.rand(2, *x0.shape, generator=generator, device=x0.device)
    is_mask = uniform[0] < rate
    is_error = ~is_mask & (uniform[1] < error_rate)
    x = torch.where(is_error, wrong_tokens(x0, vocab_size, generator=generator), x0)
    return Corrupted(torch.where(is_mask, vocab_size, x), is_mask, is_error)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape[::-1], to[::-1], strict=False))


def wrong_tokens(x0: Int[Tensor, "B L"], vocab_size: int, *, generator: torch.Generator) -> Int[Tensor, "B L"]:
    """For every position one of the V-1 tokens that differ from ``x0``, all alike."""
    check_whole("vocab_size", vocab_size, 2)  # a wrong token is another one
    shift = torch.randint(1, vocab_size, x0.shape, generator=generator, device=x0.device)
    return (x0 + shift) % vocab_size


def mask_more(x: Int[Tensor, "B L"], vocab_size: int, *, rate: float, generator: torch.Generator) -> Int[Tensor, "B L"]:
    """The same sequence a little earlier in its making: each token masked with probability ``rate`` on top."""
    check_ids("x", x)
    check_number("rate", rate)
    if not 0 <= rate <= 1:
        raise InputError(f"rate={rate}: it is a probability in [0, 1]")
    hide = torch.rand(x.shape, generator=generator, device=x.device) < rate
    return torch.where(hide, vocab_size, x)
