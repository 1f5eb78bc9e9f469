"""What changes the digest of code and what does not, on a small package made here; and the digests of the package itself."""

import ast
import json
import subprocess
import sys

import pytest

from ardm.base import fingerprint
from ardm.base.errors import InputError

FILES = {
    "__init__.py": "",
    "top.py": '''"""The top."""

from typing import TYPE_CHECKING

import json
import house.base
from house.wing import room, LAMP
from house.wing.cellar import wine

if TYPE_CHECKING:
    from house.typing import Shape


def cook(shape: "Shape"):
    """Cook."""
    from house.late import spice  # only when one cooks

    return """a string

    of three lines""" + spice  # no docstring
''',
    "base.py": "HEIGHT = 3\n",
    "typing.py": "Shape = int\n",
    "late.py": "import house.deep\nspice = 1\n",
    "deep.py": "salt = 1\n",
    "alone.py": "import house.top\n",
    "wing/__init__.py": "LAMP = 1\n",
    "wing/room.py": "import house.top\n",  # a circle
    "wing/cellar.py": "wine = 1\n",
}
TOP = ("house.base", "house.deep", "house.late", "house.top", "house.wing.cellar", "house.wing.room")


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The package in a folder of its own; a function that edits a file of it and gives the digest of ``house.top``."""
    folder = tmp_path / "house"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(fingerprint, "PACKAGE", "house")
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (fingerprint.code, fingerprint.modules_of):
        cached.cache_clear()

    def edited(name="", old="", new=""):
        path = folder / (name or "top.py")
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else text)
        fingerprint.code.cache_clear()
        fingerprint.modules_of.cache_clear()
        found = fingerprint.code("house.top")
        path.write_text(text)
        return found

    yield edited
    for name in [name for name in sys.modules if name.split(".")[0] == "house"]:
        del sys.modules[name]
    for cached in (fingerprint.code, fingerprint.modules_of):
        cached.cache_clear()


def test_modules_are_found_through_every_import_but_those_of_the_type_checker(house):
    assert fingerprint.modules_of("house.top") == TOP
    assert fingerprint.modules_of("house.deep") == ("house.deep",)
    assert set(fingerprint.modules_of("house.deep", "house.alone")) == {*TOP, "house.alone"}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("top.py", '"""The top."""', '"""Another\n\nheading."""'),
        ("top.py", '    """Cook."""\n', ""),
        ("top.py", "  # only when one cooks", "  # always"),
        ("top.py", "  # only when one cooks", ""),
        ("top.py", "\n\ndef cook", "\n\n\n# a new line\n\ndef cook"),
        ("base.py", "HEIGHT = 3\n", 'HEIGHT = 3   # metres\n\n"""The height."""\n'),
        ("typing.py", "Shape = int", "Shape = float"),
        ("alone.py", "import house.top", "import json"),
    ],
)
def test_what_changes_no_result_changes_no_digest(house, name, old, new):
    assert house(name, old, new) == house()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("top.py", "+ spice", "- spice"),
        ("top.py", "a string", "the string"),
        ("top.py", "of three lines", "of # three lines"),  # a number sign in a string is no comment
        ("top.py", "import json", "import math"),
        ("base.py", "3", "4"),
        ("base.py", "HEIGHT = 3\n", 'HEIGHT = 3\nNAME = "the height"\n'),
        ("wing/cellar.py", "1", "2"),
        ("wing/room.py", "import house.top\n", "import house.top\nx = 1\n"),
        ("late.py", "spice = 1", "spice = 2"),
        ("deep.py", "1", "2"),  # imported by what a function imports
    ],
)
def test_any_other_edit_changes_it(house, name, old, new):
    assert house(name, old, new) != house()


def test_code_on_the_line_on_which_a_docstring_ends_is_code(house):
    """A column counts bytes, and a docstring may hold letters that take two."""
    told = {
        (doc, height): house("base.py", "HEIGHT = 3\n", f'"""{doc}"""; HEIGHT = {height}  # metres\n')
        for doc in ("The height", "Die Höhe,\nin Metern")
        for height in (3, 4)
    }
    (one, other), (german, changed) = (list(told.values())[i : i + 2] for i in (0, 2))
    assert one == german and other == changed and one != other
    before, after = (house("base.py", "HEIGHT = 3\n", f'HEIGHT = 3; "The height"; WIDTH = {width}\n') for width in (1, 2))
    assert before != after


def test_a_module_that_is_not_there_is_named(house):
    with pytest.raises(InputError, match=r"there is no module 'house\.attic': name one of the package house"):
        fingerprint.modules_of("house.attic")


def test_a_digest_is_of_the_values_and_not_of_their_order():
    assert fingerprint.digest({"a": 1, "b": [1, 2]}) == fingerprint.digest({"b": (1, 2), "a": 1})
    changed = ({"a": 2, "b": [1, 2]}, {"a": 1, "b": [2, 1]}, {"a": 1}, {"a": "1", "b": [1, 2]})
    assert len({fingerprint.digest(what) for what in ({"a": 1, "b": [1, 2]}, *changed)}) == 5
    assert set(fingerprint.digest(0)) <= set("0123456789abcdef") and len(fingerprint.digest(0)) == 16


def test_versions_are_those_of_the_libraries_without_the_name_of_a_build():
    import numpy
    import scipy
    import torch

    expected = {"torch": torch.__version__.split("+")[0], "numpy": numpy.__version__, "scipy": scipy.__version__}
    assert fingerprint.versions() == expected


@pytest.mark.parametrize("name", ["ardm.method.train_denoiser", "ardm.method.train_gate", "ardm.worlds.corpora"])
def test_static_imports_are_those_that_python_makes(name):
    """What a fresh interpreter has loaded of the package after the import is what the digest is of."""
    ask = f"import sys, json, {name}; print(json.dumps([m for m in sys.modules if m.split('.')[0] == 'ardm']))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout))
    found = set(fingerprint.modules_of(name))
    packages = {module for module in loaded if any(other.startswith(f"{module}.") for other in loaded)}
    passed = {module for package in packages - found for module in fingerprint.modules_of(package)}
    assert loaded - packages <= found | passed  # a package that nothing is taken from is only passed through on the way


def test_what_has_a_digest_has_no_import_that_is_not_seen():
    """Imports are read from the source: one that is made of a string, or relative, would be missed."""
    for module in fingerprint.modules_of("ardm.method.train_denoiser", "ardm.method.train_gate", "ardm.worlds.corpora"):
        tree = ast.parse(fingerprint._path(module).read_text("utf8"))
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}, line {node.lineno}"
            assert getattr(node, "id", getattr(node, "attr", "")) not in ("__import__", "import_module"), module
