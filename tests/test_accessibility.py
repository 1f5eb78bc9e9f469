"""Every page under axe-core, in both themes; and pictures of some, for those who review a change."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_pages import DESK, HTML, PAGES, PHONE, SHELLS, Visit, address, browser  # noqa: F401  fixtures

GRAVE = ("serious", "critical")
SHOWN = {
    "index": "book/index.html",
    "theory": "notebooks/05_positional_prior.html",
    "widget": "book/playground.html",
}


def findings(page) -> list[str]:
    """What axe-core finds that is serious or worse: the rule, and the first element."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{found['id']} ({len(found['nodes'])}): {found['nodes'][0]['html'][:160]}"
        for found in violations
        if found["impact"] in GRAVE
    ]


@pytest.mark.parametrize("name", [name for name in PAGES if name not in SHELLS] or ["index.html"])
def test_no_serious_barrier(browser, address, name):  # noqa: F811
    with Visit(browser, f"{address}/{name}", viewport=DESK) as visit:
        if name == SHOWN["widget"]:
            visit.page.locator("button.load").click()
            visit.page.wait_for_selector(".ardm-playground[data-ready]")
        assert findings(visit.page) == [], "in the light theme"
        visit.page.add_style_tag(content="* { transition: none !important; }")  # colours half way are nobody's
        visit.page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
        assert findings(visit.page) == [], "in the dark theme"


def test_a_planted_barrier_is_seen(browser, address):  # noqa: F811
    with Visit(browser, f"{address}/book/index.html", viewport=DESK) as visit:
        visit.page.evaluate("() => document.querySelector('article').insertAdjacentHTML('beforeend', '<button></button>')")
        assert any(found.startswith("button-name") for found in findings(visit.page))


@pytest.mark.parametrize("page", SHOWN)
@pytest.mark.parametrize(
    ("kind", "view", "theme"), [("light", DESK, "light"), ("dark", DESK, "dark"), ("phone", PHONE, "light")]
)
def test_pictures_of_pages_are_kept(browser, address, page, kind, view, theme):  # noqa: F811
    folder = HTML.parent / "screenshots"
    folder.mkdir(exist_ok=True)
    with Visit(browser, f"{address}/{SHOWN[page]}", viewport=view, color_scheme=theme) as visit:
        visit.page.screenshot(path=folder / f"{page}-{kind}.png")
    assert (folder / f"{page}-{kind}.png").stat().st_size > 10_000
