"""The notebooks are fit to be committed, and ``book/hygiene.py`` sees each thing that makes them unfit."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
from pathlib import Path

import pytest

from ardm.book.stated import numbers, within

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("**/[!.]*.ipynb"))

spec = importlib.util.spec_from_file_location("hygiene", ROOT / "book" / "hygiene.py")
hygiene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hygiene)


def clean() -> dict:
    def code(name: str, count: int, source: str, tags: tuple[str, ...] = (), outputs: tuple[dict, ...] = ()) -> dict:
        metadata = {"tags": list(tags)} if tags else {}
        cell = {"cell_type": "code", "id": name, "metadata": metadata, "source": source}
        return {**cell, "execution_count": count, "outputs": list(outputs)}

    printed = {"output_type": "stream", "name": "stdout", "text": "2\n"}
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3"}},
        "cells": [
            {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Title"},
            code("parameters", 1, "seed = 1", tags=("parameters",)),
            code("sum", 2, "print(1 + 1)", outputs=(printed,)),
        ],
    }


def unmeasured() -> str:
    """What a notebook prints where a number could not be measured."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        numbers("", {"bound": within(0.1)})
    return said.getvalue()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_fit(path: Path) -> None:
    assert hygiene.faults(json.loads(path.read_text("utf8"))) == []


def test_a_clean_notebook_has_no_faults() -> None:
    assert hygiene.faults(clean()) == []


def glued(key: str = "bound") -> dict:
    """What ``exact`` and ``measured`` leave among the outputs beside the printed line."""
    data = {"application/papermill.record/text/plain": "'2'"}
    return {"output_type": "display_data", "data": data, "metadata": {"scrapbook": {"name": key, "mime_prefix": "x"}}}


def state_exempt(notebook: dict, tags: tuple[str, ...] = (), source: str = "exact('bound', 2)") -> None:
    notebook["cells"][2]["outputs"].append(glued())
    notebook["cells"][2].update(source=source, metadata={"tags": list(tags)})


SPOILT = {
    "number in an exempt cell": (lambda nb: state_exempt(nb, ("nbval-ignore-output",)), "cell 2 (sum): states 'bound', but"),
    "number in a cell not run": (lambda nb: state_exempt(nb, ("nbval-skip",)), "cell 2 (sum): states 'bound', but"),
    "number exempt by comment": (
        lambda nb: state_exempt(nb, source="# NBVAL_IGNORE_OUTPUT\nexact('bound', 2)"),
        "cell 2 (sum): states 'bound', but",
    ),
    "no output": (lambda nb: nb["cells"][2].update(outputs=[]), "no cell has an output"),
    "no corpus": (lambda nb: nb["cells"][2]["outputs"][0].update(text=unmeasured()), "stored without its corpus"),
    "error": (lambda nb: nb["cells"][2]["outputs"].append({"output_type": "error", "ename": "KeyError"}), "ends in KeyError"),
    "no count": (lambda nb: nb["cells"][2].update(execution_count=None), "was not run"),
    "out of order": (lambda nb: nb["cells"][2].update(execution_count=7), "run as number 7"),
    "no parameters": (lambda nb: nb["cells"][1]["metadata"].clear(), "0 cells tagged 'parameters'"),
    "two parameters": (lambda nb: nb["cells"][2]["metadata"].update(tags=["parameters"]), "2 cells tagged 'parameters'"),
    "short random id": (lambda nb: nb["cells"][0].update(id="0f3a9c1b"), "a random id"),
    "long random id": (lambda nb: nb["cells"][0].update(id="0f3a9c1b-1111-4222-8333-444455556666"), "a random id"),
    "missing id": (lambda nb: nb["cells"][0].pop("id"), "no valid id"),
    "repeated id": (lambda nb: nb["cells"][2].update(id="title"), "the id of an earlier cell"),
    "path in a source": (lambda nb: nb["cells"][0].update(source=["see ", "/home/someone/notes"]), "/home/someone"),
    "path in an output": (lambda nb: nb["cells"][2]["outputs"][0].update(text=["'/Users/ann/x.txt'"]), "/Users/ann"),
    "path of this tree": (lambda nb: nb["cells"][2]["outputs"][0].update(text=f"{ROOT}"), "a path of one machine"),
    "papermill": (lambda nb: nb["metadata"].update(papermill={"duration": 1.0}), "holds 'papermill'"),
    "papermill in a cell": (lambda nb: nb["cells"][2]["metadata"].update(papermill={}), "holds 'papermill'"),
    "time stamps": (lambda nb: nb["cells"][2]["metadata"].update(execution={}), "holds 'execution'"),
    "injected": (lambda nb: nb["cells"][2]["metadata"].update(tags=["injected-parameters"]), "injected by a run"),
    "empty cell": (lambda nb: nb["cells"][2].update(source=" \n"), "an empty code cell"),
}


@pytest.mark.parametrize(("spoil", "said"), SPOILT.values(), ids=SPOILT.keys())
def test_each_fault_is_seen(spoil, said: str) -> None:
    notebook = clean()
    spoil(notebook)
    assert any(said in line for line in hygiene.faults(notebook))


def test_a_number_in_a_cell_that_needs_a_corpus_is_compared_where_the_corpus_is() -> None:
    notebook = clean()
    state_exempt(notebook, ("needs-text8",))
    assert hygiene.faults(notebook) == []


def test_an_exempt_cell_without_a_number_is_fine_and_counted() -> None:
    notebook = clean()
    notebook["cells"][2]["metadata"]["tags"] = ["nbval-ignore-output"]
    assert hygiene.faults(notebook) == []
    stating = clean()
    state_exempt(stating, ("needs-text8",))
    counts = {"cells": 4, "exempt": 1, "needs": 1, "numbers": 1, "numbers_that_need": 1}
    assert hygiene.census([notebook, stating]) == counts


def test_long_code_and_many_numbers_are_folded() -> None:
    notebook = clean()
    shown = notebook["cells"][2]
    shown["source"] = "\n".join(f"x{k} = {k}" for k in range(16))
    assert hygiene.faults(notebook) == [
        "cell 2 (sum): 16 lines of code in sight, at most 15: tag it hide-input, or make it shorter"
    ]
    shown["metadata"] = {"tags": ["hide-input"]}
    assert hygiene.faults(notebook) == []
    shown["outputs"] += [glued(f"n{k}") for k in range(13)]
    assert hygiene.faults(notebook) == ["cell 2 (sum): 13 numbers for the prose in sight, at most 12: tag it hide-cell"]
    shown["metadata"] = {"tags": ["hide-cell"]}
    assert hygiene.faults(notebook) == []


def test_links_and_ratios_are_no_machine_paths() -> None:
    notebook = clean()
    notebook["cells"][0]["source"] = "https://example.org/home/page, a/var/b, notebooks/tmp/x, 1/2"
    assert hygiene.faults(notebook) == []


def test_fix_repairs_ids_and_metadata_and_keeps_outputs(tmp_path: Path) -> None:
    notebook = clean()
    notebook["cells"][0]["id"] = "0f3a9c1b"
    notebook["cells"][2]["metadata"]["papermill"] = {"duration": 1.0}
    notebook["metadata"]["papermill"] = {}
    outputs = copy.deepcopy([cell.get("outputs") for cell in notebook["cells"]])
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps(notebook))
    assert hygiene.main([str(path)]) == 1
    assert hygiene.main(["--fix", str(path)]) == 0
    fixed = json.loads(path.read_text())
    assert [cell["id"] for cell in fixed["cells"]] == ["markdown-00", "parameters", "sum"]
    assert [cell.get("outputs") for cell in fixed["cells"]] == outputs
