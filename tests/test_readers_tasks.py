"""Five things that a reader comes for, done in the browser from the landing page; the clicks are counted and held to a number."""

from __future__ import annotations

import time

import pytest
from test_pages import DESK, Visit, address, browser  # noqa: F401  fixtures

from ardm.experiments import results
from ardm.experiments.tasks import TASKS


class Reader:
    """One who clicks, chooses and looks, from the landing page on."""

    def __init__(self, page) -> None:
        self.page, self.clicks, self.began = page, 0, time.monotonic()

    def click(self, what) -> None:
        what.click()
        self.clicks += 1

    def follow(self, words: str) -> None:
        """A link of the text or of the contents at the side."""
        self.click(self.page.get_by_role("link", name=words).first)
        self.page.wait_for_load_state()
        self.page.evaluate("() => [...document.images].forEach(image => { image.loading = 'eager'; })")
        self.page.wait_for_function("() => [...document.images].every(image => image.complete)")  # none is left half loaded

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label).select_option(option)
        self.clicks += 1

    def article(self):
        return self.page.locator(".bd-article")


def best_rule(reader: Reader) -> None:
    """Which rule is best for 8 calls on Sudoku?"""
    reader.follow("All numbers, in one table")
    reader.choose("Task", TASKS["sudoku"].title)
    reader.choose("Calls", "8")
    table = results.summary(results.read("arena"), "loss").query("task == 'sudoku' and nfe == 8")
    best = table.nsmallest(1, "value")["rule"].item()
    assert best in reader.page.locator("#explorer tbody tr").first.inner_text()


def no_veto(reader: Reader) -> None:
    """Why can noisy-OR not veto?"""
    reader.follow("What was found")
    card = reader.page.locator(".finding", has_text="cannot veto")
    reader.click(card.get_by_role("link").last)
    reader.page.wait_for_url("**/06_combining.html")
    assert "noisy-OR" in reader.article().inner_text()
    assert "veto" in reader.article().inner_text()


def another_alpha(reader: Reader) -> None:
    """Run chapter 5 again with another alpha: the command, in the clipboard."""
    reader.follow("The positional prior")
    block = reader.page.locator("#rerun-this-page .highlight").first
    assert "-p alpha=" in block.inner_text()
    block.hover()
    reader.click(block.locator("button.copybtn"))
    reader.page.wait_for_timeout(100)
    copied = reader.page.evaluate("() => navigator.clipboard.readText()")
    assert "ardm run 05_positional_prior" in copied
    assert "-p alpha=" in copied


def cite(reader: Reader) -> None:
    """Cite the frontier figure."""
    reader.follow("What was found")
    reader.click(reader.page.locator(".finding a[href$='#fig-frontier']"))
    row = reader.page.get_by_role("group", name="Files and citation of fig-frontier")
    reader.click(row.get_by_text("Cite", exact=True))
    entry = row.locator("details[open] pre").inner_text()
    assert entry.startswith("@")
    assert "figures/fig-frontier.html" in entry


def mend(reader: Reader) -> None:
    """Break a token in the sampler and see it mended."""
    reader.follow("The sampler in the page")
    reader.click(reader.page.locator("button.load"))
    reader.page.wait_for_selector(".ardm-playground[data-ready]")
    sampler = reader.page.get_by_role("group", name="The sampler")
    reader.click(sampler.get_by_role("button", name="Rewrite"))
    reader.page.wait_for_selector(".ardm-playground[data-ready]")
    before = sampler.inner_text()
    reader.click(sampler.get_by_role("button", name="Break a token"))
    broken = sampler.inner_text()
    assert broken != before
    reader.click(sampler.get_by_role("button", name="Rewrite"))
    reader.page.wait_for_function("before => document.querySelector('.ardm-playground').innerText !== before", arg=broken)


TASKS_OF_READERS = {best_rule: 3, no_veto: 2, another_alpha: 2, cite: 3, mend: 5}
"""What a reader wants, and with how many clicks it is had."""


@pytest.mark.parametrize(("task", "clicks"), TASKS_OF_READERS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_reader_finds_it(browser, address, capsys, task, clicks):  # noqa: F811
    with Visit(browser, f"{address}/book/index.html", viewport=DESK, permissions=["clipboard-read"]) as visit:
        reader = Reader(visit.page)
        task(reader)
        seconds = time.monotonic() - reader.began
        with capsys.disabled():
            print(f"\n{task.__doc__} {reader.clicks} clicks, {seconds:.1f} s")
        assert reader.clicks == clicks
        assert visit.faults == []
