"""The build of the book: foreign references, lost links and empty pages are caught, the swap is whole or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import build as book
import psutil
import pytest
from gallery import Figure
from processes import ended, hear_interrupts, wait_for
from test_staging import notebook, printed, tree
from vendor import BookError

from ardm.base.errors import InputError
from ardm.base.graph import alone


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A project with a file of each kind that decides the pages."""
    for name in ("_config.yml", "ardm/a.py", "book/page.md", "book/_static/book.css", "_build/executed/one.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    shutil.copy(book.ROOT / "CITATION.cff", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["_config.yml", "ardm/a.py", "book/page.md", "book/_static/book.css", "_build/executed/one.ipynb"]
)
def test_the_fingerprint_sees_contents_and_names(name: str, sources: Path) -> None:
    """A docstring of the package among them: the API page shows it."""
    first = book.fingerprint(sources)
    (sources / name).write_text("2")
    second = book.fingerprint(sources)
    (sources / name).rename(sources / "book" / "b")
    assert len({first, second, book.fingerprint(sources)}) == 3


def test_the_fingerprint_does_not_see_what_no_page_shows(sources: Path) -> None:
    first = book.fingerprint(sources)
    for name in ("tests/a.py", "ardm/__pycache__/a.pyc", "_build/executed/.graph/log", "book/.DS_Store", "runs/a"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text("1")
    assert book.fingerprint(sources) == first


def test_the_fingerprint_sees_the_address_and_the_machine(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = book.fingerprint(sources)
    monkeypatch.setenv("ARDM_SITE", "https://a.example/book")
    second = book.fingerprint(sources)
    monkeypatch.setattr(book, "machine", lambda: {"cpu": "another", "cores": 3})
    assert len({first, second, book.fingerprint(sources)}) == 3


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
    return book.empty_pages(html, ["notebooks/a"], [Figure("fig-one", "notebooks/a")])


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
                f'<html><head></head><h1>T</h1><div class="cell_output">{(source / "book/index.md").read_text()}</div>'
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
    with pytest.raises(BookError, match=r"loaded from outside: book/index\.html"):
        book.build(project)
    assert "# Index" in built(project).read_text()
    with pytest.raises(BookError, match="loaded from outside"):
        book.build(project)


def test_a_build_where_nothing_can_be_written_says_so(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", refused)
    with pytest.raises(InputError, match=r"cannot write in the folder .*_build \(Read-only file system\)"):
        book.build(sources)


def test_a_disk_that_fills_while_the_book_is_built_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before Jupyter Book, in it, and after it: the earlier book stays."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "page.html")
    (project / "_build" / "html").mkdir()
    monkeypatch.setattr(book, "build", lambda: book.build_alone(project, project / "_build"))

    def fails(*_: object, **__: object) -> None:
        raise full

    for name in ("jupyter_book", "mend", "swap"):
        with monkeypatch.context() as changed:
            changed.setattr(book, name, fails)
            if name != "jupyter_book":
                changed.setattr(book, "jupyter_book", lambda source, work: source)
                changed.setattr(book, "empty_pages", lambda *_: [])
                changed.setattr(book, "broken_links", lambda *_: [])
            assert book.main([]) == 1
        said = capsys.readouterr().err.splitlines()
        assert said[0] == "book: No space left on device: page.html" and len(said) == 2
        assert (project / "_build" / "html").is_dir()


def test_jupyter_book_that_fails_on_a_full_disk_is_not_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, stdout=""))
    with pytest.raises(BookError, match="Jupyter Book stopped or warned"):
        book.jupyter_book(tmp_path, tmp_path / "work")
    monkeypatch.setattr(book.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(BookError, match="the disk is full: free 200 MB"):
        book.jupyter_book(tmp_path, tmp_path / "work")


def test_the_second_of_two_builds_is_told(project: Path) -> None:
    (project / "_build").mkdir(exist_ok=True)
    with alone(project / "_build"), pytest.raises(InputError, match="another call is at work in"):
        book.build(project)
    book.build(project)
    assert built(project).is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_a_stopped_build_has_started_ends_with_it(number: int) -> None:
    code = "import build, subprocess, sys\n"
    code += "build.build = lambda: subprocess.run(['sleep', '300'])\nsys.exit(build.main([]))"
    run = psutil.Popen(
        [sys.executable, "-c", code],
        cwd=Path(book.__file__).parent,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )
    assert wait_for(run.children)
    started = run.children()
    run.send_signal(number)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 1
    assert told.splitlines()[0] == "book: it was interrupted"
    assert wait_for(lambda: ended(started[0]), 10)
