"""Text in tables that a spreadsheet opens: a cell of text is never a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["inert", "inert_table"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes (OWASP, CSV injection)."""


def inert(cell: Any) -> Any:
    """The cell with an apostrophe before it where a spreadsheet would compute it; numbers and single signs are as they are."""
    if not isinstance(cell, str) or len(cell) < 2 or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell if cell == cell.strip() else f"'{cell}"


def inert_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the names of its columns and its cells of text inert; a column of numbers is not touched."""
    table = table.copy()
    for name, column in table.items():
        if column.dtype.kind not in "biufcM":
            table[name] = column.map(inert)
    return table.rename(columns=inert)
