"""Values with their intervals, a row each: the figure that most chapters draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ardm.base.errors import InputError
from ardm.method.entry import BLUE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["points"]


def points(
    ax: Axes, table: pd.DataFrame, *, colours: str | Sequence[str] = BLUE, shift: float = 0.0, hollow: bool = False
) -> None:
    """A row for each row of ``table``, from the top: ``value`` as a point, ``low`` to ``high`` as a line, the index beside it.

    Without ``low`` and ``high`` in ``table`` there are points alone. ``colours``: one for all, or one a row. ``shift``: how far
    below the middle of the row, for several series in one panel; ``hollow`` points are told from full ones.
    """
    shades = [colours] * len(table) if isinstance(colours, str) else list(colours)
    if len(shades) != len(table):
        raise InputError(f"{len(shades)} colours for {len(table)} rows: give one colour, or one a row")
    for place, (row, colour) in enumerate(zip(table.itertuples(), shades, strict=True)):
        y = place + shift
        if {"low", "high"} <= set(table.columns):
            ax.plot([row.low, row.high], [y, y], color=colour, linewidth=1.5)
        ax.plot(row.value, y, "o", color=colour, markersize=6, markerfacecolor="white" if hollow else colour)
    ax.set_yticks(range(len(table)), list(table.index))
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
