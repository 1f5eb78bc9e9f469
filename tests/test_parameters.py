"""Parameters: what a declaration says, what is refused, and in which words."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jsonschema import Draft202012Validator
from papermill.translators import PythonTranslator

from ardm.base.errors import InputError
from ardm.book.parameters import non_default, parse_assignments, read_parameters, schema, validate

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"

DECLARED = """\
# What is trained, and how long.
corpus: str = "agreement"  # one of agreement, tinyshakespeare: what to train on
steps: int = 300  # in [1, 100000]: optimiser steps
rate: float = 1  # in (0, 1]: learning rate, the largest
fast: bool = False  # skip the slow part
nfe: list[int] = [4, 8]  # in [1, 4096]: calls of the denoiser
shares: list[float] = [
    0.5,
    1,
]  # in [0, 2): shares: kept
copy: str = "in the open"  # any text
"""


def declare(folder: Path, *sources: str) -> Path:
    """A notebook with one parameters cell for each source."""
    path = folder / "05_training.ipynb"
    cells = [
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": s.splitlines(keepends=True)} for s in sources
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))
    return path


@pytest.fixture
def declared(tmp_path):
    return read_parameters(declare(tmp_path, DECLARED))


def test_a_declaration_is_read_whole(declared):
    by_name = {parameter.name: parameter for parameter in declared}
    assert list(by_name) == ["corpus", "steps", "rate", "fast", "nfe", "shares", "copy"]
    assert by_name["corpus"].range == "one of agreement, tinyshakespeare"
    assert by_name["corpus"].help == "what to train on"
    steps, shares = by_name["steps"], by_name["shares"]
    assert (steps.type, steps.default, steps.range, steps.help) == ("int", 300, "in [1, 100000]", "optimiser steps")
    assert shares.default == [0.5, 1.0]
    assert shares.help == "shares: kept"
    assert type(by_name["rate"].default) is float
    assert by_name["nfe"].expected == "list[int], at least one, each in [1, 4096]"
    assert by_name["rate"].expected == "float in (0, 1]"
    assert by_name["fast"].range == ""


def test_a_notebook_without_the_cell_takes_none(tmp_path):
    path = declare(tmp_path)
    assert read_parameters(path) == ()
    with pytest.raises(InputError, match=r"unknown parameter 'x' of 05_training. It takes no parameters\."):
        validate((), {"x": 1}, "05_training")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("steps = 300  # in [1, 9]: steps", "is not of the form"),
        ("import os", "is not of the form"),
        ("steps: int = 300", "has no comment"),
        ("steps: int = 300  # optimiser steps", "needs its range"),
        ("steps: int = 300  # in [1, 1000]", "needs its range"),
        ("steps: int = 300  # in [1, many]: steps", "'many' is no int"),
        ("steps: int = 300  # in [9, 1]: steps", "the default of steps, 300, is not int in [9, 1]"),
        ("steps: int = 3  # in [3, 3): steps", "the default of steps, 3, is not int in [3, 3)"),
        ("steps: int = 9  # in [1, 10], a multiple of 4: steps", "9, is not int in [1, 10], a multiple of 4"),
        ("steps: int = 8  # in [1, 10], a multiple of 0: steps", "needs its range"),
        ("steps: int = 10  # in [1, 10): steps", "the default of steps, 10, is not int in"),
        ("steps: int = True  # in [1, 10]: steps", "the default of steps, True"),
        ("steps: int = 2 * 5  # in [1, 10]: steps", "is not a literal"),
        ("steps: dict = {}  # steps", "of type dict"),
        ("name: str = 'c'  # one of a, b: which", "the default of name, 'c', is not str one of a, b"),
        ("name: str = 'a'  # one of a, b", "needs its choices and its meaning"),
        ("name: str = 'a'  # in [1, 2]: which", "has no range"),
        ("name: list[str] = []  # which", "the default of name"),
        ("other: int = 1  # in [0, 1]: twice", "declared twice"),
        ("%matplotlib inline", "invalid syntax"),
    ],
)
def test_a_malformed_declaration_is_named_by_notebook_and_line(tmp_path, line, said):
    path = declare(tmp_path, f"# a comment\nother: int = 1  # in [0, 1]: fine\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_parameters(path)
    assert str(caught.value).startswith("05_training, parameters cell, line 3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_parameter_cells_and_no_notebook_are_refused(tmp_path):
    with pytest.raises(InputError, match="2 cells tagged"):
        read_parameters(declare(tmp_path, "# one", "# two"))
    with pytest.raises(InputError, match="cannot read"):
        read_parameters(tmp_path / "none.ipynb")
    (tmp_path / "broken.ipynb").write_text('{"cells": [')
    with pytest.raises(InputError, match="is not a notebook"):
        read_parameters(tmp_path / "broken.ipynb")


@pytest.mark.parametrize(
    "wrong",
    [None, {"metadata": None}, {"metadata": {"tags": None}}, {"source": None}, {"cell_type": None}],
    ids=lambda wrong: next(iter(wrong)) if wrong else "no cell",
)
def test_a_cell_that_is_none_is_named(tmp_path, wrong):
    path = declare(tmp_path, "one: int = 1  # in [0, 1]: fine", "2")
    content = json.loads(path.read_text())
    for name, value in (wrong or {}).items():
        if value is None:
            del content["cells"][1][name]
        else:
            content["cells"][1][name] = value
    if wrong is None:
        content["cells"][1] = None
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"05_training\.ipynb: cell 2 lacks a type, a source or metadata, or its tags are"):
        read_parameters(path)


def test_typed_values_are_strict(declared):
    given = {"steps": 1, "rate": 1, "fast": True, "nfe": [1, 4096], "shares": [0, 1.5], "corpus": "tinyshakespeare"}
    accepted = validate(declared, given, "05_training")
    assert accepted == given
    assert type(accepted["rate"]) is float


@pytest.mark.parametrize(
    "given",
    [
        {"steps": True},
        {"steps": 1.0},
        {"steps": "300"},
        {"steps": None},
        {"steps": 0},
        {"steps": 100001},
        {"rate": 0},
        {"rate": 1.01},
        {"rate": True},
        {"rate": float("nan")},
        {"fast": 1},
        {"nfe": 4},
        {"nfe": [4, 0]},
        {"nfe": [True]},
        {"nfe": []},
        {"shares": [2]},
        {"corpus": "wikipedia"},
        {"copy": 3},
    ],
)
def test_ill_typed_and_out_of_range_values_are_named_with_what_is_expected(declared, given):
    (name, value), expected = *given.items(), {p.name: p.expected for p in declared}
    with pytest.raises(InputError) as caught:
        validate(declared, given, "05_training")
    assert str(caught.value) == f"parameter {name!r} of 05_training is {value!r}, not {expected[name]}."


def test_a_multiple_is_asked_for_where_it_is_declared(tmp_path):
    declared = read_parameters(declare(tmp_path, "width: int = 96  # in [8, 1024], a multiple of 4: width"))
    assert (declared[0].range, declared[0].help) == ("in [8, 1024], a multiple of 4", "width")
    assert validate(declared, {"width": 8}, "05_training") == {"width": 8}
    with pytest.raises(InputError, match=r"'width' of 05_training is 97, not int in \[8, 1024\], a multiple of 4\."):
        validate(declared, {"width": 97}, "05_training")
    said = Draft202012Validator(schema(declared, "05_training"))
    assert [said.is_valid({"width": width}) for width in (8, 96, 97, 1028)] == [True, True, False, False]


def test_the_width_of_the_transformer_is_checked_before_its_notebook_runs():
    path = NOTEBOOKS / "10_training_the_denoiser.ipynb"
    with pytest.raises(InputError, match="'width' of 10_training_the_denoiser is 97"):
        validate(read_parameters(path), {"width": 97}, path.stem)


def test_an_unknown_name_gets_the_nearest_one_and_the_list(declared):
    with pytest.raises(InputError) as caught:
        validate(declared, {"step": 3}, "05_training")
    assert str(caught.value) == (
        "unknown parameter 'step' of 05_training: did you mean 'steps'? It takes corpus, steps, rate, fast, nfe, shares, copy."
    )


def test_all_problems_stand_in_one_line(declared):
    with pytest.raises(InputError) as caught:
        parse_assignments(declared, ["step=2", "rate=high\nest", "nfe=0,9", "fast=true"], "05_training")
    assert "\n" not in str(caught.value)
    first, second, third = str(caught.value).split("; ")
    assert "'step'" in first
    assert "'rate'" in second
    assert "'nfe' of 05_training is [0, 9]" in third


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=2000", 2000),
        ("rate=3e-4", 3e-4),
        ("rate=1", 1.0),
        ("fast=true", True),
        ("fast=False", False),
        ("nfe=[4,8]", [4, 8]),
        ("nfe=4, 8", [4, 8]),
        ("nfe=4", [4]),
        ("shares=0,1.5", [0.0, 1.5]),
        ("copy=a=b", "a=b"),
        ("copy=7", "7"),
    ],
)
def test_texts_are_read_by_the_declared_type(declared, text, value):
    (read,) = parse_assignments(declared, [text], "05_training").values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "texts", [["steps=1e3"], ["fast=1"], ["nfe="], ["steps"], ["=3"], ["steps=1", "steps=2"], ["rate=inf"]]
)
def test_texts_that_are_no_such_value_are_refused(declared, texts):
    with pytest.raises(InputError):
        parse_assignments(declared, texts, "05_training")


def test_a_value_equal_to_its_default_changes_nothing(declared):
    values = parse_assignments(declared, ["nfe=8", "steps=300"], "05_training")
    assert non_default(declared, values) == {"nfe": [8]}


def test_the_schema_is_one_and_accepts_what_a_run_accepts(declared):
    said = schema(declared, "05_training")
    Draft202012Validator.check_schema(said)
    assert said["title"] == "Parameters of 05_training"
    rate = said["properties"]["rate"]
    assert rate == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 1,
        "description": "learning rate, the largest",
    }
    corpus = {
        "type": "string",
        "enum": ["agreement", "tinyshakespeare"],
        "default": "agreement",
        "description": "what to train on",
    }
    assert said["properties"]["corpus"] == corpus
    assert "required" not in said
    good = [{}, {"steps": 1}, {"corpus": "tinyshakespeare", "fast": True}, {"nfe": [1, 4096]}, {"rate": 1}]
    bad = [
        {"steps": 0},
        {"steps": "7"},
        {"corpus": "novel"},
        {"nfe": []},
        {"nfe": [0]},
        {"rate": 0},
        {"shares": [2.0]},
        {"stepz": 1},
    ]
    for given in good:
        validate(declared, given, "05_training")
        assert Draft202012Validator(said).is_valid(given)
    for given in bad:
        with pytest.raises(InputError):
            validate(declared, given, "05_training")
        assert not Draft202012Validator(said).is_valid(given)


def test_the_inspector_of_papermill_reads_the_same_in_every_notebook_of_the_book():
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert len(notebooks) > 20
    for path in notebooks:
        cells = nbformat.read(path, as_version=4).cells
        (cell,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", ()))
        theirs, ours = PythonTranslator.inspect(cell), read_parameters(path)
        assert [p.name for p in ours] == [found.name for found in theirs], path
        assert [p.type for p in ours] == [found.inferred_type_name for found in theirs]
        assert [p.default for p in ours] == [ast.literal_eval(found.default) for found in theirs]
        assert [f"{p.range}: {p.help}".removeprefix(": ") for p in ours] == [found.help for found in theirs]


def test_without_pydantic_one_line_says_what_to_install(declared, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(InputError, match=r"parameters need pydantic: pip install 'ardm\[book\]'"):
        validate(declared, {"steps": 1}, "05_training")


def test_the_package_imports_without_the_tools_of_the_book():
    absent = "pydantic papermill nbformat nbclient nbconvert myst_nb IPython"
    code = f"import sys; sys.modules |= dict.fromkeys({absent.split()!r}); import ardm.cli, ardm.book.stated"
    subprocess.run([sys.executable, "-c", code], check=True)
