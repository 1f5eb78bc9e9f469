"""The models that come with the package, by names a reader can say; ``ardm train NAME`` makes them again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.experiments.store import Store, facts_of, read_denoiser, read_gate
from ardm.method.denoiser import Transformer
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED, GateRecipe
from ardm.method.own_runs import OWN_RUNS, OwnRuns
from ardm.method.train_denoiser import DenoiserRecipe

__all__ = ["PUBLISHED", "REPAIRING", "check_name", "load_denoiser", "load_gate", "publish", "published_files"]

GRID = DenoiserRecipe(
    corpus="sudoku9", length=81, width=96, depth=4, heads=6, steps=3500, batch=32, rate=1.5e-3, prior_share=0.0, grid=True
)

PUBLISHED = {
    "agreement": DenoiserRecipe(steps=8000),
    "tinyshakespeare": DenoiserRecipe(corpus="tinyshakespeare", length=64, width=128, steps=4000, batch=32),
    "text8": DenoiserRecipe(corpus="text8", length=64, width=128, steps=3000, batch=32),
    "sudoku9": GRID,
    "sudoku9-long": replace(GRID, steps=16000),
    "toy": DenoiserRecipe(length=16, width=64, depth=2, steps=8000),
}
"""The denoisers that come with the package: ``NAME.safetensors``.

:meta hide-value:
"""

REPAIRING = {"toy": replace(OWN_RUNS["repair"], width=48)}
"""Which of them have a gate taught by minimal repair too, on its own runs: ``NAME-repair.safetensors``. Here it is narrower than
in the arena, to be sent with a page.

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


def load_gate(
    name: str, folder: Path = MODELS, *, repairing: bool = False, device: torch.device | None = None
) -> OverwriteGate:
    """The published gate of the published denoiser ``name``, in eval mode, with p = u.

    It is the recommended one, or that of :data:`REPAIRING`: ``InputError`` for a denoiser without it.
    """
    check_name(name)
    if repairing and name not in REPAIRING:
        raise InputError(f"no gate taught by minimal repair is published for {name!r}, only for {', '.join(REPAIRING)}")
    path = _there(f"{name}-repair" if repairing else f"{name}-gate", folder)
    recipe = REPAIRING[name] if repairing else RECOMMENDED
    return read_gate(recipe, path, device or pick_device()).combined("gate_only")


def publish(name: str, folder: Path = MODELS, *, device: torch.device | None = None, progress: bool = True) -> Path:
    """Train what is published as ``name``, a denoiser or with ``NAME-gate`` or ``NAME-repair`` a gate of it, and write it into
    ``folder``, whole or not at all.
    """
    check_name(name, gates=True)
    (of, gate), target = _parts(name), folder / f"{name}.safetensors"
    store = Store(folder, device or pick_device(), progress, published_files(folder))
    if gate is None:
        store.make_denoiser(PUBLISHED[of], target)
    else:
        store.make_gate(gate, PUBLISHED[of], target)
    return target


def check_name(name: str, *, gates: bool = False) -> None:
    """Raise ``InputError`` unless this is the name of a published denoiser, or with ``gates`` that of a gate of one."""
    if (_parts(name)[0] if gates else name) not in PUBLISHED:
        more = f", NAME-gate{''.join(f', {one}-repair' for one in REPAIRING)}" if gates else ""
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(PUBLISHED)}{more}")


def _parts(name: str) -> tuple[str, GateRecipe | OwnRuns | None]:
    """The denoiser that a name speaks of, and the recipe of its gate if it speaks of one."""
    of = name.removesuffix("-repair")
    if of != name and of in REPAIRING:
        return of, REPAIRING[of]
    of = name.removesuffix("-gate")
    return of, RECOMMENDED if of != name else None


def _there(name: str, folder: Path) -> Path:
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(f"no model {name!r} in {folder.name}/: make it with `ardm train {name}`")
    return path
