"""Every page of the built book in a browser to which all outside hosts are closed.

A page fails when it asks for anything outside, when a request fails, when the console holds an error, when a formula is not
typeset, when a picture is missing or has no description, or when it is wider than a phone. Without a built book or a browser
these tests are skipped and say why; with ``ARDM_REQUIRE_BROWSER=1`` that is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        skip("playwright is not installed: run make test")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        except Error as error:
            skip(f"no Chromium could be started (install the package chromium): {error.message.splitlines()[0]}")
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


@pytest.mark.parametrize("name", PAGES or ["index.html"])
def test_page_works_offline_and_on_a_phone(browser, address: str, name: str) -> None:
    with Visit(browser, f"{address}/{name}", viewport=DESK) as visit:
        assert faults_of(visit, name) == []
        visit.page.emulate_media(color_scheme="dark")
        visit.page.set_viewport_size(PHONE)
        assert sideways(visit.page) <= 0, "on a phone the page scrolls sideways"
        assert visit.faults == [], "in the dark theme on a phone"


def test_the_book_opens_from_a_file(browser) -> None:
    with Visit(browser, (HTML / "index.html").as_uri(), viewport=DESK) as visit:
        visit.page.wait_for_url("**/book/index.html")
        visit.page.wait_for_load_state("networkidle")
        visit.page.evaluate("() => window.MathJax?.startup?.promise")
        assert faults_of(visit, "book/index.html") == []


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
