"""The first use of a glossary word on a page is a link, whole words alone, and nothing else is touched."""

from pathlib import Path

from docutils import nodes
from docutils.utils import new_document
from first_use import EVERYDAY, mark, words_of
from sphinx.addnodes import pending_xref

ROOT = Path(__file__).resolve().parent.parent

WORDS = ("noisy-OR", "gate", "oracle gate", "margin")


def marked(*parts: nodes.Node) -> tuple[nodes.document, list[tuple[str, str]]]:
    """The document and its links as (word of the glossary, words of the page)."""
    document = new_document("page")
    document += parts
    mark(document, WORDS, "page")
    return document, [(link["reftarget"], link.astext()) for link in document.findall(pending_xref)]


def said(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text)


def test_the_first_use_alone_is_a_link_and_the_text_stays():
    text = "Gates and margins: a gate with a small margin."
    document, links = marked(said(text), said("Another gate."))
    assert links == [("gate", "Gates"), ("margin", "margins")]
    assert document[0].astext() == text


def test_the_longest_word_is_taken_and_the_shorter_one_later():
    _, links = marked(said("The oracle gate is no gate."))
    assert links == [("oracle gate", "oracle gate"), ("gate", "gate")]


def test_parts_of_words_are_no_words():
    _, links = marked(said("An investigated gateway, the gate-only margin-free noisy-ORs."))
    assert links == [("noisy-OR", "noisy-ORs")]


def test_headings_code_links_formulas_and_captions_are_left_alone():
    paragraph = nodes.paragraph("", "", nodes.literal("", "gate"), nodes.reference("", "gate"), nodes.math("", "gate"))
    figure = nodes.figure("", nodes.caption("", "A gate."), nodes.legend("", said("A gate.")))
    section = nodes.section("", nodes.title("", "The gate"))
    _, links = marked(section, paragraph, figure)
    assert links == []


def test_the_words_are_those_of_the_glossary():
    words = words_of(ROOT / "book" / "glossary.md")
    assert {"common random numbers", "likelihood-ratio label", "rollout"} <= set(words)
    assert list(words) == sorted(words, key=len, reverse=True)
    assert not set(words) & EVERYDAY
