"""Tables for a page: what a cell says, what is marked, that nothing of their texts is taken for markup, and their limits."""

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from ardm.base.errors import InputError
from ardm.book.tables import COLUMNS, ROWS, short, spelled
from ardm.experiments.statistics import Interval

TABLE = pd.DataFrame(
    {
        "valid, %": [Interval(81.46, 79.04, 84), Interval(81.52, 70, 90), None],
        "loss": [0.25, 0.5, float("nan")],
        "edits": [3, 10, 4],
        "more": [Interval(-0.02, -1, 1), Interval(2, 0.5, 3.5), Interval(-2, -3, np.float64(-1))],
    },
    index=pd.Index(["<b>one</b>", "two", "three"], name="rule"),
)


def body(table: object) -> list[list[str]]:
    rows = ET.fromstring(table._repr_html_()).find("tbody")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def bold(table: object) -> list[str]:
    return [mark.text for mark in ET.fromstring(table._repr_html_()).iter("strong")]


def test_each_cell_is_spelled_by_its_kind():
    """Digits by column, none for whole numbers, nothing where there is nothing, no minus before a zero."""
    shown = short(TABLE, digits={"valid, %": 1, "loss": 2, "more": 1}, differences=["more"])
    assert body(shown) == [
        ["<b>one</b>", "81.5 [79.0, 84.0]", "0.25", "3", "+0.0 [-1.0, +1.0]"],
        ["two", "81.5 [70.0, 90.0]", "0.50", "10", "+2.0 [+0.5, +3.5]"],
        ["three", "", "", "4", "-2.0 [-3.0, -1.0]"],
    ]
    assert repr(shown).splitlines()[2].split("  ")[0] == "<b>one</b>"
    assert "81.5 [79.0, 84.0]" in repr(shown)


def test_the_best_and_what_is_clear_of_zero_are_marked():
    """Two values that are shown alike are both the best."""
    shown = short(TABLE, best={"valid, %": max, "edits": min}, differences=["more"])
    assert bold(shown) == ["81.5", "3", "81.5", "+2.0", "-2.0"]
    lines = repr(shown).splitlines()
    assert [line.count("*") for line in lines] == [0, 0, 2, 2, 1]
    assert bold(short(TABLE)) == []
    assert bold(short(TABLE[["loss"]].iloc[2:], best={"loss": min})) == []


def test_an_outer_head_stands_once_for_its_rows():
    index = pd.MultiIndex.from_tuples([("a", 4), ("a", 8), ("b", 4)], names=["task", "calls"])
    rows = ET.fromstring(short(pd.DataFrame({"x": [1, 2, 3]}, index=index))._repr_html_()).findall("tbody/tr")
    assert [[cell.text for cell in row] for row in rows] == [["a", "4", "1"], ["8", "2"], ["b", "4", "3"]]
    assert rows[0][0].get("rowspan") == "2" and rows[2][0].get("rowspan") is None


@pytest.mark.parametrize(
    ("table", "given", "said"),
    [
        (pd.DataFrame(np.zeros((ROWS + 1, 1))), {}, f"{ROWS + 1} rows: at most {ROWS}"),
        (pd.DataFrame(np.zeros((1, COLUMNS + 1))), {}, f"{COLUMNS + 1} columns"),
        (TABLE, {"best": {"lost": min}}, "no column 'lost' in this table: it has valid, %, loss"),
        (TABLE, {"digits": {"lost": 1}}, "no column 'lost'"),
        (TABLE, {"differences": ["lost"]}, "no column 'lost'"),
    ],
)
def test_what_no_page_should_show_is_refused(table, given, said):
    with pytest.raises(InputError, match=said):
        short(table, **given)


def test_a_value_with_its_interval_in_prose():
    assert spelled(Interval(52.06, 50, 54), 0, unit="%") == "52 % [50, 54]"
    assert spelled(Interval(-1.25, -2, 0.5), 1, signed=True) == "-1.2 [-2.0, +0.5]"
