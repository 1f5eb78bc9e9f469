"""Histograms of finished texts, and how far two of them are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.method.types import Float, Int

__all__ = ["finished", "histogram_distance", "pair_histogram"]


def finished(x: Tensor, vocab_size: int) -> Tensor:
    """The tokens on the CPU; refuses an empty sample, masks and other ids outside the vocabulary."""
    if not x.numel():
        raise InputError(f"x has shape {tuple(x.shape)}: give at least one character")
    low, high = int(x.min()), int(x.max())
    if low < 0 or high >= vocab_size:
        raise InputError(f"x holds ids {low} .. {high}: give finished text, with ids in 0 .. {vocab_size - 1}")
    return x.cpu().long()


def pair_histogram(x: Int[Tensor, "B L"], vocab_size: int) -> Float[Tensor, "V V"]:
    """``[V, V]``: the share of each pair (first, second) among neighbouring characters within windows; sums to 1."""
    if x.shape[1] < 2:
        raise InputError(f"windows of {x.shape[1]} characters: pairs need at least 2")
    x = finished(x, vocab_size)
    seen = double(torch.bincount((x[:, :-1] * vocab_size + x[:, 1:]).flatten(), minlength=vocab_size**2))
    return (seen / seen.sum()).reshape(vocab_size, vocab_size)


def histogram_distance(p: Float[Tensor, "..."], q: Float[Tensor, "..."]) -> float:
    """Total variation, in [0, 1], between two distributions of one shape."""
    if p.shape != q.shape:
        raise InputError(f"shapes {tuple(p.shape)} and {tuple(q.shape)}: compare distributions of one shape")
    return 0.5 * float((p - q).abs().sum())
