"""Training: learns, repeats bit for bit, leaves alone what is frozen; published models are what their recipe says."""

import json
from dataclasses import replace

import pytest
import torch

from ardm.worlds.corpora import LawCorpus, open_corpus
from ardm.worlds.laws import Oracle, agreement
from ardm.experiments.store import MODELS, PUBLISHED, load_denoiser, publish_denoiser, trained_denoiser
from ardm.method.train_denoiser import DenoiserRecipe, mask_rates, seen, train_denoiser, validation_loss
from ardm.base.errors import InputError

CPU = torch.device("cpu")
SMALL = DenoiserRecipe(length=9, width=32, depth=1, heads=2, steps=120, batch=32, rate=5e-3)


@pytest.fixture(scope="module")
def corpus() -> LawCorpus:
    return LawCorpus(agreement(9))


@pytest.fixture(scope="module")
def trained(corpus):
    return train_denoiser(SMALL, corpus=corpus, device=CPU, progress=False)


def test_training_learns_and_cannot_beat_the_law(corpus, trained):
    """Held-out loss falls well below that of knowing the word frequencies alone, and stays above the exact posterior's."""
    model, losses = trained
    loss = validation_loss(model, corpus, SMALL, device=CPU)
    exact = validation_loss(Oracle(corpus.law, SMALL.error_rate), corpus, SMALL, device=CPU)
    frequencies = corpus.law.marginals().mean(0)
    blind = torch.special.entr(frequencies).sum().item()
    assert exact < loss < 0.7 * blind
    assert sum(losses[-10:]) < sum(losses[:10])


def test_the_same_recipe_gives_the_same_weights(corpus, trained):
    recipe = replace(SMALL, steps=5)
    one, two = (train_denoiser(recipe, corpus=corpus, device=CPU, progress=False)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    other = train_denoiser(replace(recipe, seed=1), corpus=corpus, device=CPU, progress=False)[0].state_dict()
    assert not torch.equal(one["token.weight"], other["token.weight"])


def test_training_leaves_the_global_generators_alone(corpus):
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    train_denoiser(replace(SMALL, steps=1), corpus=corpus, device=CPU, progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_a_recipe_has_a_key_of_its_own():
    assert replace(SMALL, seed=1).key != SMALL.key == replace(SMALL).key


def test_recipes_from_before_a_field_was_added_keep_their_keys():
    """The names of models that were trained before ``precision`` was there."""
    assert DenoiserRecipe(steps=3000).key == "609a0c9b34ff"
    assert DenoiserRecipe(corpus="sudoku", length=16, width=64, steps=2000).key == "d71ae8f7c29c"
    assert replace(SMALL, precision="bfloat16").key != SMALL.key


def test_bfloat16_training_learns_as_well_and_keeps_float32_weights(corpus, trained):
    """Every product of a training step is computed in bfloat16; held-out loss, in float32, ends near that of float32."""
    recipe, computed = replace(SMALL, precision="bfloat16"), set()

    def note(module, inputs, output):
        if isinstance(module, torch.nn.Linear):
            computed.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        model, losses = train_denoiser(recipe, corpus=corpus, device=CPU, progress=False)
    finally:
        hook.remove()
    assert computed == {torch.bfloat16}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    as_float32 = validation_loss(trained[0], corpus, SMALL, device=CPU)
    assert validation_loss(model, corpus, recipe, device=CPU) == pytest.approx(as_float32, rel=0.05)


def test_mask_rates_follow_position_only_where_asked():
    rng = torch.Generator().manual_seed(0)
    flat, sloped = mask_rates(200, 9, 0.0, rng), mask_rates(200, 9, 1.0, rng)
    assert (flat == flat[:, :1]).all()
    assert (sloped.diff(dim=1) > 0).all()
    assert flat[:, 0].mean().item() == pytest.approx(0.5, abs=0.1)


def test_bad_recipes_are_named():
    with pytest.raises(InputError, match="steps=0"):
        DenoiserRecipe(steps=0)
    with pytest.raises(InputError, match="rate=-1"):
        DenoiserRecipe(rate=-1)
    with pytest.raises(InputError, match="positional=2"):
        DenoiserRecipe(positional=2)
    with pytest.raises(InputError, match="precision='float16'"):
        DenoiserRecipe(precision="float16")


def test_publishing_is_whole_or_nothing_and_loads_back(tmp_path, monkeypatch, corpus):
    recipe = replace(SMALL, steps=2)
    monkeypatch.setitem(PUBLISHED, "toy", recipe)
    path = publish_denoiser("toy", tmp_path, device=CPU, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.safetensors"]
    model, loaded, facts = load_denoiser("toy", tmp_path, device=CPU)
    assert loaded == recipe
    assert facts["validation_loss"] == pytest.approx(validation_loss(model, corpus, recipe, device=CPU), abs=1e-6)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="ardm train toy"):
        load_denoiser("toy", tmp_path, device=CPU)


def test_missing_and_unknown_models_are_named(tmp_path):
    with pytest.raises(InputError, match="make it with `ardm train agreement`"):
        load_denoiser("agreement", tmp_path)
    with pytest.raises(InputError, match="unknown model 'gpt'"):
        publish_denoiser("gpt", tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_what_their_recipe_says(name):
    _, recipe, facts = load_denoiser(name, device=CPU)
    assert recipe == PUBLISHED[name]
    assert facts["key"] == recipe.key
    assert (MODELS / f"{name}.safetensors").stat().st_size < 8 * 2**20
    assert json.dumps(facts["provenance"])


def test_the_published_law_denoiser_has_its_loss():
    model, recipe, facts = load_denoiser("agreement", device=CPU)
    loss = validation_loss(model, open_corpus("agreement", recipe.length), recipe, device=CPU)
    assert loss == pytest.approx(facts["validation_loss"], abs=1e-4)


def test_a_causal_model_learns_from_clean_texts_and_cannot_beat_the_entropy(corpus):
    """Autoregressive cross-entropy is bounded by the law's entropy, -E log P(x) / L."""
    recipe = replace(SMALL, causal=True, steps=200)
    x0, rng = corpus.held_out(20), torch.Generator().manual_seed(0)
    assert torch.equal(seen(x0, corpus.vocab_size, recipe, rng), x0)
    assert not torch.equal(seen(x0, corpus.vocab_size, SMALL, rng), x0)
    model, _ = train_denoiser(recipe, corpus=corpus, device=CPU, progress=False)
    loss = validation_loss(model, corpus, recipe, device=CPU)
    entropy = -corpus.law.log_prob(corpus.held_out(512)).mean().item() / recipe.length
    assert entropy < loss < entropy + 0.35


def test_a_recipe_is_trained_once_and_then_read(tmp_path, monkeypatch):
    recipe = replace(SMALL, steps=2)
    one, facts = trained_denoiser(recipe, tmp_path, device=CPU, progress=False)
    monkeypatch.setattr("ardm.method.train_denoiser.train_denoiser", None)  # a second training would fail
    two, again = trained_denoiser(recipe, tmp_path, device=CPU, progress=False)
    assert facts == again
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
