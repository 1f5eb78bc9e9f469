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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RANDOM_ID = re.compile(r"[0-9a-f]{8}|[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LASTING_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MACHINE_PATH = re.compile(r"(?<![\w.:/])(?:/(?:home|Users|root|tmp|mnt|opt|private|srv|var)/|[A-Z]:\\\\?Users\\)[\w.~+-]+")
ABSENT = ": not measured here\n"  # what ardm.book.checks prints where a corpus is missing
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


def faults(notebook: dict, root: Path = ROOT) -> list[str]:
    """One line for each thing that is wrong with a notebook."""
    found = [f"the notebook's metadata holds {key!r}" for key in traces(notebook.get("metadata", {}))]
    ids, count, parameters, outputs = set(), 0, 0, 0
    for number, cell in enumerate(notebook["cells"]):
        name, tags = cell.get("id"), cell["metadata"].get("tags", [])
        where = f"cell {number} ({name or 'no id'})"
        if not name or not LASTING_ID.fullmatch(name):
            found.append(f"{where}: no valid id")
        elif RANDOM_ID.fullmatch(name):
            found.append(f"{where}: a random id")
        elif name in ids:
            found.append(f"{where}: the id of an earlier cell")
        ids.add(name)
        found += [f"{where}: the metadata holds {key!r}" for key in traces(cell["metadata"])]
        if "injected-parameters" in tags:
            found.append(f"{where}: parameters injected by a run")
        text = text_of(cell["source"])
        for output in cell.get("outputs", []):
            text += "\n" + text_of(output.get("text")) + "\n" + text_of(output.get("data"))
            if ABSENT in text_of(output.get("text")):
                found.append(f"{where}: stored without its corpus; run `make record` where ARDM_DATA or the network has it")
            if output["output_type"] == "error":
                found.append(f"{where}: ends in {output.get('ename', 'an error')}")
        paths = {match.group() for match in MACHINE_PATH.finditer(text)} | ({str(root)} if str(root) in text else set())
        found += [f"{where}: names a path of one machine, {path}" for path in sorted(paths)]
        if cell["cell_type"] != "code":
            continue
        parameters += "parameters" in tags
        outputs += len(cell["outputs"])
        if not text_of(cell["source"]).strip():
            found.append(f"{where}: an empty code cell")
        elif cell.get("execution_count") is None:
            found.append(f"{where}: was not run")
        elif cell["execution_count"] != count + 1:
            found.append(f"{where}: run as number {cell['execution_count']}, expected {count + 1}; run all cells in order")
            count = cell["execution_count"]
        else:
            count += 1
    if parameters != 1:
        found.append(f"{parameters} cells tagged 'parameters', expected 1")
    if not outputs:
        found.append("no cell has an output")
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
