"""The arena: every rule on every task, at equal calls, tuned by one search, over several trainings, kept cell by cell.

What is missing is trained, each rule is tuned on texts of its own, then all play. The graph does it in batches (:mod:`.work`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from ardm.base import fingerprint
from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError
from ardm.experiments.cells import Cell, Reference, Search, Settings
from ardm.experiments.work import (
    Batch,
    Experiment,
    Place,
    as_csv,
    made_of,
    parted,
    playing_batches,
    seconds_of,
    sources,
    trained_facts,
)

__all__ = ["Arena", "arena"]

SEARCHES, CELLS = 24, 100  # at most in a batch: starting its process is a small part of it


def arena(
    settings: Settings,
    folder: Path,
    *,
    models: Path | None = None,
    jobs: int | None = None,
    on: str | None = None,
    gpus: int | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Do all that is missing and write ``arena.csv``, ``tuning.csv`` and ``arena.json`` into ``folder``; returns the first.

    ``models``: where trained models are kept (default: in the folder). ``jobs``: batches at a time (default: one a core). ``on``: a
    cluster, ``gpus``: trainings at a time that have one each (:func:`ardm.base.graph.run`). What failed is named at the end
    (``UnitsFailed``) and tried again by the next call.
    """
    return Arena(settings, Place(folder, models or folder / "models")).run(jobs=jobs, on=on, gpus=gpus, say=say)


@dataclass(frozen=True)
class Arena(Experiment):
    """The tables of an arena."""

    kind = "arena"

    @cached_property
    def searches(self) -> list[Search]:
        """Each search once."""
        found = list(dict.fromkeys(filter(None, (self.settings.search(*match) for match in self.settings.matches()))))
        if not any(isinstance(cell, Cell) for cell in self.settings.cells({})):
            raise InputError("nothing to play: none of these rules plays these tasks with these numbers of calls")
        return found

    def cells(self) -> list[Cell | Reference]:
        """All cells, with the knobs that their searches chose; those whose search is missing with the default."""
        there = (search for search in self.searches if self.place.has(search))
        return self.settings.cells({search: self.place.kept(search)["result"]["best"] for search in there})

    def batches(self) -> list[Batch]:
        tasks: dict[str, list[Batch]] = {task.name: [] for task, *_ in self.settings.matches()}
        for name, found in tasks.items():
            searches = [search for search in self.searches if search.task.name == name]
            for part, jobs in enumerate(parted(searches, SEARCHES)):
                says = f"{name}, part {part + 1}"
                found.append(Batch(kind="search", name=f"search-{name}-{part}", says=says, jobs=tuple(jobs)))
        after = {name: tuple(batch.name for batch in found) for name, found in tasks.items()}
        absent = {search for search in self.searches if not self.place.has(search)}
        matches = self.settings.matches()
        unknown = {
            (task.name, rule.name, nfe) for task, rule, nfe in matches if self.settings.search(task, rule, nfe) in absent
        }
        cells = self.cells()
        open_ = {cell for cell in cells if isinstance(cell, Cell) and (cell.task.name, cell.rule, cell.nfe) in unknown}
        for batch in playing_batches(cells, CELLS, after=after, unknown=open_):
            tasks[batch.jobs[0].task.name].append(batch)
        return [batch for found in tasks.values() for batch in found]

    def write(self) -> Path:
        """The tables of all cells and searches, and what made them, whoever made them and when."""
        cells, folder = self.cells(), self.place.folder
        check_writable(folder / "arena.csv")
        played, tuned = [self.place.kept(cell) for cell in cells], [self.place.kept(search) for search in self.searches]
        trained = trained_facts(self.place, [*self.searches, *cells])
        rows = [{**cell.at, **kept["result"], "key": cell.key} for cell, kept in zip(cells, played, strict=True)]
        tried = [
            {**search.at, **row, "key": search.key}
            for search, kept in zip(self.searches, tuned, strict=True)
            for row in kept["result"]["tried"]
        ]
        facts = {
            "settings": asdict(self.settings),
            "key": fingerprint.digest(sorted(cell.key for cell in cells)),
            "search_key": fingerprint.digest(sorted(search.key for search in self.searches)),
            **made_of([kept["made"]["rule"] for kept in played], cells, played),
            "training_seconds": seconds_of(trained),
            "search_seconds": seconds_of(tuned),
            "playing_seconds": seconds_of(played),
            "provenance": sources(cells=played, searches=tuned, trainings=trained),
        }
        write_whole(folder / "arena.csv", as_csv(rows))
        write_whole(folder / "tuning.csv", as_csv(tried))
        write_whole(folder / "arena.json", json.dumps(facts, indent=1) + "\n")
        return folder / "arena.csv"
