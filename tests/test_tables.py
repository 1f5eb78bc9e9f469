"""Folded tables: each behind its title, with nothing of their texts taken for markup."""

import xml.etree.ElementTree as ET

import pandas as pd
import pytest

from ardm.base.errors import InputError
from ardm.book.tables import Folded

ONE = pd.DataFrame({"loss": [0.25, 0.5]}, index=pd.Index(["<b>bold</b>", "plain"], name="rule"))


def test_each_table_stands_behind_its_title():
    shown = Folded({"Sudoku & co": ONE, "parity": ONE})._repr_html_()
    page = ET.fromstring(f"<div>{shown}</div>")
    assert [part.find("summary").text for part in page.findall("details")] == ["Sudoku & co", "parity"]
    first = page.find("details/table")
    assert [cell.text for cell in first.iter("td")] == ["0.25", "0.50"]
    assert [head.text for head in first.find("tbody").iter("th")] == ["<b>bold</b>", "plain"]


def test_a_terminal_shows_them_open():
    assert repr(Folded({"parity": ONE})).splitlines()[0] == "parity"
    assert "0.25" in repr(Folded({"parity": ONE}))


def test_no_table_is_refused():
    with pytest.raises(InputError, match="no tables"):
        Folded({})
