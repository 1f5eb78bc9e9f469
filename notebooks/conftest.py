"""How ``pytest --nbval notebooks/`` compares: exactly, but for numbers stated with a tolerance (see ``ardm.book.stated``).

Text that agrees within its stated tolerances counts as equal. What is glued for the prose repeats a printed line and is left
out. A cell tagged ``needs-<corpus>`` runs everywhere; where that corpus is absent its outputs are not compared, and the summary
says so.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ardm.adapters.reaction_model import lacking
from ardm.book.kernel import own_settings
from ardm.book.stated import GLUED, agree
from ardm.worlds import registry

try:
    from nbval.plugin import IPyNbCell
except ImportError:  # plain pytest without nbval: no cell is ever collected
    IPyNbCell = None

NEEDS = "needs-"
CHEM = "chem"
SKIPPED = "outputs not compared: absent corpus"


def _require_hooks() -> None:
    expected = ["self", "test", "ref", "skip_compare"]
    method = getattr(IPyNbCell, "compare_outputs", None)
    if method is None or list(inspect.signature(method).parameters) != expected:
        raise pytest.UsageError(
            f"this conftest.py needs nbval 0.11, with IPyNbCell.compare_outputs({', '.join(expected)})"
        )


if IPyNbCell is not None:
    _require_hooks()


def pytest_configure(config: pytest.Config) -> None:
    """The kernels are those of ``ardm execute``: this interpreter, and nobody's own settings."""
    folder = TemporaryDirectory(prefix="ardm-")
    os.environ.update(own_settings(Path(folder.name)))
    config.add_cleanup(folder.cleanup)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Put our comparison in front of nbval's, on each cell of the notebooks in this folder."""
    if IPyNbCell is not None and isinstance(item, IPyNbCell):
        exactly = item.compare_outputs
        item.compare_outputs = lambda test, ref, skip_compare=None: _compare(
            item, exactly, test, ref
        )


def _compare(item: Any, exactly: Any, fresh: list[Any], stored: list[Any]) -> bool:
    absent = [corpus for corpus in _needed(item.cell) if not _is_here(corpus)]
    if absent:
        item.user_properties += [(SKIPPED, corpus) for corpus in absent]
        return True
    settled, complaints = _settle(fresh, stored)
    same = exactly(
        settled,
        stored,
        (*item.parent.skip_compare, *_glued(fresh), *_glued(stored)),
    )
    if not same:
        item.comparison_traceback += complaints
    return same


def _needed(cell: Any) -> list[str]:
    return [
        tag.removeprefix(NEEDS)
        for tag in cell.metadata.get("tags", ())
        if tag.startswith(NEEDS)
    ]


def _is_here(name: str) -> bool:
    """Whether a corpus lies on this machine, or what the name of an extra stands for is installed."""
    return not lacking() if name == CHEM else registry.locate(name) is not None


def _glued(outputs: list[Any]) -> set[str]:
    return {
        kind
        for output in outputs
        for kind in output.get("data", {})
        if kind.startswith(GLUED)
    }


def _settle(fresh: list[Any], stored: list[Any]) -> tuple[list[Any], list[str]]:
    """The fresh outputs with every text that agrees with its stored one replaced by it, and what did not agree."""
    settled = copy.deepcopy(fresh)
    references = defaultdict(list)
    for kind, place, name in _texts(stored):
        references[kind].append(place[name])
    complaints = []
    for kind, place, name in _texts(settled):
        if references[kind]:
            reference = references[kind].pop(0)
            complaint = agree(reference, place[name])
            if complaint is None:
                place[name] = reference
            else:
                complaints.append(f"{kind}, {complaint}")
    return settled, complaints


def _texts(outputs: list[Any]) -> Iterator[tuple[str, Any, str]]:
    """Every text as (kind, where it lies, under which name): printed streams and plain renderings."""
    for output in outputs:
        if output.output_type == "stream":
            yield output.name, output, "text"
        elif "text/plain" in output.get("data", {}):
            yield "text/plain", output.data, "text/plain"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in the end which cells ran without their outputs being compared, and for want of which corpus."""
    cells = defaultdict(set)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, corpus in getattr(report, "user_properties", ()):
                if name == SKIPPED:
                    cells[corpus].add(report.nodeid)
    for corpus in sorted(cells):
        what = "reaction model" if corpus == CHEM else f"corpus {corpus}"
        terminalreporter.section(
            f"{what} is not here: outputs of {len(cells[corpus])} cells not compared",
            yellow=True,
        )
        for nodeid in sorted(cells[corpus]):
            terminalreporter.line(nodeid)
