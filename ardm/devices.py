"""Where a run computes and from which seeds: one place for both."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from ardm.types import InputError

__all__ = ["generator", "pick_device", "seed_everything"]


def pick_device(name: str | None = None) -> torch.device:
    """The named device, else the one in ``ARDM_DEVICE``, else CUDA, else Apple's MPS, else the CPU."""
    name = name or os.environ.get("ARDM_DEVICE") or "auto"
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    kind = name.split(":")[0]
    if not present.get(kind, False):
        have = ", ".join(k for k, there in present.items() if there)
        raise InputError(f"device {name!r} is not here; choose one of auto, {have}")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (every device)."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed={seed}: it is in [0, 2^32)")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  the global one, for libraries that still use it
    torch.manual_seed(seed)


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of its own for each purpose: the same seed gives unrelated numbers to different streams."""
    if seed < 0:
        raise InputError(f"seed={seed}: it is at least 0")
    state = np.random.SeedSequence([seed, *stream.encode()]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)
