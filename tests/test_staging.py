"""Staging: figures are numbered, described and gathered with their files, numbers reach every page, faults are named."""

from __future__ import annotations

import base64
import copy
import io
import json
from pathlib import Path

import cards
import gallery
import pytest
import staging
import yaml
from gallery import Figure
from PIL import Image
from vendor import BookError

from ardm.book.runs import outputs_sum

ROOT = Path(__file__).resolve().parent.parent

RUN = {"key": "0" * 64, "parameters": {}, "seconds": 12.3}
WORDS = {"id": "fig-one", "caption": "Validity against calls.", "alt": "A rising line."}


MARKS = {"size": [360, 180], "text": 9, "axes": [["calls", "valid, %", ""]], "series": ["a rule"], "marks": [[0, 0, 500, 500]]}


def picture(words: dict | None = WORDS) -> dict:
    metadata = {"ardm": {"figure": dict(words)}} if words is not None else {}
    return {
        "output_type": "display_data",
        "data": {"image/png": PICTURE, "text/plain": "<Figure>"},
        "metadata": metadata,
    }


def printed(text: str = "1\n") -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


def table() -> dict:
    return {"output_type": "execute_result", "execution_count": 1, "data": {"text/html": "<table></table>"}, "metadata": {}}


def notebook(*outputs: dict, **metadata: object) -> dict:
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Title"},
        {
            "cell_type": "code",
            "id": "plot",
            "metadata": metadata,
            "source": "plot()",
            "execution_count": 1,
            "outputs": list(outputs),
        },
    ]
    return {"cells": cells, "metadata": {"ardm": RUN}, "nbformat": 4, "nbformat_minor": 5}


def square() -> str:
    """A white picture in base64, twice as wide as those in the list of figures."""
    file = io.BytesIO()
    Image.new("RGB", (640, 320), "white").save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


PICTURE = square()


def test_a_figure_gets_number_caption_and_alt_text() -> None:
    source = notebook(picture())
    before = copy.deepcopy(source)
    staged, figures = staging.stage_notebook(source, "notebooks/a")
    caption, alt = WORDS["caption"], WORDS["alt"]
    assert figures == [Figure("fig-one", "notebooks/a", caption, alt, cell="plot", code="plot()", picture=PICTURE)]
    assert staged["cells"][1]["metadata"]["mystnb"] == {
        "figure": {"caption": "Validity against calls.", "name": "fig-one"},
        "image": {"alt": "A rising line."},
    }
    assert source == before, "the executed notebook itself is left alone"


def test_a_notebook_without_figures_is_unchanged() -> None:
    source = notebook(printed(), table())
    assert staging.stage_notebook(source, "notebooks/a") == (source, [])


def test_a_figure_cell_with_more_outputs_is_split_in_order() -> None:
    second = {**WORDS, "id": "fig-two"}
    staged, figures = staging.stage_notebook(
        notebook(printed(), picture(), table(), picture(second), tags=["hide-input"]), "notebooks/a"
    )
    cells = staged["cells"][1:]
    assert [[output["output_type"] for output in cell["outputs"]] for cell in cells] == [
        ["stream"],
        ["display_data"],
        ["execute_result"],
        ["display_data"],
    ]
    assert ["mystnb" in cell["metadata"] for cell in cells] == [False, True, False, True]
    assert [cell["metadata"]["tags"] for cell in cells] == [["hide-input"]] + [["remove-input"]] * 3
    assert len({cell["id"] for cell in cells}) == 4
    assert all(cell["source"] for cell in cells), "MyST-NB drops cells without a source"
    assert [figure.id for figure in figures] == ["fig-one", "fig-two"]


@pytest.mark.parametrize("missing", ["id", "caption", "alt"])
def test_a_figure_without_a_word_is_refused(missing: str) -> None:
    words = {**WORDS, missing: "  "}
    with pytest.raises(BookError, match=rf"notebooks/a, cell 1: a figure without {missing} "):
        staging.stage_notebook(notebook(picture(words)), "notebooks/a")


def test_a_picture_that_was_not_published_is_refused() -> None:
    with pytest.raises(BookError, match="without id, caption, alt"):
        staging.stage_notebook(notebook(picture(None)), "notebooks/a")


def test_an_id_that_cannot_be_a_link_is_refused() -> None:
    with pytest.raises(BookError, match="figure id 'Fig One'"):
        staging.stage_notebook(notebook(picture({**WORDS, "id": "Fig One"})), "notebooks/a")


def tree(root: Path, **notebooks: dict) -> Path:
    """A small project with its executed notebooks."""
    (root / "book").mkdir(parents=True)
    (root / "book" / "index.md").write_text("# Index\n")
    (root / "book" / "build.py").write_text("")
    (root / "_config.yml").write_text("title: t\n")
    (root / "CITATION.cff").write_text(CITED)
    chapters = "".join(f"  - file: notebooks/{name}\n" for name in notebooks)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/index\nchapters:\n{chapters}")
    executed = root / "_build" / "executed"
    executed.mkdir(parents=True)
    for name, content in notebooks.items():
        if run := content["metadata"].get("ardm"):
            content["metadata"]["ardm"] = {**run, "outputs": outputs_sum(content)}
        (executed / f"{name}.ipynb").write_text(json.dumps(content))
    (executed / "figures").mkdir()
    for kind in gallery.FILES:
        (executed / "figures" / f"fig-one.{kind}").write_text(f"a {kind}")
    (executed / "figures" / "fig-one.png").write_bytes(base64.b64decode(PICTURE))
    (executed / "figures" / "fig-one.marks.json").write_text(json.dumps(MARKS))
    (executed / "figures" / "fig-one.json").write_text(json.dumps({**WORDS, "provenance": {"commit": "0123456789ab"}}))
    return executed


CITED = """\
title: On gates
authors: [{name: The authors}]
version: 1.2.3
date-released: 2026-02-01
"""


def test_stage_takes_the_executed_notebooks_and_leaves_scripts_out(tmp_path: Path) -> None:
    executed = tree(tmp_path, a=notebook(picture()), b=notebook(printed()))
    entries, figures = staging.stage(tmp_path, executed, tmp_path / "source")
    assert entries == ["book/index", "notebooks/a", "notebooks/b"]
    assert [figure.page for figure in figures] == ["notebooks/a"]
    staged = sorted(
        path.relative_to(tmp_path / "source").as_posix() for path in (tmp_path / "source").rglob("*") if path.is_file()
    )
    assert [name for name in staged if "_static" not in name] == [
        "_config.yml",
        "_toc.yml",
        "book/index.md",
        "figures.json",
        "notebooks/a.ipynb",
        "notebooks/b.ipynb",
    ]
    kept = {path.name: path for path in (tmp_path / "source" / gallery.FOLDER).rglob("*") if path.is_file()}
    shown = set(gallery.FILES) - {"marks.json"}  # which the page itself holds
    assert set(kept) == {f"fig-one.{kind}" for kind in shown}  # and a small one in a folder of its own
    assert Image.open(tmp_path / "source" / gallery.FOLDER / "small" / "fig-one.png").size == (320, 160)
    facts = json.loads((tmp_path / "source" / "figures.json").read_text())["fig-one"]
    assert (facts["notebook"], facts["cell"], facts["code"]) == ("notebooks/a.ipynb", "plot", "plot()")
    assert facts["marks"] == MARKS
    assert (facts["command"], facts["provenance"]) == (".venv/bin/ardm run a", {"commit": "0123456789ab"})


def test_numbers_of_the_notebooks_reach_every_page(tmp_path: Path) -> None:
    """A text glued in 01_one is what ``{{ one["valid-share"] }}`` says on any page."""
    stated = {
        "output_type": "display_data",
        "data": {"application/papermill.record/text/plain": "'52.1 %'"},
        "metadata": {"scrapbook": {"name": "valid-share", "mime_prefix": "application/papermill.record/"}},
    }
    executed = tree(tmp_path, **{"01_one": notebook(printed(), stated), "b": notebook(printed(), tags=["nbval-ignore-output"])})
    staging.stage(tmp_path, executed, tmp_path / "source")
    config = yaml.safe_load((tmp_path / "source" / "_config.yml").read_text())
    times = config["parse"]["myst_substitutions"].pop("run_times")
    checked = config["parse"]["myst_substitutions"].pop("checked")
    assert checked == {"cells": 2, "exempt": 1, "needs": 0, "numbers": 1, "numbers_that_need": 0}
    assert config["title"] == "t"
    assert config["parse"] == {"myst_substitutions": {"one": {"valid-share": "52.1 %"}, "b": {}, "thumbnail": {}}}
    assert times.splitlines()[2:] == [
        "| {doc}`../notebooks/01_one` | 12 |",
        "| {doc}`../notebooks/b` | 12 |",
        "| all, one after the other | 25 |",
    ]


def test_two_figures_with_one_id_are_refused(tmp_path: Path) -> None:
    executed = tree(tmp_path, a=notebook(picture()), b=notebook(picture()))
    with pytest.raises(BookError, match=r"'fig-one' is used 2 times: notebooks/a, notebooks/b"):
        staging.stage(tmp_path, executed, tmp_path / "source")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "fig-one.svg").unlink(), r"fig-one\.svg missing in figures/: run `ardm execute --force a`"),
        (lambda folder: (folder / "fig-one.json").unlink(), r"fig-one\.json missing"),
        (lambda folder: (folder / "fig-one.dark.svg").unlink(), r"fig-one\.dark\.svg missing"),
        (lambda folder: (folder / "fig-one.marks.json").unlink(), r"fig-one\.marks\.json missing"),
        (lambda folder: (folder / "fig-one.csv").unlink(), r"fig-one\.csv missing"),
        (lambda folder: (folder / "fig-one.png").write_bytes(b""), r"fig-one\.png is of another run than the page"),
    ],
)
def test_a_figure_without_its_files_is_refused(tmp_path: Path, harm, said: str) -> None:
    executed = tree(tmp_path, a=notebook(picture()))
    harm(executed / "figures")
    with pytest.raises(BookError, match=said):
        staging.stage(tmp_path, executed, tmp_path / "source")


def test_a_notebook_that_was_not_executed_is_named(tmp_path: Path) -> None:
    executed = tree(tmp_path, a=notebook(printed()))
    (executed / "a.ipynb").unlink()
    with pytest.raises(BookError, match=r"a\.ipynb has not been executed"):
        staging.stage(tmp_path, executed, tmp_path / "source")


def test_toc_entries_are_found_at_every_depth() -> None:
    sections = {"file": "b", "sections": [{"file": "c"}]}
    toc = {"root": "a", "parts": [{"caption": "P", "chapters": [sections]}, {"caption": "Q", "chapters": [{"file": "d"}]}]}
    assert staging.toc_entries(toc) == ["a", "b", "c", "d"]


def test_the_table_of_contents_names_files_that_exist() -> None:
    entries = staging.toc_entries(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    assert len(entries) == len(set(entries))
    lost = [entry for entry in entries if not any((ROOT / f"{entry}{suffix}").is_file() for suffix in (".md", ".ipynb"))]
    assert lost == [cards.MODEL_PAGE, cards.TABLE_PAGE, gallery.LIST]  # which are written by the build
