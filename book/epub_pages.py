"""A Sphinx extension for the EPUB: pages that a reader without scripts and without the site around them can show.

Formulas become MathML. A widget becomes a sentence with a link to its page, where the book's address is known. Links lead to
pages of the EPUB, else to the site, else nowhere; scripts, styles and pictures that the EPUB does not hold are left out.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bs4 import BeautifulSoup
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.builders.epub3 import Epub3Builder
from sphinx.util.math import get_node_equation_number
from sphinx_book_theme.directives import Margin

STYLES = ("_static/pygments.css", "_static/epub.css", "_static/epub-book.css")
NOT_XHTML = re.compile(r"border|valign|halign|align|loading|download|scoped|name|data-.*")


class Book(Epub3Builder):
    """Sphinx's builder of EPUB 3, for a book whose first page lies in a folder and which has formulas."""

    def get_toc(self) -> None:
        super().get_toc()
        for entry in self.refnodes:  # book/../notebooks/…: no file of the EPUB has such a name
            entry["refuri"] = posixpath.normpath(entry["refuri"])

    def build_content(self) -> None:
        """``content.opf``, with the pages marked that hold MathML or SVG, as EPUB 3 asks for."""
        super().build_content()
        path = Path(self.outdir, "content.opf")
        path.write_text(re.sub(r'<item id="[^"]+" href="([^"]+\.xhtml)"', self._marked, path.read_text("utf8")), "utf8")

    def _marked(self, item: re.Match) -> str:
        page = Path(self.outdir, item[1])
        text = page.read_text("utf8") if page.is_file() else ""
        held = [name for name, tag in (("mathml", "<math"), ("svg", "<svg")) if tag in text]
        return f'{item[0]} properties="{" ".join(held)}"' if held else item[0]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("epub_site", "", "env")
    app.add_builder(Book, override=True)
    app.add_directive("margin", Margin)
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    app.connect("html-page-context", clean)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def display(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})</span>')
    writer.body.append(f"{mathml(node.astext(), 'block')}</div>\n")
    raise nodes.SkipNode


def mathml(tex: str, how: str) -> str:
    """A formula as MathML; several lines are aligned, as on the pages."""
    if r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{align*}}{tex}\end{{align*}}"
    return convert(tex, display=how)


def clean(app: Sphinx, pagename: str, _: str, context: dict[str, Any], __: nodes.document | None) -> None:
    context["css_files"] = list(STYLES)
    context["script_files"] = []
    if "body" in context:
        pages = {app.builder.get_target_uri(page) for page in app.env.found_docs}
        context["body"] = cleaned(context["body"], pagename, pages, app.config.epub_site)


def cleaned(body: str, page: str, pages: set[str], site: str) -> str:
    """The body of a page as XHTML. ``pages``: those of the EPUB, by their path; ``site``: where the book is read, or nothing."""
    soup = BeautifulSoup(body, "html.parser")
    for widget in soup.select(".ardm-widget"):
        widget.replace_with(instead(soup, widget.get("aria-label", ""), f"{site}{page}.html" if site else ""))
    for element in soup(["script", "style", "link"]):
        element.decompose()
    for paragraph in soup.select("summary p.expanded"):  # what the summary says when it is open
        paragraph.decompose()
    for paragraph in soup.select("summary p"):
        paragraph.name = "span"
    for picture in soup("img"):
        if "_images/" not in picture["src"]:
            picture.decompose()
    for link in soup("a", href=True):
        relink(link, page, pages, site)
    for element in soup(True):
        for name in [name for name in element.attrs if NOT_XHTML.fullmatch(name)]:
            del element[name]
        if element.get("role") == "doc-biblioentry":  # of lists that are none, as in build.mend
            del element["role"]
    return str(soup)


def instead(soup: BeautifulSoup, says: str, address: str) -> Any:
    """The sentence that stands in the place of a widget."""
    sentence = soup.new_tag("p")
    sentence.string = f"Here the page of the book has a widget{': ' + says.rstrip('.') if says else ''}."
    if address:
        link = soup.new_tag("a", href=address)
        link.string = "Open it there"
        sentence.extend([" ", link, "."])
    return sentence


def relink(link: Any, page: str, pages: set[str], site: str) -> None:
    """Lead a link to a page of the EPUB, or to the site, or take it away and leave its words."""
    parts = urlsplit(link["href"])
    if parts.scheme or not parts.path:
        return
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), parts.path))
    inside = f"{path.removesuffix('.html')}.xhtml" if path.endswith(".html") else path
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    if inside in pages or inside.startswith("_images/"):
        link["href"] = posixpath.relpath(inside, posixpath.dirname(page) or ".") + fragment
    elif site:
        link["href"] = f"{site}{path}{fragment}"
    else:
        link.unwrap()
