"""The page of all numbers: its rows are those of the published tables, and it shows, sorts, finds and saves them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import explorer
import pytest
from test_pages import DESK, HTML, PHONE, Visit, address, browser  # noqa: F401  fixtures

from ardm.experiments import results
from ardm.experiments.tasks import TASKS

COLUMNS = [column.key for column in explorer.columns()]


@pytest.fixture(scope="module")
def scale() -> list[dict]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in explorer.rows(results.read("scale"))]


def test_a_row_is_the_mean_of_its_cells(scale):
    table = results.read("scale")
    cells = table[(table["task"] == "agreement-16") & (table["rule"] == "one-way") & (table["nfe"] == 4)]
    row = next(row for row in scale if (row["task"], row["rule"], row["calls"]) == ("16 tokens", "one-way", 4))
    assert row["valid"] == pytest.approx(100 * cells["quality"].mean(), abs=0.05)
    assert row["loss"] == pytest.approx(100 * cells["loss"].mean(), abs=0.05)
    assert row["valid_low"] <= row["valid"] <= row["valid_high"]
    assert (row["group"], row["trainings"], row["overwrites"]) == ("plain", len(cells), 0)


def test_there_is_a_row_for_each_task_rule_and_number_of_calls(scale):
    table = results.read("scale")
    assert len(scale) == len(table[["task", "rule", "nfe"]].drop_duplicates())
    assert {row["task"] for row in scale} == {TASKS[name].title for name in table["task"].unique()}


def test_what_was_not_measured_is_empty(scale):
    assert all(row["judge_bits"] is None for row in scale)


# ------------------------------------------------------------------------------------------------------------ in a browser


def first(page) -> str:
    return page.locator("#explorer tbody tr td a").first.inner_text()


def test_it_sorts_finds_and_keeps_its_view_in_the_address(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/explorer.html", viewport=DESK) as visit:
        page = visit.page
        page.get_by_label("Task").select_option(TASKS["sudoku"].title)
        page.get_by_label("Calls").select_option("8")
        table = results.summary(results.read("arena"))
        most = table[(table["task"] == "sudoku") & (table["nfe"] == 8)].nlargest(1, "value")["rule"].item()
        for order in ("ascending", "descending"):
            page.get_by_role("button", name="Valid, % mean").click()
            page.wait_for_selector(f"#explorer th[aria-sort='{order}']")
        assert first(page) == most
        page.get_by_label("Rule", exact=True).fill("wiNo")
        assert page.locator("#explorer tbody").inner_text().strip() == "No rule fits."
        page.get_by_label("Rule", exact=True).fill("ratio")
        page.wait_for_url("**find=ratio**")  # page.url is told of a new address, a moment later
        there = page.url
        assert visit.faults == []
    with Visit(browser, there, viewport=PHONE) as visit:  # a reader who was sent the address
        assert visit.page.get_by_label("Calls").input_value() == "8"
        rules = visit.page.locator("#explorer tbody tr td:first-child").all_inner_texts()
        assert rules
        assert all("ratio" in rule for rule in rules)
        assert visit.faults == []


def test_it_saves_what_it_shows(browser):  # noqa: F811
    with Visit(browser, f"{(HTML / 'book/explorer.html').as_uri()}#table=scale&calls=4&task=", viewport=DESK) as visit:
        with visit.page.expect_download() as download:
            visit.page.get_by_role("button", name="CSV").click()
        assert download.value.suggested_filename == "scale.csv"
        saved = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf8"))))
    table = results.read("scale")
    assert list(saved[0]) == COLUMNS
    assert len(saved) == len(table[table["nfe"] == 4][["task", "rule"]].drop_duplicates())


# --------------------------------------------------------------------------------------------------------- cards of words


def test_a_word_shows_its_entry_to_pointer_keyboard_and_finger(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/index.html", viewport=DESK) as visit:
        page, card = visit.page, visit.page.get_by_role("tooltip")
        valid = page.locator(".bd-article a[href$='#term-valid']").first
        assert not card.is_visible()
        valid.hover()
        assert "probability" in card.inner_text()
        assert valid.get_attribute("aria-describedby") == card.get_attribute("id")
        card.hover()  # it stays while it is read
        page.wait_for_timeout(300)
        assert card.is_visible()
        page.keyboard.press("Escape")
        assert not card.is_visible()
        assert valid.get_attribute("aria-describedby") is None
        valid.focus()
        assert card.is_visible()
    with Visit(browser, f"{address}/book/found.html", viewport=PHONE, has_touch=True) as visit:
        rule = visit.page.locator(".bd-article a[href$='#term-P2-self']").first
        rule.tap()
        assert "found.html" in visit.page.url
        assert "arXiv:2502.03540" in visit.page.get_by_role("tooltip").inner_text()
        rule.tap()
        visit.page.wait_for_url("**/book/glossary.html#term-P2-self")
