"""The glossary as it is staged: the words written by hand, and every rule as its own entry says it is.

The cards that a word shows when it is pointed at (``_static/cards.js``) are these definitions too: a Sphinx extension reads them
from the built page, so that nothing is said twice.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gallery import first_sentence
from sphinx.application import Sphinx

from ardm.base.errors import InputError
from ardm.method.entry import BLACK, GROUPS, MARKS, Entry

PAGE = "book/glossary"
CARDS = "cards.js"
SHAPES = dict(zip(MARKS, "●■▲▼◆✚✖×★•", strict=True))
"""The marks of a figure as letters."""


def mark(entry: Entry) -> str:
    """The look of a rule in the figures, as HTML; black is the colour of the text, which the dark theme turns round."""
    colour = "" if entry.colour == BLACK else f' style="color: {entry.colour}"'
    return f'<span class="rule-mark" aria-hidden="true"{colour}>{SHAPES[entry.mark]}</span>'


def plain(docstring: str) -> str:
    """The first sentence of a docstring without its source in brackets, its reStructuredText as MyST."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", " ".join(docstring.partition("\n\n")[0].split()))
    text = re.sub(r" \([^()]*arXiv:[^()]*\)", "", text)
    return first_sentence(text.replace("``", "`").replace("*", r"\*"))


def unwrapped(rule: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What makes the rule, and the settings that the entry fixes."""
    fixed: dict[str, Any] = {}
    while isinstance(rule, partial):
        fixed, rule = {**rule.keywords, **fixed}, rule.func
    return rule, fixed


def settings(entry: Entry) -> dict[str, Any]:
    """What makes this entry another than those of the same code: fixed settings, and knobs with one value alone."""
    _, fixed = unwrapped(entry.rule)
    single = {name: value for name, value in entry.knobs[0].items() if all(one.get(name) == value for one in entry.knobs)}
    return {**fixed, **(single if len(entry.knobs) > 1 else {})}


def gate(entry: Entry) -> str:
    """The gate that a rule asks for, in words; nothing where it asks for none."""
    if entry.gate is None:
        return ""
    taught = getattr(entry.gate, "taught", entry.gate)
    kind = getattr(getattr(entry.gate, "head", None), "kind", "own runs")
    return f"Its gate: {kind}, label {taught.label.replace('_', ' ')}."


def describe(entry: Entry) -> str:
    """One paragraph of MyST on a rule: its look, what it does, its settings and its gate, its source, where its code stands."""
    made, _ = unwrapped(entry.rule)
    given = ", ".join(f"`{name} = {value}`" for name, value in settings(entry).items())
    source = re.sub(r"(?:arXiv:)?(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", entry.source)
    what = GROUPS[entry.group].partition(":")[0]
    said = [mark(entry), plain(inspect.getdoc(made) or ""), f"With {given}." if given else "", gate(entry)]
    said += [f"*Source*: {source}." if entry.source != entry.group else "", f"*Kind*: {entry.group}, {what}."]
    return " ".join([*filter(None, said), f"*Code*: {{py:mod}}`{entry.module}`."])


def staged(glossary: str, entries: Mapping[str, Entry]) -> str:
    """The glossary with the rules: a rule whose name is a word already is described there, the others in a list of their own."""
    of_rules = []
    for name, entry in entries.items():
        said, head = describe(entry), re.search(rf"^{re.escape(name)}\n  .*$", glossary, re.MULTILINE)
        if head:
            glossary = glossary.replace(head[0], f"{head[0]}\n\n  As a rule: {said}", 1)
        else:
            of_rules.append(f"{name}\n  {said}")
    if "{{ rules }}" not in glossary:
        raise InputError("the glossary has no place for the rules: write {{ rules }} where they shall stand")
    return glossary.replace("{{ rules }}", "```{glossary}\n" + "\n\n".join(of_rules) + "\n```")


# ------------------------------------------------------------------------------------------------------------------ cards


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_cards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def cards(page: str) -> dict[str, str]:
    """The definitions on a built glossary, as HTML by the id of their word."""
    found = re.findall(r'<dt id="(term-[^"]+)">.*?</dt>\s*<dd>(.*?)</dd>', page, re.DOTALL)
    return {word: definition.strip() for word, definition in found}


def write_cards(app: Sphinx, failed: Exception | None) -> None:
    page = Path(app.outdir) / f"{PAGE}.html"
    if failed is None and page.is_file():
        text = f"globalThis.ARDM_CARDS = {json.dumps(cards(page.read_text('utf8')), ensure_ascii=False)};\n"
        (Path(app.outdir) / "_static" / CARDS).write_text(text, "utf8")
