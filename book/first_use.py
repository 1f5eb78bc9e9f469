"""A Sphinx extension: the first use of a glossary word, or of a rule's name, on each page links to its entry in the glossary.

The words are those of ``book/glossary.md`` as staged, in the singular or with a plural ``s``; the longest that fits is taken.
Headings, code, formulas, captions, tables and what is a link already are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
LEFT_ALONE = (
    *(nodes.literal, nodes.math, nodes.reference, nodes.title, nodes.caption, nodes.table, nodes.term, nodes.raw),
    *(nodes.math_block, nodes.literal_block, pending_xref, nodes.figure, nodes.strong, nodes.emphasis, nodes.system_message),
)
EVERYDAY = {"base", "call", "cell", "law", "proposal", "rule"}  # common words, or words with a second sense


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", link_first_uses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


@cache
def words_of(glossary: Path) -> tuple[str, ...]:
    """The words of the glossary, the longest first."""
    blocks = re.findall(r"```\{glossary\}\n(.*?)```", glossary.read_text("utf8"), re.S)
    words = re.findall(r"^(\S.*)\n  ", "\n".join(blocks), re.M)
    return tuple(sorted((word for word in words if word not in EVERYDAY), key=len, reverse=True))


def link_first_uses(app: Sphinx, doctree: nodes.document) -> None:
    if app.env.docname != GLOSSARY:
        mark(doctree, words_of(Path(app.srcdir) / f"{GLOSSARY}.md"), app.env.docname)


def mark(doctree: nodes.document, words: tuple[str, ...], page: str) -> None:
    """Turn the first use of each word into a reference to it."""
    left = set(words)
    for text in list(plain_texts(doctree)):
        pieces, rest = [], str(text)
        while left and (found := first_of(left, rest)):
            word, start, end = found
            left.discard(word)
            pieces += [nodes.Text(rest[:start]), reference(word, rest[start:end], page)]
            rest = rest[end:]
        if pieces:
            text.parent.replace(text, [piece for piece in (*pieces, nodes.Text(rest)) if str(piece) or piece.children])


def plain_texts(doctree: nodes.document) -> Iterator[nodes.Text]:
    """Texts of paragraphs with nothing around them that is left alone."""
    for paragraph in doctree.findall(nodes.paragraph):
        if _inside(paragraph):
            continue
        for text in paragraph.findall(nodes.Text):
            if not _inside(text):
                yield text


def _inside(node: nodes.Node) -> bool:
    while node := node.parent:
        if isinstance(node, LEFT_ALONE):
            return True
    return False


def first_of(words: set[str], text: str) -> tuple[str, int, int] | None:
    """The word that comes first in the text, the longest of those that begin there: word, start, end."""
    found = []
    for word in words:
        if match := re.search(rf"(?<![\w-]){re.escape(word)}s?(?![\w-])", text, re.IGNORECASE):
            found.append((match.start(), -len(word), word, match.end()))
    return (lambda start, _, word, end: (word, start, end))(*min(found)) if found else None


def reference(word: str, shown: str, page: str) -> pending_xref:
    link = pending_xref(
        "", refdomain="std", reftype="term", reftarget=word, refexplicit=True, refwarn=True, refdoc=page, classes=["first-use"]
    )
    link += nodes.inline("", shown, classes=["xref", "std", "std-term"])
    return link
