"""The models that come with the package, by names a reader can say; ``ardm train NAME`` makes them again."""

from __future__ import annotations

from pathlib import Path

import torch

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.experiments.store import Store, facts_of, read_denoiser, read_gate
from ardm.method.denoiser import Transformer
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.train_denoiser import DenoiserRecipe

__all__ = ["PUBLISHED", "check_name", "load_denoiser", "load_gate", "publish", "published_files"]

PUBLISHED = {
    "agreement": DenoiserRecipe(steps=8000),
    "tinyshakespeare": DenoiserRecipe(corpus="tinyshakespeare", length=64, width=128, steps=4000, batch=32),
    "text8": DenoiserRecipe(corpus="text8", length=64, width=128, steps=3000, batch=32),
    "sudoku9": DenoiserRecipe(
        corpus="sudoku9", length=81, width=96, depth=4, heads=6, steps=3500, batch=32, rate=1.5e-3, prior_share=0.0, grid=True
    ),
    "toy": DenoiserRecipe(length=16, width=64, depth=2, steps=8000),
}
"""The denoisers that come with the package: ``NAME.safetensors``.

:meta hide-value:
"""


def published_files(folder: Path = MODELS) -> tuple[Path, ...]:
    """The files of the published models, for a store to look into."""
    return tuple(sorted(folder.glob("*.safetensors")))


def load_denoiser(
    name: str, folder: Path = MODELS, *, device: torch.device | None = None
) -> tuple[Transformer, DenoiserRecipe, dict]:
    """The published denoiser ``name`` in eval mode, its recipe, and the facts stored with it (words, losses, provenance)."""
    check_name(name)
    path = _there(name, folder)
    return read_denoiser(PUBLISHED[name], path, device or pick_device()), PUBLISHED[name], facts_of(path)


def load_gate(name: str, folder: Path = MODELS, *, device: torch.device | None = None) -> OverwriteGate:
    """The published gate of the published denoiser ``name``, in eval mode, with p = u."""
    check_name(name)
    path = _there(f"{name}-gate", folder)
    return read_gate(RECOMMENDED, path, device or pick_device()).combined("gate_only")


def publish(name: str, folder: Path = MODELS, *, device: torch.device | None = None, progress: bool = True) -> Path:
    """Train the published denoiser ``name``, or with ``NAME-gate`` its gate, and write it into ``folder``, whole or not at all."""
    check_name(name, gates=True)
    stem, target = name.removesuffix("-gate"), folder / f"{name}.safetensors"
    store = Store(folder, device or pick_device(), progress, published_files(folder))
    if name == stem:
        store.make_denoiser(PUBLISHED[stem], target)
    else:
        store.make_gate(RECOMMENDED, PUBLISHED[stem], target)
    return target


def check_name(name: str, *, gates: bool = False) -> None:
    """Raise ``InputError`` unless this is the name of a published denoiser, or with ``gates`` that of its gate."""
    if (name.removesuffix("-gate") if gates else name) not in PUBLISHED:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(PUBLISHED)}{', or NAME-gate' * gates}")


def _there(name: str, folder: Path) -> Path:
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(f"no model {name!r} in {folder.name}/: make it with `ardm train {name}`")
    return path
