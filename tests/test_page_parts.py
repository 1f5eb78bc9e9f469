"""What a page lets its reader do: widgets that compute what the package computes, and the row under each figure."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import torch
from figure_rows import picture
from pybtex.database import parse_string
from test_pages import DESK, HTML, PAGES, PHONE, Visit, address, browser, planted, sideways  # noqa: F401  fixtures

from ardm.book.dark import SHEET
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
                for kind in ("png", "svg", "dark.svg", "pdf", "csv", "json"):
                    assert (HTML / "_static" / "figures" / f"{id}.{kind}").stat().st_size > 50
                scroll = figure.locator(".figure-scroll")
                assert scroll.evaluate("(box) => box.scrollWidth <= box.clientWidth"), f"{id} is cut at {DESK['width']} px"
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


PRIOR = "notebooks/05_positional_prior.html"


@pytest.mark.parametrize(
    ("scheme", "chosen", "media", "seen"),
    [
        ("light", None, "screen", "light"),
        ("dark", None, "screen", "dark"),  # the theme follows the system until a reader chooses
        ("light", "dark", "screen", "dark"),
        ("dark", "light", "screen", "light"),
        ("dark", None, "print", "light"),
    ],
)
def test_a_figure_follows_the_theme_and_is_light_on_paper(browser, address, scheme, chosen, media, seen):  # noqa: F811
    with Visit(browser, f"{address}/{PRIOR}", viewport=DESK, color_scheme=scheme) as visit:
        if chosen:
            visit.page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", chosen)
        visit.page.emulate_media(media=media, color_scheme=scheme)
        figure = visit.page.locator("figure#fig-prior")
        shown = [image for image in figure.locator("img").all() if image.is_visible()]
        kind = {"light": "svg", "dark": "dark.svg"}[seen]
        assert [image.get_attribute("src") for image in shown] == [f"../_static/figures/fig-prior.{kind}"]
        shown[0].scroll_into_view_if_needed()
        visit.page.wait_for_function("(image) => image.complete && image.naturalWidth > 0", arg=shown[0].element_handle())
        assert figure.get_by_role("img").count() == 1  # its description is read once
        if seen == "dark":
            sheet = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert sheet == f"rgb({', '.join(str(int(SHEET[k : k + 2], 16)) for k in (1, 3, 5))})"
        assert not visit.faults


def counted(position: int) -> tuple[str, str]:
    """What the right panel of the figure has at a position, from its table: the value and the interval, as the page says them."""
    row = pd.read_csv(HTML / "_static" / "figures" / "fig-prior.csv").set_index("position").loc[position]
    low, high = row["counted"] - row["interval"], row["counted"] + row["interval"]
    return f"overwrites a text: {row['counted']:.2f} ({low:.2f} to {high:.2f})", f"position i: {position}"


def place_of(figure, name: str, *words: str) -> tuple[float, float]:
    """Where a mark lies on the screen, by what the page holds of it."""
    told = json.loads(figure.locator("script").text_content())
    mark = next(m for m in told["marks"] if told["series"][m[1]] == name and all(word in map(str, m[4:6]) for word in words))
    frame = figure.locator(".figure-sheet").bounding_box()
    return frame["x"] + mark[2] / 1000 * frame["width"], frame["y"] + mark[3] / 1000 * frame["height"]


def test_a_mark_that_is_pointed_at_says_what_the_table_says(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/{PRIOR}", viewport=DESK) as visit:
        figure, tip = visit.page.locator("figure#fig-prior"), visit.page.locator(".figure-tip")
        figure.scroll_into_view_if_needed()
        assert not tip.is_visible()
        for position in (20, 3):
            visit.page.mouse.move(*place_of(figure, "counted", str(position)))
            assert tip.locator("strong").first.inner_text() == "counted"  # and the title of the panel, where it has one
            assert tip.locator("div").all_inner_texts() == list(counted(position))
        ring = figure.locator(".figure-ring").bounding_box()
        x, y = place_of(figure, "counted", "3")
        assert (ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2) == pytest.approx((x, y), abs=1)
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= DESK["width"]
        visit.page.mouse.move(2, 2)
        assert not tip.is_visible() and not figure.locator(".figure-ring").count()
        assert not visit.faults


def test_marks_are_read_by_the_arrow_keys_from_one_stop(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/{PRIOR}", viewport=DESK) as visit:
        figure, tip = visit.page.locator("figure#fig-prior"), visit.page.locator(".figure-tip")
        assert figure.locator("[tabindex]").count() == 1
        number = len(json.loads(figure.locator("script").text_content())["marks"])
        assert figure.get_by_role("group", name=f"{number} marks of the figure").count() == 1
        figure.locator(".figure-scroll").focus()
        said = []
        for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight"):
            visit.page.keyboard.press(key)
            said.append(tip.inner_text())
        assert said[1] == said[3] and said[4] == said[5] and len(set(said)) == 4
        visit.page.keyboard.press("Escape")
        assert not tip.is_visible()
        assert not visit.faults


def test_a_mark_is_read_by_a_tap_on_a_phone(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/{PRIOR}", viewport=PHONE, has_touch=True) as visit:
        figure, tip = visit.page.locator("figure#fig-prior"), visit.page.locator(".figure-tip")
        figure.scroll_into_view_if_needed()
        visit.page.wait_for_timeout(200)  # the scroll has ended
        visit.page.touchscreen.tap(*place_of(figure, "counted", "20"))
        assert tip.locator("div").last.inner_text() == "position i: 20"  # of two marks that meet there, either
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
        assert not visit.faults


def test_a_figure_whose_words_would_be_too_small_scrolls_in_its_box_and_says_so(browser, address):  # noqa: F811
    page = f"{address}/notebooks/15_quality_vs_budget.html"
    with Visit(browser, page, viewport=PHONE, has_touch=True) as visit:
        figure = visit.page.locator("figure#fig-budget")
        assert figure.locator(".figure-box[data-scrolls]").count() == 1
        hint = "(box) => getComputedStyle(box, '::after').content"
        assert "scroll" in figure.locator(".figure-box").evaluate(hint)
        assert figure.locator(".figure-scroll").evaluate("(box) => box.scrollWidth > box.clientWidth")
        assert sideways(visit.page) <= 0
        assert not visit.faults


def test_a_name_with_markup_is_said_as_it_is(browser, planted):  # noqa: F811
    site, folder = planted
    evil = "</script><img src=x onerror=document.title='bad'> & <b>"
    marks = {
        "size": [360, 180],
        "text": 9,
        "axes": [[evil, "y", ""]],
        "series": [evil],
        "marks": [[0, 0, 500, 500, "1", "<i>2"], [0, 0, 800, 500, "3", "4", "", "", 100, 400]],
    }
    (folder / "book.js").write_text((HTML.parent.parent / "book" / "_static" / "book.js").read_text())
    body = f'<h1>T</h1><figure>{picture("fig-a", evil, marks, "")}</figure><script src="book.js"></script>'
    style = "<style>.figure-sheet { position: relative; height: 200px } .figure-ring { position: absolute }</style>"
    (folder / "page.html").write_text(f"<!doctype html><html><head><title>good</title>{style}</head><body>{body}</body></html>")
    with Visit(browser, f"{site}/page.html", viewport=DESK) as visit:
        frame = visit.page.locator(".figure-sheet").bounding_box()
        tip = visit.page.locator(".figure-tip")
        for x, y, said in ((0.5, 0.5, ["y: <i>2", f"{evil}: 1"]), (0.84, 0.6, ["y: 4", f"{evil}: 3"])):  # a point, then a bar
            visit.page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
            assert [part.text_content() for part in tip.locator("strong").all()] == [evil]
            assert [part.text_content() for part in tip.locator("div").all()] == said
        visit.page.mouse.move(frame["x"] + 0.65 * frame["width"], frame["y"] + 0.5 * frame["height"])  # near neither
        assert not tip.is_visible()
        assert visit.page.title() == "good" and visit.page.locator("b, i").count() == 0
