"""What is asked of texts and predictions before anything is done with them: one line that names what is wrong, and the fix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ardm.base.devices import widest
from ardm.base.errors import InputError
from ardm.method.types import Belief, Prediction

__all__ = ["check_fixed", "check_ids", "check_prediction", "check_range", "check_table", "check_uniform"]

IDS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_ids(name: str, x: Any, *, least: int = 0) -> None:
    """Texts are whole numbers ``[B, L]`` from 0 on, with B at least ``least`` and L at least 1."""
    if not isinstance(x, Tensor):
        raise InputError(f"{name} is a {type(x).__name__}: give a tensor of ids [B, L]")
    if x.dtype not in IDS:
        raise InputError(f"{name} holds {x.dtype}: ids are whole numbers, give {name}.long()")
    if x.dim() != 2:
        raise InputError(f"{name} of shape {tuple(x.shape)}: give [B, L], one text as {name}[None]")
    if len(x) < least or x.shape[1] < 1:
        raise InputError(f"{name} of shape {tuple(x.shape)}: there is nothing to read, give at least 1 token")


def check_range(name: str, x: Tensor, mask_id: int | None) -> None:
    """Ids go from 0 to that of the mask, where it is known. This waits for the device."""
    if x.numel() == 0:
        return
    low, high = int(x.min()), int(x.max())
    if low < 0 or (mask_id is not None and high > mask_id):
        last = "V" if mask_id is None else mask_id
        raise InputError(f"{name} holds id {low if low < 0 else high}: ids are 0 .. {last}, the last the mask")


def check_fixed(fixed: Any, x: Tensor) -> None:
    """Fixed positions are true or false, one for each id of ``x``, on its device. None is none."""
    if fixed is None:
        return
    if not isinstance(fixed, Tensor) or fixed.dtype != torch.bool:
        kind = fixed.dtype if isinstance(fixed, Tensor) else type(fixed).__name__
        raise InputError(f"fixed holds {kind}: give a tensor of True and False, {tuple(x.shape)} like x")
    if fixed.shape != x.shape:
        raise InputError(f"fixed of shape {tuple(fixed.shape)}: x has {tuple(x.shape)}, one for each id")
    if fixed.device != x.device:
        raise InputError(f"fixed lies on {fixed.device}, x on {x.device}: give fixed.to(x.device)")


def check_uniform(uniform: Any, x: Tensor) -> None:
    """One uniform number a position, of the most precise type of the device."""
    if not isinstance(uniform, Tensor) or uniform.dtype != widest(x.device):
        kind = uniform.dtype if isinstance(uniform, Tensor) else type(uniform).__name__
        raise InputError(f"uniform numbers of {kind}: {widest(x.device)} reaches the rare tokens")
    if uniform.shape != x.shape:
        raise InputError(f"uniform of shape {tuple(uniform.shape)}: x has {tuple(x.shape)}, one for each id")


def check_table(name: str, log_q: Any, x: Tensor) -> None:
    """A table has a row of numbers for each id of ``x``."""
    if not isinstance(log_q, Tensor) or log_q.dim() != 3 or not log_q.is_floating_point():
        kind = f"{log_q.dtype} {tuple(log_q.shape)}" if isinstance(log_q, Tensor) else type(log_q).__name__
        raise InputError(f"{name} is {kind}: give floating-point numbers [B, L, V]")
    if log_q.shape[:2] != x.shape or log_q.shape[2] < 1:
        raise InputError(f"{name} of shape {tuple(log_q.shape)}: x has {tuple(x.shape)}, one row of words for each id")


def check_prediction(said: Any, x: Tensor, before: Belief | None = None) -> None:
    """A denoiser speaks of every id of ``x``, and always of the same words."""
    if not isinstance(said, Prediction):
        raise InputError(f"the denoiser gave a {type(said).__name__}: it gives a Prediction(logits, hidden)")
    known = "logits" if said.head is None else "state"
    check_table(known, getattr(said, known), x)
    if not isinstance(said.hidden, Tensor) or said.hidden.dim() != 3 or said.hidden.shape[:2] != x.shape:
        raise InputError(f"hidden of shape {tuple(said.hidden.shape)}: x has {tuple(x.shape)}, one row for each id")
    words = said.logits.shape[-1] if said.head is None else len(said.head.weight)
    if before is not None and before.vocab_size != words:
        raise InputError(f"{known} of {words} words: the denoiser spoke of {before.vocab_size} one step before")
