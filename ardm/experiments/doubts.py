"""What a table should be doubted for: settings that were best at the end of what was tried, rules that revised nothing, calls that
are not those asked for. Nobody reads four thousand rows for it, so the page of tables says it in sentences.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ardm.method.rules import entries

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["doubts"]


def doubts(table: pd.DataFrame) -> list[str]:
    """A sentence for each doubt about a table of matches, by rule; none for a table that has nothing to hide.

    A setting at the end of what was tried is told where at least a third of a rule's searches ended there and more than two values
    were tried; a number that can go no further (a count of 1, a share of 0 or 1) is no end.
    """
    played = table[table["rule"].isin(list(entries()))]
    return [*_at_edges(played), *_idle(played), *_calls(played)]


def _ends(rule: str) -> dict[str, tuple[float, float]]:
    """The ends of what was tried of each numeric knob with more than two values; none for a rule that another is tuned for."""
    tried = defaultdict(set)
    for setting in () if entries()[rule].like else entries()[rule].knobs:
        for knob, value in _numbers(setting).items():
            tried[knob].add(value)
    return {knob: (min(values), max(values)) for knob, values in tried.items() if len(values) > 2}


def _numbers(knobs: Mapping[str, Any]) -> dict[str, float]:
    return {name: v for name, v in knobs.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _at_edges(played: pd.DataFrame) -> Iterator[str]:
    chosen = played.drop_duplicates(["rule", "task", "nfe", "knobs"])
    for rule, rows in chosen.groupby("rule", sort=False):
        ends = _ends(rule)
        at: dict[tuple[str, float, str], int] = defaultdict(int)
        for knobs in map(json.loads, rows["knobs"]):
            for knob, value in _numbers(knobs).items():
                if knob in ends and value in ends[knob] and value not in (0, 1):
                    at[knob, value, "smallest" if value == ends[knob][0] else "largest"] += 1
        for (knob, value, which), count in sorted(at.items()):
            if 3 * count >= len(rows):
                yield f"{rule}: {knob} = {value:g}, the {which} tried, was best in {count} of {len(rows)} searches"


def _idle(played: pd.DataFrame) -> Iterator[str]:
    """Rules that can revise and did not, whatever the training."""
    for rule, rows in played.groupby("rule", sort=False):
        if entries()[rule].revises:
            did = rows.groupby(["task", "nfe"], sort=False)["overwrites"].max()
            idle = [f"{task} with {nfe} calls" for (task, nfe), most in did.items() if most == 0]
            if idle:
                yield f"{rule}: revised nothing on {', '.join(idle)}"


def _calls(played: pd.DataFrame) -> Iterator[str]:
    for rule, rows in played.groupby("rule", sort=False):
        wrong = rows[rows["calls"] != rows["nfe"]]
        if len(wrong):
            yield f"{rule}: {len(wrong)} of {len(rows)} cells made other calls than were asked for"
