"""Tables for a page: short enough to be read, each interval small behind its value, the best of a column marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from html import escape
from itertools import groupby
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from ardm.base.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "ROWS", "Short", "short", "spelled"]

ROWS, COLUMNS = 8, 6
"""The most that :func:`short` shows: what a reader takes in, and what a phone has room for."""


def spelled(found: Any, digits: int = 1, *, unit: str = "", signed: bool = False) -> str:
    """A value with its interval as text: ``81.5 % [79.0, 84.0]``. ``found`` has ``value``, ``low`` and ``high``, in that unit."""
    value, *ends = (_number(float(number), digits, signed) for number in (found.value, found.low, found.high))
    return f"{value} {unit}".strip() + f" [{', '.join(ends)}]"


def short(
    table: pd.DataFrame,
    *,
    digits: int | Mapping[str, int] = 1,
    best: Mapping[str, Callable] | None = None,
    differences: Collection[str] = (),
) -> Short:
    """The table as a page shows it; the last line of a cell.

    ``table``: names of rows in its index, units in the names of its columns; a cell is text, a number, or whatever has ``value``,
    ``low`` and ``high``, as an :class:`~ardm.experiments.statistics.Interval` has, which is shown as ``81.5 [79.0, 84.0]``. No
    value: an empty cell. ``digits``: decimals, of all columns or by name; whole numbers have none. ``best``: ``max`` or ``min`` by
    column; the best of that column, by the digits shown, is bold and has a star as text. ``differences``: columns with signs, in
    which what is clear of zero is marked likewise. ``InputError`` for more than :data:`ROWS` rows or :data:`COLUMNS` columns, and
    for a column that the table lacks.
    """
    best, decimals = dict(best or {}), digits if isinstance(digits, Mapping) else dict.fromkeys(table.columns, digits)
    for size, most, what in ((len(table), ROWS, "rows"), (len(table.columns), COLUMNS, "columns")):
        if size > most:
            raise InputError(f"a short table of {size} {what}: at most {most}; show those that the page speaks of")
    for name in {*best, *differences, *decimals}:
        if name not in table.columns:
            raise InputError(f"no column {name!r} in this table: it has {', '.join(map(str, table.columns))}")
    cells = {}
    for name in table.columns:
        places, signed = decimals.get(name, 1), name in differences
        values = [_value(cell, places) for cell in table[name]]
        there = [value for value in values if value is not None]
        top = best[name](there) if name in best and there else None
        marks = [
            _is_clear(cell) if signed else top is not None and value == top
            for cell, value in zip(table[name], values, strict=True)
        ]
        cells[name] = [(*_parts(cell, places, signed), mark) for cell, mark in zip(table[name], marks, strict=True)]
    return Short(table.index, cells)


class Short:
    """What :func:`short` returns: HTML in a page, plain text in a terminal, where a star marks what is bold in the page."""

    def __init__(self, index: pd.Index, cells: Mapping[str, list[tuple[str, str, bool]]]) -> None:
        self.index, self.cells = index, dict(cells)

    def __repr__(self) -> str:
        import pandas as pd

        texts = {
            name: [f"{value} {interval}".strip() + "*" * marked for value, interval, marked in column]
            for name, column in self.cells.items()
        }
        return pd.DataFrame(texts, index=self.index).to_string()

    def _repr_html_(self) -> str:
        heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in (*_names(self.index), *self.cells))
        rows = zip(_heads(self.index), zip(*self.cells.values(), strict=True), strict=True)
        body = "\n".join(f"<tr>{head}{''.join(map(_cell, cells))}</tr>" for head, cells in rows)
        return f'<table class="dataframe short">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def _names(index: pd.Index) -> list[str]:
    return ["" if name is None else name for name in index.names]


def _heads(index: pd.Index) -> list[str]:
    """The head of each row; in an index of several levels the first stands once for the rows that follow one another."""
    rows = [label if isinstance(label, tuple) else (label,) for label in index]
    heads = []
    for _, group in groupby(rows, key=lambda labels: labels[0]):
        some = list(group)
        joined = len(some) if index.nlevels > 1 else 1
        for place, labels in enumerate(some):
            span = f' rowspan="{joined}"' if joined > 1 else ""
            first = f'<th scope="rowgroup"{span}>{escape(str(labels[0]))}</th>' if joined > 1 else _head(labels[0])
            heads.append((first if place == 0 or joined == 1 else "") + "".join(map(_head, labels[1:])))
    return heads


def _head(label: Any) -> str:
    return f'<th scope="row">{escape(str(label))}</th>'


def _cell(cell: tuple[str, str, bool]) -> str:
    value, interval, marked = cell
    value = f"<strong>{escape(value)}</strong>" if marked else escape(value)
    return (
        f'<td>{value} <small style="white-space: nowrap">{escape(interval)}</small></td>' if interval else f"<td>{value}</td>"
    )


def _parts(cell: Any, digits: int, signed: bool) -> tuple[str, str]:
    """The text of a cell, and of its interval."""
    if hasattr(cell, "low"):
        value, _, interval = spelled(cell, digits, signed=signed).partition(" ")
        return value, interval
    return ("" if _is_absent(cell) else _number(cell, digits, signed) if isinstance(cell, Real) else str(cell)), ""


def _number(number: Real, digits: int, signed: bool) -> str:
    if isinstance(number, Integral):
        return f"{number:+}" if signed else str(number)
    return f"{round(float(number), digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def _value(cell: Any, digits: int) -> float | None:
    """What a column is ordered by, as it is shown; None for text and where there is nothing."""
    number = getattr(cell, "value", cell)
    return round(float(number), digits) if isinstance(number, Real) and not _is_absent(number) else None


def _is_absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, Real) and math.isnan(cell))


def _is_clear(cell: Any) -> bool:
    return hasattr(cell, "low") and bool(cell.low > 0 or cell.high < 0)
