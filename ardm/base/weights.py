"""Files of weights: safetensors with what there is to say of them as JSON in their head, whole or absent."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ardm.base.atomic import whole
from ardm.base.errors import InputError

__all__ = ["read_facts", "read_weights", "write_weights"]

FACTS = "ardm"
SUMS = "sums"
"""The fact that holds a checksum of each tensor, so that a bit that flipped on a disk is seen."""


def write_weights(path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors and the facts of them; whoever reads meets the whole file or none."""
    there = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    told = {**facts, SUMS: {name: _sum(value) for name, value in there.items()}}
    with whole(path) as part:
        save_file(there, part, metadata={FACTS: json.dumps(told)})


def read_facts(path: Path) -> dict[str, Any]:
    """What a file says of its weights, without reading these; ``InputError`` where it is not whole."""
    return _read(path, weights=False)[0]


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts and the tensors of a file, on the CPU; ``InputError`` where it is not whole, or not what was written."""
    facts, tensors = _read(path, weights=True)
    for name, value in tensors.items():
        if _sum(value) != facts.get(SUMS, {}).get(name):
            raise InputError(f"{path.name} is damaged ({name} is not what was written): remove it, and make it again")
    return facts, tensors


def _read(path: Path, *, weights: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[FACTS])
            names = file.keys() if weights else ()  # no dict
            return facts, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, TypeError, OSError, ValueError) as error:
        raise InputError(f"{path.name} is not a whole model ({error}): remove it, and make it again") from error


def _sum(value: Tensor) -> int:
    """A checksum (CRC-32) of the numbers."""
    return zlib.crc32(value.reshape(-1).view(torch.uint8).numpy())
