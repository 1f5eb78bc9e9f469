"""The glossary holds every rule in the words of its entry, and its cards are its definitions."""

from functools import partial

import lexicon
import pytest

from ardm.base.errors import InputError
from ardm.method.entry import BLACK, BLUE, Entry
from ardm.method.rules import entries


class Doubt:
    """Hide what is in ``doubt``, as :class:`~ardm.method.types.Step` shows it (arXiv:2401.00001). More of it."""


ENTRY = Entry(name="doubter", source="arXiv:2401.00001", group="field", rule=partial(Doubt, by="margin"), colour=BLUE, mark="s")


def test_a_rule_is_described_by_its_entry():
    said = lexicon.describe(ENTRY)
    assert "Hide what is in `doubt`, as `Step` shows it. With `by = margin`." in said
    assert "[arXiv:2401.00001](https://arxiv.org/abs/2401.00001)" in said
    assert "field, published by others" in said
    assert 'style="color: #0072B2"' in said
    assert "■" in said


def test_black_is_the_colour_of_the_text():
    black = Entry(name="a", source="b", group="plain", rule=Doubt, colour=BLACK, mark="s")
    assert "style" not in lexicon.mark(black)


def test_a_rule_that_is_a_word_is_described_there_and_no_other_twice():
    glossary = "```{glossary}\nmargin\n  A lead.\n\nmarginal\n  Of one.\n```\n{{ rules }}\n"
    named = {"margin": ENTRY, "doubter": ENTRY}
    staged = lexicon.staged(glossary, named)
    assert "margin\n  A lead.\n\n  As a rule: " in staged
    assert staged.count("As a rule") == 1
    assert "\ndoubter\n  <span" in staged


def test_every_rule_says_what_it_does():
    for name, entry in entries().items():
        made, _ = lexicon.unwrapped(entry.rule)
        assert len(lexicon.plain(made.__doc__ or "").split()) > 3, name


def test_a_glossary_without_a_place_for_the_rules_is_refused():
    with pytest.raises(InputError, match="no place for the rules"):
        lexicon.staged("```{glossary}\n```", {"doubter": ENTRY})


def test_cards_are_the_definitions_of_the_page():
    first = '<dt id="term-a">a<a href="#term-a">#</a></dt><dd><p>One.</p>\n</dd>'
    page = f'<dl>{first}\n<dt id="term-b">b</dt><dd><p>Two.</p></dd></dl>'
    assert lexicon.cards(page) == {"term-a": "<p>One.</p>", "term-b": "<p>Two.</p>"}
