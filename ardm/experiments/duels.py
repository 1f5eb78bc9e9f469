"""One rule against the best of its rivals, task by task: differences with their intervals, and which of them are clear.

Needs pandas. The tables are those of :mod:`ardm.experiments.results`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ardm.base.errors import InputError
from ardm.experiments.results import best_rival, compare, rivals
from ardm.method.entry import Entry
from ardm.method.own_runs import OwnRuns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FAMILIES", "ORACLE", "duels", "family", "holm"]

ORACLE = "oracle hide"
"""The rule that knows what is wrong: the end of the way that a gate goes from its best rival."""

FAMILIES = {
    "untaught": "looks at what the denoiser says and was never trained",
    "self-taught": "its gate was trained with texts of the corpus and the frozen denoiser alone",
    "verifier-taught": "its gate was shown by somebody who knows the right texts which tokens of its own runs were wrong",
    "bound": "is told what is wrong while it runs",
}
"""Who was told what: a rule is compared with others of its family, and with the rest for what the telling is worth."""


def family(entry: Entry) -> str:
    """The name in :data:`FAMILIES` of the family that a rule belongs to."""
    if entry.knows:
        return "bound"
    if entry.gate is None:
        return "untaught"
    return "verifier-taught" if isinstance(entry.gate, OwnRuns) and entry.gate.verified else "self-taught"


def holm(p: Sequence[float]) -> list[float]:
    """p-values that hold for all comparisons together (Holm 1979): the k-th smallest of n times n - k + 1, never falling."""
    given = np.asarray(p, dtype=float)
    if not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"p={list(p)}: p-values are in [0, 1]")
    order = np.argsort(given, kind="stable")
    raised = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()


def duels(table: pd.DataFrame, rule: str, column: str = "loss") -> pd.DataFrame:
    """The rule less its best rival, a row for each task, in the table's order, and number of calls that it was played with.

    The rival is the rule of the field, or the strong control, that has the lowest mean loss in these very rows: chosen with
    hindsight, which favours it. ``difference`` with its 95 % interval ``low``, ``high`` is paired by training; ``p`` is that of
    the paired t-test, ``p_holm`` that of all rows together. ``way``: the share of the way from the rival to :data:`ORACLE`
    that the rule goes; NaN where there is no oracle, or no way. ``InputError`` for a rule that the table does not have.
    """
    import pandas as pd

    field, rows = rivals(table), []
    for (task, nfe), part in table.groupby(["task", "nfe"], sort=False):
        if rule not in set(part["rule"]) or not set(field) & set(part["rule"]):
            continue
        rival = best_rival(table, task, nfe, field)
        (gap,) = compare(part, rule, rival, column).itertuples()
        by_seed = {name: some.set_index("seed")[column].sort_index() for name, some in part.groupby("rule")}
        own, other, oracle = by_seed[rule], by_seed[rival], by_seed.get(ORACLE, pd.Series(dtype=float))
        whole = other.mean() - oracle.mean()
        rows.append(
            {
                "task": task,
                "nfe": nfe,
                "rival": rival,
                "rival_mean": other.mean(),
                "mean": own.mean(),
                "oracle_mean": oracle.mean(),
                "difference": gap.value,
                "low": gap.low,
                "high": gap.high,
                "p": 1.0 if (own == other).all() else float(stats.ttest_rel(own, other).pvalue),
                "way": -gap.value / whole if whole else float("nan"),
            }
        )
    if not rows:
        raise InputError(f"no row of {rule!r} beside a rival's in this table: it has {', '.join(table['rule'].unique())}")
    tasks = list(dict.fromkeys(table["task"]))
    found = pd.DataFrame(sorted(rows, key=lambda row: (tasks.index(row["task"]), row["nfe"])))
    return found.assign(p_holm=holm(found["p"].tolist()))
