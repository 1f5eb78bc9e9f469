"""Training a denoiser: learns, cannot beat the law, repeats bit for bit, leaves the global generators alone."""

from dataclasses import replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.method.train_denoiser import DenoiserRecipe, mask_rates, seen, train_denoiser, validation_loss
from ardm.worlds.corpora import LawCorpus
from ardm.worlds.laws import Oracle, agreement

CPU = torch.device("cpu")
SMALL = DenoiserRecipe(length=9, width=32, depth=1, heads=2, steps=120, batch=32, rate=5e-3)


@pytest.fixture(scope="module")
def corpus() -> LawCorpus:
    return LawCorpus(agreement(9))


@pytest.fixture(scope="module")
def trained(corpus):
    return train_denoiser(SMALL, corpus, device=CPU, progress=False)


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
    one, two = (train_denoiser(recipe, corpus, device=CPU, progress=False)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)
    other = train_denoiser(replace(recipe, seed=1), corpus, device=CPU, progress=False)[0].state_dict()
    assert not torch.equal(one["token.weight"], other["token.weight"])


def test_training_leaves_the_global_generators_alone(corpus):
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    train_denoiser(replace(SMALL, steps=1), corpus, device=CPU, progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_bfloat16_training_learns_as_well_and_keeps_float32_weights(corpus, trained):
    """Every product of a training step is computed in bfloat16; held-out loss, in float32, ends near that of float32."""
    recipe, computed = replace(SMALL, precision="bfloat16"), set()

    def note(module, inputs, output):
        if isinstance(module, torch.nn.Linear):
            computed.add(output.dtype)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        model, losses = train_denoiser(recipe, corpus, device=CPU, progress=False)
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
    mixed = mask_rates(400, 9, 0.3, rng)
    assert (mixed != mixed[:, :1]).any(1).float().mean().item() == pytest.approx(0.3, abs=0.09)  # 4 standard errors
    logit = sloped.double().logit()  # of r: the slope 1.25 by position, one position a step
    assert torch.allclose(logit.diff(dim=1), torch.tensor(1.25, dtype=torch.float64), atol=1e-2)


def test_bad_recipes_are_named():
    with pytest.raises(InputError, match="steps=0"):
        DenoiserRecipe(steps=0)
    with pytest.raises(InputError, match="rate=-1"):
        DenoiserRecipe(rate=-1)
    for share in (-0.1, 2):
        with pytest.raises(InputError, match=f"prior_share={share}"):
            DenoiserRecipe(prior_share=share)
    with pytest.raises(InputError, match="precision='float16'"):
        DenoiserRecipe(precision="float16")


def test_a_causal_model_learns_from_clean_texts_and_cannot_beat_the_entropy(corpus):
    """Autoregressive cross-entropy is bounded by the law's entropy, -E log P(x) / L."""
    recipe = replace(SMALL, causal=True, steps=200)
    x0, rng = corpus.held_out(20), torch.Generator().manual_seed(0)
    assert torch.equal(seen(x0, corpus.vocab_size, recipe, rng), x0)
    assert not torch.equal(seen(x0, corpus.vocab_size, SMALL, rng), x0)
    model, _ = train_denoiser(recipe, corpus, device=CPU, progress=False)
    loss = validation_loss(model, corpus, recipe, device=CPU)
    entropy = -corpus.law.log_prob(corpus.held_out(512)).mean().item() / recipe.length
    assert entropy < loss < entropy + 0.35
