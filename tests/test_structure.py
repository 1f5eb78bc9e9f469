"""What a reader relies on in the code: imports point one way, the core is light, and the page about the code is true of it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import grimp
import pytest
import structure
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "ardm").rglob("*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}
PAGE = ROOT / "book" / "code.md"


# --------------------------------------------------------------------------------------------------------------- imports


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """import-linter on the contracts of the pyproject.toml in a folder that holds the package."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False)


def test_imports_keep_their_contracts():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("method/signals.py", "import ardm.worlds.laws", "ardm.method is not allowed to import ardm.worlds"),
        ("worlds/laws.py", "def f():\n    from ardm.book import figures", "ardm.worlds is not allowed to import ardm.book"),
        ("method/types.py", "import ardm.method.losses", "No cycles are allowed"),
        ("method/draw.py", "import ardm.method.gate", "ardm.method.sampling is not allowed to import ardm.method.gate"),
        ("worlds/histograms.py", "import ardm.worlds.judge", "ardm.worlds.fidelity is not allowed to import ardm.worlds.judge"),
        ("book/stated.py", "import seaborn", "ardm is not allowed to import seaborn"),
    ],
)
def test_a_broken_contract_is_seen(tmp_path, file, line, said):
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for path in SOURCES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    with (tmp_path / "ardm" / file).open("a") as end:
        end.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())


def without(extras: str, code: str) -> None:
    """Run code in a Python that has none of these packages."""
    blocked = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {extras.split()!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Block())
{code}
"""
    done = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


EXTRAS = (
    "pandas matplotlib seaborn pooch requests pydantic papermill nbformat IPython jaxtyping ipywidgets grimp yaml "
    "lightning_fabric"
)
CORE = sorted(name for name in MODULES if name.split(".")[1:2] in (["base"], ["method"], ["worlds"]))


def test_importing_the_package_loads_neither_torch_nor_numpy():
    without("torch numpy", "import ardm; print(ardm.__version__, ardm.__all__)")


def test_the_core_needs_torch_numpy_scipy_safetensors_and_tqdm_alone():
    assert len(CORE) > 30
    without(EXTRAS, "\n".join(f"import {name}" for name in CORE))


def test_the_page_lists_what_the_package_offers():
    rows = structure.nouns(ROOT).splitlines()[2:]
    assert [re.search(r"`(\w+) <", row).group(1) for row in rows] == sorted(importlib.import_module("ardm").__all__)


def test_the_nouns_need_no_more_than_the_core():
    without(EXTRAS, "import ardm\nfor name in ardm.__all__: getattr(ardm, name)")


# ------------------------------------------------------------------------------------------------------- what code says


def test_shape_annotations_are_checked_under_pytest():
    from ardm.method.losses import denoising_loss

    with pytest.raises(Exception, match="denoising_loss"):
        denoising_loss(torch.zeros(2, 3, 4), torch.zeros(2, 5, dtype=torch.long))


def test_public_functions_say_what_they_do():
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text("utf8"))
        assert ast.get_docstring(tree), f"{name} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_no_machine_path_in_what_is_published():
    for path in [*SOURCES, *ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("book/*.md"), ROOT / "README.md"]:
        assert not re.search(r"/(tmp|root|home|work)/\w", path.read_text("utf8")), path.name


# ------------------------------------------------------------------------------------------- the page about the code


@pytest.fixture(scope="module")
def drawn() -> structure.Structure:
    return structure.structure(ROOT)


def words(drawing: str) -> list[str]:
    """The texts of an SVG, in order."""
    return [node.text for node in ET.fromstring(drawing).iter() if node.tag.endswith("text")]


def test_every_module_stands_in_the_picture(drawn):
    shown = words(structure.picture(drawn))
    for name in set(MODULES) - {"ardm", "ardm.__main__"}:
        if name.count(".") > 1:  # a wing's own name is its title
            assert name.rpartition(".")[2] in shown or f"{name.rpartition('.')[2]}/" in shown, name
    assert {wing.name for wing in drawn.wings} <= set(shown)


def test_lines_of_a_wing_by_hand(drawn):
    for wing in drawn.wings:
        files = [path for name, path in MODULES.items() if name.split(".")[1:2] == [wing.name]]
        assert wing.lines == sum(path.read_bytes().count(b"\n") for path in files)


def test_arrows_are_the_imports_and_all_point_down(drawn):
    """Counted again with Python's own parser: files of one wing that import a file of another, outside of TYPE_CHECKING."""
    pairs = set()
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text("utf8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                pairs |= {(name, alias.name) for alias in node.names if alias.name in MODULES}
            elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(MODULES)
                pairs |= {(name, other) for other in inner or {node.module}}
    wing = {name: name.split(".")[1] for name in MODULES if "." in name and not name.endswith("__")}
    between = [(wing[a], wing[b]) for a, b in pairs if a in wing and b in wing and wing[a] != wing[b]]
    assert {pair: between.count(pair) for pair in between} == drawn.arrows
    place = [one.name for one in drawn.wings]
    assert all(place.index(upper) < place.index(lower) for upper, lower in drawn.arrows)


def test_the_picture_follows_a_change(drawn):
    first, *others = drawn.wings
    grown = structure.Wing(first.name, (*first.modules, "newcomer"), first.lines + 7)
    changed = structure.Structure((grown, *others), {**drawn.arrows, (first.name, "worlds"): 99})
    shown = words(structure.picture(changed))
    assert "newcomer" in shown
    assert "99" in shown
    assert any(f"{first.lines + 7} lines" in text for text in shown)


@pytest.mark.parametrize("which", ["wings", "step"])
def test_texts_stay_inside_the_drawing(which, drawn):
    """In a monospaced font a letter is at most 0.61 of its size wide."""
    root = ET.fromstring(structure.picture(drawn) if which == "wings" else structure.walk())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for node in root.iter():
        if node.tag.endswith("text") and "rotate" not in node.attrib.get("transform", ""):
            long = 0.61 * float(node.attrib["font-size"]) * len(node.text)
            left = float(node.attrib["x"]) - {"middle": long / 2, "end": long}.get(node.attrib.get("text-anchor"), 0)
            assert left >= 0, node.text
            assert left + long <= min(width, structure.LOOP if which == "step" else width), node.text
            assert float(node.attrib["y"]) <= height


def test_a_step_goes_the_way_that_is_drawn():
    """What is called in the first step of a run with the rule that the drawing names, in that order."""
    from ardm.method.gate import LinearHead, OverwriteGate
    from ardm.method.prior import PositionalPrior
    from ardm.method.rules.hide import HideThenRefill
    from ardm.method.sampling import blank, refine
    from ardm.method.types import Prediction

    def denoiser(x, time):
        return Prediction(torch.zeros(*x.shape, 5), torch.zeros(*x.shape, 0))

    stops = [stop for row in structure.STOPS for stop in row]
    wanted = [stop.calls or "denoiser" for stop in stops]
    seen: list[str] = []
    where: dict[str, Path] = {}

    def watch(frame, event, _):
        name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
        file = Path(frame.f_code.co_filename)
        if event == "call" and name in wanted and file.is_relative_to(ROOT) and ".venv" not in file.parts:
            seen.append(name)
            where[name] = file

    gate = OverwriteGate(LinearHead(), PositionalPrior())
    sys.setprofile(watch)
    try:
        refine(denoiser, HideThenRefill(gate), blank(2, 4, 5), 1, seed=0)
    finally:
        sys.setprofile(None)
    assert seen == wanted
    for stop in stops:
        if stop.file:
            assert where[stop.calls].is_relative_to(ROOT / "ardm" / "method" / stop.file), stop


def additions() -> list[tuple[str, str, str]]:
    rows = re.findall(r"^\| (an? [^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text("utf8"), flags=re.M)
    return [(what, file, how) for what, files, how in rows for file in re.findall(r"`([^`]+)`", files)]


def test_the_page_says_where_to_add_the_main_things():
    assert {what for what, *_ in additions()} >= {
        f"a {noun}" for noun in ("rule", "law", "task", "signal", "label", "corpus", "widget")
    }


@pytest.mark.parametrize(("what", "file", "how"), additions(), ids=lambda text: text.split(" ")[-1].strip("`"))
def test_where_to_add(what, file, how):
    """The file is there, or others like it; and it holds the list by whose name the page calls it."""
    beside = sorted((ROOT / file).parent.glob(f"[!_]*{Path(file).suffix}"))
    files = beside if "NEW" in file else [ROOT / file]
    assert files
    assert all(path.is_file() for path in files)
    registries = re.findall(r"`([A-Z]+)`", how)
    if registries:
        modules = [importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in files]
        holding = [module for module in modules if all(getattr(module, name, None) for name in registries)]
        assert holding, f"{file} holds no {registries}"


def test_the_reading_order_needs_nothing_that_comes_later():
    imports = grimp.build_graph("ardm", exclude_type_checking_imports=True, cache_dir=None)
    read: set[str] = set()
    for name in structure.READING:
        needed = {other for other in imports.find_modules_directly_imported_by(f"ardm.method.{name}") if ".method." in other}
        assert needed <= read, name
        read.add(f"ardm.method.{name}")


def test_the_reading_table_counts_and_quotes(tmp_path):
    module = tmp_path / "ardm" / "method" / "one.py"
    module.parent.mkdir(parents=True)
    module.write_text('"""A :class:`~a.Gate` and ``x``. More.\n\nEven more.\n"""\nONE = 1\n')
    assert structure.reading(tmp_path, ["one"]).splitlines()[2:] == [
        "| 1 | {py:mod}`one.py <ardm.method.one>` | 5 | A `a.Gate` and `x`. |",
        "| | together | 5 | |",
    ]


# ------------------------------------------------------------------------------------------------------------ the API page


def test_every_module_has_its_place_on_the_api_page():
    placed = re.findall(r"^\.\. automodule:: ([\w.]+)$", (ROOT / "book" / "api.md").read_text("utf8"), flags=re.M)
    wings = {f"ardm.{name}" for name in structure.order(ROOT)} - {"ardm.cli"}
    assert sorted(placed) == sorted(set(MODULES) - wings - {"ardm.__main__"})


def test_the_page_stands_in_the_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    assert {"file": structure.PAGE} in toc["parts"][-1]["chapters"]
