"""Rules on a denoiser that nobody here trained: reactions to fill and to mend, and what came of it as a table.

Needs what :data:`ardm.adapters.reaction_model.INSTALL` brings. The denoiser is one and frozen: a seed is that of the texts, of the
noise and, where a rule has a gate, of its training.
"""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ardm.adapters.reaction_model import SHA256, load_reaction_model
from ardm.base import fingerprint
from ardm.base.atomic import check_writable, write_whole
from ardm.base.devices import double
from ardm.base.errors import InputError, check_choice
from ardm.base.provenance import provenance
from ardm.base.resources import MODELS
from ardm.base.weights import read_weights, write_weights
from ardm.experiments.play import Parts, Tuner, outcome, search
from ardm.experiments.scores import Row, packed
from ardm.experiments.starts import Begun, Given, Infill, Start
from ardm.experiments.task import Task
from ardm.method.entry import Entry, Knobs, grid
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED, GateRecipe
from ardm.method.own_runs import OWN_RUNS, OwnRuns
from ardm.method.rules import entries
from ardm.method.sampling import Trace
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.train_gate import new_gate, train_gate
from ardm.method.train_on_own_runs import new_reading_gate, train_on_own_runs
from ardm.method.types import Bool, Denoiser, Float, Int, Prediction
from ardm.worlds.histograms import histogram_distance
from ardm.worlds.reactions import Reactions, ReactionWorld
from ardm.worlds.world import World

__all__ = [
    "GATES",
    "KNOBS",
    "RULES",
    "TASKS",
    "Misprints",
    "ReactionScore",
    "ReactionTask",
    "Remembering",
    "TrueStart",
    "Workshop",
    "cell_made",
    "entry_of",
    "gate_path",
    "load_gate",
    "trained",
    "versions",
]

LENGTH = 41
TUNING = 10_000  # the seed of the texts that knobs are chosen on
GATES: dict[str, GateRecipe | OwnRuns] = {
    "attentive hide ratio": replace(RECOMMENDED, steps=80, batch=16),
    "own ratio hide": replace(OWN_RUNS["own ratio"], steps=40, batch=6),
}
"""The gates: the recipes of the arena with fewer and smaller steps, since a call of this denoiser takes long.

:meta hide-value:
"""


# Tasks --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrueStart(Start):
    """A start that also holds the texts it was made from, which its score compares with."""

    truth: Int[Tensor, "B L"] | None = None


@dataclass(frozen=True)
class Misprints:
    """A right text in which random tokens are replaced by others, each drawn as often as these texts have it.

    ``wrong``: how many a text, from and to. Nothing is fixed, and a rule is not told which they are.
    """

    wrong: tuple[int, int]
    hides: ClassVar[bool] = False
    from_texts: ClassVar[bool] = True

    def __call__(self, given: Given) -> Begun:
        x0, rng = given.x0, given.rng
        B, L = x0.shape
        wanted = torch.randint(self.wrong[0], self.wrong[1] + 1, (B, 1), generator=rng)
        hit = torch.rand(B, L, generator=rng).argsort(-1).argsort(-1) < wanted
        drawn = x0.flatten()[torch.randint(x0.numel(), (64, B, L), generator=rng)]  # the first that differs is taken
        place = (drawn != x0).int().argmax(0, keepdim=True)
        return torch.where(hit, drawn.gather(0, place)[0], x0), torch.zeros_like(hit)


@dataclass(frozen=True)
class ReactionScore:
    """Valid reactions, the atoms of their products that the reactants hold, and how they compare with the texts behind the start.

    ``loss`` is the largest of three: what is lacking of valid texts, each weighed by the atoms held; the distance of the tokens
    that were free from the true ones (total variation); the share of right tokens that ended wrong.
    """

    worlds: ClassVar[tuple[type[World], ...]] = (ReactionWorld,)

    def __call__(self, world: ReactionWorld, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row:
        if not isinstance(start, TrueStart) or start.truth is None or trace is None:
            raise InputError("reactions are scored against the texts behind their start: give start and trace")
        told, truth, free = world.judged(x), start.truth, ~start.fixed
        valid = torch.tensor([one.valid for one in told])
        open_, wrong = start.x != truth, x != truth
        words = histogram_distance(*(_shares(ids[free], world.corpus.vocab_size) for ids in (x, truth)))
        sound = sum(one.sound for one in told) / len(told)
        damaged = _among(wrong, ~open_)
        return {
            "quality": double(valid).mean().item(),
            "loss": max(1 - sound, words, damaged),
            "outcomes": packed(valid),
            "held": sound / max(1, int(valid.sum())) * len(told),
            "recovered": _among(~wrong, open_),
            "touched": _among(trace.overwritten > 0, open_),
            "damaged": damaged,
            "exact": double(~wrong.any(-1)).mean().item(),
            "words": words,
            "entropy": _entropy(x[free], world.corpus.vocab_size),
        }


def _among(what: Bool[Tensor, "B L"], these: Bool[Tensor, "B L"]) -> float:
    """The share of these tokens of which it is true; 0 where there are none."""
    return (what & these).sum().item() / max(1, these.sum().item())


def _shares(ids: Int[Tensor, " N"], size: int) -> Float[Tensor, " V"]:
    return double(ids.bincount(minlength=size)) / max(1, len(ids))


def _entropy(ids: Int[Tensor, " N"], size: int) -> float:
    """The entropy of single tokens, in nats."""
    p = _shares(ids, size)
    return -torch.xlogy(p, p).sum().item()


@dataclass(frozen=True, kw_only=True)
class ReactionTask(Task):
    """A task on reactions. Its recipe names corpus and length alone: nothing is trained by it. ``part``: whose texts."""

    part: str = "test"
    tuned_as: str = ""  # plays with what was best on the task of this name

    @property
    def world(self) -> ReactionWorld:
        return ReactionWorld(self.recipe.corpus, self.recipe.length, self.part)

    def start(self, count: int, *, seed: int, denoiser: Denoiser | None = None, device: torch.device | str = "cpu") -> Start:
        """``count`` starts, with the texts behind them."""
        begun = super().start(count, seed=seed, denoiser=denoiser, device=device)
        truth = self.corpus.held_out(count, seed=seed).to(device)
        return TrueStart(begun.x, begun.fixed, begun.wrong, truth)


def _task(name: str, title: str, start: Any, **how: Any) -> ReactionTask:
    recipe = DenoiserRecipe(corpus="reactions", length=LENGTH)
    how = {"nfe": (8, 16), "causal": False, "one_denoiser": True, **how}
    return ReactionTask(name=name, title=title, recipe=recipe, score_by=ReactionScore(), start_from=start, **how)


TASKS = {
    task.name: task
    for task in (
        _task("reactions-50", "infill, half hidden", Infill(clues=(20, 20))),
        _task("reactions-70", "infill, 70 % hidden", Infill(clues=(12, 12))),
        _task("reactions-repair", "repair, a tenth wrong", Misprints(wrong=(4, 4))),
        _task("reactions-30", "infill, 30 % hidden", Infill(clues=(29, 29)), nfe=(8,), tuned_as="reactions-50"),
        _task("reactions-85", "infill, 85 % hidden", Infill(clues=(6, 6)), nfe=(8,), tuned_as="reactions-70"),
    )
}
"""The tasks, by name: hidden tokens to fill between fixed ones, and wrong tokens to find and replace.

:meta hide-value:
"""


# Rules --------------------------------------------------------------------------------------------------------------------

KNOBS = {
    "max-prob": ({},),
    "T2M low-prob": grid(threshold=(0.3, 0.005, 0.02, 0.08, 0.15, 0.5)),
    "T2T threshold": grid(threshold=(0.5, 0.0, 0.3, 0.7, 0.9)),
    "P2-self": grid(eta=(1.0, 0.5, 2.0, 4.0)),
    "informed corrector": grid(k=(2, 1, 4), noise=(1.0, 0.1)),
    "all-resample": ({},),
    "WINO": grid(write_above=(0.6, 0.3), hide_below=(0.9, 0.5, 0.2)),
    "Saber": grid(n=(2, 1, 4, 8)),
    "attentive hide ratio": grid(how=("threshold",), threshold=(0.5, 0.3, 0.8), budget=(4, 16)),
    "own ratio hide": grid(how=("threshold",), threshold=(0.3, 0.5, 0.8), budget=(4, 16)),
}
"""What the search tries for each rule: at most six settings of its own, then when masks are written.

:meta hide-value:
"""
RULES = tuple(KNOBS)
CURVE = ("max-prob", "T2M low-prob", "P2-self", "attentive hide ratio", "own ratio hide")
"""The rules that are played at every share hidden.

:meta hide-value:
"""
WRITTEN = grid(written_by=(0.6, 0.4, 0.8))


@dataclass(frozen=True, kw_only=True)
class FewEntry(Entry):
    """An entry that is tuned over fewer settings: masks always surest first, for a call takes long."""

    @property
    def stages(self) -> tuple[tuple[Knobs, ...], ...]:
        stages = (self.knobs, WRITTEN) if self.scheduled else (self.knobs,)
        return tuple(stage for stage in stages if len(stage) > 1)


@cache
def entry_of(rule: str) -> FewEntry:
    """The rule's entry with its :data:`KNOBS`; ``InputError`` for a rule that is not played here."""
    check_choice("rule", rule, RULES)
    entry = entries()[rule]
    knobs = tuple({**({"order": "surest"} if entry.scheduled else {}), **some} for some in KNOBS[rule])
    gate = GATES.get(rule)
    return FewEntry(**{field.name: getattr(entry, field.name) for field in fields(entry)} | {"knobs": knobs, "gate": gate})


class Remembering:
    """A denoiser that is not asked twice about one text: rules that meet at one seed see many texts in common.

    It keeps the last ``most`` texts. ``asked`` counts the texts that it was given, ``computed`` those that it had to read.
    """

    def __init__(self, denoiser: Denoiser, most: int = 4000) -> None:
        self.denoiser, self.most = denoiser, most
        self.asked = self.computed = 0
        self.kept: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        names = [row.numpy().tobytes() for row in x.cpu()]
        new = {name: number for number, name in enumerate(names) if name not in self.kept}
        if new:
            said = self.denoiser(x[list(new.values())], time)
            self.kept |= zip(new, zip(said.logits, said.hidden, strict=True), strict=True)
        self.asked, self.computed = self.asked + len(names), self.computed + len(new)
        logits, hidden = zip(*(self.kept[name] for name in names), strict=True)
        while len(self.kept) > max(self.most, len(new)):
            self.kept.popitem(last=False)
        return Prediction(torch.stack(logits), torch.stack(hidden))


# Gates --------------------------------------------------------------------------------------------------------------------


def _new_gate(recipe: GateRecipe | OwnRuns, hidden: int, words: int) -> OverwriteGate:
    return new_reading_gate(recipe, hidden, words) if isinstance(recipe, OwnRuns) else new_gate(recipe, hidden)


def trained(rule: str, seed: int, denoiser: Denoiser, *, length: int = LENGTH) -> OverwriteGate:
    """The gate of a rule, trained on reactions of the part for training with the frozen denoiser; nobody tells it what is valid."""
    recipe, corpus, how = replace(GATES[rule], seed=seed), Reactions(length), {"device": torch.device("cpu"), "progress": False}
    if isinstance(recipe, OwnRuns):
        return train_on_own_runs(denoiser, corpus, recipe, **how)[0]
    return train_gate(denoiser, corpus, recipe, **how).gate


def load_gate(rule: str, path: Path | None = None) -> OverwriteGate:
    """The gate of a rule in eval mode, with p = u, by default the published one of seed 0."""
    words, recipe = Reactions(LENGTH).vocab_size, GATES[rule]
    gate = _new_gate(recipe, HIDDEN, words)
    gate.load_state_dict(read_weights(path or gate_path(rule))[1])
    return gate.eval().combined("gate_only")


HIDDEN = 256  # width of the model's hidden states


def gate_path(rule: str, models: Path = MODELS) -> Path:
    """Where the published gate of a rule lies."""
    return models / "reactions" / f"{rule.replace(' ', '-')}.safetensors"


# Playing ----------------------------------------------------------------------------------------------------------------


@cache
def versions() -> dict[str, str]:
    """The versions of what computes, model and judge among it."""
    return fingerprint.versions() | {name: version(name) for name in ("transformers", "rdkit", "rxnmapper")}


def _made(rule: str, **parts: Any) -> dict[str, Any]:
    """All that decides a result."""
    entry = entry_of(rule)
    code = fingerprint.code("ardm.experiments.real_model", entry.module)
    gate = asdict(entry.gate) if entry.gate else None
    return {"rule": rule, "code": code, "gate": gate, "model": SHA256, "versions": versions(), **parts}


def _search_made(task: ReactionTask, rule: str, tuning: int) -> dict[str, Any]:
    return _made(rule, task=task.data, stages=entry_of(rule).stages, tuning=tuning)


def cell_made(task: ReactionTask, rule: str, nfe: int, seed: int, count: int, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a row; its key is the digest of this."""
    return _made(rule, task=task.data, nfe=nfe, seed=seed, count=count, knobs=dict(knobs))


class Workshop:
    """What is played with and where it is kept: a file each for what was searched and played, so that it can be interrupted."""

    def __init__(self, folder: Path, *, tuning: int) -> None:
        """``tuning``: texts of the part for validation that a setting is tried on."""
        self.folder, self.tuning = folder, tuning
        self.model = load_reaction_model()
        self.denoiser = Remembering(self.model)
        self.gate = cache(self._gate)  # each is read once

    def kept(self, made: dict[str, Any], make: Callable[[], Any]) -> Any:
        """The result with this key, made now if it is not here."""
        path = self.folder / "cells" / f"{fingerprint.digest(made)}.json"
        if not path.is_file():
            check_writable(path)
            began, result = time.perf_counter(), make()
            told = {"result": result, "seconds": round(time.perf_counter() - began, 1), "provenance": provenance()}
            write_whole(path, json.dumps(told) + "\n")
        return json.loads(path.read_text("utf8"))

    def gate_file(self, rule: str, seed: int) -> Path:
        """Where the gate of a rule and seed lies."""
        return self.folder / "gates" / f"{fingerprint.digest(_made(rule, seed=seed))}.safetensors"

    def _gate(self, rule: str, seed: int) -> OverwriteGate | None:
        """The trained gate of the rule, if it has one."""
        if rule not in GATES:
            return None
        path = self.gate_file(rule, seed)
        if not path.is_file():
            check_writable(path)
            gate = trained(rule, seed, self.model)
            write_weights(path, gate.state_dict(), {"made": _made(rule, seed=seed), "provenance": provenance()})
        return load_gate(rule, path)

    def best(self, task: ReactionTask, rule: str) -> Mapping[str, Any]:
        """The knobs of the rule that were best on the texts for validation, with 8 calls and the gate of seed 0."""
        task, entry = TASKS[task.tuned_as or task.name], entry_of(rule)
        if not entry.stages:
            return entry.knobs[0]
        made = _search_made(task, rule, self.tuning)
        return self.kept(made, lambda: self._search(task, rule))["result"]["best"]

    def _search(self, task: ReactionTask, rule: str) -> dict[str, Any]:
        tuner = Tuner(Parts(self.denoiser, self.gate(rule, 0)), TUNING, self.tuning)
        return search(replace(task, part="validation"), entry_of(rule), [tuner], nfe=min(task.nfe))

    def row(self, task: ReactionTask, rule: str, nfe: int, seed: int, count: int) -> dict[str, Any]:
        """A row of the table: ``count`` texts of the part for testing."""
        knobs = self.best(task, rule)
        made = cell_made(task, rule, nfe, seed, count, knobs)
        told = self.kept(made, lambda: self._play(task, rule, nfe, seed, count, knobs))["result"]
        at = {"task": task.name, "rule": rule, "nfe": nfe, "seed": seed, "knobs": json.dumps(dict(knobs)), "count": count}
        return {**at, **told, "key": fingerprint.digest(made)}

    def _play(self, task: ReactionTask, rule: str, nfe: int, seed: int, count: int, knobs: Mapping[str, Any]) -> Row:
        start = task.start(count, seed=seed)
        made = entry_of(rule).make(self.gate(rule, seed), start.wrong, **knobs)
        found = outcome(task, self.denoiser, made, start, nfe=nfe, seed=seed)
        del found["seconds"]  # much was remembered: time is taken apart from this
        return found

    def seconds(self, rules: Iterable[str], *, count: int = 12, repeats: int = 3) -> dict[str, float]:
        """Seconds a text of each rule with 8 calls and half hidden, nothing remembered: the least of some runs, by turns."""
        task, least = TASKS["reactions-50"], dict.fromkeys(rules, math.inf)
        start = task.start(count, seed=0)
        playing = {rule: entry_of(rule).make(self.gate(rule, 0), **self.best(task, rule)) for rule in least}
        for _ in range(repeats):
            for rule, made in playing.items():
                least[rule] = min(least[rule], outcome(task, self.model, made, start, nfe=8, seed=0)["seconds"])
        return least
