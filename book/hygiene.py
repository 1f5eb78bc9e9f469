"""Check that the notebooks in ``notebooks/`` are fit to be committed.

``python book/hygiene.py [--fix] [notebook ...]`` looks at the named notebooks, or at all. Outputs and execution counts are part of
a notebook here and stay. ``--fix`` gives lasting names to cells with random ids and removes what papermill and JupyterLab leave in
the metadata; everything else needs a rerun (``make record``) or an edit.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RANDOM_ID = re.compile(r"[0-9a-f]{8}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LASTING_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MACHINE_PATH = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|tmp|mnt|opt|private|srv|var)/|[A-Z]:\\\\?Users\\)[\w.~+-]+")
ABSENT = ": not measured here\n"  # what ardm.book.stated prints where a corpus is missing
EXEMPT = ("nbval-ignore-output", "nbval-skip", "NBVAL_IGNORE_OUTPUT", "NBVAL_SKIP")  # as tags and as comments of nbval
NEEDS = "needs-"  # compared where that corpus is; see notebooks/conftest.py
LONGEST = 15  # lines of a cell that a reader sees without opening it
MOST_STATED = 12  # numbers for the prose that a cell prints in sight
TRACES_OF_A_RUN = ("papermill", "execution", "ExecuteTime")


def text_of(value: object) -> str:
    """The text in a source, a stream or a MIME bundle, pictures left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(text_of(item) for item in value)
    if isinstance(value, dict):
        return "\n".join(text_of(item) for kind, item in value.items() if not kind.startswith("image/"))
    return ""


def traces(metadata: dict) -> list[str]:
    return [key for key in TRACES_OF_A_RUN if key in metadata]


def exempt(cell: dict) -> bool:
    """Whether ``make test`` runs this cell without comparing its outputs."""
    comments = {line.lstrip("# ").strip() for line in text_of(cell["source"]).splitlines() if line.lstrip().startswith("#")}
    return not comments.union(cell["metadata"].get("tags", [])).isdisjoint(EXEMPT)


def stated(cell: dict) -> list[str]:
    """The keys of the numbers that a cell hands to the prose, in order."""
    names = (output.get("metadata", {}).get("scrapbook", {}).get("name") for output in cell.get("outputs", []))
    return [name for name in names if name]


def census(notebooks: Iterable[dict]) -> dict[str, int]:
    """How many code cells and stated numbers there are, and how many of either are not compared, or not everywhere."""
    cells = [cell for notebook in notebooks for cell in notebook["cells"] if cell["cell_type"] == "code"]
    free = [cell for cell in cells if exempt(cell)]
    conditional = [cell for cell in cells if any(tag.startswith(NEEDS) for tag in cell["metadata"].get("tags", []))]
    numbers = {name: sum(len(stated(cell)) for cell in some) for name, some in (("all", cells), ("needs", conditional))}
    return {
        "cells": len(cells),
        "exempt": len(free),
        "needs": len(conditional),
        "numbers": numbers["all"],
        "numbers_that_need": numbers["needs"],
    }


def faults(notebook: dict, root: Path = ROOT) -> list[str]:
    """One line for each thing that is wrong with a notebook."""
    found = [f"the notebook's metadata holds {key!r}" for key in traces(notebook.get("metadata", {}))]
    ids: set[str] = set()
    counted = 0  # the execution count of the code cell before
    for number, cell in enumerate(notebook["cells"]):
        said = [*of_the_id(cell.get("id"), ids), *of_any_cell(cell, root)]
        if cell["cell_type"] == "code":
            said += of_a_code_cell(cell, counted)
            counted = cell.get("execution_count") or counted
        found += [f"cell {number} ({cell.get('id') or 'no id'}): {what}" for what in said]
        ids.add(cell.get("id"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    parameters = sum("parameters" in cell["metadata"].get("tags", []) for cell in code)
    if parameters != 1:
        found.append(f"{parameters} cells tagged 'parameters', expected 1")
    if not any(cell["outputs"] for cell in code):
        found.append("no cell has an output")
    return found


def of_the_id(name: str | None, earlier: set[str]) -> list[str]:
    if not name or not LASTING_ID.fullmatch(name):
        return ["no valid id"]
    if RANDOM_ID.fullmatch(name):
        return ["a random id"]
    return ["the id of an earlier cell"] if name in earlier else []


def of_any_cell(cell: dict, root: Path) -> list[str]:
    """What a run left behind in a cell: metadata, errors, paths, numbers that a missing corpus left out."""
    found = [f"the metadata holds {key!r}" for key in traces(cell["metadata"])]
    if "injected-parameters" in cell["metadata"].get("tags", []):
        found.append("parameters injected by a run")
    text = text_of(cell["source"])
    for output in cell.get("outputs", []):
        text += "\n" + text_of(output.get("text")) + "\n" + text_of(output.get("data"))
        if ABSENT in text_of(output.get("text")):
            found.append("stored without its corpus; run `make record` where ARDM_DATA or the network has it")
        if output["output_type"] == "error":
            found.append(f"ends in {output.get('ename', 'an error')}")
    paths = {match.group() for match in MACHINE_PATH.finditer(text)} | ({str(root)} if str(root) in text else set())
    return [*found, *(f"names a path of one machine, {path}" for path in sorted(paths))]


def of_a_code_cell(cell: dict, counted: int) -> list[str]:
    """What is wrong with its numbers and with the order in which it was run, behind a cell with the count ``counted``."""
    found = []
    if exempt(cell):
        rule = "but its outputs are exempt from comparison; state it in a cell that is compared"
        found += [f"states {key!r}, {rule}" for key in stated(cell)]
    folded = set(cell["metadata"].get("tags", []))
    lines = len(text_of(cell["source"]).splitlines())
    if lines > LONGEST and folded.isdisjoint({"hide-input", "hide-cell"}):
        found.append(f"{lines} lines of code in sight, at most {LONGEST}: tag it hide-input, or make it shorter")
    if len(stated(cell)) > MOST_STATED and folded.isdisjoint({"hide-output", "hide-cell"}):
        found.append(f"{len(stated(cell))} numbers for the prose in sight, at most {MOST_STATED}: tag it hide-cell")
    count = cell.get("execution_count")
    if not text_of(cell["source"]).strip():
        found.append("an empty code cell")
    elif count is None:
        found.append("was not run")
    elif count != counted + 1:
        found.append(f"run as number {count}, expected {counted + 1}; run all cells in order")
    return found


def fix(notebook: dict) -> None:
    """Give cells with random or repeated ids lasting ones and drop the traces of a run."""
    taken: set[str] = set()
    for number, cell in enumerate(notebook["cells"]):
        name = cell.get("id") or ""
        if not LASTING_ID.fullmatch(name) or RANDOM_ID.fullmatch(name) or name in taken:
            others = taken | {other.get("id") for other in notebook["cells"]}
            name = next(new for k in range(number, 10**6) if (new := f"{cell['cell_type']}-{k:02d}") not in others)
            cell["id"] = name
        taken.add(name)
        for key in traces(cell["metadata"]):
            del cell["metadata"][key]
    for key in traces(notebook["metadata"]):
        del notebook["metadata"][key]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fix", action="store_true", help="repair ids and metadata in place")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all in notebooks/")
    options = parser.parse_args(arguments)
    paths = options.notebooks or sorted((ROOT / "notebooks").glob("[!.]*.ipynb"))
    wrong = 0
    for path in paths:
        before = path.read_text("utf8")
        notebook = json.loads(before)
        if options.fix:
            fix(notebook)
            after = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
            if json.loads(before) != notebook:
                path.write_text(after, "utf8")
        for line in faults(notebook):
            print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {line}")
            wrong += 1
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
