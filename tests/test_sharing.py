"""What is shown of a page where its address is shared, and what crawlers are told: whole addresses, or none."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser

import build as book
import pytest
import sharing
from docutils import nodes
from docutils.utils import new_document
from test_pages import HTML, skip
from test_rows import BOOK, HOSTED

SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"


class Tags(HTMLParser):
    """The meta tags of a page, by name or property."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "meta" and (name := told.get("property") or told.get("name")):
            self.found[name] = told.get("content") or ""


def page(*figures: str) -> nodes.document:
    """A page with a title, three sentences, and a figure of each id."""
    document = new_document("page")
    section = nodes.section("", nodes.title("", 'Is "p" & q?'))
    section += nodes.paragraph("", "Only in\npart. Entropy ranks a wrong visible token above a right one. Then more.")
    section += [nodes.figure("", nodes.image(uri="a.png"), ids=[id]) for id in figures]
    document += section
    return document


def test_a_page_is_shown_by_its_title_its_first_words_and_its_first_figure():
    index = {"fig-b": {"alt": "Two lines."}, "fig-c": {"alt": "Bars."}}
    said = Tags("".join(sharing.tags("notebooks/a", page("fig-none", "fig-b", "fig-c"), HOSTED, index))).found
    assert said == {
        "og:type": "article",
        "og:site_name": "On gates & more",
        "og:title": 'Is "p" & q?',
        "og:description": "Only in part. Entropy ranks a wrong visible token above a right one.",
        "description": "Only in part. Entropy ranks a wrong visible token above a right one.",
        "og:url": "https://a.example/book/notebooks/a.html",
        "og:image": "https://a.example/book/_static/figures/fig-b.png",
        "og:image:alt": "Two lines.",
        "twitter:card": "summary_large_image",
    }


def test_a_page_without_text_is_shown_by_the_title_of_the_book():
    assert Tags("".join(sharing.tags("a", new_document("a"), BOOK, {}))).found["og:description"] == "On gates & more"


@pytest.mark.parametrize(("book", "figures"), [(BOOK, ("fig-b",)), (HOSTED, ())])
def test_without_an_address_or_a_figure_there_is_no_picture(book, figures):
    said = Tags("".join(sharing.tags("a", page(*figures), book, {"fig-b": {"alt": "x"}}))).found
    assert said["twitter:card"] == "summary" and not [name for name in said if name.startswith("og:image")]
    assert ("og:url" in said) is bool(book.address)


def test_crawlers_get_every_page_by_its_whole_address(tmp_path):
    book.for_crawlers(tmp_path, ["book/index", "notebooks/a"], "https://a.example/b&c/")
    places = [place.text for place in ET.parse(tmp_path / "sitemap.xml").getroot().iterfind(f"{SITEMAP}url/{SITEMAP}loc")]
    assert places == ["https://a.example/b&c/book/index.html", "https://a.example/b&c/notebooks/a.html"]
    assert "Sitemap: https://a.example/b&c/sitemap.xml" in (tmp_path / "robots.txt").read_text().splitlines()


def test_without_an_address_crawlers_get_nothing(tmp_path):
    book.for_crawlers(tmp_path, ["a"], "")
    assert not list(tmp_path.iterdir())


def test_every_page_of_the_book_has_its_card():
    if not (HTML / "index.html").is_file():
        skip("there is no book in _build/html: run make book first")
    for path in [*HTML.glob("book/*.html"), *HTML.glob("notebooks/*.html")]:
        text = path.read_text("utf8")
        said = Tags(text).found
        assert heading(text).startswith(said["og:title"]), path.name
        assert 20 < len(said["og:description"]) < 500, f"{path.name}: {said['og:description']!r}"
        if picture := said.get("og:image"):
            assert (HTML / "_static" / picture.partition("/_static/")[2]).is_file()


def heading(text: str) -> str:
    """The words of the first heading of a page."""
    return unescape(re.sub("<[^>]+>", "", re.search("<h1>(.*?)</h1>", text, re.DOTALL)[1]))
