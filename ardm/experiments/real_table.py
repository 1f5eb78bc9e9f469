"""The table of the reaction model: made, published, and compared with today's code. What is played stands in ``real_model.py``."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ardm.base import fingerprint
from ardm.base.atomic import check_writable, whole, write_whole
from ardm.base.errors import InputError, at_least_one, check_choice
from ardm.base.resources import MODELS, RESULTS
from ardm.experiments import results
from ardm.experiments.real_model import (
    CURVE,
    GATES,
    LENGTH,
    RULES,
    TASKS,
    ReactionTask,
    Workshop,
    cell_made,
    gate_path,
    versions,
)
from ardm.experiments.work import as_csv
from ardm.worlds.reactions import Reactions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Setting", "make", "publish", "stale", "state"]

REPEATS = 8  # of each timing, by turns: the machine may be busy


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How much is played: ``seeds`` times ``count`` texts of the part for testing, ``tuning`` of that for validation."""

    seeds: int = 5
    count: int = 20
    tuning: int = 24
    calls: tuple[int, ...] = (8, 16)  # of those that a task is played with
    tasks: tuple[str, ...] = tuple(TASKS)
    rules: tuple[str, ...] = RULES

    def __post_init__(self) -> None:
        at_least_one(self, "seeds", "count", "tuning")
        for name in self.tasks:
            check_choice("tasks", name, TASKS)
        for name in self.rules:
            check_choice("rules", name, RULES)

    def cells(self) -> list[tuple[ReactionTask, str, int, int]]:
        """Task, rule, number of calls and seed of every row: few calls first."""
        some = [TASKS[name] for name in self.tasks]
        return [
            (task, rule, nfe, seed)
            for nfe in sorted(self.calls)
            for task in some
            if nfe in task.nfe
            for seed in range(self.seeds)
            for rule in self.rules
            if rule in CURVE or not task.tuned_as
        ]


def make(folder: Path, setting: Setting | None = None, *, say: Callable[[str], None] = print) -> Path:
    """Train the gates, search, play, and write ``real.csv`` and ``real.json`` into ``folder``; what is there already is kept.

    Returns the table's path. One process; about an hour on one core.
    """
    setting = setting or Setting()
    check_writable(folder / "real.csv")
    shop = Workshop(folder, tuning=setting.tuning)
    rows, began = [], time.perf_counter()
    for task, rule, nfe, seed in setting.cells():
        rows.append(shop.row(task, rule, nfe, seed, setting.count))
        say(f"{time.perf_counter() - began:.0f} s: {rule} on {task.name}, {nfe} calls, seed {seed}")
    told = [json.loads(path.read_text("utf8")) for path in sorted((folder / "cells").glob("*.json"))]
    sources = list({json.dumps(one["provenance"]): one["provenance"] for one in told}.values())
    facts = {
        "settings": asdict(setting),
        "key": fingerprint.digest(sorted(row["key"] for row in rows)),
        "versions": versions(),
        "seconds": shop.seconds(setting.rules, repeats=REPEATS),
        "sizes": Reactions(LENGTH).sizes,
        "playing_seconds": round(sum(one["seconds"] for one in told)),
        "provenance": sources,
    }
    write_whole(folder / "real.csv", as_csv(rows))
    write_whole(folder / "real.json", json.dumps(facts, indent=1) + "\n")
    return folder / "real.csv"


def stale(table: pd.DataFrame) -> list[str]:
    """Why the rows of a published table are not those that :func:`make` would give today; nothing when they are."""
    counted = zip(*(table[name] for name in ("task", "rule", "nfe", "seed", "count", "knobs", "key")), strict=True)
    other = [
        f"{rule} on {task}, {nfe} calls, seed {seed}"
        for task, rule, nfe, seed, count, knobs, key in counted
        if fingerprint.digest(cell_made(TASKS[task], rule, int(nfe), int(seed), int(count), json.loads(knobs))) != key
    ]
    return [f"{len(other)} of {len(table)} rows are of other code, such as {other[0]}"] if other else []


def state(table: pd.DataFrame) -> str:
    """What a published table is: "of today's code", or that it is not and why."""
    reasons = stale(table)
    return f"not of today's code ({reasons[0]})" if reasons else "of today's code"


def publish(folder: Path, into: Path = RESULTS, models: Path = MODELS) -> list[Path]:
    """Take the table that :func:`make` left in ``folder`` as the published one, and the gates of its first seed.

    ``InputError`` where the table is not whole or not of today's code. Returns where all now lies.
    """
    table, made = results.read("real", folder), results.facts(folder, "real")
    setting = Setting(**{name: tuple(v) if isinstance(v, list) else v for name, v in made["settings"].items()})
    wanted = {(task.name, rule, nfe, seed) for task, rule, nfe, seed in setting.cells()}
    if missing := wanted - set(table[["task", "rule", "nfe", "seed"]].itertuples(index=False, name=None)):
        raise InputError(
            f"the table in {folder} lacks {len(missing)} of {len(wanted)} rows: make it again, what is there is kept"
        )
    if reasons := stale(table):
        raise InputError(f"the table in {folder} is not of today's code ({reasons[0]}): make it again first")
    shop = Workshop(folder, tuning=setting.tuning)
    copies = {gate_path(rule, models): shop.gate_file(rule, 0) for rule in GATES}
    for place in (into / "real.csv", *copies):
        check_writable(place)
    for copy, path in copies.items():
        with whole(copy) as part:
            shutil.copyfile(path, part)
    return [*copies, *results.take_over("real", {"real.csv": folder / "real.csv"}, made, into)]
