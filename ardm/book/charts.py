"""What chapters draw of the tables: a few rules in their colours and by name, all others thin and grey behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ardm.base.errors import check_choice
from ardm.book.figures import LOOKS, OTHERS, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["curves", "scatter"]


def curves(ax: Axes, found: pd.DataFrame, named: Sequence[str], x: str = "nfe") -> None:
    """A line a rule, with intervals where it is named: ``value`` against ``x``.

    ``found``: one task's rows of :func:`~ardm.experiments.results.summary`, in the unit of the axis. Against the number of calls
    the axis is logarithmic, with a tick at each. Named rules carry labels for :func:`~ardm.book.figures.label_lines`.
    ``InputError`` for a rule that ``found`` lacks.
    """
    _check(found, named)
    for rule, part in found.groupby("rule", sort=False):
        if rule not in named:
            ax.plot(part[x], part["value"], color=OTHERS[0], linewidth=0.6, alpha=0.6, zorder=0)
    for rule in named:
        part = found[found["rule"] == rule].sort_values(x)
        colour, mark = LOOKS[rule]
        reach = [part["value"] - part["low"], part["high"] - part["value"]]
        ax.errorbar(
            part[x], part["value"], yerr=reach, color=colour, marker=mark, markersize=5, linewidth=1.5, capsize=2, label=rule
        )
    if x == "nfe":
        ticks = sorted(found[x].unique())
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_xlabel("calls of the denoiser")
    ax.minorticks_off()


def scatter(ax: Axes, across: pd.DataFrame, up: pd.DataFrame, named: Sequence[str]) -> None:
    """A mark a rule, with both intervals where it is named.

    The name stands beside a mark of the left half; those of the right half carry labels for
    :func:`~ardm.book.figures.label_lines`.

    ``across``, ``up``: rows of :func:`~ardm.experiments.results.summary` of one task and number of calls, in the units of the axes.
    A rule that one of the two lacks is left out. ``InputError`` for a named one.
    """
    across, up = across.set_index("rule"), up.set_index("rule")
    both = [rule for rule in across.index if rule in up.index]
    _check(across.loc[both].reset_index(), named)
    rest = [rule for rule in both if rule not in named]
    ax.plot(across["value"][rest], up["value"][rest], ".", color=OTHERS[0], markersize=6, zorder=0)
    middle = (across["value"][both].min() + across["value"][both].max()) / 2
    for rule in named:
        (colour, mark), a, b = LOOKS[rule], across.loc[rule], up.loc[rule]
        sides = ([[end["value"] - end["low"]], [end["high"] - end["value"]]] for end in (a, b))
        how = {"color": colour, "marker": mark, "markersize": 7, "linestyle": "none", "linewidth": 1}
        beside = a["value"] < middle
        ax.errorbar(
            a["value"], b["value"], **dict(zip(("xerr", "yerr"), sides, strict=True)), **how, label=None if beside else rule
        )
        if beside:
            where = {"xytext": (8, 5), "textcoords": "offset points", "fontsize": 8.5}
            ax.annotate(rule, (a["value"], b["value"]), **where, color=readable(colour))


def _check(found: pd.DataFrame, named: Sequence[str]) -> None:
    for rule in named:
        check_choice("rule", rule, list(found["rule"].unique()))
