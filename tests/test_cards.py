"""The pages of published models and tables say of each file what is in it."""

from __future__ import annotations

import hashlib
import re

import cards
import pandas as pd
import pytest
import torch

from ardm.base.resources import MODELS, RESULTS
from ardm.experiments import published
from ardm.experiments.published import PUBLISHED, load_denoiser, load_gate
from ardm.experiments.store import facts_of

CPU = torch.device("cpu")


def section(page: str, anchor: str) -> str:
    """The part of a page that begins at an anchor and ends at the next."""
    return re.search(rf"\({re.escape(anchor)}\)=\n(.*?)(?=\n\([\w-]+\)=\n|\Z)", page, re.DOTALL)[1]


def row(card: str, name: str) -> str:
    return re.search(rf"^\| \*\*{name}\*\* \| (.*) \|$", card, re.MULTILINE)[1]


@pytest.mark.parametrize("name", [f"{name}{kind}" for name in PUBLISHED for kind in ("", "-gate")])
def test_each_model_has_its_card(name):
    card, path = section(cards.models(), f"model-{name}"), MODELS / f"{name}.safetensors"
    assert row(card, "SHA-256") == f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"
    call = row(card, "Load").strip("`").partition(" = ")[2]
    loaded = eval(call, {"ardm": published})
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    assert row(card, "Parameters") == f"{sum(parameter.numel() for parameter in model.parameters()):,}"
    assert row(card, "Recipe key") == f"`{facts_of(path)['key']}`"
    assert all(len(row(card, part)) > 20 for part in ("What it is", "Trained on", "Training", "Cannot"))
    assert "MIT" in row(card, "Licence")


def test_a_gate_names_the_denoiser_that_it_is_of():
    for name in PUBLISHED:
        key = row(section(cards.models(), f"model-{name}"), "Recipe key")
        assert key in row(section(cards.models(), f"model-{name}-gate"), "Cannot")
    assert load_gate("toy", device=CPU).training is load_denoiser("toy", device=CPU)[0].training is False


def test_each_model_of_the_arena_has_a_row():
    rows = section(cards.models(), "models-arena").splitlines()
    for path in (MODELS / "arena").glob("*.safetensors"):
        (found,) = (line for line in rows if line.startswith(f"| `{path.stem}` |"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() in found


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.csv")), ids=lambda path: path.stem)
def test_each_table_has_its_section_with_the_columns_in_order(path):
    part, table = section(cards.tables(), f"table-{path.stem}"), pd.read_csv(path)
    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(table.columns)
    assert f"{len(table):,} rows" in row(part, "File")
    assert row(part, "SHA-256") == f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`"
