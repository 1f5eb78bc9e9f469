"""The numbers a notebook states: printed with the tolerance they hold to, handed to the prose, and compared later.

A trained number differs a little from machine to machine. ``within`` says by how much it may, and ``agree`` compares
two such lines to within it. Everything else a notebook prints is compared exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ardm.base.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GLUED", "agree", "cells", "numbers", "within"]

GLUED = "application/papermill.record/"  # the start of the MIME types under which glue stores what prose quotes
ABSENT = "not measured here"

_NUMBER = r"-?\d+(?:\.\d+)?"
_MEASURED = re.compile(
    rf"(?P<name>.+) = (?P<value>{_NUMBER})(?: (?P<unit>[^=()]+))? \(checked to within (?P<tolerance>{_NUMBER})\)"
)


@dataclass(frozen=True)
class within:  # a word of the sentence in which it stands
    """A number that may differ by ``tolerance`` on another machine; ``value`` is None where it could not be measured.

    ``digits``: decimals shown; by default two significant ones of the tolerance.
    """

    tolerance: float
    value: Any = None
    unit: str = ""
    digits: int | None = None


def numbers(prefix: str, named: Mapping[str, Any]) -> None:
    """Hand numbers to the prose, each as ``PREFIX-NAME``, and print a line for each, by which a later run is compared.

    Without a prefix (an empty one) the names alone are the keys. A ``within`` is rounded and compared by its tolerance:
    ``where-valid = 52.1 % (checked to within 5.0)``. Whatever else is the same everywhere: its text is shown, and compared, as it
    is. None: not measured here. All are looked at before the first is printed; ``InputError`` for a name, unit or tolerance that
    is none, ``ValueError`` for NaN and infinity.
    """
    stated = {}
    for name, value in named.items():
        key = f"{prefix}-{name}" if prefix else name
        if not key.strip() or "\n" in key:
            raise InputError(f"the name {key!r} is not one line of text")
        stated[key] = _measured(key, value) if isinstance(value, within) else (_exact(key, value), "")
    for key, (shown, check) in stated.items():
        print(f"{key} = {shown}{check}" if shown else f"{key}: {ABSENT}")
        _glue(key, shown or ABSENT)


def cells(table: pd.DataFrame, rows: Mapping[str, Any], columns: Mapping[str, tuple[str, within]]) -> dict[str, within]:
    """Cells of a table for ``numbers``, as ``COLUMN-ROW``: every pair of a name of ``rows`` and one of ``columns``.

    ``rows``: the label in the index by the name in the prose. ``columns``: likewise the label of the column, and how its values
    are rounded and checked.
    """
    return {
        f"{column}-{row}": replace(how, value=table.at[label, of])
        for column, (of, how) in columns.items()
        for row, label in rows.items()
    }


def _exact(key: str, value: Any) -> str:
    """The text of a value that is the same everywhere; empty for None."""
    text = "" if value is None else str(value)
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{key!r} is nan")
    if "\n" in text:
        raise InputError(f"the value of {key!r} has several lines: state one line")
    return text


def _measured(key: str, it: within) -> tuple[str, str]:
    """The rounded number with its unit, and what is printed behind it; nothing where it was not measured."""
    tolerance = float(it.tolerance)
    if not 0 < tolerance < math.inf:
        raise InputError(f"the tolerance of {key!r} is {tolerance:g}: it is a number above 0")
    if re.search(r"[=()\n]", it.unit):
        raise InputError(f"the unit {it.unit!r} of {key!r} has one of = ( ) or a line break")
    if it.value is None:
        return "", ""
    number = float(it.value)
    if not math.isfinite(number):
        raise ValueError(f"{key!r} is {number}: a measured number is finite")
    digits = max(0, 1 - math.floor(math.log10(tolerance))) if it.digits is None else it.digits
    shown = f"{round(number, digits) + 0.0:.{digits}f} {it.unit}".strip()
    return shown, f" (checked to within {_in_full(tolerance, digits)})"


def _in_full(tolerance: float, digits: int) -> str:
    """The tolerance with at least ``digits`` decimals, and as many more as it takes to say it exactly."""
    texts = (f"{tolerance:.{places}f}" for places in range(digits, 400))
    return next(text for text in texts if float(text) == tolerance)


def _glue(key: str, text: str) -> None:
    """Hand the text to the book's prose. Does nothing outside a notebook, nor where the book's tools are not installed."""
    try:
        from IPython import get_ipython
        from myst_nb import glue
    except ImportError:
        return
    if get_ipython() is not None:
        glue(key, text, display=False)


def agree(stored: str, fresh: str) -> str | None:
    """None when two texts agree, else the first disagreement in words.

    Lines agree when they are equal, or when both state a measured number of the same name, unit and tolerance and the two
    numbers differ by no more than the stored tolerance.
    """
    if stored == fresh:
        return None
    old, new = stored.split("\n"), fresh.split("\n")
    if len(old) != len(new):
        return f"{len(new)} lines where {len(old)} are stored"
    messages = (_disagreement(*pair) for pair in zip(old, new, strict=True))
    return next((f"line {number}: {message}" for number, message in enumerate(messages, start=1) if message), None)


def _disagreement(stored: str, fresh: str) -> str:
    if stored == fresh:
        return ""
    old, new = _MEASURED.fullmatch(stored), _MEASURED.fullmatch(fresh)
    if not old or not new or old["name"] != new["name"] or old["unit"] != new["unit"]:
        return f"{fresh!r} where {stored!r} is stored"
    name, tolerance = old["name"], old["tolerance"]
    if new["tolerance"] != tolerance:
        return f"{name!r} is checked to within {new['tolerance']} where {tolerance} is stored"
    if abs(Decimal(new["value"]) - Decimal(old["value"])) > Decimal(tolerance):  # decimal: 0.57 - 0.52 is 0.05 and no more
        return f"{name!r} is {new['value']} where {old['value']} is stored, further than the tolerance {tolerance}"
    return ""
