"""One rule against the best of its rivals, task by task: differences with their intervals, and which of them are clear.

Needs pandas. The tables are those of :mod:`ardm.experiments.results`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ardm.base.errors import InputError
from ardm.experiments.results import best_rival, paired, percent, rivals
from ardm.experiments.statistics import Interval
from ardm.experiments.tasks import TASKS
from ardm.method.entry import Entry
from ardm.method.own_runs import OwnRuns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FAMILIES", "ORACLE", "duels", "family", "holm", "rows_of_forest", "side_by_side", "tally"]

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


def duels(
    table: pd.DataFrame, rule: str, column: str = "loss", *, named_by: pd.DataFrame | None = None, least_way: float = 0.0
) -> pd.DataFrame:
    """The rule less its best rival, a row for each task, in the table's order, and number of calls that it was played with.

    The rival is the rule of the field, or the strong control, that has the lowest mean loss in the rows of the same task and
    calls of ``named_by``, by default this very table: then it is chosen with hindsight, which favours it. ``value`` with its
    95 % interval ``low``, ``high`` is the difference of ``column``, paired by training; ``p`` is that of the paired t-test,
    ``p_holm`` that of all rows together. ``mean``, ``rival_mean``, ``oracle_mean``: what was compared. ``way``: the share of the
    way from the rival to :data:`ORACLE` that the rule goes; NaN where there is no oracle, or the way is no longer than
    ``least_way``. ``InputError`` for a rule that the table does not have.
    """
    import pandas as pd

    field, rows = rivals(table), []
    for (task, nfe), part in table.groupby(["task", "nfe"], sort=False):
        if rule not in set(part["rule"]) or not set(field) & set(part["rule"]):
            continue
        rival = best_rival(table if named_by is None else named_by, task, nfe, field)
        by_seed = {name: some.set_index("seed")[column] for name, some in part.groupby("rule")}
        own, other, oracle = by_seed[rule], by_seed[rival], by_seed.get(ORACLE, pd.Series(dtype=float))
        gap = paired(own, other, f"{rule} and {rival} on {task} with {nfe} calls")
        other = other.loc[own.index]
        whole = other.mean() - oracle.mean()
        rows.append(
            {
                "task": task,
                "nfe": nfe,
                "rival": rival,
                "rival_mean": other.mean(),
                "mean": own.mean(),
                "oracle_mean": oracle.mean(),
                "value": gap.value,
                "low": gap.low,
                "high": gap.high,
                "p": 1.0 if (own == other).all() else float(stats.ttest_rel(own, other).pvalue),
                "way": -gap.value / whole if abs(whole) > least_way else float("nan"),
            }
        )
    if not rows:
        raise InputError(f"no row of {rule!r} beside a rival's in this table: it has {', '.join(table['rule'].unique())}")
    tasks = list(dict.fromkeys(table["task"]))
    found = pd.DataFrame(sorted(rows, key=lambda row: (tasks.index(row["task"]), row["nfe"])))
    return found.assign(p_holm=holm(found["p"].tolist()))


def tally(found: pd.DataFrame, *, more: bool = False) -> dict[str, int]:
    """How many differences there are (``places``), are better (``ahead``), and are clear of zero (``clear``, ``behind``).

    ``found`` has ``value``, ``low``, ``high``. ``more``: above zero is better, as of quality; else below, as of loss.
    """
    ahead, clear, behind = found["value"] < 0, found["high"] < 0, found["low"] > 0
    if more:
        ahead, clear, behind = found["value"] > 0, behind, clear
    return {"places": len(found), "ahead": int(ahead.sum()), "clear": int(clear.sum()), "behind": int(behind.sum())}


def side_by_side(found: pd.DataFrame) -> pd.DataFrame:
    """Duels as a page shows them: by task and calls the rival, both losses and their difference in hundredths, and the way in %."""
    import pandas as pd

    gaps = [Interval(*row) for row in (100 * found[["value", "low", "high"]]).to_numpy().tolist()]
    titles = [TASKS[task].title for task in found["task"]]
    return pd.DataFrame(
        {
            "best rival": found["rival"].to_numpy(),
            "its loss": 100 * found["rival_mean"].to_numpy(),
            "the gate's": 100 * found["mean"].to_numpy(),
            "difference": gaps,
            "of the way to the oracle, %": 100 * found["way"].to_numpy(),
        },
        index=pd.MultiIndex.from_arrays([titles, found["nfe"]], names=["task", "calls"]),
    )


def rows_of_forest(found: pd.DataFrame, *, panel: str, series: str) -> pd.DataFrame:
    """Differences by task and number of calls as :func:`~ardm.book.figures.forest` draws them, times 100: points, hundredths."""
    rows = percent(found)[["task", "nfe", "value", "low", "high"]]
    group = [TASKS[task].title for task in rows["task"]]
    return rows.assign(group=group, row=[f"{nfe} calls" for nfe in rows["nfe"]], panel=panel, series=series)
