"""Gate training: its states, its losses against sums over every mask, and that each way of training learns."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

import ardm.experiments.store
from ardm.worlds.corpora import LawCorpus, open_corpus
from ardm.base.streams import generator
from ardm.experiments.ranking import ranking
from ardm.method.gate import LearnedHead, LinearHead, OverwriteGate
from ardm.method.train_gate import GateRecipe, corrupted_states, edited, held_out_states, rollout_states, train_gate
from ardm.experiments.store import RECOMMENDED, load_gate, publish_gate, trained_gate
from ardm.worlds.laws import Oracle, agreement
from ardm.method.losses import denoising_loss, relaxed_bernoulli
from ardm.experiments.store import MODELS, PUBLISHED, facts_of, load_denoiser
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser
from ardm.base.errors import InputError

CPU = torch.device("cpu")
SMALL = DenoiserRecipe(length=9, width=32, depth=1, heads=2, steps=120, batch=32, rate=5e-3)


@pytest.fixture(scope="module")
def corpus() -> LawCorpus:
    return LawCorpus(agreement(9))


@pytest.fixture(scope="module")
def denoiser(corpus):
    model = train_denoiser(SMALL, corpus=corpus, device=CPU, progress=False)[0]
    model.zero_grad(set_to_none=True)
    return model


def states(denoiser, corpus, recipe, count=64):
    x0 = corpus.batch(count, generator(0, "x"))
    gate = OverwriteGate(LearnedHead(32)).train()
    make = rollout_states if recipe.states == "rollout" else corrupted_states
    steps, final = make(denoiser, gate, x0, corpus.vocab_size, recipe, generator(1, "x"), CPU)
    return x0, steps, final


def test_corrupted_states_are_what_the_sampler_leaves(denoiser, corpus):
    V = corpus.vocab_size
    x0, (masked,), _ = states(denoiser, corpus, GateRecipe(own_errors=0.0, error_rate=0.0))
    assert torch.equal(masked.is_mask, masked.x == V)
    assert not torch.equal(masked.log_q, masked.log_q_before)  # the step before hid more
    assert torch.equal(masked.x[~masked.is_mask], x0[~masked.is_mask])
    _, (filled,), _ = states(denoiser, corpus, GateRecipe(own_errors=1.0, error_rate=0.0))
    assert not filled.is_mask.any()
    assert torch.equal(filled.x[~masked.is_mask], x0[~masked.is_mask])
    assert filled.t == masked.t
    assert torch.allclose(filled.log_q, denoiser(filled.x, 1.0).logits.log_softmax(-1))
    _, pair, _ = states(denoiser, corpus, GateRecipe(stability=1.0, own_errors=0.0, error_rate=0.0))
    assert len(pair) == 2 and pair[1].t - pair[0].t in (0, 1)
    assert (pair[0].is_mask | ~pair[1].is_mask).all()  # more is hidden before
    assert torch.equal(pair[0].log_q, pair[1].log_q_before)


def test_gates_are_judged_on_held_out_texts_at_several_steps(denoiser, corpus):
    states = held_out_states(denoiser, corpus, count=40, seed=2, device=torch.device("cpu"))
    assert torch.equal(torch.cat([x0 for _, x0 in states]), corpus.held_out(40, seed=2))
    assert len(states) == 8
    assert len({step.t for step, _ in states}) > 1
    for step, x0 in states:
        visible = ~step.is_mask
        assert torch.equal(step.is_mask, step.x == corpus.vocab_size)
        assert ((step.x != x0) & visible).any() or step.t == 1
    planted = held_out_states(
        denoiser, corpus, count=400, seed=2, device=torch.device("cpu"), recipe=GateRecipe(own_errors=0.0, error_rate=0.2)
    )
    wrong = torch.cat([(step.x != x0)[~step.is_mask] for step, x0 in planted]).float()
    assert abs(wrong.mean() - 0.2) < 5 * 0.4 / len(wrong) ** 0.5


def test_rollout_states_are_the_steps_of_one_run_of_the_sampler(denoiser, corpus):
    for edit in ("overwrite", "hide"):
        x0, steps, final = states(denoiser, corpus, GateRecipe(states="rollout", edit=edit, rollout_steps=6))
        assert [step.t for step in steps] == [1, 2, 3, 4, 5, 6]
        given = ~steps[0].is_mask
        assert torch.equal(steps[0].x[given], x0[given])
        assert (final < corpus.vocab_size).all()
        assert all(torch.equal(b.log_q_before, a.log_q) for a, b in itertools.pairwise(steps))


def test_an_edit_of_no_token_and_of_every_token_is_the_plain_prediction(denoiser, corpus):
    _, (step,), _ = states(denoiser, corpus, GateRecipe())
    none, every = torch.zeros(step.x.shape), torch.ones(step.x.shape)
    assert torch.allclose(edited(denoiser, step, none, "overwrite").logits, denoiser(step.x).logits, atol=1e-5)
    assert torch.allclose(edited(denoiser, step, every, "overwrite").logits, denoiser(step.proposal).logits, atol=1e-5)
    hidden = torch.full_like(step.x, corpus.vocab_size)
    assert torch.allclose(edited(denoiser, step, every, "hide").logits, denoiser(hidden).logits, atol=1e-5)


def test_the_end_to_end_loss_is_the_sum_over_every_mask_of_a_length_3_text(denoiser, corpus):
    """Straight-through draws, averaged, against the loss of the next call after each of the 8 possible overwrites."""
    _, (step,), _ = states(denoiser, corpus, GateRecipe(own_errors=1.0), count=1)
    cut = {name: value[:, :3] for name, value in step.__dict__.items() if isinstance(value, torch.Tensor)}
    step = replace(step, **{**cut, "proposal": (cut["x"] + 7) % corpus.vocab_size})  # never the placed token
    x0 = corpus.batch(1, generator(0, "x"))[:, :3]
    p = torch.tensor([[0.3, 0.6, 0.8]])
    loss = lambda x: denoising_loss(denoiser(x).logits, x0).item()  # noqa: E731
    expected = 0.0
    for mask in itertools.product((0, 1), repeat=3):
        chance = math.prod(q if m else 1 - q for q, m in zip(p[0].tolist(), mask, strict=True))
        expected += chance * loss(torch.where(torch.tensor([mask]).bool(), step.proposal, step.x))
    rng, drawn = generator(0, "draws"), []
    with torch.no_grad():
        for _ in range(3000):
            m = relaxed_bernoulli(p.logit(), rng, how="straight_through")
            drawn.append(denoising_loss(edited(denoiser, step, m, "overwrite").logits, x0))
    drawn = torch.stack(drawn)
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / math.sqrt(3000))
    assert drawn.std() > 0


def ranked(gate, denoiser, corpus) -> float:
    _, (state,), _ = states(denoiser, corpus, GateRecipe(own_errors=0.5), count=200)
    x0 = corpus.batch(200, generator(0, "x"))
    with torch.no_grad():
        u = gate(state).logit_u
    visible = ~state.is_mask
    return ranking(u[visible], (state.x != x0)[visible])


TRAININGS = {
    "learned": (GateRecipe(steps=80, rate=2e-2), 0.75),
    "linear": (GateRecipe("linear", steps=80, rate=2e-2), 0.5),
    "linear, placed": (GateRecipe("linear", signals=("placed_log_prob",), steps=80, rate=2e-2), 0.75),
    "likelihood ratio": (GateRecipe(label="likelihood_ratio", steps=120, rate=2e-2), 0.65),
    "rollouts": (GateRecipe(states="rollout", edit="hide", steps=50, batch=16, rollout_steps=4, rate=2e-2), 0.65),
    "gumbel-sigmoid, hide": (
        GateRecipe(loss="gumbel_sigmoid", edit="hide", combine="gate_only", sparsity=0.05, steps=120, rate=2e-2),
        0.5,
    ),
    "straight-through, hide": (
        GateRecipe(loss="straight_through", edit="hide", combine="gate_only", sparsity=0.05, steps=120, rate=2e-2),
        0.5,
    ),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_each_way_of_training_ranks_wrong_above_right_and_leaves_the_denoiser_alone(denoiser, corpus, name):
    recipe, least = TRAININGS[name]
    before = {k: v.clone() for k, v in denoiser.state_dict().items()}
    trained = train_gate(denoiser, corpus, recipe, device=CPU, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in denoiser.state_dict().items())
    assert all(p.grad is None for p in denoiser.parameters())
    assert trained.denoiser is denoiser and not trained.gate.training
    assert ranked(trained.gate, denoiser, corpus) > least


def test_the_final_label_needs_no_truth_and_trains_on_rollouts(denoiser, corpus):
    recipe = GateRecipe(states="rollout", label="final", edit="hide", steps=40, batch=16, rollout_steps=4, rate=2e-2)
    losses = train_gate(denoiser, corpus, recipe, device=CPU, progress=False).losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_sparsity_makes_gates_shyer_and_stability_calmer(denoiser, corpus):
    def mean_p(recipe):
        gate = train_gate(denoiser, corpus, recipe, device=CPU, progress=False).gate
        _, (earlier, later), _ = states(denoiser, corpus, GateRecipe(stability=1.0))
        with torch.no_grad():
            one, two = gate(earlier).logit_u.sigmoid(), gate(later).logit_u.sigmoid()
        return two.mean().item(), (one - two).abs().mean().item()

    plain = GateRecipe(steps=60, rate=2e-2)
    assert mean_p(replace(plain, sparsity=20.0))[0] < 0.3 * mean_p(plain)[0]
    assert mean_p(replace(plain, stability=5.0))[1] < 0.9 * mean_p(plain)[1]


def test_the_prior_is_learnt_only_when_asked(denoiser, corpus):
    recipe = GateRecipe(loss="gumbel_sigmoid", combine="noisy_or", steps=5, rate=2e-2)
    still = train_gate(denoiser, corpus, recipe, device=CPU, progress=False).gate.prior
    moved = train_gate(denoiser, corpus, replace(recipe, learn_prior=True), device=CPU, progress=False).gate.prior
    assert (still.alpha.item(), still.delta.item()) == (pytest.approx(1.25), 0.0)
    assert moved.alpha.item() != pytest.approx(1.25) and moved.delta.item() != 0.0


def test_joint_training_moves_a_copy_of_the_denoiser(denoiser, corpus):
    before = {k: v.clone() for k, v in denoiser.state_dict().items()}
    trained = train_gate(denoiser, corpus, GateRecipe(joint=True, steps=3), device=CPU, progress=False)
    assert trained.denoiser is not denoiser
    assert all(torch.equal(v, before[k]) for k, v in denoiser.state_dict().items())
    assert not torch.equal(trained.denoiser.state_dict()["token.weight"], before["token.weight"])


def test_a_new_gate_combines_as_the_document_does(denoiser, corpus):
    assert train_gate(denoiser, corpus, GateRecipe(steps=1), device=CPU, progress=False).gate.combine == "noisy_or"


def test_the_same_recipe_gives_the_same_gate_and_a_given_gate_is_trained_on(denoiser, corpus):
    recipe = GateRecipe(steps=3)
    one, two = (train_gate(denoiser, corpus, recipe, device=CPU, progress=False) for _ in range(2))
    assert one.losses == two.losses
    mine = OverwriteGate(LinearHead())
    assert train_gate(denoiser, corpus, recipe, gate=mine, device=CPU, progress=False).gate is mine
    assert mine.head.beta.tolist() != [1, -1, -1]


def test_the_truth_can_be_the_teacher_token(denoiser, corpus):
    one = train_gate(denoiser, corpus, GateRecipe("linear", steps=30, rate=3e-2), device=CPU, progress=False)
    other = train_gate(
        denoiser, corpus, GateRecipe("linear", steps=30, rate=3e-2, change_of="truth"), device=CPU, progress=False
    )
    assert one.gate.standard["confidence_change"].mean != other.gate.standard["confidence_change"].mean
    assert one.gate.standard["entropy"].mean == other.gate.standard["entropy"].mean


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"head": "wide"}, "head='wide'"),
        ({"label": "truth"}, "label='truth'"),
        ({"loss": "mse"}, "loss='mse'"),
        ({"states": "dreams"}, "states='dreams'"),
        ({"steps": 0}, "steps=0"),
        ({"width": 0}, "width=0"),
        ({"sparsity": -1.0}, "sparsity=-1"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"own_errors": 2.0}, "own_errors=2"),
        ({"label": "final"}, "rollout"),
        ({"learn_prior": True}, "learn_prior=True"),
        ({"learn_prior": True, "loss": "gumbel_sigmoid", "combine": "gate_only"}, "learn_prior=True"),
    ],
)
def test_bad_recipes_are_named(bad, said):
    with pytest.raises(InputError, match=said):
        GateRecipe(**bad)


def test_end_to_end_needs_a_denoiser_with_gradients(corpus):
    with pytest.raises(InputError, match="Transformer, not Oracle"):
        train_gate(Oracle(corpus.law, 0.1), corpus, GateRecipe(loss="gumbel_sigmoid"), device=CPU)


@pytest.mark.parametrize(
    "recipe",
    [
        GateRecipe(steps=2, batch=8),
        GateRecipe(steps=2, batch=8, head="linear", signals=()),
        GateRecipe(steps=2, batch=8, hidden=False, width=5),
    ],
)
def test_a_gate_is_trained_once_and_then_read(denoiser, corpus, tmp_path, recipe):
    """What is read gives the same p as what was trained, moments of the signals included."""
    path = tmp_path / "gate.safetensors"
    made = trained_gate(denoiser, corpus, recipe, path, device=CPU, progress=False)
    read = trained_gate(denoiser, corpus, replace(recipe, rate=1.0), path, device=CPU, progress=False)  # not trained again
    step, _ = held_out_states(denoiser, corpus, count=16, seed=0, device=CPU)[0]
    trained = train_gate(denoiser, corpus, recipe, device=CPU, progress=False)
    for gate in (made, read):
        assert torch.equal(gate(step).logit_p, trained.gate(step).logit_p)
        assert not gate.training
    assert facts_of(path)["losses"] == pytest.approx(trained.losses, abs=1e-5)


def test_a_gate_without_the_hidden_state_looks_at_none_and_has_the_units_asked_for(denoiser, corpus):
    recipe = GateRecipe(steps=2, batch=8, hidden=False, width=5)
    gate = train_gate(denoiser, corpus, recipe, device=CPU, progress=False).gate
    assert [weight.shape for weight in gate.head.parameters()] == [(5, 3 + 3), (5,), (1, 5), (1,)]
    step, _ = held_out_states(denoiser, corpus, count=16, seed=0, device=CPU)[0]
    assert torch.equal(gate(step).logit_u, gate(replace(step, hidden=torch.randn_like(step.hidden))).logit_u)


def test_a_published_gate_is_the_recommended_recipe_of_its_denoiser(tmp_path, monkeypatch):
    """Two steps of it, written and read again: the weights are those of a training by hand, and p is u."""
    short = replace(RECOMMENDED, steps=2)
    monkeypatch.setattr(ardm.experiments.store, "RECOMMENDED", short)
    path = publish_gate("agreement", tmp_path, progress=False)
    denoiser, recipe, _ = load_denoiser("agreement")
    expected = train_gate(denoiser, open_corpus(recipe.corpus, recipe.length), short, progress=False).gate.state_dict()
    gate = load_gate("agreement", tmp_path)
    assert path.name == "agreement-gate.safetensors" and len(facts_of(path)["losses"]) == 2
    assert (gate.combine, gate.training) == ("gate_only", False)
    assert all(torch.equal(value, expected[name]) for name, value in gate.state_dict().items())
    with pytest.raises(InputError, match=r"no gate 'sudoku9'.*ardm train sudoku9-gate"):
        load_gate("sudoku9", tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_gates_are_of_the_recipe_in_the_code(name):
    found = facts_of(MODELS / f"{name}-gate.safetensors")
    assert GateRecipe(**{**found["recipe"], "signals": tuple(found["recipe"]["signals"])}) == RECOMMENDED
    assert load_gate(name).head.read.in_features == load_denoiser(name)[0].shape.width + 4 + 3
    assert (MODELS / f"{name}-gate.safetensors").stat().st_size < 2**20
