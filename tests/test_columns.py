"""The published tables against their description: by the library of the format, and by what their files hold."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from frictionless import Package, validate

from ardm.base.errors import InputError
from ardm.base.resources import RESULTS
from ardm.experiments.columns import COLUMNS, PACKAGE, TABLES, package, write_package

FILES = sorted(RESULTS.glob("*.csv"))


def test_every_column_and_table_is_described_and_nothing_else_is():
    assert {path.stem for path in FILES} == set(TABLES)
    assert {column for path in FILES for column in pd.read_csv(path, nrows=1).columns} == set(COLUMNS)


def test_the_package_beside_the_tables_is_that_of_today():
    assert json.loads((RESULTS / PACKAGE).read_text("utf8")) == package(), (
        "ardm.experiments.columns.write_package() writes it anew"
    )


def test_the_tables_are_as_described():
    """Every value of its type and within its limits, every file of its size and checksum."""
    report = validate(str(RESULTS / PACKAGE))
    assert report.valid, report.flatten(["name", "type", "note"])[:10]
    assert report.stats["tasks"] == len(FILES)
    assert all("unit" in one for one in fields("arena") if one["type"] in ("integer", "number") and one["name"] != "seed")


def fields(name: str) -> list[dict]:
    resource = Package(str(RESULTS / PACKAGE)).get_resource(name)
    return resource.to_descriptor()["schema"]["fields"]


KEY = (RESULTS / "ablations.csv").read_text("utf8").splitlines()[1].rpartition(",")[2]
"""The key of the first row."""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\nbase,agreement,0,", "\nbase,agreement,zero,", "type-error"),
        ("\nbase,agreement,0,", "\nbase,agreement,-1,", "constraint-error"),
        (KEY, KEY[:-1], "constraint-error"),
        ("variant,task,", "variant,tasks,", "incorrect-label"),
    ],
)
def test_what_is_not_as_described_is_seen(tmp_path, old, new, said):
    text = (RESULTS / "ablations.csv").read_text()
    (tmp_path / "ablations.csv").write_text(text.replace(old, new, 1))
    told = json.loads((RESULTS / PACKAGE).read_text())
    told["resources"] = [one for one in told["resources"] if one["name"] == "ablations"]
    (tmp_path / PACKAGE).write_text(json.dumps(told))
    found = {kind for (kind,) in validate(str(tmp_path / PACKAGE)).flatten(["type"])}
    assert said in found and found & {"hash-count", "byte-count"}


def test_a_column_that_nobody_describes_is_named(tmp_path):
    shutil.copy(RESULTS / "scale.csv", tmp_path)
    assert [one["name"] for one in json.loads(write_package(tmp_path).read_text())["resources"]] == ["scale"]
    (tmp_path / "scale.csv").write_text("task,taste\n")
    with pytest.raises(InputError, match=r"scale\.csv has a column 'taste'.*ardm\.experiments\.columns"):
        package(tmp_path)
