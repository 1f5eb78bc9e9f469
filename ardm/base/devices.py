"""Where a run computes, and what a device lacks: one place for both."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from ardm.base.errors import InputError

__all__ = ["double", "launched", "pick_device", "single", "widest"]


def launched() -> bool:
    """Whether torchrun (``python -m torch.distributed.run``) started this process, as one of several or alone."""
    return torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()


def pick_device(name: str | None = None) -> torch.device:
    """The named device, else the one in ``ARDM_DEVICE``, else CUDA, else Apple's MPS, else the CPU.

    Of several processes that torchrun started each takes the GPU of its number.
    """
    name = name or os.environ.get("ARDM_DEVICE") or "auto"
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    kind = name.split(":")[0]
    if not present.get(kind, False):
        have = ", ".join(k for k, there in present.items() if there)
        raise InputError(f"device {name!r} is not here; choose one of auto, {have}")
    if name == "cuda" and launched():
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def widest(device: torch.device | str) -> torch.dtype:
    """The most precise floating-point type of a device: float64, and float32 on MPS, which has no other."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def double(x: Tensor) -> Tensor:
    """The tensor in the most precise type of its device. Nothing else in the package asks a tensor for float64."""
    return x.to(widest(x.device))


def single(x: Tensor) -> Tensor:
    """Half precision as float32, and anything wider as it is. Nothing else in the package widens logits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
