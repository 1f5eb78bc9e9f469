"""Gate training: its states, its losses against sums over every mask, and what each way of training converges to."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import torch
from torch import nn

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.denoiser import Shape, Transformer
from ardm.method.gate import LearnedHead, LinearHead, OverwriteGate
from ardm.method.gate_recipe import Corrupted, EndToEnd, GateRecipe, Head, Rollout, Taught
from ardm.method.losses import denoising_loss, relaxed_bernoulli
from ardm.method.states import States, corrupted_states, held_out_states, rollout_states
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser
from ardm.method.train_gate import edited, new_gate, train_gate
from ardm.method.types import Prediction
from ardm.worlds.corpora import LawCorpus
from ardm.worlds.laws import Oracle, agreement

CPU = torch.device("cpu")
SMALL = DenoiserRecipe(length=9, width=32, depth=1, heads=2, steps=120, batch=32, rate=5e-3)
MASKED = Corrupted(error_rate=0.0, own_errors=0.0)


@pytest.fixture(scope="module")
def corpus() -> LawCorpus:
    return LawCorpus(agreement(9))


@pytest.fixture(scope="module")
def denoiser(corpus):
    model = train_denoiser(SMALL, corpus=corpus, device=CPU, progress=False)[0]
    model.zero_grad(set_to_none=True)
    return model


def trained(denoiser, corpus, recipe, **given):
    return train_gate(denoiser, corpus, recipe, device=CPU, progress=False, **given)


def states(denoiser, corpus, how=Corrupted(), *, pair=False, count=64) -> States:
    x0, rng, V = corpus.batch(count, generator(0, "x")), generator(1, "x"), corpus.vocab_size
    if isinstance(how, Rollout):
        return rollout_states(denoiser, OverwriteGate(LearnedHead(32)).train(), x0, V, how, rng, device=CPU)
    return corrupted_states(denoiser, x0, V, how, rng, device=CPU, pair=pair)


def test_corrupted_states_are_what_the_sampler_leaves(denoiser, corpus):
    V = corpus.vocab_size
    found = states(denoiser, corpus, MASKED)
    (masked,), x0 = found.steps, found.x0
    assert torch.equal(x0, corpus.batch(64, generator(0, "x"))) and found.final is None
    assert torch.equal(masked.is_mask, masked.x == V)
    assert not torch.equal(masked.log_q, masked.log_q_before)  # the step before hid more
    assert torch.equal(masked.x[~masked.is_mask], x0[~masked.is_mask])
    (filled,) = states(denoiser, corpus, replace(MASKED, own_errors=1.0)).steps
    assert not filled.is_mask.any()
    assert torch.equal(filled.x[~masked.is_mask], x0[~masked.is_mask])
    assert filled.t == masked.t
    assert torch.allclose(filled.log_q, denoiser(filled.x, 1.0).logits.log_softmax(-1))


def test_a_pair_of_states_is_two_steps_of_one_text(denoiser, corpus):
    earlier, later = states(denoiser, corpus, MASKED, pair=True).steps
    assert later.t - earlier.t in (0, 1)
    assert (earlier.is_mask | ~later.is_mask).all()  # more is hidden before
    assert torch.equal(earlier.log_q, later.log_q_before)


def test_masks_are_filled_with_draws_from_the_prediction_before(corpus):
    """The exact oracle, asked about texts all masks: each filled position has the law's own marginal."""
    oracle, seen = Oracle(corpus.law, error_rate=0.1), []
    for k in range(60):
        rng = generator(k, "x")
        x0 = corpus.batch(64, rng)
        (step,) = corrupted_states(oracle, x0, corpus.vocab_size, Corrupted(0.0, 1.0), rng, device=CPU).steps
        if step.t == 1:  # every token was hidden
            seen.append(step.x)
    x = torch.cat(seen)
    expected = corpus.law.posterior(torch.full((1, 9), corpus.vocab_size))[0]
    found = nn.functional.one_hot(x, corpus.vocab_size).double().mean(0)
    assert (found[expected == 0] == 0).all()
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / len(x)).sqrt() + 1e-12).all()


def test_gates_are_judged_on_held_out_texts_at_several_steps(denoiser, corpus):
    found = held_out_states(denoiser, corpus, count=40, seed=2, device=CPU)
    assert torch.equal(torch.cat([x0 for _, x0 in found]), corpus.held_out(40, seed=2))
    assert len(found) == 8
    assert len({step.t for step, _ in found}) > 1
    assert all(torch.equal(step.is_mask, step.x == corpus.vocab_size) for step, _ in found)
    how = Corrupted(own_errors=0.0, error_rate=0.2)
    planted = held_out_states(denoiser, corpus, count=400, seed=2, device=CPU, how=how)
    wrong = torch.cat([(step.x != x0)[~step.is_mask] for step, x0 in planted]).float()
    assert abs(wrong.mean() - 0.2) < 5 * 0.4 / len(wrong) ** 0.5


@pytest.mark.parametrize("edit", ["overwrite", "hide"])
def test_rollout_states_are_the_steps_of_one_run_of_the_sampler(denoiser, corpus, edit):
    found = states(denoiser, corpus, Rollout(edit, steps=6))
    assert [step.t for step in found.steps] == [1, 2, 3, 4, 5, 6]
    given = ~found.steps[0].is_mask
    assert 0 < given.float().mean() < 1
    assert torch.equal(found.steps[0].x[given], found.x0[given])
    assert (found.final < corpus.vocab_size).all()
    assert all(torch.equal(b.log_q_before, a.log_q) for a, b in itertools.pairwise(found.steps))
    hidden = any((b.is_mask & ~a.is_mask).any() for a, b in itertools.pairwise(found.steps))
    assert hidden == (edit == "hide")


def test_in_a_rollout_the_gate_learns_nothing(denoiser, corpus):
    gate = OverwriteGate(LearnedHead(32)).train()
    before = {name: value.clone() for name, value in gate.state_dict().items()}
    x0 = corpus.batch(8, generator(0, "x"))
    rollout_states(denoiser, gate, x0, corpus.vocab_size, Rollout(steps=2), generator(1, "x"), device=CPU)
    assert gate.training
    assert all(torch.equal(value, before[name]) for name, value in gate.state_dict().items())


def test_an_edit_of_no_token_and_of_every_token_is_the_plain_prediction(denoiser, corpus):
    (step,) = states(denoiser, corpus).steps
    none, every = torch.zeros(step.x.shape), torch.ones(step.x.shape)
    assert torch.allclose(edited(denoiser, step, none, "overwrite").logits, denoiser(step.x).logits, atol=1e-5)
    assert torch.allclose(edited(denoiser, step, every, "overwrite").logits, denoiser(step.proposal).logits, atol=1e-5)
    hidden = torch.full_like(step.x, corpus.vocab_size)
    assert torch.allclose(edited(denoiser, step, every, "hide").logits, denoiser(hidden).logits, atol=1e-5)


def test_the_end_to_end_loss_is_the_sum_over_every_mask_of_a_length_3_text(denoiser, corpus):
    """Straight-through draws, averaged, against the loss of the next call after each of the 8 possible overwrites."""
    found = states(denoiser, corpus, Corrupted(own_errors=1.0), count=1)
    (step,), x0 = found.steps, found.x0[:, :3]
    cut = {name: value[:, :3] for name, value in step.__dict__.items() if isinstance(value, torch.Tensor)}
    step = replace(step, **{**cut, "proposal": (cut["x"] + 7) % corpus.vocab_size})  # never the placed token
    p = torch.tensor([[0.3, 0.6, 0.8]])
    expected = 0.0
    for mask in itertools.product((0, 1), repeat=3):
        chance = math.prod(q if m else 1 - q for q, m in zip(p[0].tolist(), mask, strict=True))
        x = torch.where(torch.tensor([mask]).bool(), step.proposal, step.x)
        expected += chance * denoising_loss(denoiser(x).logits, x0).item()
    rng, drawn = generator(0, "draws"), []
    with torch.no_grad():
        for _ in range(3000):
            m = relaxed_bernoulli(p.logit(), rng, how="straight_through")
            drawn.append(denoising_loss(edited(denoiser, step, m, "overwrite").logits, x0))
    drawn = torch.stack(drawn)
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / math.sqrt(3000))
    assert drawn.std() > 0


# What each way of training converges to.


def many_states(denoiser, corpus, how, batches):
    """Steps and true tokens of texts that no training saw, 32 at each of as many random steps as there are batches."""
    rng = generator(1, "judged")
    for _ in range(batches):
        found = corrupted_states(denoiser, corpus.batch(32, rng), corpus.vocab_size, how, rng, device=CPU)
        yield found.steps[0], found.x0


def test_a_linear_gate_converges_to_the_logistic_regression_of_its_labels(denoiser, corpus):
    """The same signals and labels, gathered from other texts and given to a quasi-Newton method: the same weights."""
    how = Corrupted(error_rate=0.2, own_errors=1.0)
    recipe = GateRecipe(Head("linear"), ("entropy", "placed_log_prob"), how, steps=800, batch=32, rate=5e-2)
    gate = trained(denoiser, corpus, recipe).gate
    rows, labels = [], []
    for step, x0 in many_states(denoiser, corpus, how, 800):
        rows.append(gate.features(step, torch.zeros(step.x.shape)).signals.flatten(0, 1))
        labels.append((step.x != x0).flatten())
    X, y = torch.cat(rows).double().numpy(), torch.cat(labels).double().numpy()
    X = np.column_stack([np.ones(len(X)), X])

    def loss(beta):
        return np.logaddexp(0, X @ beta).mean() - (y * (X @ beta)).mean()

    def slope(beta):
        return X.T @ (scipy.special.expit(X @ beta) - y) / len(y)

    best = scipy.optimize.minimize(loss, np.zeros(3), jac=slope, method="BFGS", options={"gtol": 1e-7})
    found = np.array([gate.head.beta_0.item(), *gate.head.beta.tolist()])
    assert best.success and np.abs(best.x[1:]).min() > 0.3
    assert found == pytest.approx(best.x, abs=0.1)
    assert loss(found) - best.fun < 0.002 < 0.1 < loss(np.zeros(3)) - best.fun


@pytest.mark.parametrize("head", ["learned", "attentive"])
def test_a_gate_taught_by_mismatch_is_calibrated(denoiser, corpus, head):
    """The mean of u is the share of wrong tokens, over fresh texts without masks (a mask counts as wrong, which is easy)."""
    how = Corrupted(error_rate=0.2, own_errors=1.0)
    gate = trained(denoiser, corpus, GateRecipe(Head(head), states=how, steps=400, rate=3e-3)).gate
    gaps, wrongs = [], []
    with torch.no_grad():
        for step, x0 in many_states(denoiser, corpus, how, 100):
            assert not step.is_mask.any()
            wrong = (step.x != x0).float()
            gaps.append((gate(step).logit_u.sigmoid() - wrong).mean())
            wrongs.append(wrong.mean())
    gaps, share = torch.stack(gaps), torch.stack(wrongs).mean()
    error = gaps.std() / math.sqrt(len(gaps))  # batches are independent; the tokens of one share their step
    assert abs(gaps.mean()) < 4 * error < 0.02 < 0.2 < share < 0.8


class Copying(Transformer):
    """Believes what it sees, place by place: ``boldness`` nats for the token that stands there, nothing known of a mask."""

    def __init__(self, vocab_size: int, length: int, boldness: float) -> None:
        super().__init__(Shape(vocab_size, length, width=vocab_size, depth=1, heads=1))
        rows = torch.cat([boldness * torch.eye(vocab_size), torch.zeros(1, vocab_size)])
        self.token.weight = nn.Parameter(rows)

    def read(self, embedded):
        return Prediction(embedded, embedded[..., :0])


BOLD, WRONG, SPARSITY, TEMPERATURE = 7.0, 0.4, 0.2, 2.0


def slope_of_hiding(m: float, V: int) -> float:
    """d/dm of the mean loss of a visible token, hidden by a share m: log(e^((1-m)a) + V - 1) - (1-m)a when it is right."""
    seen = math.exp((1 - m) * BOLD)
    return BOLD * ((1 - WRONG) - seen / (seen + V - 1))


def share_hidden(how: str) -> tuple[float, int, int]:
    """p of a gate that sees nothing, so that p is one number, trained end to end; and V and L of its texts."""
    corpus = LawCorpus(agreement(5))
    copying = Copying(corpus.vocab_size, corpus.length, BOLD)
    objective = EndToEnd(how, "gate_only", "hide", temperature=TEMPERATURE, last_temperature=TEMPERATURE)
    planted = Corrupted(error_rate=WRONG, own_errors=0.0)
    recipe = GateRecipe(Head("linear"), (), planted, objective, sparsity=SPARSITY, steps=400, batch=128, rate=5e-2)
    return trained(copying, corpus, recipe).gate.head.beta_0.sigmoid().item(), corpus.vocab_size, corpus.length


def test_straight_through_training_ends_where_its_gradient_is_zero():
    """The slope at hard draws, 0 with chance 1 - p and 1 with chance p, plus the price of an edit, solved for p by hand."""
    p, V, L = share_hidden("straight_through")
    visible = (L - 1) / (2 * L)  # on average: at step t of L a share (t - 1) / L
    low, high = slope_of_hiding(0, V), slope_of_hiding(1, V)
    expected = (-low - SPARSITY / visible) / (high - low)
    assert 0.08 < expected < 0.9
    assert p == pytest.approx(expected, abs=0.02)


def test_gumbel_sigmoid_training_ends_at_the_minimum_of_the_relaxed_loss():
    """The loss integrated over the logistic noise of the binary Concrete distribution, and minimised, by scipy."""
    p, V, L = share_hidden("gumbel_sigmoid")
    visible = (L - 1) / (2 * L)

    def loss(logit):
        def weighted(noise):
            m = scipy.special.expit((logit + noise) / TEMPERATURE)
            right = (1 - WRONG) * (1 - m) * BOLD
            density = scipy.special.expit(noise) * scipy.special.expit(-noise)
            return (math.log(math.exp((1 - m) * BOLD) + V - 1) - right) * density

        return visible * scipy.integrate.quad(weighted, -40, 40, limit=200)[0] + SPARSITY * scipy.special.expit(logit)

    best = scipy.optimize.minimize_scalar(loss, bounds=(-6, 6), method="bounded")
    expected = scipy.special.expit(best.x)
    assert 0.08 < expected < 0.9
    assert p == pytest.approx(expected, abs=0.02)


def ranked(gate, denoiser, corpus) -> float:
    """The chance that a wrong visible token has a higher u than a right one."""
    found = states(denoiser, corpus, count=200)
    (step,) = found.steps
    with torch.no_grad():
        u = gate(step).logit_u
    wrong, right = (u[~step.is_mask & (step.x != found.x0)], u[~step.is_mask & (step.x == found.x0)])
    return (wrong[:, None] > right).float().mean().item()


TRAININGS = {
    "learned": (GateRecipe(steps=80, rate=2e-2), 0.75),
    "linear, placed": (GateRecipe(Head("linear"), ("placed_log_prob",), steps=80, rate=2e-2), 0.75),
    "likelihood ratio": (GateRecipe(objective=Taught("likelihood_ratio"), steps=120, rate=2e-2), 0.65),
    "rollouts": (GateRecipe(states=Rollout("hide", 4), steps=50, batch=16, rate=2e-2), 0.65),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_labels_teach_to_rank_wrong_above_right(denoiser, corpus, name):
    recipe, least = TRAININGS[name]
    assert ranked(trained(denoiser, corpus, recipe).gate, denoiser, corpus) > least


HIDING = EndToEnd(combine="gate_only", edit="hide")
EACH_WAY = {
    "labels": GateRecipe(steps=3, batch=8),
    "likelihood ratio": GateRecipe(objective=Taught("likelihood_ratio"), steps=3, batch=8),
    "rollouts": GateRecipe(states=Rollout(steps=3), steps=3, batch=8),
    "gumbel-sigmoid": GateRecipe(objective=HIDING, steps=3, batch=8),
    "straight-through, rollouts": GateRecipe(
        states=Rollout("hide", 3), objective=replace(HIDING, how="straight_through"), steps=3, batch=8
    ),
    "end to end and labels": GateRecipe(
        objective=EndToEnd(taught=Taught(), weight=0.5), stability=0.1, sparsity=0.1, steps=3, batch=8
    ),
    "joint": GateRecipe(joint=True, steps=3, batch=8),
}


@pytest.mark.parametrize("name", EACH_WAY)
def test_the_same_recipe_gives_the_same_weights_and_leaves_the_denoiser_alone(denoiser, corpus, name):
    before = {k: v.clone() for k, v in denoiser.state_dict().items()}
    one = trained(denoiser, corpus, EACH_WAY[name])
    torch.rand(1)  # whatever others draw from the global generator
    two = trained(denoiser, corpus, EACH_WAY[name])
    assert one.losses == two.losses and len(one.losses) == 3
    weights, untrained = one.gate.state_dict(), new_gate(EACH_WAY[name], 32).state_dict()
    assert all(torch.equal(weights[k], v) for k, v in two.gate.state_dict().items())
    assert not any(torch.equal(weights[k], untrained[k]) for k in ("head.mlp.0.weight", "head.mlp.2.bias"))
    assert all(torch.equal(v, before[k]) for k, v in denoiser.state_dict().items())
    assert all(p.grad is None for p in denoiser.parameters())
    assert (one.denoiser is denoiser) == (name != "joint") and not one.gate.training
    other = trained(denoiser, corpus, replace(EACH_WAY[name], seed=1))
    assert not torch.equal(other.gate.state_dict()["head.mlp.0.weight"], weights["head.mlp.0.weight"])


@pytest.mark.parametrize(
    ("recipe", "calls"),
    [
        (GateRecipe(), 2),  # the step before, and the step
        (GateRecipe(stability=1.0), 3),
        (GateRecipe(objective=Taught("likelihood_ratio")), 3),
        (GateRecipe(objective=Taught("likelihood_ratio"), stability=1.0), 5),
        (GateRecipe(states=Rollout(steps=4)), 4),
        (GateRecipe(states=Rollout(steps=4), objective=Taught("likelihood_ratio")), 8),
    ],
)
def test_what_an_optimiser_step_costs_in_calls_of_the_denoiser(corpus, recipe, calls):
    made, oracle = [], Oracle(corpus.law, error_rate=0.1)

    def counting(x, time):
        made.append(len(x))
        return oracle(x, time)

    trained(counting, corpus, replace(recipe, steps=3, batch=4))
    assert made == [1] + [4] * (3 * calls)  # one text at first, to know how wide the hidden state is


def test_the_final_label_needs_no_truth_and_trains_on_rollouts(denoiser, corpus):
    recipe = GateRecipe(states=Rollout("hide", 4), objective=Taught("final"), steps=40, batch=16, rate=2e-2)
    losses = trained(denoiser, corpus, recipe).losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_sparsity_makes_gates_shyer_and_stability_calmer(denoiser, corpus):
    def mean_p(recipe):
        gate = trained(denoiser, corpus, recipe).gate
        earlier, later = states(denoiser, corpus, pair=True).steps
        with torch.no_grad():
            one, two = gate(earlier).logit_u.sigmoid(), gate(later).logit_u.sigmoid()
        return two.mean().item(), (one - two).abs().mean().item()

    plain = GateRecipe(steps=60, rate=2e-2)
    assert mean_p(replace(plain, sparsity=20.0))[0] < 0.3 * mean_p(plain)[0]
    assert mean_p(replace(plain, stability=5.0))[1] < 0.9 * mean_p(plain)[1]


def test_the_prior_is_learnt_only_when_asked(denoiser, corpus):
    recipe = GateRecipe(objective=EndToEnd(), steps=5, rate=2e-2)
    still = trained(denoiser, corpus, recipe).gate.prior
    moved = trained(denoiser, corpus, replace(recipe, objective=EndToEnd(learn_prior=True))).gate.prior
    assert (still.alpha.item(), still.delta.item()) == (pytest.approx(1.25), 0.0)
    assert moved.alpha.item() != pytest.approx(1.25) and moved.delta.item() != 0.0


def test_labels_teach_u_alone(denoiser, corpus):
    """Whatever way of combining the gate came with, the same numbers are learnt."""
    made = []
    for combine in ("noisy_or", "product"):
        gate = new_gate(GateRecipe(), 32).combined(combine)
        made.append(trained(denoiser, corpus, GateRecipe(steps=3), gate=gate).gate.state_dict())
    assert all(torch.equal(made[1][name], value) for name, value in made[0].items())


def test_joint_training_moves_a_copy_of_the_denoiser(denoiser, corpus):
    joint = trained(denoiser, corpus, GateRecipe(joint=True, steps=3))
    assert joint.denoiser is not denoiser
    assert not torch.equal(joint.denoiser.token.weight, denoiser.token.weight)


def test_a_new_gate_combines_as_the_document_does_or_as_it_was_trained_to(denoiser, corpus):
    assert trained(denoiser, corpus, GateRecipe(steps=1)).gate.combine == "noisy_or"
    assert trained(denoiser, corpus, GateRecipe(objective=EndToEnd(combine="product"), steps=1)).gate.combine == "product"


def test_a_given_gate_is_trained_on(denoiser, corpus):
    mine = OverwriteGate(LinearHead())
    assert trained(denoiser, corpus, GateRecipe(steps=3), gate=mine).gate is mine
    assert mine.head.beta.tolist() != [1, -1, -1]


@pytest.mark.parametrize(
    "recipe",
    [
        GateRecipe(steps=2, batch=8),
        GateRecipe(Head("linear"), (), steps=2, batch=8),
        GateRecipe(Head(hidden=False, width=5), steps=2, batch=8),
        GateRecipe(Head("attentive", width=8), steps=2, batch=8),
    ],
)
def test_the_weights_of_a_trained_gate_fit_a_new_gate_of_its_recipe(denoiser, corpus, recipe):
    """p is the same, so the moments of the signals are among the weights."""
    gate = trained(denoiser, corpus, recipe).gate
    read = new_gate(recipe, 32).eval()
    read.load_state_dict(gate.state_dict())
    step, _ = held_out_states(denoiser, corpus, count=16, seed=0, device=CPU)[0]
    assert torch.equal(gate(step).logit_p, read(step).logit_p)


def test_a_gate_without_the_hidden_state_looks_at_none_and_has_the_units_asked_for(denoiser, corpus):
    gate = trained(denoiser, corpus, GateRecipe(Head(hidden=False, width=5), steps=2, batch=8)).gate
    assert [weight.shape for weight in gate.head.parameters()] == [(5, 3 + 3), (5,), (1, 5), (1,)]
    step, _ = held_out_states(denoiser, corpus, count=16, seed=0, device=CPU)[0]
    assert torch.equal(gate(step).logit_u, gate(replace(step, hidden=torch.randn_like(step.hidden))).logit_u)


@pytest.mark.parametrize(
    ("recipe", "what"), [(GateRecipe(objective=EndToEnd()), "EndToEnd"), (GateRecipe(joint=True), "joint")]
)
def test_gradients_need_a_denoiser_that_has_them(corpus, recipe, what):
    with pytest.raises(InputError, match=f"{what}.*Transformer, not Oracle"):
        train_gate(Oracle(corpus.law, 0.1), corpus, recipe, device=CPU)
