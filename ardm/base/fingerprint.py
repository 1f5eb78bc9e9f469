"""What a result depends on besides its recipe: the code that is run, without comments, and the versions of what computes.

A result is kept under a name made of both, so that nothing kept outlives the code that made it. The code is that of the named
modules and of all that they import from this package, directly or not. A comment, a docstring or a blank line changes no result.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ardm.base.errors import InputError

__all__ = ["code", "digest", "imports", "modules_of", "source", "versions"]

PACKAGE = "ardm"
COMPUTE = ("torch", "numpy", "scipy")


def digest(what: Any) -> str:
    """A short name of exactly these values: 16 hexadecimal digits of the SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:16]


@cache
def versions() -> dict[str, str]:
    """The versions of the libraries that compute; a local part such as +cpu names a build and is left out."""
    return {name: version(name).split("+")[0] for name in COMPUTE}


@cache
def code(*modules: str) -> str:
    """A digest of the code that the modules and everything they import from the package consist of."""
    return digest({name: source(_path(name)) for name in modules_of(*modules)})


@cache
def modules_of(*modules: str) -> tuple[str, ...]:
    """The modules and all that they import from the package, in alphabetical order."""
    found, waiting = set(), list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports(_path(name).read_text("utf8"))
    return tuple(sorted(found))


def _path(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"there is no module {module!r}: name one of the package {PACKAGE}")
    return Path(spec.origin)


@cache
def imports(text: str) -> list[str]:
    """The modules of the package that a source imports, anywhere in it but for what only a type checker reads."""
    names: list[str] = []
    for node in _run(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name for name in inner if node.module.startswith(PACKAGE) and _is_module(name)] or [node.module]
    return [name for name in names if name.split(".")[0] == PACKAGE]


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is a module and no package
        return False


def _run(tree: ast.AST) -> Iterable[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _run(node)


def source(path: Path) -> str:
    """The code of a file without comments, docstrings and blank lines."""
    return _bare(path.read_text("utf8"))


@cache
def _bare(text: str) -> str:
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for inner in sorted(_docstrings(ast.parse(text)), key=lambda node: (node.lineno, node.col_offset), reverse=True):
        first, last = lines[inner.lineno - 1].encode(), lines[inner.end_lineno - 1].encode()  # columns count bytes
        left = first[: inner.col_offset] + last[inner.end_col_offset :]
        lines[inner.lineno - 1 : inner.end_lineno] = [left.decode(), *[""] * (inner.end_lineno - inner.lineno)]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _docstrings(tree: ast.AST) -> Iterable[ast.expr]:
    """The strings that stand alone as a statement: docstrings, and those of attributes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for inner in body:
                if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str):
                    yield inner.value
