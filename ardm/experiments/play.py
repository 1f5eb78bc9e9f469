"""One match: a rule on a task with trained models, at a given number of calls; and the search for its knobs.

What a cell of the arena says depends on this file, on that of the task and on that of the rule, with all that they import.
"""

from __future__ import annotations

import json
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


def search(task: Task, entry: Entry, tuners: Sequence[Tuner], *, nfe: int) -> dict[str, Any]:
    """The ``best`` knobs, and what every setting ``tried`` was worth: means over the texts of all tuners.

    Stage by stage, each with the best of those before: the lowest ``loss``, and of equals the first, so that a default stays.
    """
    starts = [task.start(t.count, seed=t.seed, denoiser=t.parts.denoiser, device=t.parts.device) for t in tuners]
    tried: list[dict[str, Any]] = []
    best: dict[str, Any] = {}
    for stage in entry.stages:
        rows = []
        for choice in stage:
            knobs = {**best, **choice}
            played = []
            for tuner, start in zip(tuners, starts, strict=True):
                rule = entry.make(tuner.parts.gate, start.wrong, **knobs)
                played.append(outcome(task, tuner.parts.denoiser, rule, start, nfe=nfe, seed=tuner.seed))
            rows.append({"knobs": json.dumps(knobs), **_pooled(played, tuners)})
        best = json.loads(min(rows, key=_loss)["knobs"])
        tried += rows
    return {"best": best, "tried": tried}


def _loss(row: Mapping[str, Any]) -> float:
    return row["loss"]


def _pooled(rows: Sequence[Row], tuners: Sequence[Tuner]) -> dict[str, float]:
    """The means of some columns, each tuner weighed by its texts, and how many texts there are."""
    count = sum(tuner.count for tuner in tuners)
    names = ("loss", "quality", "overwrites", "seconds")
    means = {name: sum(row[name] * t.count for row, t in zip(rows, tuners, strict=True)) / count for name in names}
    return {"count": count, **means}
