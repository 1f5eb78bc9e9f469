"""The page of promises: each names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINES = [line for line in (ROOT / "book" / "trust.md").read_text("utf8").splitlines() if re.match(r"\| (?!Promise)[^-]", line)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:40])
def test_a_promise_names_a_test_that_exists(line):
    promise, test = (part.strip() for part in line.split("|")[1:3])
    file, _, name = test.strip("`").partition("::")
    names = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text("utf8"))) if isinstance(node, ast.FunctionDef)}
    assert promise.endswith(".") and len(promise.split()) > 4
    assert name in names and name.startswith("test_")


def test_the_page_holds_promises():
    assert len(LINES) > 25
