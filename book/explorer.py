"""The numbers behind the page of all tables: every published table, its means and intervals, as one script that it loads."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardm.experiments import results
from ardm.experiments.tasks import TASKS
from ardm.method.rules import entries

if TYPE_CHECKING:
    import pandas as pd

PAGE = "book/explorer"
SCRIPT = "explorer-data.js"
TABLES = {
    "arena": "The arena: all rules, tuned",
    "final": "The test on new texts",
    "scale": "Lengths and sizes",
    "grids": "Full Sudoku",
    "ablations": "Ablations of the recommended gate",
}


@dataclass(frozen=True)
class Column:
    """A column: its name in a CSV file, its head and the head above it, decimals, and what it means. ``more``: shown on request."""

    key: str
    head: str
    above: str = ""
    decimals: int | None = None  # of numbers
    scale: float = 1.0
    means: str = ""
    more: bool = False


WITH_INTERVAL = (
    ("quality", "valid", "Valid, %", "share of valid texts, on text8 of words that are words"),
    ("loss", "loss", "Loss, hundredths", "lower bound on the distance from the law; less is better"),
)
MEANS = (
    ("overwrites", Column("overwrites", "Overwrites", decimals=1, means="visible tokens revised, a text")),
    (
        "seconds",
        Column("ms", "ms", decimals=1, scale=1000, means="milliseconds a text, in batches, on the machine of the table"),
    ),
    ("wasted", Column("wasted", "Wasted", decimals=1, means="overwrites that put the same token back, a text", more=True)),
    ("settled", Column("settled", "Settled", decimals=1, means="the call after which nothing changes, on average", more=True)),
    ("words", Column("words", "Words", decimals=3, means="total variation of single words from the law's", more=True)),
    ("pairs", Column("pairs", "Pairs", decimals=3, means="total variation of neighbours from the law's", more=True)),
    ("recovered", Column("recovered", "Mended", decimals=3, means="share of the wrong tokens that end right", more=True)),
    ("damaged", Column("damaged", "Damaged", decimals=3, means="share of the right tokens that end wrong", more=True)),
    (
        "judge_bits",
        Column("judge_bits", "Judge", decimals=2, means="bits a character under another model, real text", more=True),
    ),
)
FIRST = (
    Column("rule", "Rule"),
    Column("task", "Task"),
    Column("calls", "Calls", decimals=0, means="forward passes of the denoiser for a text"),
    Column("group", "Group", means="plain, field, document, ours, control or bound: see the glossary's rules"),
)
LAST = Column("trainings", "Trainings", decimals=0, means="independent trainings that the means are over", more=True)


def columns() -> list[Column]:
    """All columns, in the order of the page."""
    intervals = [
        Column(f"{key}{end}", head, above, decimals=1, scale=100, means=f"{what}; {said}")
        for _, key, above, what in WITH_INTERVAL
        for end, head, said in (
            ("", "mean", "mean over trainings"),
            ("_low", "low", "lower end of its 95 % interval"),
            ("_high", "high", "upper end of its 95 % interval"),
        )
    ]
    return [*FIRST, *intervals, *(column for _, column in MEANS), LAST]


def rows(table: pd.DataFrame) -> list[list[Any]]:
    """A row for each task, rule and number of calls, as :func:`columns` has it; ``None`` where nothing was measured."""
    table = table.rename(columns={"variant": "rule"})
    table = table.assign(**{column: math.nan for column, _ in MEANS if column not in table})
    groups = {name: entry.group for name, entry in entries().items()}
    sides = [results.summary(table, column).set_index(results.KEYS) for column, *_ in WITH_INTERVAL]
    means = table.groupby(results.KEYS, sort=False)[[column for column, _ in MEANS]].mean()
    every, made = columns(), []
    for at, count in table.groupby(results.KEYS, sort=False).size().items():
        task, rule, calls = at
        intervals = [side.loc[at, end] for side in sides for end in ("value", "low", "high")]
        values = [rule, TASKS[task].title, calls, groups.get(rule, ""), *intervals, *means.loc[at], count]
        made.append([_said(value, column) for value, column in zip(values, every, strict=True)])
    return made


def _said(value: Any, column: Column) -> Any:
    if column.decimals is None:
        return value
    return None if math.isnan(value) else round(column.scale * float(value), column.decimals)


def assemble(static: Path) -> None:
    """Write the script into the static folder of the staged sources."""
    looks = {name: [entry.colour, entry.mark] for name, entry in entries().items()}
    tables = {name: {"title": title, "rows": rows(results.read(name))} for name, title in TABLES.items()}
    told = {"columns": [asdict(column) for column in columns()], "tables": tables, "looks": looks}
    (static / SCRIPT).write_text(f"globalThis.ARDM_TABLES = {json.dumps(told, ensure_ascii=False)};\n", "utf8")
