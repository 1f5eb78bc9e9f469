"""The nouns that ``ardm`` itself offers: each resolves, none is loaded before it is used, the package does without them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ardm

PACKAGE = Path(ardm.__file__).parent


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, ardm; heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'cyclopts'} & set(sys.modules)"
    code += "; sys.exit(str(heavy) if heavy else 0)"
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("name", ardm.__all__)
def test_every_name_resolves_to_the_thing_of_that_name(name):
    thing = getattr(ardm, name)
    assert thing.__name__ == name
    assert thing.__module__.startswith("ardm.")


def test_what_a_type_checker_reads_is_what_is_loaded():
    (block,) = (node for node in ast.parse(Path(ardm.__file__).read_text()).body if isinstance(node, ast.If))
    read = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert read == ardm._HOME
    assert sorted(read) == ardm.__all__
    assert set(read) <= set(dir(ardm))


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'ardm' has no attribute 'refined'"):
        ardm.refined  # noqa: B018  the look-up is the test
    with pytest.raises(ImportError, match="refined"):
        exec("from ardm import refined")


def test_the_package_itself_imports_from_the_defining_modules():
    """What a result depends on is read from the imports, and a name loaded at first use hides where it comes from."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "ardm":
                assert [alias.name for alias in node.names] == ["__version__"], path
