"""The build of the book: figures are staged, foreign references and empty pages are caught, the swap is whole or nothing."""

from __future__ import annotations

import base64
import copy
import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT / "book"))  # as when the script is run: what it imports lies beside it
spec = importlib.util.spec_from_file_location("book_build", ROOT / "book" / "build.py")
book = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = book  # dataclasses look their module up
spec.loader.exec_module(book)
gallery, staging = sys.modules["gallery"], sys.modules["staging"]

RUN = {"key": "0" * 64, "parameters": {}, "seconds": 12.3}
WORDS = {"id": "fig-one", "caption": "Validity against calls.", "alt": "A rising line."}


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


# ------------------------------------------------------------------------------------------------------------- staging


def test_a_figure_gets_number_caption_and_alt_text() -> None:
    source = notebook(picture())
    before = copy.deepcopy(source)
    staged, figures = staging.stage_notebook(source, "notebooks/a")
    caption, alt = WORDS["caption"], WORDS["alt"]
    assert figures == [book.Figure("fig-one", "notebooks/a", caption, alt, cell="plot", code="plot()", picture=PICTURE)]
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
    with pytest.raises(book.BookError, match=rf"notebooks/a, cell 1: a figure without {missing} "):
        staging.stage_notebook(notebook(picture(words)), "notebooks/a")


def test_a_picture_that_was_not_published_is_refused() -> None:
    with pytest.raises(book.BookError, match="without id, caption, alt"):
        staging.stage_notebook(notebook(picture(None)), "notebooks/a")


def test_an_id_that_cannot_be_a_link_is_refused() -> None:
    with pytest.raises(book.BookError, match="figure id 'Fig One'"):
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
        (executed / f"{name}.ipynb").write_text(json.dumps(content))
    (executed / "figures").mkdir()
    for kind in gallery.FILES:
        (executed / "figures" / f"fig-one.{kind}").write_text(f"a {kind}")
    (executed / "figures" / "fig-one.png").write_bytes(base64.b64decode(PICTURE))
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
    assert set(kept) == {f"fig-one.{kind}" for kind in gallery.FILES}  # and a small one in a folder of its own
    assert Image.open(tmp_path / "source" / gallery.FOLDER / "small" / "fig-one.png").size == (240, 120)
    facts = json.loads((tmp_path / "source" / "figures.json").read_text())["fig-one"]
    assert (facts["notebook"], facts["cell"], facts["code"]) == ("notebooks/a.ipynb", "plot", "plot()")
    assert (facts["command"], facts["provenance"]) == (".venv/bin/ardm run a", {"commit": "0123456789ab"})


def test_numbers_of_the_notebooks_reach_every_page(tmp_path: Path) -> None:
    """A text glued in 01_one is what ``{{ one["valid-share"] }}`` says on any page."""
    stated = {
        "output_type": "display_data",
        "data": {"application/papermill.record/text/plain": "'52.1 %'"},
        "metadata": {"scrapbook": {"name": "valid-share", "mime_prefix": "application/papermill.record/"}},
    }
    executed = tree(tmp_path, **{"01_one": notebook(printed(), stated), "b": notebook(printed())})
    staging.stage(tmp_path, executed, tmp_path / "source")
    config = yaml.safe_load((tmp_path / "source" / "_config.yml").read_text())
    times = config["parse"]["myst_substitutions"].pop("run_times")
    assert config["title"] == "t"
    assert config["parse"] == {"myst_substitutions": {"one": {"valid-share": "52.1 %"}, "b": {}}}
    assert times.splitlines()[2:] == [
        "| {doc}`../notebooks/01_one` | 12 |",
        "| {doc}`../notebooks/b` | 12 |",
        "| all, one after the other | 25 |",
    ]


def test_two_figures_with_one_id_are_refused(tmp_path: Path) -> None:
    executed = tree(tmp_path, a=notebook(picture()), b=notebook(picture()))
    with pytest.raises(book.BookError, match=r"'fig-one' is used 2 times: notebooks/a, notebooks/b"):
        staging.stage(tmp_path, executed, tmp_path / "source")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "fig-one.svg").unlink(), r"fig-one\.svg missing in figures/: run `ardm execute --force a`"),
        (lambda folder: (folder / "fig-one.json").unlink(), r"fig-one\.json missing"),
        (lambda folder: (folder / "fig-one.csv").unlink(), r"fig-one\.csv missing"),
        (lambda folder: (folder / "fig-one.png").write_bytes(b""), r"fig-one\.png is of another run than the page"),
    ],
)
def test_a_figure_without_its_files_is_refused(tmp_path: Path, harm, said: str) -> None:
    executed = tree(tmp_path, a=notebook(picture()))
    harm(executed / "figures")
    with pytest.raises(book.BookError, match=said):
        staging.stage(tmp_path, executed, tmp_path / "source")


def test_a_notebook_that_was_not_executed_is_named(tmp_path: Path) -> None:
    executed = tree(tmp_path, a=notebook(printed()))
    (executed / "a.ipynb").unlink()
    with pytest.raises(book.BookError, match=r"a\.ipynb has not been executed"):
        staging.stage(tmp_path, executed, tmp_path / "source")


def test_the_fingerprint_sees_contents_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = book.fingerprint(tmp_path)
    assert book.fingerprint(tmp_path) == first
    (tmp_path / "a").write_text("2")
    second = book.fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, book.fingerprint(tmp_path)}) == 3


def test_toc_entries_are_found_at_every_depth() -> None:
    sections = {"file": "b", "sections": [{"file": "c"}]}
    toc = {"root": "a", "parts": [{"caption": "P", "chapters": [sections]}, {"caption": "Q", "chapters": [{"file": "d"}]}]}
    assert staging.toc_entries(toc) == ["a", "b", "c", "d"]


def test_the_table_of_contents_names_files_that_exist() -> None:
    entries = staging.toc_entries(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    assert len(entries) == len(set(entries))
    lost = [entry for entry in entries if not any((ROOT / f"{entry}{suffix}").is_file() for suffix in (".md", ".ipynb"))]
    assert lost == [gallery.LIST]  # which is written by the build


# -------------------------------------------------------------------------------------------------------------- checks

PLANTED = [
    '<script src="https://a.example/x.js"></script>',
    '<script src="//a.example/x.js"></script>',
    '<link rel="stylesheet" href="HTTPS://a.example/x.css">',
    '<link rel="preload" as="font" href="http://a.example/x.woff2">',
    '<link rel="preconnect" href="https://a.example">',
    '<link rel="icon" href="https://a.example/x.ico">',
    '<img src="https://a.example/x.png" alt="">',
    '<img src="a.png" srcset="a.png 1x, https://a.example/x.png 2x" alt="">',
    '<iframe src="https://a.example/"></iframe>',
    '<svg><image href="https://a.example/x.png"/></svg>',
    "<p style=\"background: url('https://a.example/x.png')\">",
    "<style>@import 'https://a.example/x.css';</style>",
    "<style>@font-face { src: url(//a.example/x.woff2) }</style>",
]
INNOCENT = [
    '<a href="https://a.example/">out</a>',
    '<link rel="canonical" href="https://a.example/page">',
    '<link rel="next" href="https://a.example/page">',
    '<script src="../_static/x.js?digest=1"></script>',
    '<script>const somewhere = "https://a.example/x.js";</script>',
    '<img src="data:image/png;base64,aaaa//bbbb" alt="">',
    "<style>p { background: url(data:image/svg+xml;utf8,x) } q { background: url(../x.png) }</style>",
    "<p>url(https://a.example/x.png)</p>",
]


@pytest.mark.parametrize("html", PLANTED)
def test_an_outside_reference_in_a_page_is_found(html: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_text(html)
    assert len(book.outside_references(tmp_path)) == 1
    assert book.outside_references(tmp_path)[0].startswith("deep/page.html: ")


@pytest.mark.parametrize("html", INNOCENT)
def test_a_link_or_a_local_reference_is_not(html: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(html)
    assert book.outside_references(tmp_path) == []


def test_an_outside_reference_in_a_stylesheet_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text('@import url("https://a.example/x.css"); p { background: url(x.png) }')
    assert book.outside_references(tmp_path) == ["a.css: https://a.example/x.css"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="b.html">b</a><a href="../index.html#top">top</a><a href="#here" id="here">here</a>', []),
        ('<a href="https://a.example/nowhere">out</a><a href="mailto:a@a.example">a</a><img src="data:,x">', []),
        ('<a href="c.html">c</a>', ["deep/a.html: c.html leads to no file"]),
        ('<a href="../index.html#nowhere">x</a>', ["deep/a.html: ../index.html#nowhere leads to no place on its page"]),
        ('<a href="#nowhere">x</a><a href="#nowhere">y</a>', ["deep/a.html: #nowhere leads to no place on its page"]),
        ('<img src="lost.png">', ["deep/a.html: lost.png leads to no file"]),
        ('<link rel="stylesheet" href="lost.css?v=1">', ["deep/a.html: lost.css?v=1 leads to no file"]),
    ],
)
def test_a_link_that_leads_nowhere_is_found(body: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "index.html").write_text('<h1 id="top">T</h1>')
    (tmp_path / "deep" / "a.html").write_text(body)
    (tmp_path / "deep" / "b.html").write_text("")
    assert book.broken_links(tmp_path) == said


def test_a_book_that_grows_too_heavy_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.png").write_bytes(bytes(600_000))
    (tmp_path / "b.js").write_bytes(bytes(500_000))
    assert book.too_heavy(tmp_path) == []
    monkeypatch.setattr(book, "MOST_STATIC", 1_000_000)
    assert book.too_heavy(tmp_path) == ["the static files are 1.1 MB, at most 1 MB: shrink a picture or a model"]


def pages(html: Path, body: str) -> list[str]:
    (html / "notebooks").mkdir()
    (html / "index.html").write_text("")
    (html / "notebooks" / "a.html").write_text(f"<html><body>{body}</body></html>")
    return book.empty_pages(html, ["notebooks/a"], [book.Figure("fig-one", "notebooks/a")])


def test_a_whole_page_passes(tmp_path: Path) -> None:
    assert pages(tmp_path, '<h1>T</h1><div class="cell_output docutils"><figure id="fig-one"></figure></div>') == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<div class="cell_output"><figure id="fig-one"></figure></div>', "notebooks/a: the page has no title"),
        ('<h1>T</h1><p id="fig-one">', "notebooks/a: the page shows no outputs"),
        ('<h1>T</h1><div class="cell_output"></div>', "notebooks/a: figure fig-one is not on the page"),
    ],
)
def test_an_empty_page_is_caught(body: str, said: str, tmp_path: Path) -> None:
    assert pages(tmp_path, body) == [said]


def test_a_missing_page_is_caught(tmp_path: Path) -> None:
    assert book.empty_pages(tmp_path, ["book/index"], []) == ["book/index: no page was built"]


# --------------------------------------------------------------------------------------------------------------- build


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose Jupyter Book is a stand-in: each staged page becomes a page of HTML."""
    tree(tmp_path, a=notebook(printed()))

    def stand_in(source: Path, work: Path) -> Path:
        html = work / "_build" / "html"
        for name in ("book/index", "notebooks/a"):
            (html / name).parent.mkdir(parents=True, exist_ok=True)
            (html / f"{name}.html").write_text(
                f'<h1>T</h1><div class="cell_output">{(source / "book/index.md").read_text()}</div>'
            )
        (html / "index.html").write_text("")
        return html

    monkeypatch.setattr(book.vendor, "vendor", lambda target: None)
    monkeypatch.setattr(book, "jupyter_book", stand_in)
    return tmp_path


def built(project: Path) -> Path:
    return project / "_build" / "html" / "book" / "index.html"


def test_an_unchanged_book_is_not_built_again(project: Path) -> None:
    book.build(project)
    stamp = built(project).stat().st_ino
    book.build(project)
    assert built(project).stat().st_ino == stamp
    (project / "book" / "index.md").write_text("# Changed\n")
    book.build(project)
    assert "Changed" in built(project).read_text()


def test_a_book_that_lost_its_pages_is_built_again(project: Path) -> None:
    book.build(project)
    shutil.rmtree(project / "_build" / "html")
    book.build(project)
    assert built(project).is_file()


def test_a_failed_check_leaves_the_earlier_book(project: Path) -> None:
    book.build(project)
    (project / "book" / "index.md").write_text('<script src="https://a.example/x.js"></script>')
    with pytest.raises(book.BookError, match=r"loaded from outside: book/index\.html"):
        book.build(project)
    assert "# Index" in built(project).read_text()
    with pytest.raises(book.BookError, match="loaded from outside"):
        book.build(project)


@pytest.mark.parametrize("package", book.vendor.PACKAGES, ids=lambda package: package.name)
def test_a_package_with_another_checksum_is_refused(package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(package, folder: Path) -> Path:
        (folder / "archive.tgz").write_bytes(b"not it")
        return folder / "archive.tgz"

    monkeypatch.setattr(book.vendor, "fetch", forged)
    with pytest.raises(book.BookError, match=rf"{package.name} {package.version}: the archive's SHA-512"):
        book.vendor.put(package, tmp_path / "vendor" / package.name)
    assert not (tmp_path / "vendor" / package.name).exists()


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book.vendor, "npm_commands", lambda: [[sys.executable, "-c", "import sys; sys.exit('no network')"]])
    with pytest.raises(book.BookError, match=r"could not be fetched with npm \(no network\).*connect"):
        book.vendor.fetch(book.vendor.PACKAGES[0], tmp_path)
