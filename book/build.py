"""Build the book: stage the sources, run Jupyter Book on them, check the pages, swap them in.

``python book/build.py`` reads the notebooks that ``ardm execute`` left in ``_build/executed`` and leaves the book in
``_build/html``. A book whose sources are unchanged is not built again. A new book is built beside the old one and takes its
place only when it is whole and has passed the checks below, so an interrupted or failed build changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import vendor
import yaml
from vendor import BookError

from ardm.checks import GLUED

ROOT = Path(__file__).resolve().parent.parent
STAMP = "build.json"  # inside the built book: they come and go together

TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme", "sphinxcontrib-bibtex")


# ---------------------------------------------------------------------------------------------------------------- staging


@dataclass(frozen=True)
class Figure:
    """A numbered figure: ``page`` is the notebook's path without suffix, as in ``_toc.yml``."""

    id: str
    page: str


def toc_entries(toc: dict) -> list[str]:
    """The pages a table of contents names, in order."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            for key in ("root", "file"):
                if key in node:
                    yield node[key]
            for key in ("parts", "chapters", "sections", "subtrees", "entries"):
                yield from walk(node.get(key, []))
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(toc))


def is_picture(output: dict) -> bool:
    return "image/png" in output.get("data", {})


def stage_notebook(notebook: dict, page: str) -> tuple[dict, list[Figure]]:
    """A copy of an executed notebook in which each published figure is numbered, captioned and described.

    ``ardm.figures.publish`` leaves ``{"ardm": {"figure": {"id", "caption", "alt"}}}`` in the metadata of its output. MyST-NB takes
    these words per cell, and would wrap every other rich output of the cell as well, so a cell with a figure and more is split.
    """
    staged = copy.deepcopy(notebook)
    cells, figures, faults = [], [], []
    for number, cell in enumerate(staged["cells"]):
        groups: list[list[dict]] = [[]]
        for output in cell.get("outputs", []):
            if is_picture(output):
                groups += [[output], []]
            else:
                groups[-1].append(output)
        groups = [group for group in groups if group] or [[]]
        for part, group in enumerate(groups):
            piece = cell if len(groups) == 1 else copy.deepcopy(cell)
            if cell["cell_type"] == "code":
                piece["outputs"] = group
            if part:
                tags = piece["metadata"].get("tags", [])
                piece["metadata"]["tags"] = [*(tag for tag in tags if tag != "hide-input"), "remove-input"]
                piece["source"] = "# outputs, continued"  # never shown; MyST-NB drops a cell without source
                if "id" in cell:
                    piece["id"] = f"{cell['id'][:56]}-part{part}"
            if group and is_picture(group[0]):
                words = group[0].get("metadata", {}).get("ardm", {}).get("figure", {})
                missing = [key for key in ("id", "caption", "alt") if not str(words.get(key) or "").strip()]
                if missing:
                    faults.append(f"{page}, cell {number}: a figure without {', '.join(missing)} (use ardm.figures.publish)")
                else:
                    if not re.fullmatch(r"[a-z][a-z0-9-]*", words["id"]):
                        faults.append(f"{page}, cell {number}: figure id {words['id']!r} (use a-z, 0-9 and hyphens)")
                    piece["metadata"]["mystnb"] = {
                        **piece["metadata"].get("mystnb", {}),
                        "figure": {"caption": words["caption"], "name": words["id"]},
                        "image": {"alt": words["alt"]},
                    }
                    figures.append(Figure(words["id"], page))
            cells.append(piece)
    if faults:
        raise BookError("\n".join(faults))
    staged["cells"] = cells
    return staged, figures


def glued(notebook: dict) -> dict[str, str]:
    """The texts that ``ardm.checks`` stated in an executed notebook, by key."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    texts = {
        output.get("metadata", {}).get("scrapbook", {}).get("name"): output.get("data", {}).get(GLUED + "text/plain")
        for output in outputs
    }
    return {key: ast.literal_eval(text) for key, text in texts.items() if key and text}


def repeated_ids(figures: list[Figure]) -> list[str]:
    """One line for each figure id that stands on more than one figure."""
    pages: dict[str, list[str]] = {}
    for figure in figures:
        pages.setdefault(figure.id, []).append(figure.page)
    return [f"figure id {id!r} is used {len(where)} times: {', '.join(where)}" for id, where in pages.items() if len(where) > 1]


def stage(root: Path, executed: Path, source: Path) -> tuple[list[str], list[Figure]]:
    """Fill ``source`` with everything Jupyter Book reads. Returns the pages and the figures.

    The numbers that a notebook states are handed to every page as a substitution named after it: ``{{ sampling["floor-04"] }}``.
    """
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copy(root / "_toc.yml", source / "_toc.yml")
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "__pycache__", "LICENSE.md", ".*"))
    entries = toc_entries(yaml.safe_load((root / "_toc.yml").read_text()))
    figures, faults, numbers = [], [], {}
    for entry in entries:
        if not entry.startswith("notebooks/"):
            continue
        name = Path(entry).name + ".ipynb"
        if not (executed / name).is_file():
            faults.append(
                f"{name} has not been executed: `ardm execute --into _build/executed` does it, and `make book` calls that"
            )
            continue
        try:
            notebook, found = stage_notebook(json.loads((executed / name).read_text("utf8")), entry)
        except BookError as error:
            faults.append(str(error))
            continue
        figures += found
        numbers[re.sub(r"^\d+_", "", Path(entry).name)] = glued(notebook)
        path = source / f"{entry}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf8")
    faults += repeated_ids(figures)
    if faults:
        raise BookError("\n".join(faults))
    config = yaml.safe_load((root / "_config.yml").read_text("utf8"))
    config.setdefault("parse", {})["myst_substitutions"] = numbers
    (source / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=True), "utf8")
    return entries, figures


def fingerprint(source: Path) -> str:
    """A digest of the staged files, this script and the versions of the tools."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(json.dumps({tool: importlib.metadata.version(tool) for tool in TOOLS}).encode())
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(source).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


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


def empty_pages(html: Path, entries: list[str], figures: list[Figure]) -> list[str]:
    """One line for each page that is missing or empty, or lacks a figure its notebook published."""
    lines = [] if (html / "index.html").is_file() else ["index.html is missing"]
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


# ------------------------------------------------------------------------------------------------------------------ build


def jupyter_book(source: Path, work: Path) -> Path:
    """Build ``source`` from nothing, warnings as errors. Returns the folder of pages."""
    shutil.rmtree(work, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source), "--path-output", str(work)]
    command += ["-n", "-W", "--keep-going", "-q"]
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise BookError("Jupyter Book stopped or warned (see above).")
    return work / "_build" / "html"


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
    html, source, work = target / "html", target / "source", target / "book.new"
    vendor.mathjax(root / "book" / "_static" / "vendor" / "mathjax")
    entries, figures = stage(root, target / "executed", source)
    mark = fingerprint(source)
    if built_fingerprint(html) == mark:
        print("book: nothing changed; _build/html/index.html")
        return
    print(f"book: building {len(entries)} pages, {len(figures)} numbered figures", flush=True)
    fresh = jupyter_book(source, work)
    faults = empty_pages(fresh, entries, figures)
    faults += [f"loaded from outside: {line}" for line in outside_references(fresh)]
    if faults:
        raise BookError("\n".join(faults))
    (fresh / STAMP).write_text(json.dumps({"fingerprint": mark, "pages": entries}, indent=1) + "\n")
    swap(fresh, html)
    shutil.rmtree(work, ignore_errors=True)
    print("book: built; open _build/html/index.html")


def main(arguments: list[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args(arguments)
    try:
        build()
    except BookError as error:
        for line in str(error).splitlines():
            print(f"book: {line}", file=sys.stderr)
        print("book: not built; an earlier book in _build/html, if any, is as it was.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
