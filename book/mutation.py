"""What the mutation run found, for the page of the checks: read from the file in which ``tests/mutants/run.py`` left it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import sqrt
from pathlib import Path

PAGE, RESULT = "book/checks", "tests/mutants/result.json"
METHOD, RULES = "ardm.method.", "ardm.method.rules"


def told(path: Path) -> dict[str, str]:
    """Numbers and tables for the page."""
    result = json.loads(path.read_text("utf8"))
    modules, made = result["modules"], result["made"]
    tried, noticed = (sum(one[count] for one in modules.values()) for count in ("tried", "noticed"))
    return {
        "tried": f"{tried:,}",
        "noticed": f"{noticed:,}",
        "share": f"{100 * noticed / tried:.1f} %",
        "first": first(**result["first"]),
        "made": f"mutmut {made['mutmut']}, commit {made['commit']}, {made['date']}",
        "modules": by_module(modules),
        "unnoticed": not_noticed(result["unnoticed"]),
    }


def first(changes: int, tried: int, noticed: int) -> str:
    """How many were noticed at the first try; of a sample with the 95 % interval of the share (Wilson)."""
    share = noticed / tried
    if tried == changes:
        return f"All {changes:,} changes were tried; {noticed:,} were noticed, {100 * share:.1f} %"
    z = 1.959964
    middle, half = share + z * z / (2 * tried), z * sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    low, high = ((middle + sign * half) / (1 + z * z / tried) for sign in (-1, 1))
    sample = (
        f"Of {changes:,} changes a random sample of {tried:,} was tried, of each module its share; {noticed:,} were noticed"
    )
    return f"{sample}, {100 * share:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"


def by_module(modules: dict[str, dict[str, int]]) -> str:
    """A table with a line for each module, all rules in one."""
    rules = [one for name, one in modules.items() if name.startswith(RULES)]
    rows = {name.removeprefix(METHOD): one for name, one in modules.items() if not name.startswith(RULES)}
    rows[f"rules ({len(rules)} files)"] = {count: sum(one[count] for one in rules) for count in rules[0]}
    lines = ["| Module | Changes | Tried | Noticed | Share |", "|---|---:|---:|---:|---:|"]
    for name, one in rows.items():
        share = f"{100 * one['noticed'] / one['tried']:.1f} %" if one["tried"] else ""
        lines.append(f"| {name} | {one['changes']} | {one['tried']} | {one['noticed']} | {share} |")
    return "\n".join(lines)


def not_noticed(changes: Iterable[dict[str, str]]) -> str:
    """A table of the changes that no test notices, those with one reason together."""
    lines = ["| In | Without | With the change | Why no test fails |", "|---|---|---|---|"]
    for one in sorted(changes, key=lambda one: (one["why"], one["where"])):
        was, now = differing(one["was"], one["now"])
        lines.append(f"| {code(one['where'].removeprefix(METHOD))} | {code(was)} | {code(now)} | {one['why']} |")
    return "\n".join(lines)


def differing(was: str, now: str, around: int = 24) -> tuple[str, str]:
    """The part of two lines in which they differ, and a little before and after it."""
    same = next((i for i, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    rest = min(len(was), len(now)) - same
    end = next((i for i in range(rest) if was[-1 - i] != now[-1 - i]), rest)
    begin = max(0, same - around)

    def cut(line: str) -> str:
        stop = min(len(line), len(line) - end + around)
        return ("…" if begin else "") + line[begin:stop] + ("…" if stop < len(line) else "")

    return cut(was), cut(now)


def code(text: str) -> str:
    """Code for a cell of a table."""
    return f"`` {text.replace('|', chr(92) + '|')} ``" if text else ""
