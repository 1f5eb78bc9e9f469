"""A Sphinx extension: each numbered figure in the colours of the theme, with marks that answer, and a row under it.

The row holds its files, source, parameters and citation. The picture of the notebook, a PNG, gives way to two SVG, of which the
theme shows one; ``book.js`` reads the marks out when they are pointed at.

``figure_index`` names the JSON file that :func:`gallery.gather` returned. A numbered figure that is not in it stops the build.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from identity import Identity, bibtex
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.highlighting import PygmentsBridge

FILES = {"png": "PNG", "svg": "SVG", "pdf": "PDF", "csv": "Data (CSV)"}


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("figure_index", "", "env")
    app.add_config_value("figure_book", {}, "env")
    app.connect("doctree-read", add_rows)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_rows(app: Sphinx, doctree: nodes.document) -> None:
    index, page = json.loads(Path(app.config.figure_index).read_text("utf8")), app.env.docname
    book = Identity(**app.config.figure_book)
    for figure in list(doctree.findall(nodes.figure)):
        named = [name for name in figure["ids"] if name.startswith("fig-")]
        if not named:
            continue
        id = published(figure, index)
        if id is None:
            raise ExtensionError(
                f"{page}: figure {named[0]} has no data and no provenance: make it with ardm.book.figures.publish"
            )
        if not all(image.get("alt", "").strip() for image in figure.findall(nodes.image)):
            raise ExtensionError(f"{page}: figure {named[0]} has no alternative text")
        root = "../" * page.count("/")
        for image in list(figure.findall(nodes.image)):
            image.replace_self(nodes.raw("", picture(id, image["alt"], index[id]["marks"], root), format="html"))
        figure.parent.insert(figure.parent.index(figure) + 1, nodes.raw("", row(id, index[id], root, book), format="html"))


def published(figure: nodes.figure, index: Mapping[str, Any]) -> str | None:
    """The id under which a figure was published, its own or, on a page that is no notebook, that of the picture it shows."""
    pictured = (PurePosixPath(image["uri"]).stem for image in figure.findall(nodes.image))
    return next((id for id in (*figure["ids"], *pictured) if id in index), None)


READ = 7
"""Pixels: words of a figure are never smaller. On a screen too narrow for that the figure scrolls in its own box."""


def picture(id: str, alt: str, marks: dict[str, Any], root: str) -> str:
    """The figure in both themes, with what its marks say; ``marks`` as :func:`ardm.book.marks.marks` returns them."""
    width, height = (round(4 / 3 * points) for points in marks["size"])
    least = min(width, round(READ * marks["size"][0] / marks["text"]))
    said = {"light": "svg", "dark": "dark.svg"}
    pictures = "".join(
        f'<img class="{theme}" src="{root}_static/figures/{id}.{kind}" alt="{html.escape(alt)}" width="{width}" height="{height}"'
        f"{' loading=lazy' if theme == 'dark' else ''}>"
        for theme, kind in said.items()
    )
    told = {name: marks[name] for name in ("axes", "series", "marks")}
    data = json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    script = f'<script type="application/json">{data}</script>' if marks["marks"] else ""
    sheet = f'<div class="figure-sheet" style="--readable: {least}px; max-width: {width}px">{pictures}</div>'
    return f'<div class="figure-box" data-figure="{id}"><div class="figure-scroll">{sheet}</div>{script}</div>'


def row(id: str, facts: dict[str, Any], root: str, book: Identity) -> str:
    """The row as HTML; ``root``: the way from the page to the top of the site."""
    made, notebook = facts["provenance"], facts["notebook"]
    links = [f'<a href="{root}_static/figures/{id}.{kind}" download>{name}</a>' for kind, name in FILES.items()]
    address, named = book.blob(made["commit"], notebook), html.escape(made["commit"])
    commit = f'<a href="{html.escape(address)}">{named}</a>' if address else named
    where = f"Cell <code>{html.escape(facts['cell'])}</code> of <code>{html.escape(notebook)}</code> at commit {commit}."
    source = f"<p>{where}</p>{PygmentsBridge('html', 'default').highlight_block(facts['code'], 'python')}"
    entry = bibtex(
        book,
        key=f"ardm-{id}",
        title=f"{facts['chapter']} (figure {id.removeprefix('fig-')})",
        path=f"figures/{id}.html",
        note=f"commit {made['commit']}",
    )
    open_tag, path = f'<span data-below-site="{root}">', f"figures/{id}.html"
    shown = html.escape(entry).replace(path, f"{open_tag}{path}</span>") if not book.address else html.escape(entry)
    cite = f'<div class="highlight"><pre>{shown}</pre></div>'
    panels = {"Source": source, "Parameters": _parameters(id, facts, root), "Cite": cite}
    details = [f'<details name="{id}"><summary>{name}</summary>{panel}</details>' for name, panel in panels.items()]
    return f'<div class="figure-row" role="group" aria-label="Files and citation of {id}">{"".join(links + details)}</div>'


def _parameters(id: str, facts: dict[str, Any], root: str) -> str:
    pairs = [*facts["parameters"].items(), *facts["provenance"].items()]
    cells = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(_said(value))}</dd>" for name, value in pairs)
    again = f'<div class="highlight"><pre>{html.escape(facts["command"])}</pre></div>'
    return f'<dl>{cells}</dl>{again}<p><a href="{root}_static/figures/{id}.json" download>All of it as JSON</a></p>'


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
