"""What the columns of the published tables mean, in which unit; and the tables as a Frictionless data package.

This is the one place that describes columns: the package is written from it, and the book's page of tables from the package.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError
from ardm.base.resources import RESULTS

__all__ = ["COLUMNS", "PACKAGE", "TABLES", "Column", "package", "write_package"]

PACKAGE = "datapackage.json"
DIGEST = {"pattern": "[0-9a-f]{16}"}
SHARE: dict[str, Any] = {"minimum": 0, "maximum": 1}
COUNT: dict[str, Any] = {"minimum": 0}


@dataclass(frozen=True)
class Column:
    """A column: its Frictionless type, what a value says, its unit, and what every value keeps to (Frictionless constraints)."""

    type: str
    says: str
    unit: str = ""
    keeps: dict[str, Any] = field(default_factory=dict)


COLUMNS = {
    "task": Column("string", "the task, by its name in `ardm.experiments.tasks`", keeps={"required": True}),
    "rule": Column(
        "string",
        "the rule, by its name in the book; `the law itself`: as many texts of the law or corpus",
        keeps={"required": True},
    ),
    "variant": Column(
        "string", "what was changed in the recommended gate, `axis/value`; `base`: nothing", keeps={"required": True}
    ),
    "nfe": Column("integer", "calls of the denoiser that the rule was given; 0 for `the law itself`", "calls a text", COUNT),
    "seed": Column("integer", "the training, and with it the texts; a search is written under 0", keeps=COUNT),
    "knobs": Column("object", "the settings of the rule: those chosen by its search, in `tuning` those tried"),
    "count": Column("integer", "texts", "texts", {"minimum": 1}),
    "calls": Column("number", "calls that were made", "calls a text, mean", COUNT),
    "settled": Column("number", "the last step that changed anything", "steps, mean over texts", COUNT),
    "overwrites": Column("number", "visible tokens that were replaced in place or hidden again", "tokens a text, mean", COUNT),
    "wasted": Column("number", "overwrites that put the same token back", "tokens a text, mean", COUNT),
    "seconds": Column("number", "time that the sampler took, all texts in one batch", "seconds a text", COUNT),
    "quality": Column(
        "number", "share of valid texts; on text8 share of complete words that its vocabulary has", "share", SHARE
    ),
    "loss": Column(
        "number", "what knobs are tuned on: falls as validity and fidelity to the law rise", "0 is best, 1 is worst", SHARE
    ),
    "outcomes": Column(
        "string", "valid or not, a bit a text, the first text first, as hexadecimal digits", keeps={"pattern": "[0-9a-f]+"}
    ),
    "words": Column(
        "number",
        "distance of the frequencies of single tokens from the law's, on reactions the truth's",
        "total variation",
        SHARE,
    ),
    "pairs": Column(
        "number", "distance of neighbouring tokens from the law's, on text8 from held-out text's", "total variation", SHARE
    ),
    "counts": Column("number", "distance of the number of sentences a text from the law's", "total variation", SHARE),
    "texts": Column("number", "distance of whole texts from the law, where it has at most 1000", "total variation", SHARE),
    "nats": Column("number", "negative log-likelihood of the valid texts under the law", "nats a token", COUNT),
    "distinct": Column(
        "number", "texts that differ, over all texts; on text8 distinct runs of four characters over all", "share", SHARE
    ),
    "start": Column("string", "a digest of the tokens that the run started from: equal for what is compared", keeps=DIGEST),
    "key": Column(
        "string",
        "the digest of all that decides the row: recipe, settings, code, data, versions",
        keeps={"required": True, **DIGEST},
    ),
    "touched": Column("number", "of the tokens wrong at the start, the share ever overwritten", "share", SHARE),
    "recovered": Column(
        "number", "of the tokens wrong at the start, on reactions hidden ones too, the share right at the end", "share", SHARE
    ),
    "held": Column("number", "of the heavy atoms of a valid product, the share that the reactants have too", "share", SHARE),
    "exact": Column("number", "texts that are the one behind the start, token by token", "share", SHARE),
    "mistakes": Column("number", "of all cells, the share that differ from the grid behind the start", "share", SHARE),
    "conflicts": Column("number", "cells whose digit stands again in their row, column or box", "cells a grid, mean", COUNT),
    "damaged": Column("number", "of the tokens right at the start, the share wrong at the end", "share", SHARE),
    "judge_bits": Column("number", "what a character costs under an n-gram judge of held-out text", "bits a character", COUNT),
    "entropy": Column("number", "entropy of single characters", "nats", COUNT),
}
"""Every column of every published table, by its name.

:meta hide-value:
"""

TABLES = {
    "arena": (
        "The arena",
        "every rule on ten tasks; a row is a rule on a task with so many calls and the models of one training",
    ),
    "tuning": ("The searches of the arena", "a row is one setting of a rule that was tried"),
    "final": (
        "The test on new texts",
        "the rules that were best, and those that came later, on four tasks; rows as in `arena`",
    ),
    "scale": ("The ladder", "the gate and its best rivals at three lengths and with three models; rows as in `arena`"),
    "grids": ("Full Sudoku", "rules on Sudoku of side 9, with a denoiser trained long; rows as in `arena`"),
    "ablations": (
        "The ablations",
        "a row is a variant of the recommended gate with so many calls and the models of one training",
    ),
    "real": (
        "A model nobody here trained",
        "rules on reactions, with the masked language model of rxnmapper; rows as in `arena`, the seed that of texts and gates",
    ),
}
"""The published tables: title, and what a row is.

:meta hide-value:
"""


def package(folder: Path = RESULTS) -> dict[str, Any]:
    """The tables in the folder as a Frictionless tabular data package (specs.frictionlessdata.io, version 1).

    ``InputError`` for a table with a column that :data:`COLUMNS` does not describe.
    """
    return {
        "profile": "tabular-data-package",
        "name": "ardm-results",
        "title": "Samplers that revise, at equal numbers of calls",
        "description": "The tables that the book reads. The JSON beside each holds its settings, code, versions and commits.",
        "licenses": [{"name": "MIT", "path": "https://opensource.org/license/mit", "title": "MIT License"}],
        "resources": [_resource(name, folder / f"{name}.csv") for name in TABLES if (folder / f"{name}.csv").is_file()],
    }


def _resource(name: str, path: Path) -> dict[str, Any]:
    content, (title, rows) = path.read_bytes(), TABLES[name]
    return {
        "profile": "tabular-data-resource",
        "name": name,
        "path": path.name,
        "title": title,
        "description": rows,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "bytes": len(content),
        "hash": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "schema": {
            "fields": [_field(column, path) for column in next(csv.reader(io.StringIO(content.decode())), [])],
            "missingValues": ["", "nan"],
        },
    }


def _field(name: str, path: Path) -> dict[str, Any]:
    if name not in COLUMNS:
        raise InputError(f"{path.name} has a column {name!r} that nobody describes: add it to ardm.experiments.columns")
    column = COLUMNS[name]
    described: dict[str, Any] = {"name": name, "type": column.type, "description": column.says}
    if column.unit:
        described["unit"] = column.unit
    return described | ({"constraints": dict(column.keeps)} if column.keeps else {})


def write_package(folder: Path = RESULTS) -> Path:
    """Write ``datapackage.json`` beside the tables, whole or not at all; returns where."""
    path = folder / PACKAGE
    write_whole(path, json.dumps(package(folder), indent=1, ensure_ascii=False) + "\n")
    return path
