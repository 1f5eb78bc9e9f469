"""The parameters of a notebook: read from the declarations in its cell tagged ``parameters``, never executed.

One declaration a line: ``steps: int = 300  # in [1, 100000]: optimiser steps``. ``(`` and ``)`` leave an end of the range out.
A text may list its choices instead: ``# one of agreement, tinyshakespeare: what to train on``. A range or a list of choices
holds for every item of a list.
"""

from __future__ import annotations

import ast
import difflib
import io
import json
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError

__all__ = [
    "Parameter",
    "non_default",
    "parse_assignments",
    "read_notebook",
    "read_parameters",
    "schema",
    "validate",
    "write_notebook",
]

FORM = "name: type = value  # in [low, high]: meaning"
ITEMS = {"bool": bool, "int": int, "float": float, "str": str}
TYPES = (*ITEMS, "list[int]", "list[float]", "list[str]")

_RANGE = re.compile(
    r"in\s*(?P<open>[\[(])\s*(?P<low>[^\s,]+)\s*,\s*(?P<high>[^\s,\])]+)\s*(?P<close>[\])])\s*:\s*(?P<help>\S.*)"
)
_CHOICES = re.compile(r"one of\s+(?P<choices>[^:]+):\s*(?P<help>\S.*)")


@dataclass(frozen=True)
class Parameter:
    """One declared parameter. ``minimum``, ``maximum`` and ``choices`` hold for every item when ``type`` is a list."""

    name: str
    type: str
    default: Any
    help: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    choices: tuple[str, ...] = ()

    @property
    def item(self) -> str:
        """The type of one item: ``int`` for ``int`` and for ``list[int]``."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def is_list(self) -> bool:
        return self.type != self.item

    @property
    def range(self) -> str:
        """The allowed values in words; empty when every value of the type is allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is None:
            return ""
        ends = "[("[self.exclusive_minimum], "])"[self.exclusive_maximum]
        return f"in {ends[0]}{self.minimum}, {self.maximum}{ends[1]}"

    @property
    def expected(self) -> str:
        """Type and range in words, as an error message says them."""
        return f"{self.type}{', each' if self.is_list and self.range else ''} {self.range}".strip()


def read_notebook(path: Path) -> dict[str, Any]:
    """The notebook as plain JSON. A missing file and one that is not a notebook of format 4 are input errors."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not a notebook: {error}") from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path} is not a notebook of format 4: save it once with JupyterLab")
    return notebook


def write_notebook(notebook: dict[str, Any], path: Path) -> None:
    """Write the notebook whole, formatted as Jupyter does."""
    import nbformat

    write_whole(path, nbformat.writes(nbformat.from_dict(notebook), indent=1).rstrip("\n") + "\n")


def read_parameters(path: Path) -> tuple[Parameter, ...]:
    """The declared parameters in order; none without a cell tagged ``parameters``. A malformed one is named by its line."""
    cells = [cell for cell in read_notebook(path)["cells"] if "parameters" in cell.get("metadata", {}).get("tags", ())]
    if len(cells) > 1:
        raise InputError(f"{path.stem} has {len(cells)} cells tagged 'parameters': keep one")
    return _declarations("".join(cells[0]["source"]), path.stem) if cells else ()


def _declarations(source: str, notebook: str) -> tuple[Parameter, ...]:
    place = f"{notebook}, parameters cell, line"
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(f"{place} {error.lineno}: {error.msg}") from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in statements:
        try:
            parameter = _declared(statement, comments.get(statement.end_lineno or 0, ""))
            if parameter.name in found:
                raise InputError(f"{parameter.name} is declared twice")
        except InputError as error:
            raise InputError(f"{place} {statement.lineno}: {error}") from None
        found[parameter.name] = parameter
    return tuple(found.values())


def _comments(source: str) -> dict[int, str]:
    """The text of the comment on each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT}


def _declared(statement: ast.stmt, comment: str) -> Parameter:
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name) or statement.value is None:
        raise InputError(f"{ast.unparse(statement)!r} is not of the form '{FORM}'")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if kind not in TYPES:
        raise InputError(f"{name} is of type {kind}: take one of {', '.join(TYPES)}")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise InputError(f"the default of {name}, {ast.unparse(statement.value)!r}, is not a literal") from None
    parameter = Parameter(name, kind, default, **_constraint(name, kind, comment))
    return replace(parameter, default=_checked_default(parameter))


def _constraint(name: str, kind: str, comment: str) -> dict[str, Any]:
    """The fields of ``Parameter`` that the comment states."""
    if not comment:
        raise InputError(f"{name} has no comment: write '{FORM}'")
    if "int" in kind or "float" in kind:
        return _range(name, comment)
    if re.match(r"in\s*[\[(]", comment):
        raise InputError(f"{name} is of type {kind}, which has no range")
    if "str" in kind and comment.startswith("one of "):
        if not (match := _CHOICES.fullmatch(comment)):
            raise InputError(f"{name} needs its choices and its meaning: '# one of a, b: meaning'")
        return {"choices": tuple(choice.strip() for choice in match["choices"].split(",")), "help": match["help"]}
    return {"help": comment}


def _range(name: str, comment: str) -> dict[str, Any]:
    match = _RANGE.fullmatch(comment)
    if not match:
        raise InputError(f"{name} needs its range and its meaning: '# in [low, high]: meaning'; ( and ) leave an end out")
    low, high = _number(match["low"]), _number(match["high"])
    if not low < high and not (low == high and match["open"] + match["close"] == "[]"):
        raise InputError(f"the range of {name} is empty: {comment.split(':')[0]}")
    return {
        "minimum": low,
        "maximum": high,
        "exclusive_minimum": match["open"] == "(",
        "exclusive_maximum": match["close"] == ")",
        "help": match["help"],
    }


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InputError(f"{text!r} is not a number")


def _checked_default(parameter: Parameter) -> Any:
    try:
        return validate((parameter,), {parameter.name: parameter.default}, "this notebook")[parameter.name]
    except InputError:
        raise InputError(f"the default of {parameter.name}, {parameter.default!r}, is not {parameter.expected}") from None


def validate(parameters: Sequence[Parameter], given: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    """The given values, checked against the declarations. Strict: the one conversion made is from int to float.

    Raises one ``InputError`` that lists every problem.
    """
    from pydantic import ValidationError

    try:
        accepted = _model(parameters).model_validate(dict(given))
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors()}
        problems = [_problem(name, given[name], parameters, notebook) for name in given if name in wrong]
        raise InputError("; ".join(problems) + ".") from None
    return {p.name: getattr(accepted, f"field_{p.name}") for p in parameters if p.name in given}


def schema(parameters: Sequence[Parameter], notebook: str) -> dict[str, Any]:
    """What values a run of the notebook takes, as a JSON schema (draft 2020-12): types, ranges, defaults and meanings."""
    found = _model(parameters).model_json_schema()
    for field in found.get("properties", {}).values():
        del field["title"]  # made from the name
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **found, "title": f"Parameters of {notebook}"}


def _model(parameters: Sequence[Parameter]) -> Any:
    """A pydantic model of the declarations. The fields carry a prefix, so that a parameter may have any name, ``copy`` too."""
    from pydantic import ConfigDict, Field, create_model

    fields = {f"field_{p.name}": (_annotation(p), Field(p.default, alias=p.name, description=p.help)) for p in parameters}
    return create_model("Parameters", __config__=ConfigDict(strict=True, extra="forbid"), **fields)


def _annotation(parameter: Parameter) -> Any:
    from typing import Annotated, Literal

    from pydantic import Field

    item: Any = Literal[parameter.choices] if parameter.choices else ITEMS[parameter.item]
    if parameter.minimum is not None:
        ends = {
            "gt" if parameter.exclusive_minimum else "ge": parameter.minimum,
            "lt" if parameter.exclusive_maximum else "le": parameter.maximum,
        }
        item = Annotated[item, Field(**ends, **({"allow_inf_nan": False} if parameter.item == "float" else {}))]
    return Annotated[list[item], Field(min_length=1)] if parameter.is_list else item


def _problem(name: str, value: Any, parameters: Sequence[Parameter], notebook: str) -> str:
    declared = {parameter.name: parameter for parameter in parameters}
    if name in declared:
        return f"parameter {name!r} of {notebook} is {value!r}, not {declared[name].expected}"
    close = difflib.get_close_matches(name, declared, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown parameter {name!r} of {notebook}{hint} It takes {', '.join(declared) or 'no parameters'}"


def parse_assignments(parameters: Sequence[Parameter], assignments: Sequence[str], notebook: str) -> dict[str, Any]:
    """Values from texts such as ``steps=2000``, ``nfe=4,8`` and ``fast=true``, read by the declared types and validated."""
    declared = {parameter.name: parameter for parameter in parameters}
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            raise InputError(f"{assignment!r} is not of the form name=value")
        if name in given:
            raise InputError(f"parameter {name!r} is given twice")
        given[name] = _from_text(declared[name], text) if name in declared else text
    return validate(parameters, given, notebook)


def _from_text(parameter: Parameter, text: str) -> Any:
    if not parameter.is_list:
        return _item_from_text(parameter.item, text)
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    return [_item_from_text(parameter.item, item.strip().strip("'\"")) for item in inside.split(",")] if inside.strip() else []


def _item_from_text(kind: str, text: str) -> Any:
    """The text as a value of the type, or the text itself, for ``validate`` to name."""
    try:
        return {"true": True, "false": False}[text.lower()] if kind == "bool" else ITEMS[kind](text)
    except (KeyError, ValueError):
        return text


def non_default(parameters: Sequence[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the declared defaults, in the order of the declarations."""
    return {p.name: values[p.name] for p in parameters if p.name in values and values[p.name] != p.default}
