"""Build the book: stage the sources, run Jupyter Book on them, check the pages, swap them in.

``python book/build.py`` reads the notebooks that ``ardm execute`` left in ``_build/executed`` and leaves the book in
``_build/html``. The book is built again when a file that it shows or is built by is another. A new book is built beside the old
one and takes its place only when it is whole and has passed the checks below, so an interrupted or failed build changes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import vendor
from identity import identity
from vendor import BookError

from ardm.base.atomic import check_writable
from ardm.base.errors import InputError
from ardm.base.graph import alone
from ardm.base.provenance import machine
from ardm.book.policy import guarded

if TYPE_CHECKING:
    from gallery import Figure

ROOT = Path(__file__).resolve().parent.parent
STAMP = "build.json"  # inside the built book: they come and go together

TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme", "sphinxcontrib-bibtex")
SOURCES = ("_config.yml", "_toc.yml", "CITATION.cff", "CHANGELOG.md", "pyproject.toml", "ardm", "book", "_build/executed")


def fingerprint(root: Path) -> str:
    """A digest of all that decides the pages: the files of :data:`SOURCES`, the tools, what is said of the machine and the book."""
    tools = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    digest = hashlib.sha256(json.dumps([tools, machine(), asdict(identity(root))]).encode())
    for path in (path for source in SOURCES for path in files(root / source)):
        digest.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def files(path: Path) -> list[Path]:
    """The file, or all in the folder, without hidden ones and what Python keeps beside its sources."""
    below = sorted(path.rglob("*")) if path.is_dir() else [path]
    aside = re.compile(r"/(\.|__pycache__/)")
    return [file for file in below if file.is_file() and not aside.search(file.relative_to(path.parent).as_posix())]


# ----------------------------------------------------------------------------------------------------------------- checks

OUTSIDE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
CSS_REFERENCE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", re.IGNORECASE)
LOADING = {  # the attributes through which a tag makes the browser fetch something
    "script": ("src",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
HARMLESS_RELATIONS = {"alternate", "author", "bookmark", "canonical", "help", "index", "license", "next", "prev", "search"}


def is_outside(reference: str | None) -> bool:
    return bool(OUTSIDE.match(reference or ""))


def outside_in_css(text: str) -> list[str]:
    references = (first or second for first, second in CSS_REFERENCE.findall(text))
    return [reference.strip() for reference in references if is_outside(reference)]


class Page(HTMLParser):
    """What the checks need to know of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []  # to pages and to what a page loads
        self.outputs = 0
        self.headings = 0
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        found = [(name, values.get(name) or "") for name in LOADING.get(tag, ())]
        if tag == "link" and not set((values.get("rel") or "").lower().split()) <= HARMLESS_RELATIONS:
            found.append(("href", values.get("href") or ""))
        for name, value in found:
            parts = [part.split()[0] for part in value.split(",") if part.strip()] if name == "srcset" else [value]
            self.outside += [f"<{tag} {name}> {part}" for part in parts if is_outside(part)]
        self.outside += [f"<{tag} style> {reference}" for reference in outside_in_css(values.get("style") or "")]
        self.links += [value for name, value in found if name != "srcset" and value]
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get("id"):
            self.ids.add(values["id"])
        classes = (values.get("class") or "").split()
        self.outputs += "cell_output" in classes
        self.headings += tag == "h1"
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.outside += [f"<style> {reference}" for reference in outside_in_css(data)]


def outside_references(html: Path) -> list[str]:
    """One line for each script, stylesheet, image, font or frame that a page takes from elsewhere. Plain links may leave."""
    lines = []
    for path in sorted(html.rglob("*.html")):
        lines += [f"{path.relative_to(html)}: {reference}" for reference in Page(path.read_text("utf8")).outside]
    for path in sorted(html.rglob("*.css")):
        references = outside_in_css(path.read_text("utf8", errors="replace"))
        lines += [f"{path.relative_to(html)}: {reference}" for reference in references]
    return lines


def broken_links(html: Path) -> list[str]:
    """One line for each link, picture, script or stylesheet of a page that leads to no file or to no place in it."""
    pages = {path: Page(path.read_text("utf8")) for path in sorted(html.rglob("*.html")) if "_static" not in path.parts}
    lines = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                lines.append(f"{path.relative_to(html)}: {link} leads to no file")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                lines.append(f"{path.relative_to(html)}: {link} leads to no place on its page")
    return list(dict.fromkeys(lines))


def empty_pages(html: Path, entries: list[str], figures: list[Figure]) -> list[str]:
    """One line for each page that is missing or empty, or lacks a figure its notebook published."""
    lines = []
    for entry in entries:
        path = html / f"{entry}.html"
        if not path.is_file():
            lines.append(f"{entry}: no page was built")
            continue
        page = Page(path.read_text("utf8"))
        if not page.headings:
            lines.append(f"{entry}: the page has no title")
        if entry.startswith("notebooks/") and not page.outputs:
            lines.append(f"{entry}: the page shows no outputs")
        expected = {figure.id for figure in figures if figure.page == entry}
        lines += [f"{entry}: figure {name} is not on the page" for name in sorted(expected - page.ids)]
    return lines


MOST_STATIC = 22_000_000  # bytes of pictures, scripts and models that a reader's server has to hold beside pages and theme


def too_heavy(static: Path) -> list[str]:
    """A line when the book's own static files are more than :data:`MOST_STATIC`."""
    size = sum(path.stat().st_size for path in static.rglob("*") if path.is_file())
    most = f"{MOST_STATIC / 1e6:.0f} MB"
    return (
        [f"the static files are {size / 1e6:.1f} MB, at most {most}: shrink a picture or a model"] if size > MOST_STATIC else []
    )


# ------------------------------------------------------------------------------------------------------------------ build


ROOM = 1_000_000  # bytes: a disk with less is full for a build, which writes files larger than that


def jupyter_book(source: Path, work: Path) -> Path:
    """Build ``source`` from nothing, warnings as errors. Returns the folder of pages."""
    shutil.rmtree(work, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source), "--path-output", str(work)]
    command += ["-n", "-W", "--keep-going", "-q"]
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout)
        full = shutil.disk_usage(work.parent).free < ROOM
        raise BookError("the disk is full: free 200 MB" if full else "Jupyter Book stopped or warned (see above).")
    return work / "_build" / "html"


FRONT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={url}">
</head>
<body><p><a href="{url}">{title}</a></p></body>
</html>
"""
"""A page that leads to another. Jupyter Book's own ``index.html`` has no title and names no icon, which a browser then asks for."""


def mend(html: Path) -> None:
    """Take out what the tools get wrong: a list of references that says it is a list, of entries that are no items."""
    for path in html.rglob("*.html"):
        text = path.read_text("utf8")
        if 'role="list" class="citation-list"' in text:
            path.write_text(text.replace('role="list" class="citation-list"', 'class="citation-list"'), "utf8")


MADE_BY_SPHINX = {"genindex.html", "search.html", "py-modindex.html"}  # pages without text of ours
KERNEL = re.compile(r"kernelName = '[\w-]*'")  # what MyST-NB writes at the end of a page with code


def guard(html: Path) -> list[str]:
    """Give each page its policy; a line for each page with a script in its text that is neither Sphinx's nor a widget's."""
    from ardm.book.widgets import is_widget  # with torch, which takes seconds

    def known(script: str) -> bool:
        return KERNEL.fullmatch(script) is not None or is_widget(script)

    faults = []
    for path in html.rglob("*.html"):
        name = path.relative_to(html).as_posix()
        if not name.startswith("_static/"):
            try:
                text = guarded(path.read_text("utf8"), (lambda _: True) if name in MADE_BY_SPHINX else known)
            except InputError as error:
                faults.append(f"{name}: {error}")
            else:
                path.write_text(text, "utf8")
    return sorted(faults)


def as_executed(html: Path, executed: Path) -> None:
    """What a reader downloads is the notebook as it was run, not as it was staged."""
    for path in (html / "_sources" / "notebooks").glob("*.ipynb"):
        shutil.copyfile(executed / path.name, path)


def lead_on(html: Path, title: str, first: str, figures: list[Figure]) -> None:
    """``index.html`` leads to the first page and ``figures/ID.html`` to a figure, wherever it moves: that is its address."""
    (html / "index.html").write_text(FRONT.format(title=title, url=f"{first}.html"), "utf8")
    (html / "figures").mkdir(exist_ok=True)
    for figure in figures:
        page = FRONT.format(title=f"{figure.id}: {title}", url=f"../{figure.page}.html#{figure.id}")
        (html / "figures" / f"{figure.id}.html").write_text(page, "utf8")


def for_crawlers(html: Path, entries: list[str], address: str) -> None:
    """``sitemap.xml`` (sitemaps.org, version 0.9) and ``robots.txt``, which have whole addresses: nothing where none is known."""
    if address:
        places = "".join(f"<url><loc>{escape(address + entry)}.html</loc></url>\n" for entry in entries)
        (html / "sitemap.xml").write_text(SITEMAP.format(places=places), "utf8")
        (html / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {address}sitemap.xml\n", "utf8")


SITEMAP = """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{places}</urlset>
"""


def swap(fresh: Path, html: Path) -> None:
    """Put the folder ``fresh`` in the place of ``html``: at every moment that place holds a whole book or none."""
    old = html.with_name(html.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    fresh.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def built_fingerprint(html: Path) -> str | None:
    try:
        return json.loads((html / STAMP).read_text())["fingerprint"] if (html / "index.html").is_file() else None
    except (OSError, ValueError, KeyError):
        return None


def build(root: Path = ROOT) -> None:
    target = root / "_build"
    check_writable(target / STAMP)
    with alone(target):
        build_alone(root, target)


def build_alone(root: Path, target: Path) -> None:
    html, source, work = target / "html", target / "source", target / "book.new"
    vendor.vendor(root / "book" / "_static" / "vendor")
    mark = fingerprint(root)
    if built_fingerprint(html) == mark:
        print("book: nothing changed; _build/html/index.html")
        return
    from staging import stage  # with torch, which takes seconds

    entries, figures = stage(root, target / "executed", source)
    print(f"book: building {len(entries)} pages, {len(figures)} numbered figures", flush=True)
    fresh = jupyter_book(source, work)
    mend(fresh)
    as_executed(fresh, target / "executed")
    who = identity(root)
    lead_on(fresh, who.title, entries[0], figures)
    for_crawlers(fresh, entries, who.address)
    faults = empty_pages(fresh, entries, figures)
    faults += [f"loaded from outside: {line}" for line in outside_references(fresh)]
    faults += broken_links(fresh.resolve()) + too_heavy(source / "book" / "_static")
    faults += guard(fresh)
    if faults:
        raise BookError("\n".join(faults))
    (fresh / STAMP).write_text(json.dumps({"fingerprint": mark, "pages": entries}, indent=1) + "\n")
    swap(fresh, html)
    shutil.rmtree(work, ignore_errors=True)
    print("book: built; open _build/html/index.html")


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that what was started ends too
    try:
        build()
    except (BookError, InputError, KeyboardInterrupt, OSError) as error:
        said = f"{error.strerror}: {error.filename or 'the disk'}" if isinstance(error, OSError) else str(error)
        for line in (said or "it was interrupted").splitlines():
            print(f"book: {line}", file=sys.stderr)
        print("book: not built; an earlier book in _build/html, if any, is as it was.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
