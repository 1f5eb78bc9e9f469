"""Claims about rules, decided by the published tables: what is said in words, the two cells compared, and the verdict.

Needs pandas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ardm.experiments.results import paired, select

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Claim", "decide", "verdict"]


@dataclass(frozen=True)
class Claim:
    """``a`` has more of ``column`` than ``b`` (or less, where ``more`` is false), on a task with ``nfe`` calls.

    ``words``: what is claimed; ``compared``: by what it is decided. ``nfe_b``: the calls of ``b`` where they are others.
    """

    words: str
    compared: str
    a: str
    b: str
    column: str = "quality"
    more: bool = True
    task: str = "agreement"
    nfe: int = 16
    nfe_b: int | None = None


def verdict(low: float, high: float, *, more: bool = True) -> str:
    """``supported`` where the interval of the difference is clear of zero as claimed, ``reversed`` where the other way."""
    low, high = (low, high) if more else (-high, -low)
    return "supported" if low > 0 else "reversed" if high < 0 else "not supported"


def decide(table: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """Each claim with the difference ``a`` less ``b`` paired by training, its 95 % interval, and its :func:`verdict`.

    Columns ``words``, ``compared``, ``a``, ``b``, ``column``, ``value``, ``low``, ``high``, ``verdict``. ``InputError`` where a
    cell or a training is missing.
    """
    import pandas as pd

    rows = []
    for claim in claims:
        at = {"task": claim.task, "nfe": claim.nfe}, {"task": claim.task, "nfe": claim.nfe_b or claim.nfe}
        one, two = (
            select(table, rule=rule, **where).set_index("seed")[claim.column]
            for rule, where in zip((claim.a, claim.b), at, strict=True)
        )
        gap = paired(one, two, f"{claim.a} and {claim.b} on {claim.task}")
        found = gap.value, gap.low, gap.high, verdict(gap.low, gap.high, more=claim.more)
        rows.append((claim.words, claim.compared, claim.a, claim.b, claim.column, *found))
    return pd.DataFrame(rows, columns=["words", "compared", "a", "b", "column", "value", "low", "high", "verdict"])
