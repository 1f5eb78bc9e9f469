"""One store for trained models: ask with a recipe, get the trained denoiser or gate; what is missing is made first.

A file is named by its key: the recipe, the code and data it depends on, and the versions of what computes. What is loaded is
checked against what was asked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ardm.base import fingerprint
from ardm.base.atomic import check_writable
from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.processes import leads, processes
from ardm.base.provenance import provenance
from ardm.base.weights import read_facts, read_weights, write_weights
from ardm.method.denoiser import Transformer
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import GateRecipe
from ardm.method.own_runs import RATIO, REPAIR, SLOW, OwnRuns
from ardm.method.slow_teacher import SlowTeacher
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser, validation_loss
from ardm.method.train_gate import new_gate, train_gate
from ardm.method.train_on_own_runs import Repaired, new_reading_gate, train_on_own_runs
from ardm.method.train_unified import new_unified_gate, train_unified
from ardm.method.training import Run
from ardm.method.unified import Unified
from ardm.worlds.corpora import checksum, open_corpus
from ardm.worlds.repairs import minimal_repair
from ardm.worlds.world import world_of

__all__ = ["Made", "Store", "denoiser_made", "facts_of", "gate_made", "read_denoiser", "read_gate", "untrained_gate"]


TRAINING = ".training"
"""What ends the name of the checkpoint that lies beside a model's file while it is trained."""


@dataclass(frozen=True)
class Made:
    """All that decides a trained model: its recipe, and the code, data and versions it was made with."""

    kind: str  # denoiser or gate
    recipe: dict[str, Any]
    of: str  # a gate: the key of its denoiser
    code: str
    data: str
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """A short name of exactly this model."""
        return fingerprint.digest(asdict(self))


@cache
def denoiser_made(recipe: DenoiserRecipe) -> Made:
    """What decides the denoiser of a recipe, made here and now."""
    code = fingerprint.code("ardm.method.train_denoiser", "ardm.worlds.corpora")
    return Made("denoiser", _plain(recipe), "", code, checksum(recipe.corpus), fingerprint.versions())


GateOf = GateRecipe | OwnRuns
"""The recipes of gates, by the way in which they learn."""


TEACHERS = {REPAIR: ("ardm.worlds.repairs",), RATIO: (), SLOW: ("ardm.method.slow_teacher",)}
"""The modules of who teaches a gate on its own runs, by label."""


def _trainer(recipe: GateOf) -> str:
    """The module that trains the gate of a recipe."""
    if isinstance(recipe, Unified):
        return "ardm.method.train_unified"
    return "ardm.method.train_on_own_runs" if isinstance(recipe, OwnRuns) else "ardm.method.train_gate"


@cache
def gate_made(recipe: GateOf, of: DenoiserRecipe) -> Made:
    """What decides the gate of a recipe for the denoiser of another, made here and now."""
    teachers = TEACHERS[recipe.label] if isinstance(recipe, OwnRuns) else ()
    code = fingerprint.code(_trainer(recipe), *teachers, "ardm.worlds.corpora")
    return Made("gate", _plain(recipe), denoiser_made(of).key, code, checksum(of.corpus), fingerprint.versions())


def _plain(recipe: DenoiserRecipe | GateOf) -> dict[str, Any]:
    """The recipe as JSON gives it back."""
    return json.loads(json.dumps(asdict(recipe)))


@dataclass
class Store:
    """Trained models in a folder, each in a file named by its key. ``also``: files elsewhere, such as the published ones.

    While one is trained there is a checkpoint beside its file, from which a training that was stopped goes on: ``KEY.training``,
    written anew ``every`` so many seconds.
    """

    folder: Path
    device: torch.device = field(default_factory=pick_device)
    progress: bool = False
    also: tuple[Path, ...] = ()
    every: float = 60.0

    def denoiser(self, recipe: DenoiserRecipe) -> Transformer:
        """The denoiser of the recipe in eval mode; trained and kept when it is not here yet."""
        path = self.file(denoiser_made(recipe))
        if not path.is_file():
            self.make_denoiser(recipe, path)
        return read_denoiser(recipe, path, self.device)

    def gate(self, recipe: GateOf, of: DenoiserRecipe) -> OverwriteGate:
        """The gate of the recipe, for the denoiser of the other, in eval mode; trained and kept when it is not here yet."""
        path = self.file(gate_made(recipe, of))
        if not path.is_file():
            self.make_gate(recipe, of, path)
        return read_gate(recipe, path, self.device)

    def file(self, made: Made) -> Path:
        """Where the model lies, or is going to lie."""
        known = (path for path in self.also if path.is_file() and read_facts(path).get("key") == made.key)
        return next(known, self.folder / f"{made.key}.safetensors")

    def make_denoiser(self, recipe: DenoiserRecipe, path: Path) -> None:
        """Train the denoiser of the recipe and write it with the facts of its training, whole or not at all."""
        _check(path)
        corpus, made = open_corpus(recipe.corpus, recipe.length), denoiser_made(recipe)
        run = self._run(path, made)
        model, losses = train_denoiser(recipe, corpus, device=self.device, progress=self.progress, run=run)
        if leads():
            facts = {
                "words": list(corpus.words),
                "train_loss": sum(losses[-100:]) / len(losses[-100:]),
                "validation_loss": validation_loss(model, corpus, recipe, device=self.device),
            }
            _save(model, path, made, facts, run)
        processes(self.device.type).wait()

    def make_gate(self, recipe: GateOf, of: DenoiserRecipe, path: Path) -> None:
        """Train the gate of the recipe and write it with the facts of its training, whole or not at all."""
        _check(path)
        denoiser, corpus, made = self.denoiser(of), open_corpus(of.corpus, of.length), gate_made(recipe, of)
        run = self._run(path, made)
        how = {"device": self.device, "progress": self.progress, "run": run}
        if isinstance(recipe, OwnRuns):
            train = train_unified if isinstance(recipe, Unified) else train_on_own_runs
            gate, losses = train(denoiser, corpus, recipe, repaired=_teacher(recipe, denoiser, of), **how)
        else:
            trained = train_gate(denoiser, corpus, recipe, **how)
            gate, losses = trained.gate, trained.losses
        if leads():
            facts = {
                "hidden": of.width,
                "vocab_size": corpus.vocab_size,
                "loss": sum(losses[-50:]) / len(losses[-50:]),
                "losses": [round(loss, 5) for loss in losses],
            }
            _save(gate, path, made, facts, run)
        processes(self.device.type).wait()

    def _run(self, path: Path, made: Made) -> Run:
        return Run(path.with_suffix(TRAINING), made.key, every=self.every)


def _check(path: Path) -> None:
    """Raise ``InputError`` unless who writes can write there."""
    if leads():
        check_writable(path)


def _teacher(recipe: OwnRuns, denoiser: Transformer, of: DenoiserRecipe) -> Repaired | None:
    """Who says what is wrong in the states of a gate's own runs; nobody where the label asks nobody."""
    if recipe.label == SLOW:
        return SlowTeacher(denoiser, denoiser.shape.vocab_size)
    return _anywhere(minimal_repair(world_of(of.corpus, of.length))) if recipe.label == REPAIR else None


def _anywhere(repaired: Repaired) -> Repaired:
    """The same for texts on any device: asked on the CPU, told in float32."""
    return lambda x, truth: repaired(x.cpu(), truth.cpu()).float().to(x.device)


def _save(model: nn.Module, path: Path, made: Made, facts: dict[str, Any], run: Run) -> None:
    """Write a model with its facts; its checkpoint is then no longer needed."""
    facts |= {"warnings": run.warnings, "key": made.key, **asdict(made), "processes": run.processes}
    write_weights(path, model.state_dict(), facts | {"seconds": round(run.seconds, 1), "provenance": provenance()})
    run.end()


def facts_of(path: Path) -> dict[str, Any]:
    """What a model's file says of itself: key, recipe, code, data, versions, losses, seconds, provenance."""
    sys.audit("ardm.read", str(path))  # which nobody would hear of otherwise: the library opens files unseen
    return read_facts(path)


def _read(kind: str, recipe: DenoiserRecipe | GateOf, path: Path) -> tuple[dict, dict]:
    """The facts and weights of a file, which must be those of the recipe."""
    sys.audit("ardm.read", str(path))
    facts, weights = read_weights(path)
    if facts.get("kind") != kind:
        raise InputError(
            f"{path.name} holds a {facts.get('kind', 'model of another version')}, not a {kind}: name another file"
        )
    asked, held = _plain(recipe), facts["recipe"]
    if held != asked:
        name = next(name for name in {**held, **asked} if held.get(name) != asked.get(name))
        raise InputError(
            f"{path.name} was made with {name}={held.get(name)!r}, not {asked.get(name)!r}: ask for the recipe it has, or remove it"
        )
    return facts, weights


def read_denoiser(recipe: DenoiserRecipe, path: Path, device: torch.device) -> Transformer:
    """The denoiser in the file, in eval mode; ``InputError`` when it is not of the recipe."""
    facts, weights = _read("denoiser", recipe, path)
    model = Transformer(recipe.shape(len(facts["words"])))
    model.load_state_dict(weights)
    return model.to(device).eval()


def read_gate(recipe: GateOf, path: Path, device: torch.device) -> OverwriteGate:
    """The gate in the file, in eval mode; ``InputError`` when it is not of the recipe."""
    facts, weights = _read("gate", recipe, path)
    gate = untrained_gate(recipe, facts["hidden"], facts["vocab_size"])
    gate.load_state_dict(weights)
    return gate.to(device).eval()


def untrained_gate(recipe: GateOf, hidden: int, vocab_size: int) -> OverwriteGate:
    """The gate of a recipe before its training, for a denoiser of so many words whose hidden states have ``hidden`` numbers."""
    if isinstance(recipe, Unified):
        return new_unified_gate(recipe, hidden, vocab_size)
    return new_reading_gate(recipe, hidden, vocab_size) if isinstance(recipe, OwnRuns) else new_gate(recipe, hidden)
