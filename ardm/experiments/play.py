"""One match: a rule on a task with trained models, at a given number of calls; and the search for its knobs.

What a cell of the arena says depends on this file, on that of the task and on that of the rule, with all that they import.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ardm.base import fingerprint
from ardm.base.devices import double
from ardm.experiments.scores import Row
from ardm.experiments.starts import Start
from ardm.experiments.task import Task
from ardm.method.entry import Entry
from ardm.method.sampling import refine
from ardm.method.types import Denoiser, Rule

__all__ = ["Parts", "Tuner", "outcome", "play", "search"]


@dataclass(frozen=True)
class Parts:
    """The trained parts that a rule plays with, and where they compute."""

    denoiser: Denoiser
    gate: nn.Module | None = None  # an OverwriteGate; not imported here: a rule without a gate does not depend on its code
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class Tuner:
    """One training that a search tries each setting on, with ``count`` texts of the seed."""

    parts: Parts
    seed: int
    count: int


def play(task: Task, entry: Entry, parts: Parts, knobs: Mapping[str, Any], *, nfe: int, seed: int, count: int) -> Row:
    """One rule on one task: ``nfe`` calls at temperature 1 from the task's start. Returns costs, doings and scores.

    Whatever the rule, start and random numbers depend on task and seed alone, and the loop makes exactly ``nfe`` calls.
    """
    start = task.start(count, seed=seed, denoiser=parts.denoiser, device=parts.device)
    return outcome(task, parts.denoiser, entry.make(parts.gate, start.wrong, **knobs), start, nfe=nfe, seed=seed)


def outcome(task: Task, denoiser: Denoiser, rule: Rule, start: Start, *, nfe: int, seed: int) -> Row:
    """One run of the sampler from a start: what it cost and did a text, and its scores."""
    began = time.perf_counter()
    trace = refine(denoiser, rule, start.x, nfe, seed=seed, fixed=start.fixed)
    trace.x.cpu()  # waits for a device that works on its own
    seconds = time.perf_counter() - began
    did = {name: getattr(trace, name) for name in ("calls", "settled", "overwrites", "wasted")}
    return {
        **{name: double(per_text).mean().item() for name, per_text in did.items()},
        "seconds": seconds / len(start.x),
        **task.score(trace.x, start, trace),
        "start": fingerprint.digest(start.x.tolist()),
    }


def search(task: Task, entry: Entry, tuners: Sequence[Tuner], *, nfe: int, closer: Sequence[Tuner] = ()) -> dict[str, Any]:
    """The ``best`` knobs, and what every setting ``tried`` was worth: means over the texts of all tuners.

    Stage by stage, each with the best of those before: the lowest ``loss``, and of equals the first, so that a default stays.
    With ``closer`` the best third of each stage meets the texts of these tuners too and one of it is taken, by the mean over all
    texts; and the settings of the first stage are tried once more, now with what the later ones chose.
    """
    at_first, then = ([(t, _start(task, t)) for t in group] for group in (tuners, closer))
    stages = (*entry.stages, *entry.stages[:1]) if closer and len(entry.stages) > 1 else entry.stages
    met: dict[str, list[tuple[int, Row]]] = {}  # by knobs: what was played with them
    best: dict[str, Any] = {}
    for stage in stages:
        names = [json.dumps({**best, **choice}) for choice in stage]
        for name in (name for name in names if name not in met):
            met[name] = _tried(task, entry, json.loads(name), at_first, nfe=nfe)
        if closer:
            names = sorted(names, key=lambda name: _loss(met[name]))[: math.ceil(len(names) / 3)]
            for name in (name for name in names if len(met[name]) == len(at_first)):
                met[name] += _tried(task, entry, json.loads(name), then, nfe=nfe)
        best = json.loads(min(names, key=lambda name: _loss(met[name])))
    return {"best": best, "tried": [{"knobs": name, **_pooled(played)} for name, played in met.items()]}


def _loss(played: Sequence[tuple[int, Row]]) -> float:
    return _pooled(played)["loss"]


def _start(task: Task, tuner: Tuner) -> Start:
    return task.start(tuner.count, seed=tuner.seed, denoiser=tuner.parts.denoiser, device=tuner.parts.device)


def _tried(
    task: Task, entry: Entry, knobs: Mapping[str, Any], group: Sequence[tuple[Tuner, Start]], *, nfe: int
) -> list[tuple[int, Row]]:
    """How the rule with these knobs does for each tuner: of how many texts, and their row."""
    found = []
    for tuner, start in group:
        rule = entry.make(tuner.parts.gate, start.wrong, **knobs)
        found.append((tuner.count, outcome(task, tuner.parts.denoiser, rule, start, nfe=nfe, seed=tuner.seed)))
    return found


def _pooled(played: Sequence[tuple[int, Row]]) -> dict[str, float]:
    """The means of some columns, each row weighed by its texts, and how many texts there are."""
    count = sum(texts for texts, _ in played)
    names = ("loss", "quality", "overwrites", "seconds")
    return {"count": count, **{name: sum(row[name] * texts for texts, row in played) / count for name in names}}
