"""Every page of the built book in a browser to which all outside hosts are closed.

A page fails when it asks for anything outside, when a request fails, when the console holds an error, when a formula is not
typeset, when a picture is missing or has no description, when it is too tall, when a table or code is cut, when it is wider than
a phone or hides on a phone that something scrolls, or when axe-core finds a serious barrier. Each page is opened once for all of
that (:func:`survey`). Without a built book or a browser these tests are skipped and say why; with ``ARDM_REQUIRE_BROWSER=1`` that
is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
SHELLS = {"genindex.html", "search.html", "index.html", "py-modindex.html"}  # made by Sphinx, without text of ours
LEADING = "figures"  # the folder of pages that only lead to a figure
PAGES = sorted(
    path.relative_to(HTML).as_posix()
    for path in HTML.rglob("*.html")
    if not {"_static", LEADING} & set(path.relative_to(HTML).parts)
)
REQUIRED = os.environ.get("ARDM_REQUIRE_BROWSER") == "1"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
TALLEST = 12_000  # pixels of a page on a desk, with everything folded that can be
LOOKED_UP = {"book/api.html"}  # a reference: nobody reads it from top to bottom
MODULES = ".bd-article section section section:nth-of-type(n+3)"  # of it: all but the first of each part, which are of one make

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
]
# Jupyter Book 1 writes the same inline script twice into a page with code.
KNOWN = ("Identifier 'THEBE_JS_URL' has already been declared",)


def skip(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"ARDM_REQUIRE_BROWSER=1, but {reason}", pytrace=False)
    pytest.skip(f"PAGES NOT CHECKED: {reason}")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if not (HTML / "index.html").is_file():
        skip("there is no book in _build/html: run make book first")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def chromium(playwright):
    """The system's Chromium, else Playwright's own."""
    from playwright.sync_api import Error

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        return playwright.chromium.launch(executable_path=found, args=FLAGS)
    except Error as error:
        skip(f"no Chromium could be started (install the package chromium): {error.message.splitlines()[0]}")


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip("playwright is not installed: run make test")
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        yield browser
        browser.close()


class Visit:
    """One page, opened; what went wrong on the way is in ``faults``."""

    def __init__(self, browser, url: str, **options: object) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", lambda request: self.faults.append(f"request failed: {request.url}"))
        self.page.on("response", self._on_response)
        self.page.on("pageerror", lambda error: self._note("page error", error.message))
        self.page.on("console", lambda line: self._note("console", line.text) if line.type == "error" else None)
        self.page.goto(url, wait_until="networkidle")
        self.page.evaluate("() => window.MathJax?.startup?.promise")

    def _on_request(self, request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob", "file") and urlsplit(request.url).hostname != "127.0.0.1":
            self.faults.append(f"asks for {request.url}")

    def _on_response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")

    def _note(self, kind: str, text: str) -> None:
        if text not in KNOWN:
            self.faults.append(f"{kind}: {text}")

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def formulas(page) -> dict:
    """How many formulas the source has, how many were typeset, and what went wrong with the rest."""
    return page.evaluate(
        """() => ({
            written: document.querySelectorAll('span.math, div.math').length,
            typeset: document.querySelectorAll('span.math mjx-container, div.math mjx-container').length,
            broken: [...document.querySelectorAll('mjx-merror, mjx-container [data-mjx-error]')]
                .map(node => node.getAttribute('data-mjx-error') || node.textContent),
            raw: [...document.querySelectorAll('.bd-article p, .bd-article li, .bd-article td, .bd-article figcaption')]
                .filter(node => !node.querySelector('code'))
                .map(node => node.textContent).filter(text => /\\$\\$|\\\\\\(|\\\\\\[|\\\\(frac|sum|log|mathbb)\\b/.test(text)),
        })"""
    )


def pictures(page) -> list[dict]:
    """Every picture on the page; each is scrolled to first, because some load late."""
    return page.evaluate(
        """async () => {
            const images = [...document.querySelectorAll('img')];
            for (const image of images) {
                image.loading = 'eager';
                await image.decode().catch(() => null);
            }
            return images.map(image => ({ src: image.src.slice(-80), width: image.naturalWidth, alt: (image.alt || '').trim() }));
        }"""
    )


def sideways(page) -> int:
    return page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")


def faults_of(visit: Visit, name: str) -> list[str]:
    found = list(visit.faults)
    math = formulas(visit.page)
    if math["typeset"] != math["written"]:
        found.append(f"{math['typeset']} of {math['written']} formulas are typeset")
    found += [f"formula in error: {text}" for text in math["broken"]]
    found += [f"raw TeX: {text[:80]}" for text in math["raw"]]
    for picture in pictures(visit.page):
        if not picture["width"]:
            found.append(f"picture not loaded: {picture['src']}")
        if not picture["alt"]:
            found.append(f"picture without a description: {picture['src']}")
    if name not in SHELLS and not visit.page.locator("h1").count():
        found.append("no heading")
    return found


CUT = """() => [...document.querySelectorAll('.bd-article :is(table, pre)')].flatMap(node => {
    for (let box = node; box && !box.matches('.bd-article'); box = box.parentElement) {
        const more = box.scrollWidth - box.clientWidth;
        if (box.clientWidth && more > 1 && getComputedStyle(box).overflowX !== 'visible')
            return [`${more} px of ${node.tagName.toLowerCase()} ${node.textContent.trim().replace(/\\s+/g, ' ').slice(0, 80)}`];
    }
    return [];
})"""
"""Tables and code of which a part is seen only by scrolling."""

HIDDEN = """() => [...document.querySelectorAll('.bd-article :not(svg *, mjx-assistive-mml, mjx-assistive-mml *)')].filter(node => {
    const place = node.getBoundingClientRect();
    if (!place.width || !place.height || place.right <= innerWidth + 1) return false;
    for (let box = node.parentElement; box && !box.matches('.bd-article'); box = box.parentElement) {
        const faded = box.dataset.more && getComputedStyle(box).maskImage !== 'none';
        if (faded || getComputedStyle(box).overflowX === 'hidden') return false;
    }
    return true;
}).map(node => node.outerHTML.slice(0, 120))"""
"""What lies beyond the edge of the screen, in no box that scrolls and shows by a fading edge that it does."""

FRAME = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass(frozen=True)
class Survey:
    """What was seen of one page: on a desk as it opens, then with everything unfolded, then on a phone in the dark."""

    faults: list[str]
    height: int
    barriers: dict[str, list[str]]  # by theme
    cut: list[str]
    sideways: int
    hidden: list[str]
    later: list[str]  # faults that came after the page was opened


SEEN: dict[str, Survey] = {}


def survey(browser, address: str, name: str) -> Survey:
    """All that the tests ask of a page, in one visit, once."""
    if name not in SEEN:
        with Visit(browser, f"{address}/{name}", viewport=DESK) as visit:
            SEEN[name] = _survey(visit, name)
    return SEEN[name]


def _survey(visit: Visit, name: str) -> Survey:
    page = visit.page
    faults = faults_of(visit, name)
    height = page.evaluate("() => document.documentElement.scrollHeight")
    if page.locator("button.load").count():  # the sampler, with its model
        page.locator("button.load").first.click()
        page.wait_for_selector(".ardm-playground[data-ready]")
    page.add_style_tag(content="* { transition: none !important; }")  # colours half way are nobody's
    barriers = {}
    for theme in ("light", "dark") if name not in SHELLS else ():
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        barriers[theme] = grave(page, [[MODULES]] if name in LOOKED_UP else [])
    page.evaluate("() => document.querySelectorAll('.bd-article details').forEach(part => { part.open = true; })")
    page.evaluate(FRAME)
    cut = page.evaluate(CUT)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    page.evaluate(FRAME)
    hidden = page.evaluate(HIDDEN)
    return Survey(faults, height, barriers, cut, sideways(page), hidden, visit.faults)


def grave(page, but: list[list[str]]) -> list[str]:
    """What axe-core finds, ``but`` in some parts, that is serious or worse: the rule, and the first element."""
    options = {"preload": False}  # it would fetch style sheets again, some from where they are not
    violations = Axe().run(page, context={"exclude": but}, options=options).response["violations"]
    return [
        f"{found['id']} ({len(found['nodes'])}): {found['nodes'][0]['html'][:160]}"
        for found in violations
        if found["impact"] in ("serious", "critical")
    ]


every_page = pytest.mark.parametrize("name", PAGES or ["index.html"])
every_own_page = pytest.mark.parametrize("name", [name for name in PAGES if name not in SHELLS] or ["index.html"])


@every_page
def test_page_works_offline_and_on_a_phone(browser, address: str, name: str) -> None:
    seen = survey(browser, address, name)
    assert seen.faults == []
    assert seen.sideways <= 0, "on a phone the page scrolls sideways"
    assert seen.later == [], "in the dark theme on a phone"


@pytest.mark.parametrize("name", [name for name in PAGES if name not in SHELLS | LOOKED_UP] or ["index.html"])
def test_a_page_is_not_too_tall(browser, address: str, name: str) -> None:
    height = survey(browser, address, name).height
    assert height <= TALLEST, f"{name} is {height} pixels tall at {DESK['width']}, at most {TALLEST}: shorten or fold something"


@every_own_page
def test_no_table_and_no_code_is_cut(browser, address: str, name: str) -> None:
    assert survey(browser, address, name).cut == [], f"{name} at {DESK['width']}"


@every_own_page
def test_what_scrolls_on_a_phone_shows_it(browser, address: str, name: str) -> None:
    assert survey(browser, address, name).hidden == [], f"{name} at {PHONE['width']}"


@every_own_page
def test_no_serious_barrier(browser, address: str, name: str) -> None:
    assert survey(browser, address, name).barriers == {"light": [], "dark": []}


SHOWN = {
    "index": "book/index.html",
    "found": "book/found.html",
    "theory": "notebooks/05_positional_prior.html",
    "widget": "book/playground.html",
}


@pytest.mark.parametrize("page", SHOWN)
@pytest.mark.parametrize(
    ("kind", "view", "theme"), [("light", DESK, "light"), ("dark", DESK, "dark"), ("phone", PHONE, "light")]
)
def test_pictures_of_pages_are_kept(browser, address: str, page: str, kind: str, view: dict, theme: str) -> None:
    folder = HTML.parent / "screenshots"
    folder.mkdir(exist_ok=True)
    with Visit(browser, f"{address}/{SHOWN[page]}", viewport=view, color_scheme=theme) as visit:
        visit.page.screenshot(path=folder / f"{page}-{kind}.png")
    assert (folder / f"{page}-{kind}.png").stat().st_size > 10_000


def test_the_book_opens_from_a_file(browser) -> None:
    with Visit(browser, (HTML / "index.html").as_uri(), viewport=DESK) as visit:
        visit.page.wait_for_url("**/book/index.html")
        visit.page.wait_for_load_state("networkidle")
        visit.page.evaluate("() => window.MathJax?.startup?.promise")
        assert faults_of(visit, "book/index.html") == []


def test_every_page_has_its_policy(address: str) -> None:
    """That it holds is part of the survey: what a policy forbids is an error in the console."""
    for path in (path for path in HTML.rglob("*.html") if "_static" not in path.relative_to(HTML).parts):
        before, policy, _ = path.read_text("utf8").partition('<meta http-equiv="Content-Security-Policy" content="default-src')
        assert policy and "<script" not in before, path.relative_to(HTML)


def test_an_injected_script_does_not_run_in_a_page(browser, address: str) -> None:
    injected = "<script>document.title = 'ran'</script><img src=\"data:,\" onerror=\"document.title = 'ran'\"></article>"
    context = browser.new_context()
    page, refused = context.new_page(), []
    page.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    page.route("**/index.html", lambda route: route.fulfill(body=route.fetch().text().replace("</article>", injected)))
    page.goto(f"{address}/book/index.html", wait_until="networkidle")
    assert page.title() != "ran" and len(refused) >= 2
    context.close()


# The checks themselves: each must see a page that has the fault.

DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
HEAD = '<!doctype html><html><head><link rel="icon" href="data:,"></head>'
BROKEN = {
    "outside request": ('<h1>T</h1><script src="https://a.example/x.js"></script>', "asks for https://a.example/x.js"),
    "missing file": ('<h1>T</h1><script src="nowhere.js"></script>', "404: "),
    "console error": ("<h1>T</h1><script>console.error('bad news')</script>", "console: bad news"),
    "page error": ("<h1>T</h1><script>nothing.here</script>", "page error: nothing is not defined"),
    "no typesetting": ('<h1>T</h1><span class="math">x</span>', "0 of 1 formulas are typeset"),
    "raw TeX": ('<h1>T</h1><article class="bd-article"><p>$$x$$</p></article>', "raw TeX: $$x$$"),
    "broken picture": ('<h1>T</h1><img src="data:image/png;base64,AAAA" alt="x">', "picture not loaded"),
    "no description": (
        '<h1>T</h1><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=">',
        "picture without a description",
    ),
    "no heading": ("<p>text</p>", "no heading"),
}


@pytest.fixture(scope="module")
def planted(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("planted")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("body", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_planted_fault_is_seen(browser, planted: tuple[str, Path], body: str, said: str) -> None:
    address, folder = planted
    (folder / "page.html").write_text(f"{HEAD}<body>{body}</body></html>")
    with Visit(browser, f"{address}/page.html") as visit:
        assert any(line.startswith(said) for line in faults_of(visit, "page.html")), visit.faults


PLANTED = {
    "a cut table": (f'<div style="overflow-x: auto"><table><tr><td>{"x" * 400}</td></tr></table></div>', "cut"),
    "cut code": (f'<pre style="overflow-x: auto">{"x" * 400}</pre>', "cut"),
    "a box that does not say that it scrolls": (f'<div style="overflow-x: auto"><b>{"x" * 400}</b></div>', "hidden"),
    "a barrier": ("<button></button>", "barriers"),
    "a tall page": ('<div style="height: 12001px"></div>', "height"),
}


@pytest.mark.parametrize(("body", "what"), PLANTED.values(), ids=PLANTED.keys())
def test_a_survey_sees_what_is_planted(browser, planted: tuple[str, Path], body: str, what: str) -> None:
    address, folder = planted
    (folder / "planted.html").write_text(f'{HEAD}<body><article class="bd-article"><h1>T</h1>{body}</article></body></html>')
    with Visit(browser, f"{address}/planted.html", viewport=DESK) as visit:
        seen = _survey(visit, "planted.html")
    found = {"cut": seen.cut, "hidden": seen.hidden, "barriers": seen.barriers["light"], "height": seen.height > TALLEST}
    assert found[what]


def test_a_page_wider_than_a_phone_is_seen(browser, planted: tuple[str, Path]) -> None:
    address, folder = planted
    (folder / "wide.html").write_text(f'{HEAD}<body><div style="width: 900px">x</div></body></html>')
    with Visit(browser, f"{address}/wide.html", viewport=PHONE) as visit:
        assert sideways(visit.page) > 0


def test_the_search_works_offline(browser, address: str) -> None:
    with Visit(browser, f"{address}/search.html?q=noisy-OR", viewport=DESK) as visit:
        visit.page.wait_for_selector("#search-results li a")
        found = visit.page.locator("#search-results li a").all_inner_texts()
        assert any("Combining" in title for title in found)
        assert not visit.faults


def test_the_notebook_that_is_downloaded_is_the_one_that_was_run(browser, address: str) -> None:
    with Visit(browser, f"{address}/notebooks/05_positional_prior.html", viewport=DESK) as visit:
        link = visit.page.locator("#rerun-this-page a", has_text="the notebook").get_attribute("href")
        given = visit.page.request.get(f"{address}/notebooks/{link}").json()
    assert given == json.loads((HTML.parent / "executed" / "05_positional_prior.ipynb").read_text())
