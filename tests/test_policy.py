"""The policy that each page carries: what it lists, what it refuses, and that nothing a text holds runs in a browser.

The pages of the built book are opened under their policy in ``test_pages.py``: what it forbids is an error in the console there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import build as book
import nbformat
import pandas as pd
import pytest
import staging
from playwright.sync_api import sync_playwright
from test_pages import chromium
from test_staging import WORDS, notebook, picture, printed, tree

from ardm.base.errors import InputError
from ardm.book.html import page as as_html
from ardm.book.policy import guarded, policy
from ardm.book.tables import short
from ardm.book.widgets import frontier_explorer, is_widget, prior_explorer

ROOT = Path(__file__).resolve().parent.parent
RUN = "void(document.title=7)"
HOSTILE = (
    f'</script></pre></title><script>{RUN}</script><img src=x onerror="{RUN}"><svg onload="{RUN}">\'"&`${{{RUN}}}<!--<script>'
)
SHELL = '<html><head><meta charset="utf-8"><title>page</title>{head}</head><body>{round}<article>{text}</article></body></html>'


def page(head: str = "", round: str = "", text: str = "") -> str:
    return SHELL.format(head=head, round=round, text=text)


def nobody(_: str) -> bool:
    return False


# The list ----------------------------------------------------------------------------------------------------------------


def test_a_script_of_the_theme_is_listed_by_its_hash():
    """That of the specification's own example (CSP level 3, section 8.3)."""
    found = policy(page(head="<script>alert('Hello, world.');</script>"), nobody)
    assert "script-src 'self' file: 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='; " in found
    assert found.startswith("default-src 'none'; ") and "unsafe-eval" not in found and "http" not in found


def test_handlers_of_the_theme_are_listed_and_the_sampler_may_compile():
    found = policy(
        page(round='<button onclick="window.print()">p</button><script src="../_static/playground.js?v=1"></script>'), nobody
    )
    assert "'unsafe-hashes'" in found and "'wasm-unsafe-eval'" in found
    assert "'unsafe-hashes'" not in policy(page(), nobody)


def test_data_in_a_page_are_no_script():
    assert "sha256" not in policy(page(text='<script type="application/json">{}</script>'), nobody)


@pytest.mark.parametrize(
    "text",
    [
        "<script>x()</script>",
        '<script type="module">x()</script>',
        "<script type=text/JavaScript>x()</script>",
        "<SCRIPT>x()</SCRIPT>",
        '<img src=x onerror="x()">',
        "<svg onload=x()>",
        '<a href="javascript:x()">a</a>',
        '<a href=" JavaScript:x()">a</a>',
        "<b><b onclick=x()></b></b>",
    ],
)
def test_a_script_in_the_text_that_nobody_knows_is_refused(text):
    with pytest.raises(
        InputError, match=r"^a script in the text that nobody knows: '(x\(\)| ?[jJ]ava[sS]cript:x\(\))'; take it out$"
    ):
        policy(page(text=text), nobody)


def test_the_policy_stands_before_anything_that_it_covers():
    made = guarded(page(head="<script>x()</script>"), nobody)
    assert made.index("<meta charset") < made.index("Content-Security-Policy") < made.index("<title>") < made.index("<script>")
    with pytest.raises(InputError, match="a page without a head"):
        guarded("<p>", nobody)


def script_of(widget) -> str:
    return widget.data.partition("<script>")[2].removesuffix("</script>")


def test_a_widget_is_known_and_what_is_changed_in_it_is_not():
    script = script_of(prior_explorer(id="a"))
    assert is_widget(script)
    for other in (
        script + RUN,
        RUN + script,
        script.replace('{"n": 32', f'({RUN}) || {{"n": 32'),
        script.replace('"a"', RUN),
        "",
        RUN,
    ):
        assert not is_widget(other)


def test_every_script_that_the_notebooks_show_is_a_widgets():
    count = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", ()):
                html = output.get("data", {}).get("text/html", "")
                if "<script" in html:
                    policy(page(text=html), is_widget)
                    count += 1
    assert count >= 5


# In a browser ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        yield browser
        browser.close()


def opened(browser, path: Path):
    """The page from the disk, and what the console said of its policy."""
    page, refused = browser.new_page(), []
    page.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    page.goto(path.as_uri(), wait_until="networkidle")
    return page, refused


def test_an_injected_script_does_not_run(browser, tmp_path):
    """And does where there is no policy."""
    bare, path = page(head="<script>globalThis.theme = 1</script>"), tmp_path / "page.html"
    injected = f'<script>{RUN}</script><img src=x onerror="{RUN}"><a id=a href="javascript:{RUN}">a</a>'
    for made, title in ((bare, "7"), (guarded(bare, nobody), "page")):
        path.write_text(made.replace("</article>", injected + "</article>"))
        seen, refused = opened(browser, path)
        seen.click("#a")
        assert (seen.title(), seen.evaluate("theme"), bool(refused)) == (title, 1, title == "page")


def hostile_frame() -> pd.DataFrame:
    return pd.DataFrame({HOSTILE: [HOSTILE, "b"]}, index=[HOSTILE, "b"])


def hostile_outputs() -> list[dict]:
    """What a notebook may show of a text: printed, as a value, in both kinds of table, in a widget."""
    values = {"task": "t", "rule": HOSTILE, "nfe": 4, "quality": 0.5, "low": 0.4, "high": 0.6, "loss": 1.0}
    rows = pd.DataFrame([{**values, "overwrites": 1.0, "milliseconds": 1.0}])
    shown = [
        short(hostile_frame())._repr_html_(),
        hostile_frame().to_html(),
        prior_explorer(id="prior", command=HOSTILE).data,
        frontier_explorer(rows, {HOSTILE: "#000000"}, {"t": HOSTILE}, id="front", task="t", nfe=4, command=HOSTILE).data,
    ]
    outputs = [printed(HOSTILE + "\n"), {"output_type": "stream", "name": "stderr", "text": HOSTILE}]
    outputs += [{"output_type": "execute_result", "execution_count": 1, "data": {"text/plain": repr(HOSTILE)}, "metadata": {}}]
    return outputs + [
        {"output_type": "display_data", "data": {"text/html": html, "text/plain": ""}, "metadata": {}} for html in shown
    ]


def test_what_a_text_holds_does_not_run_in_a_notebook_of_one_file(browser, tmp_path):
    cell = nbformat.v4.new_code_cell(f"print({HOSTILE!r})", outputs=[nbformat.from_dict(one) for one in hostile_outputs()])
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    (tmp_path / "a.html").write_text(as_html(path, path), "utf8")
    seen, refused = opened(browser, tmp_path / "a.html")
    assert (seen.title(), refused) == ("a", [])
    assert seen.locator("#prior canvas").count() and seen.locator("#front circle").count()
    assert RUN in seen.locator("body").inner_text()


def test_a_notebook_that_shows_a_foreign_script_is_not_made_a_page(tmp_path):
    output = nbformat.v4.new_output("display_data", data={"text/html": f"<script>{RUN}</script>"})
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])]), path)
    with pytest.raises(InputError, match="a script in the text that nobody knows"):
        as_html(path, path)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A book of two pages by Jupyter Book, whose notebook shows hostile texts, caption and description among them."""
    root = tmp_path_factory.mktemp("hostile")
    words = {**WORDS, "caption": f"Validity {HOSTILE}.", "alt": f"A line {HOSTILE}."}
    chapter = notebook(*hostile_outputs(), picture(words))
    chapter["cells"][1]["source"] = f"print({HOSTILE!r})"
    chapter["metadata"]["ardm"]["parameters"] = {"corpus": HOSTILE}
    tree(root, a=chapter)
    (root / "_build/executed/figures/fig-one.json").write_text(book.json.dumps({**words, "provenance": {"commit": HOSTILE}}))
    marks = {"size": [360, 180], "text": 9, "axes": [[HOSTILE] * 3], "series": [HOSTILE], "marks": [[0, 0, 500, 500, HOSTILE]]}
    (root / "_build/executed/figures/fig-one.marks.json").write_text(book.json.dumps(marks))
    shutil.copy(ROOT / "_config.yml", root)
    for name in ("book.css", "book.js", "favicon.svg"):
        (root / "book/_static").mkdir(exist_ok=True)
        shutil.copy(ROOT / "book/_static" / name, root / "book/_static")
    (root / "book/references.bib").touch()
    (root / "book/_static/cards.js").touch()
    (root / "book/glossary.md").write_text("# Glossary\n\n{{ rules }}\n")
    with (root / "_toc.yml").open("a") as contents:
        contents.write("  - file: book/glossary\n")
    staging.stage(root, root / "_build/executed", root / "source")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(book, "BookError", type("Warned", (Exception,), {}))
        try:
            html = book.jupyter_book(root / "source", root / "work")
        except book.BookError:  # it warns of what so small a book lacks
            html = root / "work" / "_build" / "html"
    book.lead_on(html, "a book", "book/index", [])
    return html


def test_what_a_text_holds_does_not_run_in_the_book(browser, built):
    assert book.guard(built) == []
    seen, refused = opened(browser, built / "notebooks" / "a.html")
    assert seen.title().startswith("Title") and refused == []
    assert "42" not in seen.locator("figcaption").first.text_content()
    assert seen.locator("#prior canvas").count() and seen.locator("#front circle").count()
    for place in ("figcaption", ".cell_output pre", ".figure-row", "table.short"):
        assert RUN in seen.locator(f".bd-article {place}").first.text_content(), place
    assert RUN in seen.locator(".figure-box img").first.get_attribute("alt")
