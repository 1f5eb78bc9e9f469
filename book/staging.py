"""Staging: everything Jupyter Book reads, written into one folder from the sources and the executed notebooks."""

from __future__ import annotations

import ast
import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cards
import explorer
import gallery
import hygiene
import lexicon
import mutation
import playground
import rerun_box
import structure
import yaml
from gallery import Figure
from identity import Identity, identity
from vendor import BookError

from ardm.base.provenance import commit, machine
from ardm.book.parameters import read_parameters
from ardm.book.runs import recorded
from ardm.book.stated import GLUED
from ardm.method.rules import entries as rules

CHANGES = "book/changes"


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

    ``ardm.book.figures.publish`` leaves ``{"ardm": {"figure": {"id", "caption", "alt"}}}`` in the metadata of its output.
    MyST-NB takes these words per cell, and would wrap every other rich output of the cell as well, so a cell with a figure and
    more is split.
    """
    staged = copy.deepcopy(notebook)
    cells, figures, faults = [], [], []
    for number, cell in enumerate(staged["cells"]):
        for piece in pieces(cell):
            outputs = piece.get("outputs", [])
            if outputs and is_picture(outputs[0]):
                words = outputs[0].get("metadata", {}).get("ardm", {}).get("figure", {})
                fault = missing_words(words)
                if fault:
                    faults.append(f"{page}, cell {number}: {fault}")
                else:
                    figures.append(number_figure(piece, words, page, cell))
            cells.append(piece)
    if faults:
        raise BookError("\n".join(faults))
    staged["cells"] = cells
    return staged, figures


def pieces(cell: dict) -> list[dict]:
    """The cell, or where it has a picture and more: a cell for each picture and for what lies between them."""
    groups: list[list[dict]] = [[]]
    for output in cell.get("outputs", []):
        if is_picture(output):
            groups += [[output], []]
        else:
            groups[-1].append(output)
    groups = [group for group in groups if group]
    if len(groups) < 2:
        return [cell]
    parts = [copy.deepcopy(cell) for _ in groups]
    for part, (piece, group) in enumerate(zip(parts, groups, strict=True)):
        piece["outputs"] = group
        if part:
            tags = piece["metadata"].get("tags", [])
            piece["metadata"]["tags"] = [*(tag for tag in tags if tag != "hide-input"), "remove-input"]
            piece["source"] = "# outputs, continued"  # never shown; MyST-NB drops a cell without source
            if "id" in cell:
                piece["id"] = f"{cell['id'][:56]}-part{part}"
    return parts


def missing_words(words: dict) -> str:
    """What a figure lacks to be published, or nothing."""
    missing = [key for key in ("id", "caption", "alt") if not str(words.get(key) or "").strip()]
    if missing:
        return f"a figure without {', '.join(missing)} (use ardm.book.figures.publish)"
    return "" if re.fullmatch(r"[a-z][a-z0-9-]*", words["id"]) else f"figure id {words['id']!r} (use a-z, 0-9 and hyphens)"


def number_figure(piece: dict, words: dict, page: str, cell: dict) -> Figure:
    """Say in the metadata of ``piece``, which holds one picture of ``cell``, how MyST-NB numbers and describes it."""
    piece["metadata"]["mystnb"] = {
        **piece["metadata"].get("mystnb", {}),
        "figure": {"caption": gallery.harmless(words["caption"]), "name": words["id"]},
        "image": {"alt": words["alt"]},
    }
    return Figure(
        id=words["id"],
        page=page,
        caption=gallery.harmless(words["caption"]),
        alt=words["alt"],
        cell=cell.get("id", ""),
        code="".join(cell["source"]),
        picture="".join(piece["outputs"][0]["data"]["image/png"]),
    )


def glued(notebook: dict) -> dict[str, str]:
    """The texts that ``ardm.book.stated`` stated in an executed notebook, by key."""
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


@dataclass(frozen=True)
class Chapter:
    """An executed notebook, ready for Jupyter Book. ``entry``: its path without suffix, as in ``_toc.yml``."""

    entry: str
    staged: dict
    figures: list[Figure]
    seconds: float
    run: dict  # what is said of it below its figures


def title(notebook: dict) -> str:
    """The first heading of a notebook."""
    texts = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return next((text.splitlines()[0].removeprefix("# ").strip() for text in texts if text.startswith("# ")), "")


def chapter(entry: str, executed: Path, static: Path, machine: str, book: Identity, commit: str) -> Chapter:
    """Stage one notebook, with a last section that says how to run it again; the files which that needs go to ``static``."""
    name = Path(entry).name
    path = executed / f"{name}.ipynb"
    run = recorded(path)
    if run is None:
        how = "`ardm execute --into _build/executed` does it, and `make book` calls that"
        raise BookError(f"{path.name} has not been executed: {how}")
    staged, figures = stage_notebook(json.loads(path.read_text("utf8")), entry)
    parameters = read_parameters(path)
    staged["cells"].append(rerun_box.box(name, parameters, run["seconds"], machine, book, commit))
    rerun_box.write_files(name, parameters, path, book, static, commit)
    values = {parameter.name: parameter.default for parameter in parameters}
    facts = {"chapter": title(staged), "parameters": values, "command": rerun_box.command(name, parameters), "key": run["key"]}
    return Chapter(entry, staged, figures, run["seconds"], facts)


def stage(root: Path, executed: Path, source: Path) -> tuple[list[str], list[Figure]]:
    """Fill ``source`` with everything Jupyter Book reads. Returns the pages and the figures.

    The numbers that a notebook states are handed to every page as a substitution named after it: ``{{ sampling["floor-04"] }}``.
    """
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copy(root / "_toc.yml", source / "_toc.yml")
    shutil.copytree(root / "book", source / "book", ignore=shutil.ignore_patterns("*.py", "__pycache__", "LICENSE.md", ".*"))
    entries = toc_entries(yaml.safe_load((root / "_toc.yml").read_text()))
    here, book, at = machine(), identity(root), commit(root)
    computer = f"{here['cpu']}, {here['cores']} cores"
    chapters, faults = [], []
    for entry in entries:
        try:
            if entry.startswith("notebooks/"):
                chapters.append(chapter(entry, executed, source / "book" / "_static", computer, book, at))
        except BookError as error:
            faults.append(str(error))
    figures = [figure for one in chapters for figure in one.figures]
    faults += repeated_ids(figures)
    if faults:
        raise BookError("\n".join(faults))

    for one in chapters:
        rerun_box.write(source / f"{one.entry}.ipynb", one.staged)
    index = gallery.gather(figures, executed / "figures", source, {one.entry: one.run for one in chapters})
    rerun_box.write(source / "figures.json", index)
    generate(entries, source, figures, {one.entry: one.run["chapter"] for one in chapters})
    if CHANGES in entries:
        shutil.copy(root / "CHANGELOG.md", source)  # which that page includes
    numbers = {re.sub(r"^\d+_", "", Path(one.entry).name): glued(one.staged) for one in chapters}
    runs = [json.loads((executed / f"{Path(one.entry).name}.ipynb").read_text("utf8")) for one in chapters]
    times = rerun_box.times([(one.entry, one.seconds) for one in chapters], computer)
    thumbnails = {figure.id: gallery.thumbnail(figure) for figure in figures}
    substitutions = {**numbers, "thumbnail": thumbnails, "run_times": times, "checked": hygiene.census(runs)}
    if "book/playground" in entries:
        substitutions["sampler"] = playground.numbers()
    if mutation.PAGE in entries:
        substitutions["mutants"] = mutation.told(root / mutation.RESULT)
    if structure.PAGE in entries:
        substitutions["code"] = structure.assemble(root, source / "book" / "_static")
    (source / "_config.yml").write_text(configuration(root, source, substitutions, book), "utf8")
    return entries, figures


def generate(entries: list[str], source: Path, figures: list[Figure], titles: dict[str, str]) -> None:
    """Write what no source holds, of the pages that are in the book: whole pages, and the scripts that pages ask."""
    static, glossary = source / "book" / "_static", source / f"{lexicon.PAGE}.md"
    scripts = {"book/playground": playground.assemble, explorer.PAGE: explorer.assemble}
    pages = {
        lexicon.PAGE: lambda: lexicon.staged(glossary.read_text("utf8"), rules()),
        gallery.LIST: lambda: gallery.listing(figures, titles),
        cards.MODEL_PAGE: cards.models,
        cards.TABLE_PAGE: cards.tables,
    }
    for page in scripts.keys() & entries:
        scripts[page](static)
    for page in pages.keys() & entries:
        (source / f"{page}.md").write_text(pages[page](), "utf8")


def configuration(root: Path, source: Path, substitutions: dict, book: Identity) -> str:
    """The project's ``_config.yml`` with what only the build knows."""
    config = yaml.safe_load((root / "_config.yml").read_text("utf8"))
    config.setdefault("parse", {})["myst_substitutions"] = substitutions
    sphinx = config.setdefault("sphinx", {})
    here = str(Path(__file__).resolve().parent)
    sphinx.setdefault("local_extensions", {}).update(figure_rows=here, first_use=here, lexicon=here, sharing=here)
    sphinx.setdefault("config", {}).update(figure_index=str(source.resolve() / "figures.json"), figure_book=asdict(book))
    if book.address:
        sphinx["config"]["html_baseurl"] = book.address
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=True)
