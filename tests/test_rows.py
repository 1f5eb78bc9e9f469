"""What stands under a figure and at the end of a chapter: files, source, parameters, citation, command."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import figure_rows
import gallery
import pytest
import rerun_box
import yaml
from docutils import nodes
from docutils.utils import new_document
from identity import Identity, bibtex, identity, latex
from jsonschema import Draft7Validator
from pybtex.database import parse_string
from sphinx.errors import ExtensionError

from ardm.book.parameters import Parameter

ROOT = Path(__file__).resolve().parent.parent

BOOK = Identity("On gates & more", ("The authors", "A. N. Other"), "1.2.3", "2026-02-01")
HOSTED = Identity(**{**vars(BOOK), "address": "https://a.example/book/", "repository": "me/gates"})
FACTS = {
    "caption": "Validity.",
    "chapter": "Sampling: what is 50 % worth?",
    "notebook": "notebooks/09_sampling.ipynb",
    "cell": "plot",
    "code": "plot(a < b)",
    "parameters": {"nfe": [8, 16], "seed": 0},
    "command": ".venv/bin/ardm run 09_sampling -p nfe=8,16 -p seed=0",
    "provenance": {"commit": "0123456789ab", "torch": "2.13.0"},
    "marks": {
        "size": [504, 252],
        "text": 9,
        "axes": [["calls", "valid, %", ""]],
        "series": ["</script><script>alert(1)</script>"],
        "marks": [[0, 0, 500, 250.5, "8", "52.1", "", "49.0 to 55.2"]],
    },
}
PARAMETERS = (
    Parameter(name="nfe", type="list[int]", default=[8, 16], help="calls", range="in [1, 99]"),
    Parameter(name="fast", type="bool", default=True, help="skip"),
    Parameter(name="words", type="str", default="a b", help="text"),
)


# ------------------------------------------------------------------------------------------------------------- citation


def test_the_citation_parses_and_holds_what_a_reference_needs():
    entry = bibtex(BOOK, key="ardm-fig-a", title="What is 50 % of $p_i$ & q_i?", path="figures/fig-a.html", note="commit 01")
    parsed = parse_string(entry, "bibtex").entries["ardm-fig-a"]
    assert parsed.type == "misc"
    assert [str(person) for person in parsed.persons["author"]] == ["{The authors}", "{A. N. Other}"]
    assert dict(parsed.fields) == {
        "title": r"{What is 50 \% of $p_i$ \& q\_i?}",
        "howpublished": r"On gates \& more",
        "year": "2026",
        "month": "2",
        "note": "Version 1.2.3, commit 01",
        "url": "figures/fig-a.html",
    }
    assert "url          = {https://a.example/book/x.html}" in bibtex(HOSTED, key="k", title="t", path="x.html")


def test_latex_leaves_mathematics_and_escapes_the_rest():
    assert latex("4×4, 10 % of x_1 and $x_1 \\leq 3$") == r"4$\times$4, 10 \% of x\_1 and $x_1 \leq 3$"


def test_the_citation_file_is_valid():
    """By the schema of the Citation File Format 1.2.0, which cffconvert brings; its code is not used."""
    (where,) = importlib.util.find_spec("cffconvert").submodule_search_locations
    validator = Draft7Validator(json.loads((Path(where) / "schemas" / "1.2.0" / "schema.json").read_text()))
    cited = json.loads(json.dumps(yaml.safe_load((ROOT / "CITATION.cff").read_text()), default=str))
    assert [error.message for error in validator.iter_errors(cited)] == []
    assert not validator.is_valid({key: value for key, value in cited.items() if key != "authors"})


def test_the_book_is_who_its_citation_file_says(monkeypatch):
    for name in ("ARDM_SITE", "ARDM_REPOSITORY", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    here = identity(ROOT)
    assert (here.title, here.version, here.address, here.repository) == (cited["title"], cited["version"], "", "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", here.date)
    monkeypatch.setenv("ARDM_SITE", "https://a.example/book")
    monkeypatch.setenv("GITHUB_REPOSITORY", "you/fork")
    assert (identity(ROOT).address, identity(ROOT).repository) == ("https://a.example/book/", "you/fork")
    monkeypatch.setenv("ARDM_REPOSITORY", "me/gates")
    assert identity(ROOT).repository == "me/gates"


@pytest.mark.parametrize(("commit", "shown"), [("01ab", "01ab"), ("01ab+changes", "01ab"), ("unknown", "")])
def test_a_source_is_linked_where_the_repository_and_the_commit_are_known(commit, shown):
    wanted = f"https://github.com/me/gates/blob/{shown}/notebooks/a.ipynb" if shown else ""
    assert HOSTED.blob(commit, "notebooks/a.ipynb") == wanted
    assert BOOK.blob(commit, "notebooks/a.ipynb") == ""


# ------------------------------------------------------------------------------------------------------------------ row


def test_a_row_links_the_files_and_shows_source_parameters_and_citation():
    html = figure_rows.row("fig-a", FACTS, "../", BOOK)
    links = re.findall(r'<a href="\.\./_static/figures/(fig-a\.\w+)" download>([^<]+)</a>', html)
    assert links == [
        ("fig-a.png", "PNG"),
        ("fig-a.svg", "SVG"),
        ("fig-a.pdf", "PDF"),
        ("fig-a.csv", "Data (CSV)"),
        ("fig-a.json", "All of it as JSON"),
    ]
    assert re.findall(r"<summary>(\w+)</summary>", html) == ["Source", "Parameters", "Cite"]
    assert "<dt>nfe</dt><dd>8, 16</dd>" in html and "<dt>torch</dt><dd>2.13.0</dd>" in html
    assert "Cell <code>plot</code> of <code>notebooks/09_sampling.ipynb</code> at commit 0123456789ab." in html
    assert re.sub("<.*?>", "", html).count("plot(a &lt; b)") == 1
    assert '<span data-below-site="../">figures/fig-a.html</span>' in html  # the page fills in where it is read
    hosted = figure_rows.row("fig-a", FACTS, "../", HOSTED)
    assert "https://a.example/book/figures/fig-a.html" in hosted and "data-below-site" not in hosted
    assert '<a href="https://github.com/me/gates/blob/0123456789ab/notebooks/09_sampling.ipynb">' in hosted


def rowed(tmp_path: Path, index: dict, *, ids=("fig-a",), uri="x/fig-a.png", alt="A line.") -> nodes.document:
    (tmp_path / "figures.json").write_text(json.dumps(index))
    document = new_document("page")
    document += nodes.figure("", nodes.image(uri=uri, alt=alt), ids=list(ids))
    document += nodes.paragraph("", "After.")
    config = SimpleNamespace(figure_index=str(tmp_path / "figures.json"), figure_book=vars(BOOK))
    figure_rows.add_rows(SimpleNamespace(config=config, env=SimpleNamespace(docname="notebooks/a")), document)
    return document


def test_the_picture_gives_way_to_one_for_each_theme_with_its_marks(tmp_path):
    figure, _, _ = rowed(tmp_path, {"fig-a": FACTS}, alt='A "line" <rising>.').children
    assert not list(figure.findall(nodes.image))
    html = figure[0].astext()
    images = re.findall(r"<img .*?>", html)
    assert [re.findall(r'class="(\w+)" src="(.*?)"', image) for image in images] == [
        [("light", "../_static/figures/fig-a.svg")],
        [("dark", "../_static/figures/fig-a.dark.svg")],
    ]
    assert all('alt="A &quot;line&quot; &lt;rising&gt;."' in image and 'width="672" height="336"' in image for image in images)
    assert "loading" not in images[0]  # paper shows it too
    (told,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    assert html.count("<script") == 1 and json.loads(told) == {
        name: FACTS["marks"][name] for name in ("axes", "series", "marks")
    }
    assert "--readable: 392px" in html  # 9 points are then 7 pixels: 504 points are 56 times 9


def test_a_figure_without_marks_is_a_picture():
    html = figure_rows.picture("fig-a", "A line.", {**FACTS["marks"], "marks": []}, "")
    assert "<script" not in html and html.count("<img") == 2


def test_the_row_stands_right_under_its_figure(tmp_path):
    kinds = [type(node).__name__ for node in rowed(tmp_path, {"fig-a": FACTS}).children]
    assert kinds == ["figure", "raw", "paragraph"]


def test_a_page_that_shows_the_picture_of_a_figure_gets_its_row(tmp_path):
    document = rowed(tmp_path, {"fig-a": FACTS}, ids=["fig-landing"], uri="_static/figures/fig-a.png")
    assert "figures/fig-a.csv" in document[1].astext()


def test_a_picture_without_a_number_gets_no_row(tmp_path):
    assert len(rowed(tmp_path, {}, ids=["other"]).children) == 2


def test_a_numbered_figure_without_data_or_description_stops_the_build(tmp_path):
    with pytest.raises(ExtensionError, match="notebooks/a: figure fig-a has no data and no provenance"):
        rowed(tmp_path, {"fig-b": FACTS}, uri="x/other.png")
    with pytest.raises(ExtensionError, match="notebooks/a: figure fig-a has no alternative text"):
        rowed(tmp_path, {"fig-a": FACTS}, alt=" ")


@pytest.mark.parametrize(
    ("caption", "first"),
    [
        ("Validity. More follows.", "Validity."),
        ("Sudoku 4.5 of Fig. 1 is left. Right: more.", "Sudoku 4.5 of Fig. 1 is left."),
        ("No end", "No end"),
        ("What is it, i.e. why? Nothing.", "What is it, i.e. why? Nothing."),
    ],
)
def test_the_first_sentence_of_a_caption(caption, first):
    assert gallery.first_sentence(caption) == first


# ---------------------------------------------------------------------------------------------------------------- rerun


def test_the_command_says_every_parameter_as_a_shell_takes_it():
    assert rerun_box.command("a", PARAMETERS) == ".venv/bin/ardm run a -p nfe=8,16 -p fast=true -p 'words=a b'"
    assert rerun_box.command("a", ()) == ".venv/bin/ardm run a"
    long = rerun_box.command("a", [*PARAMETERS] * 3)
    assert len(long.splitlines()) == 10 and long.splitlines()[0].endswith(" \\")


def test_the_last_section_names_command_parameters_and_time():
    said = rerun_box.box("a", PARAMETERS, 125.0, "One core", BOOK, "abc123")["source"]
    assert "| `nfe` | `8,16` | list[int], at least one, each in [1, 99] | calls |" in said
    assert "It took 2.1 min on One core." in said
    assert not re.search("Colab|Binder|Codespaces", said)
    hosted = rerun_box.box("a", PARAMETERS, 9.0, "One core", HOSTED, "abc123+changes")["source"]
    assert [urlsplit(address)[1:4] for address in re.findall('href="(https:[^"]+)"', hosted)] == [
        ("colab.research.google.com", "/github/me/gates/blob/gh-pages/_static/colab/a.ipynb", ""),
        ("mybinder.org", "/v2/gh/me/gates/abc123", "labpath=notebooks/a.ipynb"),
        ("codespaces.new", "/me/gates", "quickstart=1"),
    ]
    assert "/me/gates/HEAD?" in rerun_box.box("a", (), 9.0, "One core", HOSTED, "unknown")["source"]


def test_the_notebook_for_colab_fetches_this_commit_and_holds_no_outputs(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": "# A"},
        {"cell_type": "code", "source": "1", "execution_count": 1, "outputs": [{"output_type": "stream"}]},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}}))
    rerun_box.write_files("a", PARAMETERS, tmp_path / "a.ipynb", BOOK, tmp_path / "plain", "abc123")
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["schemas"]
    rerun_box.write_files("a", PARAMETERS, tmp_path / "a.ipynb", HOSTED, tmp_path / "static", "abc123+changes")
    first, *rest = json.loads((tmp_path / "static" / "colab" / "a.ipynb").read_text())["cells"]
    clone, checkout, *_ = first["source"].splitlines()
    assert clone == "!git clone --quiet --filter=blob:none https://github.com/me/gates ardm-book"
    assert checkout == "!git -C ardm-book checkout --quiet abc123"
    assert "checkout" not in rerun_box.in_colab({"cells": []}, "me/gates", "unknown")["cells"][0]["source"]
    assert rest == [cells[0], {**cells[1], "outputs": []}]
    assert json.loads((tmp_path / "static" / "schemas" / "a.json").read_text())["properties"]["nfe"]["default"] == [8, 16]
