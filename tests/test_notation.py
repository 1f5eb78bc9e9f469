"""A reader who knows softmax can go from the first chapter to the last: every symbol is in the table of book/notation.md, and no
chapter uses one that only a later chapter defines.
"""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ("symbol", "meaning", "code", "document", "defined")

# What a reader of formulas knows, and layout: not symbols of the book.
KNOWN = set(
    re.findall(
        r"\S+",
        r"""\frac \tfrac \sum \prod \log \max \sqrt \partial \left \right \bigl \bigr \quad \qquad \dots \cdot \le \ge \ne \to
        \infty \approx \sim \in \mid \leftarrow \operatorname{mean} \operatorname{var}""",
    )
)

# Addresses are for ever: a page that was published once keeps its name.
PUBLISHED = re.findall(
    r"\S+",
    """
book/index book/notation book/glossary book/figures book/playground book/api book/code book/rerun book/own_model book/checks
book/bibliography book/trust book/found book/explorer book/models book/tables book/changes
notebooks/00_quickstart notebooks/01_entropy notebooks/02_margin notebooks/03_confidence_change notebooks/04_placed_token
notebooks/05_positional_prior notebooks/06_combining notebooks/07_linear_gate notebooks/08_learned_gate notebooks/09_sampling
notebooks/10_training_the_denoiser notebooks/11_training_the_gate notebooks/12_errata notebooks/13_rivals notebooks/14_exact_laws
notebooks/15_quality_vs_budget
notebooks/16_where_edits_fall notebooks/17_compute notebooks/18_sudoku notebooks/19_text notebooks/20_negative_results
notebooks/21_ablations notebooks/22_the_gate_that_wins notebooks/23_does_it_scale notebooks/24_taught_by_repair
notebooks/25_a_real_model notebooks/26_deciding_fast notebooks/27_full_sudoku
""",
)


def contents() -> list[str]:
    """The book's pages in the order in which they are read."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


CHAPTERS = [name.removeprefix("notebooks/") for name in contents() if name.startswith("notebooks/")]


def formulas(markdown: str) -> list[str]:
    """All math of a markdown text, displayed and inline; code is left out."""
    prose = re.sub(r"```.*?```|`[^`]*`", " ", markdown, flags=re.S)
    displayed = re.findall(r"\$\$(.*?)\$\$", prose, flags=re.S)
    return displayed + re.findall(r"\$([^$]+)\$", re.sub(r"\$\$.*?\$\$", " ", prose, flags=re.S))


def tokens(formula: str) -> tuple[str, ...]:
    """Commands, letters and signs; words, layout, braces and blanks are dropped."""
    formula = re.sub(r"\\(begin|end)\{\w+\}|\\text\{[^}]*\}|\\[,;!:\\ ]", " ", formula).replace(r"\widetilde", r"\tilde")
    return tuple(re.findall(r"\\(?:operatorname|mathrm|mathcal|mathbb)\{\w+\}|\\[a-zA-Z]+|[^\s{}&]", formula))


def table() -> list[dict[str, str]]:
    lines = [line for line in (ROOT / "book" / "notation.md").read_text().splitlines() if line.startswith("| $")]
    return [dict(zip(COLUMNS, map(str.strip, line.strip("|").split("|")), strict=True)) for line in lines]


def defined() -> dict[tuple[str, ...], str]:
    """Every symbol of the table, as its tokens, and the chapter that defines it."""
    found = {}
    for row in table():
        chapter = re.search(r"notebooks/(\w+)", row["defined"])[1]
        for formula in formulas(row["symbol"]):
            assert tokens(formula) not in found, f"{formula} stands twice in the table"
            found[tokens(formula)] = chapter
    return found


def used(formula: str, symbols: dict[tuple[str, ...], str]) -> tuple[list[tuple[str, ...]], list[str]]:
    """The symbols in a formula, the longest first (x^0 before x), and the letters that are none of them."""
    rest, known, unknown = tokens(formula), [], []
    longest_first = sorted(symbols, key=len, reverse=True)
    while rest:
        match = next((symbol for symbol in longest_first if rest[: len(symbol)] == symbol), None)
        if match:
            known.append(match)
        elif rest[0] not in KNOWN and (rest[0].startswith("\\") or rest[0].isalpha()):
            unknown.append(rest[0])
        rest = rest[len(match or "1") :]
    return known, unknown


def math_of(chapter: str) -> list[str]:
    notebook = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
    return [formula for cell in notebook.cells if cell.cell_type == "markdown" for formula in formulas(cell.source)]


def test_tokens_by_hand():
    assert tokens(r"\widetilde{\Delta\ell}_i \;\le\; \operatorname{sigmoid}(a)") == (
        *("\\tilde", "\\Delta", "\\ell", "_", "i", "\\le"),
        *("\\operatorname{sigmoid}", "(", "a", ")"),
    )
    symbols = {("x",): "a", ("x", "^", "0"): "b"}
    assert used(r"x^0_i + \frac{x}{z}", symbols) == ([("x", "^", "0"), ("x",)], ["i", "z"])
    assert formulas("a $x$ `$no$` b\n$$\ny\n$$ (eq-y)") == ["\ny\n", "x"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_symbol_is_defined_by_the_time_it_is_used(chapter):
    symbols = defined()
    for formula in math_of(chapter):
        known, unknown = used(formula, symbols)
        assert not unknown, f"{chapter}: {unknown} in {formula!r} is not in book/notation.md"
        for symbol in known:
            assert CHAPTERS.index(symbols[symbol]) <= CHAPTERS.index(chapter), (
                f"{chapter} uses {symbol} before {symbols[symbol]}"
            )


def test_every_symbol_occurs_in_the_chapter_that_defines_it():
    symbols = defined()
    for symbol, chapter in symbols.items():
        assert any(symbol in used(formula, symbols)[0] for formula in math_of(chapter)), f"{chapter} does not have {symbol}"


def test_code_names_of_the_table_exist():
    names = [name for row in table() for name in re.findall(r"`(\w+\.[\w.]+)`", row["code"])]
    assert len(names) > 20
    for name in names:
        module, *parts = name.split(".")
        thing = importlib.import_module(f"ardm.method.{module}")
        for part in parts:
            fields = getattr(thing, "__dataclass_fields__", {})
            thing = fields[part] if part in fields else getattr(thing, part)


def test_equations_are_numbered_once_and_referred_to_where_they_exist():
    texts = {
        chapter: "\n".join(
            c.source for c in nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4).cells if c.cell_type == "markdown"
        )
        for chapter in CHAPTERS
    }
    labels = [
        (label, chapter) for chapter in CHAPTERS for label in re.findall(r"^\$\$ \((eq-[\w-]+)\)", texts[chapter], flags=re.M)
    ]
    places = dict(labels)
    assert len(places) == len(labels) > 20
    for chapter, text in texts.items():
        for label in re.findall(r"\{eq\}`([\w-]+)`", text):
            assert label in places, f"{chapter} refers to {label}, which no chapter has"
            assert CHAPTERS.index(places[label]) <= CHAPTERS.index(chapter), f"{chapter} needs {label} of {places[label]}"


def test_published_pages_keep_their_names():
    assert set(PUBLISHED) <= set(contents())
