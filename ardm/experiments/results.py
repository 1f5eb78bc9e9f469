"""Reading the published tables: means over trainings with their intervals, rules and variants compared training by training.

Needs pandas. The tables are in ``data/results``; ``ardm arena`` and ``make ablations`` make them again (``book/rerun.md``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ardm.base.errors import InputError
from ardm.base.resources import RESULTS
from ardm.experiments.statistics import Interval, mean_over_trainings, paired_difference, share
from ardm.method.types import Bool

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = ["RESULTS", "best_rival", "compare", "effects", "facts", "outcomes", "read", "summary"]

KEYS = ["task", "rule", "nfe"]
CALLS = 8  # ablations: the base with other numbers of calls is compared with the base with so many


def read(name: str = "arena", folder: Path = RESULTS) -> pd.DataFrame:
    """A published table: ``arena``, ``final`` or ``scale`` (a row a cell), the arena's ``tuning`` (a row a setting tried), or
    ``ablations`` (a row a cell and number of calls).
    """
    import pandas as pd

    return pd.read_csv(_published(f"{name}.csv", folder), dtype={"outcomes": str, "start": str})


def facts(folder: Path = RESULTS, name: str = "arena") -> dict:
    """What made a table: settings, seconds, provenance. It has the table's name; that of ``tuning`` is the arena's."""
    return json.loads(_published(f"{name}.json", folder).read_text())


def _published(file: str, folder: Path) -> Path:
    path = folder / file
    if not path.is_file():
        name = path.stem
        profile = name if name in ("final", "scale") else "paper"
        make = "make ablations PROFILE=paper" if name == "ablations" else f"ardm arena --profile {profile}"
        raise InputError(f"no {file} in {folder.name}/: make it with `{make}` and copy it there (book/rerun.md)")
    return path


def summary(table: pd.DataFrame, column: str = "quality") -> pd.DataFrame:
    """Mean of a column over trainings, by task, rule and calls, with its 95 % interval: columns ``value``, ``low``, ``high``.

    Student's interval over the trainings. For ``quality`` with one outcome a text it is joined with Wilson's of all texts, since
    five trainings that all score 100 % have no spread.
    """
    import pandas as pd

    rows = []
    for key, part in table.groupby(KEYS, sort=False):
        found = mean_over_trainings(torch.tensor(part[column].to_numpy()))
        if column == "quality" and part["outcomes"].notna().all():
            pooled = share(torch.cat([outcomes(text, n) for text, n in zip(part["outcomes"], part["count"], strict=True)]))
            found = Interval(found.value, max(0.0, min(found.low, pooled.low)), min(1.0, max(found.high, pooled.high)))
        rows.append((*key, found.value, found.low, found.high, len(part)))
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "seeds"])


def outcomes(text: str, count: int) -> Bool[Tensor, " N"]:
    """The stored outcomes of a cell, one a text: was it right?"""
    bits = f"{int(text, 16):0{int(count)}b}"
    if len(bits) > count:
        raise InputError(f"outcomes {text!r} are more than {count} texts")
    return torch.tensor([bit == "1" for bit in bits])


def compare(table: pd.DataFrame, a: str, b: str, column: str = "quality") -> pd.DataFrame:
    """Rule ``a`` less rule ``b``, training by training, for each task and number of calls that both were played with."""
    import pandas as pd

    rows = []
    for (task, nfe), part in table.groupby(["task", "nfe"], sort=False):
        one, two = (part[part["rule"] == rule].set_index("seed")[column] for rule in (a, b))
        if len(one) and len(two):
            two = two.reindex(one.index)
            found = paired_difference(torch.tensor(one.to_numpy()), torch.tensor(two.to_numpy()))
            rows.append((task, nfe, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["task", "nfe", "value", "low", "high"])


def effects(table: pd.DataFrame, column: str = "quality") -> pd.DataFrame:
    """Each variant of the ablations less the base, training by training, with its interval, by task and number of calls.

    ``calls/N`` is the base itself with N calls, less the base with :data:`CALLS`.
    """
    import pandas as pd

    key, rows = ["variant", "task", "nfe"], []
    values = table.set_index([*key, "seed"])[column].sort_index()
    for name, task, nfe in table[key].drop_duplicates().itertuples(index=False):
        base = "base", task, CALLS if name == "base" else nfe
        if (name, task, nfe) == base:
            continue
        one, two = values[name, task, nfe].align(values[base], join="inner")
        found = paired_difference(torch.tensor(one.to_numpy()), torch.tensor(two.to_numpy()))
        label = f"calls/{nfe}" if name == "base" else name
        rows.append((label.partition("/")[0], label, task, nfe, found.value, found.low, found.high, len(one)))
    return pd.DataFrame(rows, columns=["axis", "variant", "task", "nfe", "value", "low", "high", "seeds"])


def best_rival(table: pd.DataFrame, task: str, nfe: int, rivals: Sequence[str]) -> str:
    """The rival of lowest mean ``loss``: validity and fidelity weighed as in the tuning."""
    part = table[(table["task"] == task) & (table["nfe"] == nfe) & table["rule"].isin(rivals)]
    if part.empty:
        raise InputError(f"no rival was played on {task} with {nfe} calls")
    means = part.groupby("rule")["loss"].mean()
    return min(means.index, key=lambda rule: (math.inf if math.isnan(means[rule]) else means[rule], rule))
