"""The sampler in the page writes what the package writes, given the same random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_pages import DESK, HTML, Visit, address, browser  # noqa: F401  fixtures

from ardm.experiments.store import load_gate
from ardm.method.rivals import TokenToMask
from ardm.method.rules import HideThenRefill, LeftToRight, OneWay, UniformRefinement
from ardm.method.sampling import refine
from ardm.method.selection import Selection
from ardm.experiments.store import MODELS, load_denoiser

TOLD = json.loads((MODELS / "toy.json").read_text())
L, V = TOLD["length"], len(TOLD["words"])
CPU = torch.device("cpu")


def rule_of(name: str, threshold: float):
    return {
        "gate: hide, then refill": lambda: HideThenRefill(
            load_gate("toy", device=CPU), Selection("threshold", threshold, budget=4), order="surest"
        ),
        "low-prob: hide, then refill": lambda: TokenToMask(threshold=threshold, order="surest"),
        "one-way": OneWay,
        "uniform refinement": UniformRefinement,
        "left-to-right": LeftToRight,
    }[name]()


@pytest.fixture(scope="module")
def page(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/playground.html", viewport=DESK) as visit:
        root = visit.page.locator(".ardm-playground")
        root.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        yield visit
        assert not visit.faults


def in_the_page(page, **settings) -> dict:
    return page.page.evaluate("settings => document.querySelector('.ardm-playground').sample(settings)", settings)


def replayed(monkeypatch, draws: dict, rule, x: list[int], fixed: list[bool], T: int) -> list[list[int]]:
    """The tokens after every step that the package writes with the random numbers that the page used up."""
    noise, choices = iter(draws["proposals"]), iter(draws["choices"])

    def drawn(log_q, generator, **_):
        gumbel = -(-torch.log1p(-torch.tensor(next(noise)).double())).log()
        return (log_q.double() + gumbel.view(1, L, V)).argmax(-1)

    monkeypatch.setattr("ardm.method.sampling.draw", drawn)
    monkeypatch.setattr("ardm.method.rules._bernoulli", lambda p, generator: torch.tensor([next(choices)]).double() < p)
    denoiser, _, _ = load_denoiser("toy", device=CPU)
    trace = refine(denoiser, rule, torch.tensor([x]), T, seed=0, fixed=torch.tensor([fixed]), record=True)
    return [frame.x[0].tolist() for frame in trace.frames]


EMPTY, OPEN = [V] * L, [False] * L
KNOWN = [TOLD["words"].index(word) for word in ["a", "quiet", "bear", "rests", ".", "some", "saw", "turns", "."]]
PROMPT = KNOWN[:4] + [V] * (L - 4)
WRONG = (KNOWN + KNOWN)[:L]  # a full text that breaks the grammar


@pytest.mark.parametrize(
    "name", ["gate: hide, then refill", "low-prob: hide, then refill", "one-way", "uniform refinement", "left-to-right"]
)
@pytest.mark.parametrize(
    ("x", "fixed", "T", "seed"),
    [(EMPTY, OPEN, 12, 0), (EMPTY, OPEN, 5, 7), (PROMPT, [True] * 4 + [False] * (L - 4), 8, 3), (WRONG, OPEN, 8, 11)],
    ids=["empty", "few calls", "prompt", "repair"],
)
def test_tokens_are_those_of_the_package(page, monkeypatch, name, x, fixed, T, seed):
    threshold = 0.3 if name.startswith("low-prob") else 0.5
    made = in_the_page(page, x=x, fixed=fixed, T=T, rule=name, threshold=threshold, seed=seed)
    start, *steps = (frame["x"] for frame in made["frames"])
    assert start == x
    assert steps == replayed(monkeypatch, made["draws"], rule_of(name, threshold), x, fixed, T)


def test_random_numbers_repeat_and_spread(page):
    one, two, other = (
        in_the_page(page, x=EMPTY, fixed=OPEN, T=4, rule="one-way", threshold=0, seed=seed)["draws"] for seed in (1, 1, 2)
    )
    assert one == two != other
    values = torch.tensor(one["proposals"]).double().flatten()
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean().item() - 0.5) < 4 / (12 * len(values)) ** 0.5
    assert abs(torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1].item()) < 4 / len(values) ** 0.5


def test_a_reader_writes_breaks_and_keeps(page):
    root = page.page.locator(".ardm-playground")
    tokens, says = root.locator(".tokens button"), root.locator(".says")
    page.page.emulate_media(reduced_motion="reduce")  # the end is shown at once
    root.get_by_label("your words").fill("some bears")
    root.get_by_role("button", name="Put in place").click()
    assert tokens.all_inner_texts()[:3] == ["some", "bears", "_"]
    root.get_by_label("T, steps").fill("16")
    root.get_by_role("button", name="Rewrite").click()
    page.page.wait_for_function("() => document.querySelector('.ardm-playground .says').textContent.startsWith('step 16')")
    written = tokens.all_inner_texts()
    assert "_" not in written and written[:2] == ["some", "bears"]
    root.get_by_role("button", name="Break a token").click()
    broken = tokens.all_inner_texts()
    assert sum(a != b for a, b in zip(written, broken, strict=True)) == 1 and broken[:2] == ["some", "bears"]
    assert "was replaced by" in says.inner_text()
    root.get_by_label("your words").fill("some unicorns")
    root.get_by_role("button", name="Put in place").click()
    assert says.inner_text().startswith("Not a word of this language: unicorns.")
    tokens.nth(3).focus()
    page.page.keyboard.press("Enter")
    root.get_by_label("word", exact=True).select_option("tug")
    assert tokens.all_inner_texts()[3] == "tug"
    root.get_by_role("button", name="Hide all").click()
    assert set(tokens.all_inner_texts()) == {"_"}
    root.get_by_label("rule").select_option("one-way")
    assert not root.get_by_label("threshold").is_visible()


def test_the_sampler_starts_from_a_file_too(browser):  # noqa: F811
    if not (HTML / "book" / "playground.html").is_file():
        pytest.skip("PAGES NOT CHECKED: there is no book in _build/html")
    with Visit(browser, (Path(HTML) / "book" / "playground.html").as_uri(), viewport=DESK) as visit:
        visit.page.locator("button.load").click()
        visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert not visit.faults
