"""Gates in files: trained once, kept with the facts of their training, and those that are published with the book."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

from ardm.corpora import Corpus, open_corpus
from ardm.devices import pick_device
from ardm.files import check_writable
from ardm.gate import FOUR, OverwriteGate
from ardm.gate_training import GateRecipe, new_gate, train_gate
from ardm.provenance import provenance
from ardm.training import MODELS, load_denoiser, save_model
from ardm.types import Denoiser, InputError

__all__ = ["RECOMMENDED", "load_gate", "publish_gate", "trained_gate"]

RECOMMENDED = GateRecipe(head="attentive", signals=FOUR, label="likelihood_ratio", steps=300, rate=2e-3)
"""The gate that this book recommends, to be used with hide then refill: ``data/models/NAME-gate.safetensors`` for each published
denoiser NAME, made again by ``ardm train NAME-gate``.
"""


def trained_gate(
    denoiser: Denoiser,
    corpus: Corpus,
    recipe: GateRecipe,
    path: Path,
    *,
    device: torch.device | None = None,
    progress: bool = True,
) -> OverwriteGate:
    """The gate of the recipe in eval mode, from ``path``; trained and kept there when it is not there yet."""
    device = device or pick_device()
    if not path.is_file():
        _make(denoiser, corpus, recipe, path, device, progress)
    return _read(recipe, path, device)


def publish_gate(name: str, folder: Path = MODELS, *, device: torch.device | None = None, progress: bool = True) -> Path:
    """Train the recommended gate of the published denoiser ``name`` and write ``folder/NAME-gate.safetensors``."""
    denoiser, recipe, _ = load_denoiser(name, device=device)
    target = folder / f"{name}-gate.safetensors"
    _make(denoiser, open_corpus(recipe.corpus, recipe.length), RECOMMENDED, target, device or pick_device(), progress)
    return target


def load_gate(name: str, folder: Path = MODELS, *, device: torch.device | None = None) -> OverwriteGate:
    """The published gate of the published denoiser ``name``, in eval mode, with p = u."""
    path = folder / f"{name}-gate.safetensors"
    if not path.is_file():
        raise InputError(f"no gate {name!r} in {folder.name}/: make it with `ardm train {name}-gate`")
    return _read(RECOMMENDED, path, device or pick_device()).combined("gate_only")


def _make(denoiser: Denoiser, corpus: Corpus, recipe: GateRecipe, target: Path, device: torch.device, progress: bool) -> None:
    """Train a gate and write it with its facts, whole or not at all."""
    check_writable(target)
    began = time.perf_counter()
    made = train_gate(denoiser, corpus, recipe, device=device, progress=progress)
    facts = {
        "recipe": asdict(recipe),
        "loss": sum(made.losses[-50:]) / len(made.losses[-50:]),
        "losses": [round(loss, 5) for loss in made.losses],
        "seconds": round(time.perf_counter() - began, 1),
        "provenance": provenance(),
    }
    save_model(made.gate, target, facts)


def _read(recipe: GateRecipe, path: Path, device: torch.device) -> OverwriteGate:
    weights = load_file(path)
    reads = {"learned": "head.mlp.0.weight", "attentive": "head.read.weight"}.get(recipe.head)
    hidden = weights[reads].shape[1] - len(recipe.signals) - 3 if reads else 0
    gate = new_gate(recipe, hidden)
    gate.load_state_dict(weights)
    return gate.to(device).eval()
