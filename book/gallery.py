"""The files behind the numbered figures: gathered for the book, with what is printed under each, and listed on one page."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from vendor import BookError

FILES = ("png", "svg", "dark.svg", "pdf", "csv", "json", "marks.json")
FOLDER = "book/_static/figures"  # below the staged sources; the pages find it at _static/figures
LIST = "book/figures"  # the page that lists them
SMALL = 320  # pixels: the width of a picture in the list


@dataclass(frozen=True)
class Figure:
    """A numbered figure: ``page`` is the notebook's path without suffix, as in ``_toc.yml``; ``code`` the cell that drew it."""

    id: str
    page: str
    caption: str = ""
    alt: str = ""
    cell: str = ""
    code: str = ""
    picture: str = field(default="", repr=False)  # PNG in base64, as the executed notebook holds it


def gather(figures: Iterable[Figure], made: Path, source: Path, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """Copy the files of each figure from ``made`` into the staged ``source``; returns what its row shows, by id.

    ``runs``: of each page the parameters, the command and the key of its run. Raises ``BookError`` with a line for each figure
    whose files are missing or were drawn by another run.
    """
    target, index, faults = source / FOLDER, {}, []
    (target / "small").mkdir(parents=True, exist_ok=True)
    for figure in figures:
        kept = {kind: made / f"{figure.id}.{kind}" for kind in FILES}
        again = f"run `ardm execute --force {Path(figure.page).name}`"
        lost = [path.name for path in kept.values() if not path.is_file()]
        if lost:
            faults.append(f"{figure.page}: {', '.join(lost)} missing in {made.name}/: {again}")
            continue
        picture = kept["png"].read_bytes()
        if picture != base64.b64decode(figure.picture):
            faults.append(f"{figure.page}: {figure.id}.png is of another run than the page: {again}")
            continue
        facts = json.loads(kept.pop("json").read_text("utf8"))
        answers = json.loads(kept.pop("marks.json").read_text("utf8"))
        facts |= {"notebook": f"{figure.page}.ipynb", "cell": figure.cell, **runs[figure.page]}
        for path in kept.values():
            (target / path.name).write_bytes(path.read_bytes())
        (target / f"{figure.id}.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf8")
        (target / "small" / f"{figure.id}.png").write_bytes(small(picture))
        index[figure.id] = {**facts, "code": figure.code, "marks": answers}
    if faults:
        raise BookError("\n".join(faults))
    return index


def small(picture: bytes) -> bytes:
    """A PNG no wider than :data:`SMALL`, in few colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    height = max(1, round(image.height * SMALL / image.width))
    file = io.BytesIO()
    image.resize((SMALL, height), Image.Resampling.LANCZOS).quantize(32).save(file, format="PNG", optimize=True)
    return file.getvalue()


def harmless(words: str) -> str:
    """Words for a page, in one line, that hold no tag and no substitution; a formula in them stays the same formula."""
    line = re.sub(r"<(?=[A-Za-z/!?])", "< ", " ".join(words.split()))
    return re.sub(r"\{(?=\{)|\}(?=\})", lambda brace: f"{brace[0]} ", line)


def first_sentence(caption: str) -> str:
    """The first sentence of a caption: up to a full stop before a capital, so that `Fig. 1` and `4.5` do not end it."""
    found = re.match(r".*?[^.\s]{2}[.](?=\s+[A-Z(]|$)", caption)
    return found.group() if found else caption


def listing(figures: Iterable[Figure], titles: Mapping[str, str]) -> str:
    """The page that lists all figures, under the titles of their pages."""
    lines = [
        "# Figures",
        "",
        "Every numbered figure of the book. On its page a mark that is pointed at says what it is (by key: the arrows, once the",
        "figure has the focus), and each figure has a row below it: the picture as PNG, SVG and PDF, the table behind it, the code",
        "that drew it, the parameters of the run, and an entry to cite it by.",
    ]
    for page, group in itertools.groupby(figures, key=lambda figure: figure.page):
        lines += ["", f"## {titles[page]}", "", "::::{div} figure-list"]
        for figure in group:
            said = f"{{numref}}`{figure.id}`: {first_sentence(figure.caption)}"
            lines += [":::{div} figure-item", thumbnail(figure), "", said, ":::"]
        lines += ["::::"]
    return "\n".join(lines) + "\n"


def thumbnail(figure: Figure) -> str:
    """A small picture that leads to the figure, as HTML for a page one folder below the top."""
    picture = f'<img src="../_static/figures/small/{figure.id}.png" alt="{_attribute(figure.alt)}" loading="lazy">'
    return f'<a href="../{figure.page}.html#{figure.id}">{picture}</a>'


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
