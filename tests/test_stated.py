"""Numbers a notebook states: how they are printed and glued, when two agree, and that nbval compares them so."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest

from ardm.base.errors import InputError
from ardm.book.stated import agree, cells, numbers, within

CONFTEST = Path(__file__).resolve().parent.parent / "notebooks" / "conftest.py"
RECORD = "application/papermill.record/text/plain"


@pytest.fixture
def glued(monkeypatch):
    """What would be handed to the prose of the book, by key."""
    found = {}
    monkeypatch.setattr("IPython.get_ipython", lambda: True)
    monkeypatch.setattr("myst_nb.glue", lambda key, text, display: found.update({key: text if not display else "displayed"}))
    return found


@pytest.mark.parametrize(
    ("key", "number", "line", "prose"),
    [
        ("valid", within(0.05, 0.5212), "valid = 0.521 (checked to within 0.050)", "0.521"),
        ("valid-8", within(5, 52.12, "%"), "valid-8 = 52.1 % (checked to within 5.0)", "52.1 %"),
        ("loss", within(0.125, 2, digits=1), "loss = 2.0 (checked to within 0.125)", "2.0"),
        ("drift", within(0.1, -0.0001), "drift = 0.00 (checked to within 0.10)", "0.00"),
        ("edits", within(300, 12345.6), "edits = 12346 (checked to within 300)", "12346"),
        ("valid", within(0.05), "valid: not measured here", "not measured here"),
        ("calls", 32, "calls = 32", "32"),
        ("law", "agreement", "law = agreement", "agreement"),
        ("law", None, "law: not measured here", "not measured here"),
    ],
)
def test_a_number_is_printed_with_its_tolerance_and_glued(capsys, glued, key, number, line, prose):
    numbers("", {key: number})
    assert capsys.readouterr().out == line + "\n"
    assert glued == {key: prose}


def test_numbers_are_declared_by_name(capsys, glued):
    numbers("live", {"calls": 8, "valid": within(5, 52.12, "%", digits=0), "loss": within(0.05), "where": None})
    assert capsys.readouterr().out.splitlines() == [
        "live-calls = 8",
        "live-valid = 52 % (checked to within 5)",
        "live-loss: not measured here",
        "live-where: not measured here",
    ]
    absent = "not measured here"
    assert glued == {"live-calls": "8", "live-valid": "52 %", "live-loss": absent, "live-where": absent}


def test_without_a_prefix_the_names_are_the_keys(glued):
    numbers("", {"forced": "481.2", "n-shown": 32})
    assert glued == {"forced": "481.2", "n-shown": "32"}


def test_cells_of_a_table_are_numbers(capsys, glued):
    table = pd.DataFrame({"valid": [81.54, 93.2], "edits": [6.1, 5.83]}, index=["ratio gate", "oracle hide"])
    columns = {"valid": ("valid", within(4, unit="%")), "n": ("edits", within(0.5))}
    numbers("win", cells(table, {"gate": "ratio gate", "best": "oracle hide"}, columns))
    assert glued == {"win-valid-gate": "81.5 %", "win-valid-best": "93.2 %", "win-n-gate": "6.10", "win-n-best": "5.83"}
    with pytest.raises(KeyError, match="no rule"):
        cells(table, {"gate": "no rule"}, columns)


def test_numbers_of_torch_and_numpy_are_numbers(capsys):
    import numpy as np
    import torch

    numbers("", {"a": within(0.01, torch.tensor(0.25)), "b": within(0.01, np.float32(0.25))})
    assert capsys.readouterr().out == "a = 0.250 (checked to within 0.010)\nb = 0.250 (checked to within 0.010)\n"


def test_outside_a_notebook_nothing_is_glued(capsys, monkeypatch):
    monkeypatch.setattr("myst_nb.glue", lambda *_, **__: pytest.fail("glued"))
    numbers("", {"valid": within(0.1, 0.5)})
    assert capsys.readouterr().out == "valid = 0.50 (checked to within 0.10)\n"


@pytest.mark.parametrize("tolerance", [0, -0.1, float("nan"), float("inf")])
def test_a_tolerance_is_above_zero_and_finite(tolerance):
    with pytest.raises(InputError, match="tolerance of 'valid'"):
        numbers("", {"valid": within(tolerance, 0.5)})


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("valid", within(0.1, float("nan")), ValueError, "'valid' is nan"),
        ("valid", within(0.1, float("inf")), ValueError, "'valid' is inf"),
        ("valid", float("nan"), ValueError, "'valid' is nan"),
        (" ", within(0.1, 1), InputError, "not one line"),
        ("valid", "a\nb", InputError, "several lines"),
        ("valid", within(0.1, 1, "a = b"), InputError, "unit"),
    ],
)
def test_what_is_no_number_is_refused_before_anything_is_printed(capsys, name, value, error, message):
    with pytest.raises(error, match=message):
        numbers("", {"before": 1, name: value})
    assert capsys.readouterr().out == ""


STATED = "seed 1\nvalid = 0.521 nats (checked to within 0.050)\ndone"


@pytest.mark.parametrize("fresh", [STATED, *(STATED.replace("0.521", value) for value in ("0.571", "0.471", "0.55"))])
def test_texts_agree_up_to_the_tolerance(fresh):
    assert agree(STATED, fresh) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.521", "0.572", "line 2: 'valid' is 0.572 where 0.521 is stored, further than the tolerance 0.050"),
        ("0.521", "-0.521", "line 2: 'valid' is -0.521 where 0.521 is stored, further than the tolerance 0.050"),
        ("0.050)", "0.500)", "line 2: 'valid' is checked to within 0.500 where 0.050 is stored"),
        ("nats", "bits", "line 2: 'valid = 0.521 bits (checked"),
        ("valid", "invalid", "line 2: 'invalid = 0.521"),
        ("0.521", "nan", "line 2: 'valid = nan"),
        ("seed 1", "seed 2", "line 1: 'seed 2' where 'seed 1' is stored"),
        ("\ndone", "", "2 lines where 3 are stored"),
        ("valid = 0.521 nats (checked to within 0.050)", "valid: not measured here", "line 2: 'valid: not"),
    ],
)
def test_any_other_difference_is_told(old, new, message):
    said = agree(STATED, STATED.replace(old, new, 1))
    assert said is not None
    assert said.startswith(message)


def test_an_exact_line_has_no_tolerance():
    assert agree("calls = 32", "calls = 33") == "line 1: 'calls = 33' where 'calls = 32' is stored"


def stream(text: str) -> dict:
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def glue(text: str) -> dict:
    return nbformat.v4.new_output("display_data", data={RECORD: repr(text)}, metadata={"scrapbook": {"name": "valid"}})


def cell(source: str, *outputs: dict, tags: tuple[str, ...] = ()) -> nbformat.NotebookNode:
    """A cell that was run and left ``outputs``."""
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, execution_count=1, outputs=list(outputs), metadata=metadata)


def say(value: str, tolerance: str = "0.050") -> str:
    return f"valid = {value} (checked to within {tolerance})\n"


PRINTED = f"print({say('0.521')!r}, end='')"
REAL = "from ardm.book.stated import numbers, within\nnumbers('', {'valid': within(0.05, 0.521)})"
HTML = "from IPython.display import HTML, display\ndisplay(HTML('<b>2</b>'))"
BOLD = {"text/html": "<b>3</b>", "text/plain": "<IPython.core.display.HTML object>"}

CASES = {
    "within": ("PASSED", cell(PRINTED, stream(say("0.571")))),
    "outside": ("FAILED", cell(PRINTED, stream(say("0.572")))),
    "another tolerance": ("FAILED", cell(PRINTED, stream(say("0.521", "0.500")))),
    "no tolerance": ("FAILED", cell("print('valid = 0.521')", stream("valid = 0.522\n"))),
    "nothing printed": ("FAILED", cell("pass", stream(say("0.521")))),
    "printed and glued": ("PASSED", cell(REAL, stream(say("0.53")), glue("0.53"))),
    "glued no more": ("PASSED", cell(PRINTED, stream(say("0.53")), glue("0.53"))),
    "result": ("FAILED", cell("1 + 1", nbformat.v4.new_output("execute_result", data={"text/plain": "3"}, execution_count=1))),
    "html": ("FAILED", cell(HTML, nbformat.v4.new_output("display_data", data=BOLD))),
    "corpus absent": ("PASSED", cell(PRINTED, stream(say("9.000")), tags=("needs-absent",))),
    "corpus present": ("FAILED", cell(PRINTED, stream(say("9.000")), tags=("needs-novel",))),
    "corpus absent and an exception": ("FAILED", cell("1 / 0", tags=("needs-absent",))),
    "ignored": ("PASSED", cell(PRINTED, stream(say("9.000")), tags=("nbval-ignore-output",))),
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[dict[str, str], str]:
    """One run of nbval over a notebook with a cell for each case: the outcome of each, and all that was reported."""
    folder = tmp_path_factory.mktemp("book") / "notebooks"
    folder.mkdir()
    shutil.copy(CONFTEST, folder)
    here = "from pathlib import Path\nfrom ardm.worlds import registry\n"
    here += "registry.locate = lambda name: None if name == 'absent' else Path('here')\n"
    (folder.parent / "conftest.py").write_text(here)
    notebook = nbformat.v4.new_notebook(cells=[case for _, case in CASES.values()])
    nbformat.write(notebook, folder / "toy.ipynb")
    words = [sys.executable, "-m", "pytest", "--nbval", "--nbval-kernel-name=python3", "-rA", "--color=no", "notebooks"]
    ran = subprocess.run([*words, "-p", "no:cacheprovider"], check=False, cwd=folder.parent, capture_output=True, text=True)
    outcomes = re.findall(r"^(PASSED|FAILED) notebooks/toy\.ipynb::Cell (\d+)", ran.stdout, re.MULTILINE)
    names = list(CASES)
    return {names[int(number)]: outcome for outcome, number in outcomes}, ran.stdout + ran.stderr


def test_nbval_compares_stated_numbers_to_within_their_tolerance(compared):
    outcomes, report = compared
    assert outcomes == {name: outcome for name, (outcome, _) in CASES.items()}, report


def test_nbval_says_what_differs_and_what_was_not_compared(compared):
    _, report = compared
    assert "stdout, line 1: 'valid' is 0.521 where 0.572 is stored, further than the tolerance 0.050" in report
    assert "'valid' is checked to within 0.050 where 0.500 is stored" in report
    assert re.search(r"corpus absent is not here: outputs of 1 cells not compared =*\nnotebooks/toy.ipynb::Cell 9\n", report)
    assert "corpus novel is not here" not in report


def load_conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebooks_conftest", CONFTEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("said", "here"), [("", True), ("the reaction model needs rdkit", False)])
def test_cells_that_need_the_reaction_model_are_compared_where_it_is(monkeypatch, said, here):
    module = load_conftest()
    monkeypatch.setattr(module, "lacking", lambda: said)
    assert module._is_here("chem") is here


def test_plain_pytest_needs_no_nbval(monkeypatch):
    monkeypatch.setitem(sys.modules, "nbval.plugin", None)
    module = load_conftest()
    assert module.IPyNbCell is None
    assert module.pytest_itemcollected(object()) is None


@pytest.mark.parametrize("cell", [object, type("Cell", (), {"compare_outputs": lambda self, ref, test: True})])
def test_an_nbval_without_the_hook_is_named_at_once(monkeypatch, cell):
    other = ModuleType("nbval.plugin")
    other.IPyNbCell = cell
    monkeypatch.setitem(sys.modules, "nbval.plugin", other)
    with pytest.raises(pytest.UsageError, match=r"needs nbval 0.11, with IPyNbCell.compare_outputs\(self, test, ref"):
        load_conftest()
