"""The parameters of a notebook: read from the declarations in its cell tagged ``parameters``, never executed.

One declaration a line: ``steps: int = 300  # in [1, 100000]: optimiser steps``. ``(`` and ``)`` leave an end of the range out.
An integer may have to be a multiple: ``# in [8, 1024], a multiple of 4: width``.
A text may list its choices instead: ``# one of agreement, tinyshakespeare: what to train on``. A range or a list of choices
holds for every item of a list. pydantic checks values and writes the schema.

papermill's inspector reads such a cell too, but leaves out what it cannot read without a word, where a reader is owed the line.
"""

from __future__ import annotations

import ast
import difflib
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ardm.base.errors import InputError
from ardm.book.notebooks import read_notebook

__all__ = ["Parameter", "non_default", "parse_assignments", "read_parameters", "schema", "validate"]

FORM = "name: type = value  # in [low, high]: meaning"
ITEMS = {"bool": bool, "int": int, "float": float, "str": str}
LONGEST = 80  # letters of a value in a message
TYPES = (*ITEMS, "list[int]", "list[float]", "list[str]")

_RANGE = re.compile(
    r"(?P<range>in\s*[\[(]\s*[^\s,]+\s*,\s*[^\s,\])]+\s*[\])](?:, a multiple of [1-9]\d*)?)\s*:\s*(?P<help>\S.*)"
)
_CHOICES = re.compile(r"(?P<range>one of\s+[^:]+?)\s*:\s*(?P<help>\S.*)")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One declared parameter. ``range``: ``in [1, 9]``, ``one of a, b``, or empty; it holds for every item of a list."""

    name: str
    type: str
    default: Any
    help: str
    range: str = ""

    @property
    def item(self) -> str:
        """The type of one item: ``int`` for ``int`` and for ``list[int]``."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def is_list(self) -> bool:
        return self.type != self.item

    @property
    def expected(self) -> str:
        """Type and range in words, as an error message says them."""
        if not self.is_list:
            return f"{self.type} {self.range}".strip()
        return f"{self.type}, at least one, each {self.range}" if self.range else f"{self.type}, at least one"


def read_parameters(path: Path) -> tuple[Parameter, ...]:
    """The declared parameters in order; none without a cell tagged ``parameters``. A malformed one is named by its line."""
    cells = [cell for cell in read_notebook(path)["cells"] if "parameters" in cell.get("metadata", {}).get("tags", ())]
    if len(cells) > 1:
        raise InputError(f"{path.stem} has {len(cells)} cells tagged 'parameters': keep one")
    source, found = "".join(cells[0]["source"]) if cells else "", {}
    line = 0
    try:
        statements, comments = ast.parse(source).body, _comments(source)
        for statement in statements:
            line = statement.lineno
            parameter = _declared(statement, comments.get(statement.end_lineno, ""))
            if parameter.name in found:
                raise InputError(f"{parameter.name} is declared twice")
            found[parameter.name] = parameter
    except SyntaxError as error:
        raise InputError(f"{path.stem}, parameters cell, line {error.lineno}: {error.msg}") from None
    except InputError as error:
        raise InputError(f"{path.stem}, parameters cell, line {line}: {error}") from None
    return tuple(found.values())


def _comments(source: str) -> dict[int | None, str]:
    """The text of the comment on each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT}


def _declared(statement: ast.stmt, comment: str) -> Parameter:
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name) or statement.value is None:
        raise InputError(f"{ast.unparse(statement)!r} is not of the form '{FORM}'")
    name, kind = statement.target.id, ast.unparse(statement.annotation)
    if kind not in TYPES:
        raise InputError(f"{name} is of type {kind}: take one of {', '.join(TYPES)}")
    if not comment:
        raise InputError(f"{name} has no comment: write '{FORM}'")
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        raise InputError(f"the default of {name}, {ast.unparse(statement.value)!r}, is not a literal") from None
    parameter = Parameter(name=name, type=kind, default=default, help=comment)
    parameter = replace(parameter, **_described(parameter))
    adapter = _adapter([parameter])
    try:
        return replace(parameter, default=adapter.validate_python({name: default})[name])
    except ValueError:
        raise InputError(f"the default of {name}, {default!r}, is not {parameter.expected}") from None


def _described(parameter: Parameter) -> dict[str, str]:
    """Range and meaning, as the comment states them."""
    name, comment = parameter.name, parameter.help
    if parameter.item in ("int", "float"):
        if not (found := _RANGE.fullmatch(comment)):
            raise InputError(f"{name} needs its range and its meaning: '# in [low, high]: meaning'; ( and ) leave an end out")
    elif parameter.item == "str" and comment.startswith("one of "):
        if not (found := _CHOICES.fullmatch(comment)):
            raise InputError(f"{name} needs its choices and its meaning: '# one of a, b: meaning'")
    elif re.match(r"in\s*[\[(]", comment):
        raise InputError(f"{name} is of type {parameter.type}, which has no range")
    else:
        return {}
    return found.groupdict()


def _annotation(parameter: Parameter) -> Any:
    """Type and range as pydantic reads them."""
    from pydantic import Field

    item: Any = ITEMS[parameter.item]
    if parameter.range.startswith("one of "):
        item = Literal[tuple(choice.strip() for choice in parameter.range.removeprefix("one of ").split(","))]
    elif parameter.range:
        interval, _, unit = parameter.range.partition(", a multiple of ")
        low, high = interval[2:].strip(" []()").split(",")
        ends = {"gt" if "(" in interval else "ge": low, "lt" if ")" in interval else "le": high}
        bounds = {end: _number(text.strip(), item) for end, text in ends.items()}
        item = Annotated[item, Field(**bounds, multiple_of=int(unit) if unit else None)]
    return Annotated[list[item], Field(min_length=1)] if parameter.is_list else item


def _number(text: str, kind: type) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{text!r} is no {kind.__name__}") from None


def _adapter(parameters: Sequence[Parameter]) -> Any:
    """What pydantic makes of the declarations: strict, but for int where float is declared."""
    try:
        from pydantic import ConfigDict, Field, TypeAdapter, with_config
        from typing_extensions import TypedDict
    except ImportError as error:
        raise InputError(f"parameters need {error.name}: pip install 'ardm[book]'") from error
    fields = {
        p.name: Annotated[_annotation(p), Field(description=p.help, json_schema_extra={"default": p.default})]
        for p in parameters
    }
    strict = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return TypeAdapter(with_config(strict)(TypedDict("Parameters", fields, total=False)))


def validate(parameters: Sequence[Parameter], given: Mapping[str, Any], notebook: str) -> dict[str, Any]:
    """The given values in the order of the declarations, checked against them. The one conversion made is from int to float.

    Raises one ``InputError`` that lists every problem.
    """
    adapter = _adapter(parameters)
    from pydantic import ValidationError

    try:
        return adapter.validate_python(dict(given))
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors()}
        problems = [_problem(name, given[name], parameters, notebook) for name in given if name in wrong]
        raise InputError("; ".join(problems) + ".") from None


def schema(parameters: Sequence[Parameter], notebook: str) -> dict[str, Any]:
    """What values a run of the notebook takes, as a JSON schema (draft 2020-12): types, ranges, defaults and meanings."""
    found = _adapter(parameters).json_schema()
    for field in found["properties"].values():
        del field["title"]  # made from the name
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **found, "title": f"Parameters of {notebook}"}


def _problem(name: str, value: Any, parameters: Sequence[Parameter], notebook: str) -> str:
    declared = {parameter.name: parameter for parameter in parameters}
    if name in declared:
        return f"parameter {name!r} of {notebook} is {_shown(value)}, not {declared[name].expected}"
    close = difflib.get_close_matches(name, declared, n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return f"unknown parameter {_shown(name)} of {notebook}{hint} It takes {', '.join(declared) or 'no parameters'}"


def _shown(value: Any) -> str:
    """The value as Python writes it, or as much of it as a line has room for."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def parse_assignments(parameters: Sequence[Parameter], assignments: Sequence[str], notebook: str) -> dict[str, Any]:
    """Values from texts such as ``steps=2000``, ``nfe=4,8`` and ``fast=true``, read by the declared types and validated."""
    declared = {parameter.name: parameter for parameter in parameters}
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals or not name:
            raise InputError(f"{_shown(assignment)} is not of the form name=value")
        if name in given:
            raise InputError(f"parameter {_shown(name)} is given twice")
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
