"""The house rules that a reader relies on: imports point one way, the core is light, nothing foreign leaks in."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {path.stem: ast.parse(path.read_text()) for path in (ROOT / "ardm").glob("*.py")}
RANK = {name: rank for rank, level in enumerate(
    [
        {"types", "files", "provenance"},
        {"signals", "prior", "corruption", "denoiser", "laws", "puzzles", "devices", "losses", "parameters", "checks"},
        {"corpora", "gate", "selection", "labels", "evaluation", "judge", "sampling"},
        {"rules", "literal", "training", "runs", "fidelity", "results"},
        {"gate_training", "rivals", "tasks"},
        {"gates"},
        {"export"},
        {"contestants"},
        {"match"},
        {"arena", "ablations"},
        {"figures", "widgets", "cli"},
    ]
) for name in level}  # fmt: skip


def imported(tree: ast.AST) -> set[str]:
    """Modules of the package that a file imports when it is imported itself (not inside a function)."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ardm."):
            found.add(node.module.split(".")[1])
    return found


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__init__", "__main__"}))
def test_imports_point_one_way(name):
    assert name in RANK, f"give ardm/{name}.py its place in this test"
    assert all(RANK[other] <= RANK[name] for other in imported(MODULES[name])), imported(MODULES[name])


def test_sampling_knows_no_rule():
    assert not imported(MODULES["sampling"]) & {"rules", "gate"}


def test_the_core_needs_torch_numpy_scipy_safetensors_and_tqdm_alone():
    code = """
import sys
EXTRAS = set("pandas matplotlib seaborn pooch requests pydantic papermill nbformat IPython jaxtyping ipywidgets".split())
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in EXTRAS:
            raise ImportError(name)
sys.meta_path.insert(0, Block())
import ardm.method.types, ardm.method.signals, ardm.method.prior, ardm.method.corruption, ardm.method.denoiser, ardm.worlds.laws, ardm.method.losses, ardm.method.gate, ardm.method.rules
import ardm.method.sampling, ardm.worlds.corpora, ardm.method.train_denoiser, ardm.experiments.statistics, ardm.base.devices, ardm.book.runs, ardm.book.stated
import ardm.method.selection, ardm.method.labels, ardm.method.train_gate, ardm.method.literal, ardm.worlds.puzzles
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_shape_annotations_are_checked_under_pytest():
    import torch

    from ardm.method.losses import denoising_loss

    with pytest.raises(Exception, match="denoising_loss"):
        denoising_loss(torch.zeros(2, 3, 4), torch.zeros(2, 5, dtype=torch.long))


def test_each_file_is_readable_in_one_sitting():
    for path in (ROOT / "ardm").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 350, path.name


def test_public_functions_say_what_they_do():
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"ardm/{name}.py: {node.name} has no docstring"


def test_no_machine_path_in_what_is_published():
    for path in [*ROOT.glob("ardm/*.py"), *ROOT.glob("notebooks/**/*.ipynb"), *ROOT.glob("book/*.md"), ROOT / "README.md"]:
        assert not re.search(r"/(tmp|root|home|work)/\w", path.read_text()), path.name
