"""A Sphinx extension: what is shown of a page where its address is shared, as Open Graph and Twitter tags.

Title, first words and, where the book's address is known, the page's own first figure: such a picture must have a whole address.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from figure_rows import published
from gallery import first_sentence
from identity import Identity
from sphinx.application import Sphinx

SHORT = 60  # characters: "Only in part." answers the title and says nothing yet


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("figure_rows")  # its settings are read here too
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_tags(app: Sphinx, pagename: str, _: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    if doctree is not None:
        index = json.loads(Path(app.config.figure_index).read_text("utf8"))
        context["metatags"] += "\n".join(tags(pagename, doctree, Identity(**app.config.figure_book), index))


def tags(page: str, doctree: nodes.document, book: Identity, index: dict[str, dict]) -> list[str]:
    """The tags of a page."""
    said = lead(doctree) or book.title
    pairs = [
        ("property", "og:type", "article"),
        ("property", "og:site_name", book.title),
        ("property", "og:title", title(doctree)),
    ]
    pairs += [("property", "og:description", said), ("name", "description", said)]
    figure = next((id for one in doctree.findall(nodes.figure) if (id := published(one, index))), None)
    if book.address:
        pairs.append(("property", "og:url", f"{book.address}{page}.html"))
        if figure:
            pairs.append(("property", "og:image", f"{book.address}_static/figures/{figure}.png"))
            pairs.append(("property", "og:image:alt", index[figure]["alt"]))
    pairs.append(("name", "twitter:card", "summary_large_image" if book.address and figure else "summary"))
    return [f'<meta {kind}="{name}" content="{escape(value)}" />' for kind, name, value in pairs]


def title(doctree: nodes.document) -> str:
    """The first heading."""
    return next((heading.astext() for heading in doctree.findall(nodes.title)), "")


def lead(doctree: nodes.document) -> str:
    """How the page's text begins, in one line: its first sentence, and the next ones while it is :data:`SHORT`."""
    texts = (text.astext() for text in doctree.findall(nodes.paragraph) if isinstance(text.parent, nodes.section))
    said, rest = "", " ".join(next(texts, "").split())
    while rest and len(said) < SHORT:
        sentence = first_sentence(rest)
        said, rest = f"{said} {sentence}".strip(), rest[len(sentence) :].strip()
    return said
