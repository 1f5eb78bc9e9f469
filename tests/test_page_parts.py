"""What a page lets its reader do: widgets that compute what the package computes, and the row under each figure."""

from __future__ import annotations

import json
import math

import pytest
import torch
from pybtex.database import parse_string
from test_pages import DESK, HTML, PAGES, Visit, address, browser  # noqa: F401  fixtures

from ardm.experiments import results
from ardm.method.prior import forced_overwrites, prior_logit
from ardm.method.signals import entropy, margin


def test_the_player_moves_by_button_and_by_key(browser, address) -> None:  # noqa: F811
    """From all hidden to the text that the page opens with, one step at a time, back again, and by the arrow keys."""
    with Visit(browser, f"{address}/notebooks/00_quickstart.html", viewport=DESK) as visit:
        player = visit.page.locator("#player-law")
        words = player.locator(".text span")
        finished = words.all_inner_texts()
        slider, says = player.locator("input"), player.locator("output")
        last = int(slider.get_attribute("max"))
        assert "_" not in finished
        slider.fill("0")
        assert words.all_inner_texts() == ["_"] * len(finished)
        assert says.inner_text() == "start"
        for step in range(1, last + 1):
            before = words.all_inner_texts()
            player.locator(".next").click()
            assert says.inner_text().startswith(f"step {step} of {last}")
            moved = player.locator(".text span.new, .text span.changed, .text span.same, .text span.cover").count()
            differ = sum(a != b for a, b in zip(before, words.all_inner_texts(), strict=True))
            assert differ <= moved
        assert words.all_inner_texts() == finished
        player.locator(".back").click()
        assert says.inner_text().startswith(f"step {last - 1} of")
        slider.focus()
        visit.page.keyboard.press("Home")
        assert says.inner_text() == "start"
        visit.page.keyboard.press("ArrowRight")
        assert says.inner_text().startswith("step 1 of")
        player.locator(".play").click()
        visit.page.wait_for_function("() => document.querySelector('#player-law output').textContent.startsWith('step 3')")
        assert not visit.faults


def set_slider(widget, name: str, value: float) -> None:
    widget.get_by_label(name, exact=True).fill(str(value))


def test_the_prior_explorer_computes_what_the_package_computes(browser, address) -> None:  # noqa: F811
    with Visit(browser, f"{address}/notebooks/05_positional_prior.html", viewport=DESK) as visit:
        widget = visit.page.locator("#prior-explorer")
        stage = widget.locator(".stage")
        for name, value in (("n, positions", 12), ("T, steps", 20), ("α, slope", 0.5), ("δ, shift", -2)):
            set_slider(widget, name, value)
        wanted = forced_overwrites(12, 20, 0.5, -2.0).sum().item()
        assert float(stage.get_attribute("data-forced")) == pytest.approx(wanted, abs=1e-4)
        assert f"forces {wanted:.1f} overwrites on a text of 12 tokens" in widget.locator(".says").inner_text()
        before = widget.locator("canvas").screenshot()
        widget.get_by_label("δ, shift").focus()
        visit.page.keyboard.press("End")
        assert widget.locator("canvas").screenshot() != before
        assert "of 12 positions" in widget.locator("canvas").get_attribute("aria-label")
        assert not visit.faults


def test_the_gate_explorer_computes_what_the_package_computes(browser, address) -> None:  # noqa: F811
    with Visit(browser, f"{address}/notebooks/06_combining.html", viewport=DESK) as visit:
        widget = visit.page.locator("#gate-explorer")
        told = lambda i: json.loads(widget.locator("tbody tr").nth(i).get_attribute("data-values"))  # noqa: E731
        set_slider(widget, "β of log q", -1)
        set_slider(widget, "now, sing", 1.5)  # of token 0, the chosen one
        widget.get_by_label("how u and r make p").select_option("product")
        log_q, before = (torch.tensor(row).log_softmax(-1) for row in ([3, 1, -2, 1.5], [2.0, 1, -2, -2]))
        H, M = entropy(log_q).item(), margin(log_q).item()
        u = 1 / (1 + math.exp(-(H - M - (log_q[0] - before[0]).item() - log_q[0].item())))
        r = prior_logit(4, 3, 8)[0].sigmoid().item()
        assert told(0) == pytest.approx(
            {
                "entropy": H,
                "margin": M,
                "confidence_change": (log_q[0] - before[0]).item(),
                "placed_log_prob": log_q[0].item(),
                "u": u,
                "r": r,
                "p": u * r,
            },
            abs=1e-6,
        )
        widget.get_by_label("token", exact=True).select_option("3: sing")
        assert widget.get_by_label("now, sing", exact=True).input_value() == "0"
        assert widget.locator("tr[aria-current=true] th").inner_text() == "3"
        assert not visit.faults


def test_the_frontier_explorer_shows_the_published_table(browser, address) -> None:  # noqa: F811
    table = results.read()
    with Visit(browser, f"{address}/notebooks/15_quality_vs_budget.html", viewport=DESK) as visit:
        widget = visit.page.locator("#frontier-explorer")
        marks = widget.locator("circle")
        widget.get_by_label("task", exact=True).select_option("sudoku")
        widget.get_by_label("calls").select_option("8")
        cells = table[(table["task"] == "sudoku") & (table["nfe"] == 8)]
        one = cells[cells["rule"] == "T2M low-prob"]
        widget.locator("circle[data-rule='T2M low-prob']").focus()
        assert f"T2M low-prob: {100 * one['quality'].mean():.1f} %" in widget.locator(".says").inner_text()
        number = marks.count()
        widget.locator("summary").click()
        for box in widget.locator(".boxes input").all():
            box.set_checked(True)
        assert marks.count() == cells[cells["rule"] != "the law itself"]["rule"].nunique() > number
        at = marks.first.get_attribute("cx")
        widget.get_by_label("across").select_option("overwrites a text")
        assert marks.first.get_attribute("cx") != at
        assert not visit.faults


def test_the_player_shows_every_rule_on_the_same_start(browser, address) -> None:  # noqa: F811
    with Visit(browser, f"{address}/notebooks/13_rivals.html", viewport=DESK) as visit:
        widget = visit.page.locator("#player-rules")
        choice, words = widget.get_by_label("rule"), widget.locator(".text span")
        texts, maps = {}, {}
        for rule in ("one-way", "learned hide ratio"):
            choice.select_option(rule)
            widget.locator("input[type=range]").fill("8")
            texts[rule], maps[rule] = words.all_inner_texts(), widget.locator("canvas").is_visible()
            widget.locator("input[type=range]").fill("0")
            assert set(words.all_inner_texts()) == {"_"}
        assert texts["one-way"] != texts["learned hide ratio"]
        assert maps == {"one-way": False, "learned hide ratio": True}
        assert not visit.faults


def test_every_figure_has_its_row_and_its_address(browser, address) -> None:  # noqa: F811
    """Files that are there, the picture of the page among them; a citation that parses and whose address leads to the figure."""
    seen = set()
    for page in (name for name in PAGES if name.startswith("notebooks/")):
        with Visit(browser, f"{address}/{page}", viewport=DESK) as visit:
            for figure in visit.page.locator("figure[id^=fig-]").all():
                id = figure.get_attribute("id")
                row = visit.page.get_by_role("group", name=f"Files and citation of {id}", exact=True)
                links = {link.inner_text(): link.get_attribute("href") for link in row.locator(":scope > a").all()}
                assert list(links) == ["PNG", "SVG", "PDF", "Data (CSV)"], id
                for kind in ("png", "svg", "pdf", "csv", "json"):
                    assert (HTML / "_static" / "figures" / f"{id}.{kind}").stat().st_size > 50
                entry = row.locator("details", has_text="Cite").locator("pre").text_content()
                (key,) = parse_string(entry, "bibtex").entries
                assert key == f"ardm-{id}"
                url = parse_string(entry, "bibtex").entries[key].fields["url"]
                assert url == f"{address}/figures/{id}.html"
                seen.add((id, page))
    assert len(seen) == len({id for id, _ in seen}) > 40
    id, page = min(seen)
    with Visit(browser, f"{address}/figures/{id}.html", viewport=DESK) as visit:
        visit.page.wait_for_url(f"**/{page}#{id}")


def test_the_panels_of_a_figure_open_by_key_and_the_citation_is_copied(browser, address) -> None:  # noqa: F811
    options = {"viewport": DESK, "permissions": ["clipboard-read", "clipboard-write"]}
    with Visit(browser, f"{address}/notebooks/05_positional_prior.html", **options) as visit:
        row = visit.page.get_by_role("group", name="Files and citation of fig-prior")
        panels = {
            name: row.locator("details", has=visit.page.locator(f"summary:text-is('{name}')"))
            for name in ("Source", "Parameters", "Cite")
        }
        for name, panel in panels.items():
            panel.locator("summary").focus()
            visit.page.keyboard.press("Enter")
            assert panel.locator("pre").first.is_visible(), name
        assert not panels["Source"].locator("pre").is_visible()  # one at a time
        panels["Cite"].locator("pre").hover()
        panels["Cite"].locator("button").click()
        copied = visit.page.evaluate("() => navigator.clipboard.readText()")
        assert copied.strip() == panels["Cite"].locator("pre").text_content().strip()
        assert not visit.faults
