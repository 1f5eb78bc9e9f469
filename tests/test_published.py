"""The models that come with the package: each there, whole, of its recipe, and made by the code and data of today."""

from dataclasses import asdict, replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.experiments import published
from ardm.experiments.profiles import PROFILES
from ardm.experiments.published import PUBLISHED, REPAIRING, load_denoiser, load_gate, publish
from ardm.experiments.store import denoiser_made, facts_of, gate_made
from ardm.experiments.tasks import TASKS
from ardm.method.gate_recipe import RECOMMENDED, GateRecipe, Head
from ardm.method.own_runs import OwnRuns
from ardm.method.rules import entries
from ardm.method.train_denoiser import DenoiserRecipe, validation_loss
from ardm.worlds.corpora import open_corpus
from ardm.worlds.registry import locate, names

CPU = torch.device("cpu")
AGAIN = ("learned hide ratio", "attentive hide ratio", "repair hide")
SMALL = DenoiserRecipe(length=9, width=16, depth=1, heads=2, steps=2, batch=4)


def denoiser_of(name):
    """The published denoiser that a name begins with, the longest such one."""
    return max((stem for stem in PUBLISHED if name.startswith(stem)), key=len)


def made_now(name):
    """What decides the published model of this name in the package as it is."""
    stem = denoiser_of(name)
    recipe = {"-gate": RECOMMENDED, "-repair": REPAIRING.get(stem)}.get(name.removeprefix(stem))
    return gate_made(recipe, PUBLISHED[stem]) if recipe else denoiser_made(PUBLISHED[stem])


ALL = [name + kind for name in PUBLISHED for kind in ("", "-gate")] + [f"{name}-repair" for name in REPAIRING]


def test_published_are_these_and_no_others():
    assert {path.stem for path in MODELS.glob("*.safetensors")} == set(ALL)


def test_the_models_of_the_arena_that_chapters_play_again_are_those_of_today():
    """Named by their keys. Of another key, a chapter would train them anew: copy them from runs/models after an arena."""
    of = {name: PROFILES["final"].training(TASKS["sudoku"], entries()[name], 0) for name in AGAIN}
    keys = {training.key for training in of.values()} | {denoiser_made(of[AGAIN[0]].denoiser).key}
    assert {facts_of(path)["key"] for path in (MODELS / "arena").glob("*.safetensors")} == keys
    assert {path.stem for path in (MODELS / "arena").glob("*.safetensors")} == keys


@pytest.mark.parametrize("name", ALL)
def test_no_published_model_is_older_than_its_code_its_data_or_its_recipe(name):
    """All that decides it but the versions of libraries, which differ from machine to machine."""
    facts, now = facts_of(MODELS / f"{name}.safetensors"), asdict(made_now(name))
    part = ("kind", "recipe", "code", "data")
    assert {name: facts.get(name) for name in part} == {name: now[name] for name in part}


@pytest.mark.parametrize("name", [name for name in ALL if name not in PUBLISHED])
def test_a_published_gate_is_that_of_the_published_denoiser(name):
    of = MODELS / f"{denoiser_of(name)}.safetensors"
    assert facts_of(MODELS / f"{name}.safetensors")["of"] == facts_of(of)["key"]


def test_a_gate_taught_by_repair_reads_tokens_and_only_some_denoisers_have_one():
    gate = load_gate("toy", repairing=True, device=CPU)
    assert gate.combine == "gate_only" and not gate.training and gate.head.token is not None
    with pytest.raises(InputError, match="no gate taught by minimal repair is published for 'agreement', only for toy"):
        load_gate("agreement", repairing=True, device=CPU)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_loads_and_is_small(name):
    model, recipe, facts = load_denoiser(name, device=CPU)
    gate = load_gate(name, device=CPU)
    assert recipe == PUBLISHED[name]
    assert model.shape == recipe.shape(len(facts["words"]))
    assert tuple(gate.standard) == RECOMMENDED.signals and gate.combine == "gate_only"
    assert not model.training and not gate.training
    for path in (MODELS / f"{name}.safetensors", MODELS / f"{name}-gate.safetensors"):
        assert path.stat().st_size < 8 * 2**20


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_denoiser_has_the_loss_that_its_file_says(name):
    recipe = PUBLISHED[name]
    if recipe.corpus in names() and locate(recipe.corpus) is None:
        pytest.skip(f"{recipe.corpus} is not on this machine: name a folder that holds it in ARDM_DATA")
    model, _, facts = load_denoiser(name, device=CPU)
    corpus = open_corpus(recipe.corpus, recipe.length)
    assert facts["words"] == list(corpus.words)
    assert validation_loss(model, corpus, recipe, device=CPU) == pytest.approx(facts["validation_loss"], abs=1e-4)


@pytest.fixture
def small(monkeypatch):
    """A published denoiser and gate that are trained in no time."""
    monkeypatch.setitem(PUBLISHED, "toy", SMALL)
    monkeypatch.setattr(published, "RECOMMENDED", GateRecipe(head=Head(width=8), steps=2, batch=4))
    monkeypatch.setitem(REPAIRING, "toy", OwnRuns(reads=True, width=8, steps=2, batch=4, calls=2))


def test_publishing_a_denoiser_and_its_gate_leaves_two_files_that_load(tmp_path, small, monkeypatch):
    assert publish("toy", tmp_path, device=CPU, progress=False) == tmp_path / "toy.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ardm.experiments.store.train_denoiser", None)  # the gate finds the denoiser that is published
        publish("toy-gate", tmp_path, device=CPU, progress=False)
        publish("toy-repair", tmp_path, device=CPU, progress=False)
    names = ["toy-gate.safetensors", "toy-repair.safetensors", "toy.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    model, recipe, facts = load_denoiser("toy", tmp_path, device=CPU)
    assert recipe == SMALL and model.shape.width == 16
    assert facts["validation_loss"] == pytest.approx(
        validation_loss(model, open_corpus("agreement", 9), SMALL, device=CPU), abs=1e-6
    )
    assert load_gate("toy", tmp_path, device=CPU).combine == "gate_only"
    assert load_gate("toy", tmp_path, repairing=True, device=CPU).head.token.weight.shape[-1] == 8


def test_publishing_again_takes_the_place_of_what_was_there(tmp_path, small, monkeypatch):
    publish("toy", tmp_path, device=CPU, progress=False)
    newer = replace(SMALL, seed=1)
    monkeypatch.setitem(PUBLISHED, "toy", newer)
    with pytest.raises(InputError, match=r"toy\.safetensors was made with seed=0, not 1"):
        load_denoiser("toy", tmp_path, device=CPU)
    publish("toy", tmp_path, device=CPU, progress=False)
    assert load_denoiser("toy", tmp_path, device=CPU)[1] == newer
    assert facts_of(tmp_path / "toy.safetensors")["key"] == denoiser_made(newer).key


def test_missing_and_unknown_models_are_named(tmp_path):
    with pytest.raises(InputError, match="make it with `ardm train agreement`"):
        load_denoiser("agreement", tmp_path)
    with pytest.raises(InputError, match="make it with `ardm train agreement-gate`"):
        load_gate("agreement", tmp_path)
    for call in (load_denoiser, load_gate, publish):
        with pytest.raises(InputError, match=r"unknown model 'gpt(-gate)?': choose one of agreement, "):
            call("gpt", tmp_path)
