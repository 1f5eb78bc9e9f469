"""The store: one training for each recipe, code, data and library; what is loaded is what was asked for."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import save_file

from ardm.base import fingerprint
from ardm.base.errors import InputError
from ardm.experiments import store as stores
from ardm.experiments.store import Store, denoiser_made, facts_of, gate_made, read_denoiser, read_gate
from ardm.method.gate_recipe import Corrupted, EndToEnd, GateRecipe, Head, Rollout, Taught
from ardm.method.train_denoiser import DenoiserRecipe, validation_loss
from ardm.worlds.corpora import open_corpus

CPU = torch.device("cpu")
SMALL = DenoiserRecipe(length=9, width=16, depth=1, heads=2, steps=3, batch=4)
GATE = GateRecipe(head=Head(width=8), signals=("entropy", "margin"), steps=2, batch=4)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, CPU)


@pytest.fixture
def trainings(monkeypatch):
    """What is trained, in its order; the trainings themselves are those of the package."""
    done = []

    def noted(name, train):
        def trained(*arguments, **settings):
            done.append(name)
            return train(*arguments, **settings)

        return trained

    for name in ("train_denoiser", "train_gate"):
        monkeypatch.setattr(stores, name, noted(name, getattr(stores, name)))
    return done


@pytest.fixture
def forget():
    """Recipes are looked at anew, before the test and after it."""

    def clear():
        denoiser_made.cache_clear()
        gate_made.cache_clear()

    clear()
    yield clear
    clear()


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_recipe_is_trained_once_and_then_read(store, tmp_path, trainings):
    gate = store.gate(GATE, SMALL)
    assert trainings == ["train_denoiser", "train_gate"]  # the denoiser on the way
    again, denoiser = Store(tmp_path, CPU).gate(GATE, SMALL), Store(tmp_path, CPU).denoiser(SMALL)
    assert trainings == ["train_denoiser", "train_gate"]
    assert same(gate, again) and not gate.training and not denoiser.training
    keys = {denoiser_made(SMALL).key, gate_made(GATE, SMALL).key}
    assert {path.stem for path in tmp_path.iterdir()} == keys
    store.gate(GATE, replace(SMALL, seed=1))
    assert trainings[2:] == ["train_denoiser", "train_gate"]  # a gate is that of its denoiser


def test_what_is_kept_is_what_was_trained_with_its_facts(store, monkeypatch):
    made = {}

    def train(*arguments, **settings):
        made["model"], made["losses"] = whole(*arguments, **settings)
        return made["model"], made["losses"]

    whole = stores.train_denoiser
    monkeypatch.setattr(stores, "train_denoiser", train)
    model, corpus = store.denoiser(SMALL), open_corpus("agreement", 9)
    assert same(model, made["model"])
    facts = facts_of(store.file(denoiser_made(SMALL)))
    assert facts["words"] == list(corpus.words)
    assert facts["train_loss"] == pytest.approx(sum(made["losses"]) / 3)
    assert facts["validation_loss"] == pytest.approx(validation_loss(model, corpus, SMALL, device=CPU), abs=1e-6)
    assert DenoiserRecipe(**facts["recipe"]) == SMALL
    assert (facts["kind"], facts["key"]) == ("denoiser", denoiser_made(SMALL).key)
    assert facts["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"commit", "python", "device"} <= set(facts["provenance"]) and facts["seconds"] >= 0


OTHERS = {
    "corpus": "dyck",
    "length": 10,
    "width": 32,
    "depth": 2,
    "heads": 4,
    "steps": 4,
    "batch": 5,
    "rate": 1e-3,
    "error_rate": 0.2,
    "prior_share": 0.4,
    "seed": 1,
    "causal": True,
    "grid": True,
    "precision": "bfloat16",
}


def test_every_field_of_a_recipe_is_part_of_its_key():
    assert OTHERS.keys() == {field.name for field in fields(DenoiserRecipe)}
    others = [replace(SMALL, **{name: value}) for name, value in OTHERS.items()]
    assert len({denoiser_made(recipe).key for recipe in [SMALL, *others]}) == 1 + len(OTHERS)
    assert denoiser_made(replace(SMALL)).key == denoiser_made(SMALL).key


def test_every_field_of_a_gates_recipe_and_its_denoiser_are_part_of_its_key():
    changes = [
        {"head": Head("attentive")},
        {"head": Head(hidden=False)},
        {"head": Head(width=16)},
        {"signals": ("entropy",)},
        {"signals": ("margin", "entropy")},
        {"states": Corrupted(error_rate=0.2)},
        {"states": Corrupted(own_errors=0.2)},
        {"states": Rollout()},
        {"states": Rollout("hide")},
        {"states": Rollout(steps=4)},
        {"objective": Taught("likelihood_ratio")},
        {"objective": Taught(hidden_share=0.2)},
        {"objective": EndToEnd()},
        {"objective": EndToEnd(learn_prior=True)},
        {"objective": EndToEnd("straight_through")},
        {"objective": EndToEnd(taught=Taught(), weight=1.0)},
        {"sparsity": 0.1},
        {"stability": 0.1},
        {"joint": True},
        {"steps": 3},
        {"batch": 5},
        {"rate": 1e-3},
        {"seed": 1},
    ]
    assert {name for change in changes for name in change} == {field.name for field in fields(GateRecipe)}
    keys = {gate_made(recipe, SMALL).key for recipe in [GATE, *(replace(GATE, **change) for change in changes)]}
    keys.add(gate_made(GATE, replace(SMALL, seed=1)).key)
    assert len(keys) == 2 + len(changes)


def test_signals_in_another_order_are_another_model(store, trainings):
    """Its head has one weight for each signal: under the other order they would be fed the wrong columns."""
    linear = replace(GATE, head=Head("linear"))
    turned = replace(linear, signals=linear.signals[::-1])
    one, other = store.gate(linear, SMALL), store.gate(turned, SMALL)
    assert trainings == ["train_denoiser", "train_gate", "train_gate"]
    assert (tuple(one.standard), tuple(other.standard)) == (linear.signals, turned.signals)
    path = store.file(gate_made(linear, SMALL))
    with pytest.raises(InputError, match=r"made with signals=\['entropy', 'margin'\], not \['margin', 'entropy'\]"):
        read_gate(turned, path, CPU)


@pytest.mark.parametrize(("change", "named"), [({"seed": 1}, "seed=0, not 1"), ({"width": 32}, "width=16, not 32")])
def test_a_file_of_another_recipe_is_refused_by_the_name_of_the_field(store, change, named):
    store.denoiser(SMALL)
    asked = replace(SMALL, **change)
    store.file(denoiser_made(SMALL)).rename(store.file(denoiser_made(asked)))
    with pytest.raises(InputError, match=f"was made with {named}: ask for the recipe it has, or remove it"):
        store.denoiser(asked)


def test_a_gate_is_no_denoiser(store):
    store.gate(GATE, SMALL)
    with pytest.raises(InputError, match="holds a gate, not a denoiser"):
        read_denoiser(SMALL, store.file(gate_made(GATE, SMALL)), CPU)
    with pytest.raises(InputError, match="holds a denoiser, not a gate"):
        read_gate(GATE, store.file(denoiser_made(SMALL)), CPU)


@pytest.mark.parametrize("what", ["code", "versions", "checksum"])
def test_other_code_other_libraries_or_other_data_are_another_model(store, tmp_path, trainings, monkeypatch, forget, what):
    old = store.gate(GATE, SMALL)
    if what == "code":
        monkeypatch.setattr(fingerprint, "code", lambda *modules: f"new code of {modules}")
    elif what == "versions":
        monkeypatch.setattr(fingerprint, "versions", lambda: {"torch": "99.0"})
    else:
        monkeypatch.setattr(stores, "checksum", lambda name: "other data")
    forget()
    new = store.gate(GATE, SMALL)
    assert trainings == ["train_denoiser", "train_gate"] * 2
    assert len(list(tmp_path.iterdir())) == 4
    assert same(old, new)  # nothing did change here


def test_the_code_of_a_gate_alone_leaves_its_denoiser_as_it_is(store, trainings, monkeypatch, forget):
    store.gate(GATE, SMALL)
    code = fingerprint.code
    changed = lambda *modules: code(*modules) + "changed" * ("ardm.method.train_gate" in modules)  # noqa: E731
    monkeypatch.setattr(fingerprint, "code", changed)
    forget()
    store.gate(GATE, SMALL)
    assert trainings == ["train_denoiser", "train_gate", "train_gate"]


@pytest.mark.parametrize("where", ["training", "writing"])
@pytest.mark.parametrize("trouble", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_leaves_nothing_and_is_made_the_next_time(store, tmp_path, where, trouble):
    def halt(*arguments, **settings):
        raise trouble

    def half(weights, path, metadata):
        save_file(weights, path, metadata=metadata)
        path.write_bytes(path.read_bytes()[:500])
        raise trouble

    with pytest.MonkeyPatch.context() as patch:
        if where == "training":
            patch.setattr("ardm.method.train_denoiser.denoising_loss", halt)
        else:
            patch.setattr("ardm.base.weights.save_file", half)
        with pytest.raises(trouble):
            store.denoiser(SMALL)
    assert list(tmp_path.iterdir()) == []
    assert store.denoiser(SMALL).shape.width == 16


def test_a_file_elsewhere_is_used_when_it_is_the_same_model(store, tmp_path, trainings, monkeypatch, forget):
    elsewhere = tmp_path / "elsewhere"
    trained = Store(elsewhere, CPU).denoiser(SMALL)
    kept = elsewhere / "agreement.safetensors"
    Store(elsewhere, CPU).file(denoiser_made(SMALL)).rename(kept)
    here = Store(tmp_path / "here", CPU, also=(elsewhere / "gone.safetensors", kept))
    assert here.file(denoiser_made(SMALL)) == kept
    assert same(here.denoiser(SMALL), trained)
    assert trainings == ["train_denoiser"]
    monkeypatch.setattr(fingerprint, "code", lambda *modules: "newer code")
    forget()
    here.denoiser(SMALL)
    assert trainings == ["train_denoiser"] * 2  # what lies there is older than the code


@pytest.mark.parametrize("content", ["half", "empty", "text", "no facts"])
def test_a_broken_file_is_one_clear_error(store, content):
    store.denoiser(SMALL)
    path = store.file(denoiser_made(SMALL))
    if content == "half":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif content == "no facts":
        save_file({"a": torch.zeros(1)}, path)
    else:
        path.write_bytes(b"" if content == "empty" else b"not a model at all")
    with pytest.raises(InputError, match=rf"^{path.name} is not a whole model \(.*\): remove it, and make it again$"):
        store.denoiser(SMALL)


def test_a_folder_that_cannot_hold_a_model_is_named_before_the_training(tmp_path, trainings):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write in the folder .*file"):
        Store(tmp_path / "file", CPU).denoiser(SMALL)
    assert trainings == []


def test_facts_are_json_that_can_be_read_without_the_weights(store):
    store.gate(GATE, SMALL)
    facts = facts_of(store.file(gate_made(GATE, SMALL)))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["of"] == denoiser_made(SMALL).key
    assert len(facts["losses"]) == 2 and facts["loss"] == pytest.approx(sum(facts["losses"]) / 2, abs=1e-5)
    assert facts["recipe"]["objective"]["kind"] == "taught"
