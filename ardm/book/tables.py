"""Tables that are too long for a page: each folded behind its title, all of them in one output."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from ardm.base.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Folded"]


class Folded:
    """Tables by their titles. A notebook shows a line for each, which opens it; a terminal shows them one below the other."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        if not tables:
            raise InputError("no tables: give at least one, by its title")
        self.tables = dict(tables)

    def __repr__(self) -> str:
        return "\n\n".join(f"{title}\n{table.to_string()}" for title, table in self.tables.items())

    def _repr_html_(self) -> str:
        parts = (
            f"<details><summary>{escape(title)}</summary>\n{table.to_html(border=0)}\n</details>"
            for title, table in self.tables.items()
        )
        return "\n".join(parts)
