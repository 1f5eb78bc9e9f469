"""Combination by brute force in float64, heads by hand, selection by counting."""

import math
from dataclasses import replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.method.belief import Table
from ardm.method.gate import COMBINE, DOCUMENT, SIGNALS, AttentiveHead, Features, LearnedHead, LinearHead, OverwriteGate
from ardm.method.prior import PositionalPrior, prior_logit
from ardm.method.signals import confidence_change, divergence, entropy, log_prob_of, margin, placed_margin, top_mass
from ardm.method.types import Step

GRID = torch.linspace(-8, 8, 33, dtype=torch.float64)
U, R = torch.meshgrid(GRID, GRID, indexing="ij")
PLAIN = {
    "noisy_or": lambda u, r: 1 - (1 - u) * (1 - r),
    "product": lambda u, r: u * r,
    "logit_sum": lambda u, r: u * r / (u * r + (1 - u) * (1 - r)),
    "gate_only": lambda u, r: u + 0 * r,
    "prior_only": lambda u, r: r + 0 * u,
}


@pytest.mark.parametrize("name", COMBINE)
def test_combination_in_logits_is_the_plain_formula(name):
    found = COMBINE[name](U, R).sigmoid()
    assert torch.allclose(found, PLAIN[name](U.sigmoid(), R.sigmoid()), rtol=1e-9, atol=0)


def test_noisy_or_limits():
    never = torch.full_like(GRID, -torch.inf)
    assert torch.allclose(COMBINE["noisy_or"](never, GRID), GRID)  # u = 0 -> p = r
    assert torch.allclose(COMBINE["noisy_or"](GRID, never), GRID)  # r = 0 -> p = u
    u, r, p = U.sigmoid(), R.sigmoid(), COMBINE["noisy_or"](U, R).sigmoid()
    assert (p >= torch.maximum(u, r) - 1e-12).all()
    assert (p <= u + r + 1e-12).all()


def test_noisy_or_is_exact_where_the_plain_formula_cancels():
    """At u = r = e^-60 the plain formula gives 0 in float64; the logit of p is log 2 above that of u."""
    tiny = torch.tensor(-60.0, dtype=torch.float64)
    assert COMBINE["noisy_or"](tiny, tiny).item() == pytest.approx(-60 + math.log(2), rel=1e-12)
    huge = torch.tensor(60.0, dtype=torch.float64)
    assert COMBINE["noisy_or"](huge, huge).item() == pytest.approx(120, rel=1e-12)


def features(B=2, L=3, D=4) -> Features:
    position, time, prior = torch.randn(3, B, L)
    hidden, signals = torch.randn(B, L, D), torch.randn(B, L, 3)
    return Features(hidden=hidden, signals=signals, position=position, time=time, prior=prior)


def test_linear_head_is_the_documents_formula():
    f = features()
    H, M, change = f.signals.unbind(-1)
    head = LinearHead((0.2, -0.3, -0.4), beta_0=0.1)
    assert torch.allclose(head(f), 0.1 + 0.2 * H - 0.3 * M - 0.4 * change)
    assert torch.allclose(LinearHead()(f), H - M - change)  # unit weights


def test_learned_head_reads_features_in_the_documents_order():
    """With an identity MLP on one input at a time, the head returns that feature."""
    f = features(D=2)
    named = [*f.hidden.unbind(-1), *f.signals.unbind(-1), f.position, f.time, f.prior]
    head = LearnedHead(hidden=2, width=1)
    head.mlp = torch.nn.Sequential(torch.nn.Linear(8, 1, bias=False))
    for k, value in enumerate(named):
        head.mlp[0].weight.data = torch.eye(8)[k : k + 1]
        assert torch.allclose(head(f), value)


def test_the_learned_head_is_two_linear_maps_with_a_silu_between():
    f, head = features(B=1, L=2, D=2), LearnedHead(hidden=2, width=3)
    seen = torch.cat([f.hidden, f.signals, torch.stack([f.position, f.time, f.prior], -1)], -1)
    first, last = head.mlp[0], head.mlp[2]
    z = seen @ first.weight.T + first.bias
    assert torch.allclose(head(f), ((z * z.sigmoid()) @ last.weight.T + last.bias)[..., 0], atol=1e-6)
    assert LearnedHead(2).mlp[0].weight.shape == (64, 8)
    assert AttentiveHead(2).read.weight.shape == (64, 8) and AttentiveHead(2).block.heads == 4


@pytest.mark.parametrize("make", [LearnedHead, AttentiveHead])
def test_a_head_without_hidden_states_sees_the_rest(make):
    f, head = features(B=2, L=3, D=4), make(hidden=0)
    other = replace(f, hidden=f.hidden + 1)
    assert head(f).shape == (2, 3) and torch.equal(head(f), head(other))
    assert not torch.allclose(head(f), head(replace(f, signals=f.signals + 1)))
    assert torch.equal(f.joined(0), torch.cat([f.signals, torch.stack([f.position, f.time, f.prior], -1)], -1))


def test_in_the_attentive_head_tokens_see_each_other_and_in_the_learned_one_they_do_not():
    """One token's features are changed: the others' u moves by attention alone. Permuted tokens give permuted u."""
    f, other = features(B=1, L=6, D=4), None
    other = replace(f, hidden=f.hidden.clone())
    other.hidden[0, 2] += 3
    for make, seen in ((AttentiveHead, True), (LearnedHead, False)):
        torch.manual_seed(0)
        head = make(hidden=4)
        moved = (head(other) - head(f)).abs()[0] > 1e-6
        assert moved.tolist() == [seen or i == 2 for i in range(6)]
        order = torch.tensor([3, 1, 0, 5, 2, 4])
        mixed = Features(**{name: value[:, order] for name, value in f.__dict__.items()})
        assert torch.allclose(head(mixed), head(f)[:, order], atol=1e-6)


def test_the_attentive_head_is_torchs_own_encoder_layer_between_two_linear_maps():
    torch.manual_seed(1)
    f, head = features(B=2, L=5, D=4), AttentiveHead(hidden=4, width=8, heads=2)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    own, block = layer.state_dict(), head.block.state_dict()
    names = {
        "self_attn.in_proj": "qkv",
        "self_attn.out_proj": "mix",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
        "norm1": "norm_attention",
        "norm2": "norm_mlp",
    }
    for theirs, ours in names.items():
        joint = "_" if theirs.endswith("in_proj") else "."
        for part in ("weight", "bias"):
            own[f"{theirs}{joint}{part}"] = block[f"{ours}.{part}"]
    layer.load_state_dict(own)
    tokens = torch.cat([f.hidden, f.signals, torch.stack([f.position, f.time, f.prior], -1)], -1)
    expected = head.readout(head.norm(layer(head.read(tokens)))).squeeze(-1)
    assert torch.allclose(head(f), expected, atol=1e-5)


def step(L=5, V=4, t=2, T=8, *, before=True, seed=0) -> Step:
    g = torch.Generator().manual_seed(seed)
    log_q = torch.randn(2, L, V, generator=g).log_softmax(-1)
    log_q_before = torch.randn(2, L, V, generator=g).log_softmax(-1) if before else None
    x = torch.randint(V + 1, (2, L), generator=g)
    return Step(
        t=t,
        T=T,
        x=x,
        proposal=x.clamp(max=V - 1),
        now=Table(log_q),
        before=Table(log_q_before) if before else None,
        log_q_written=torch.zeros(2, L),
        hidden=torch.randn(2, L, 3, generator=g),
        is_mask=x == V,
        is_fixed=torch.zeros(2, L, dtype=torch.bool),
        overwrites=torch.zeros_like(x),
    )


def test_gate_puts_signals_and_prior_together():
    s = step()
    gate = OverwriteGate(LinearHead((1, -2, 0), beta_0=0.5)).eval()  # fresh standardisers: mean 0, scale 1
    out = gate(s)
    u = (0.5 + entropy(s.log_q) - 2 * margin(s.log_q)).sigmoid()
    r = prior_logit(5, 2, 8).sigmoid().expand(2, 5)
    assert torch.allclose(out.logit_u.sigmoid(), u, atol=1e-6)
    assert torch.allclose(out.logit_r.sigmoid(), r, atol=1e-6)
    assert torch.allclose(out.logit_p.sigmoid(), 1 - (1 - u) * (1 - r), atol=1e-6)


def test_positions_and_times_are_the_texts_not_the_seeds_codes():
    f = OverwriteGate(LinearHead()).eval().features(step(L=5, t=2, T=8), torch.zeros(2, 5))
    assert f.position[0].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])  # i/n, not i/(n-1)
    assert f.time[0].tolist() == [0.25] * 5


def test_standardisers_learn_in_training_and_rest_in_eval():
    gate = OverwriteGate(LinearHead()).train()
    gate(step(seed=1))
    learnt = gate.standard["margin"].mean.item()
    assert learnt != 0
    gate.eval()(step(seed=2))
    assert gate.standard["margin"].mean.item() == learnt
    assert gate.standard["margin"].mean.item() != gate.standard["entropy"].mean.item()  # each its own


def test_first_step_and_certain_predictions_give_finite_probabilities():
    s = step(before=False)
    certain = torch.full_like(s.log_q, -torch.inf)
    certain[..., 0] = 0
    for head in (LinearHead(), LearnedHead(3)):
        gate = OverwriteGate(head)
        for one in (s, replace(s, now=Table(certain))):
            assert gate(one).logit_p.isfinite().all()


def test_gradients_reach_head_and_prior():
    gate = OverwriteGate(LearnedHead(3), PositionalPrior(1.0, 0.5))
    gate(step()).logit_p.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gate.parameters())
    assert gate.prior.log_alpha.grad.abs() > 0


@pytest.mark.parametrize("make", [LearnedHead, AttentiveHead])
@pytest.mark.parametrize("name", ["hidden", "signals", "width"])
def test_sizes_of_heads_end_at_two_to_the_31(make, name):
    sizes = {"hidden": 3, "signals": 3, "width": 8}
    with torch.device("meta"), pytest.raises(InputError, match=f"^{name}=2147483649: it is at most 2147483648$"):
        make(**{**sizes, name: 2**31 + 1})


def test_unknown_combination_is_named():
    with pytest.raises(InputError, match="'and'"):
        OverwriteGate(LinearHead(), combine="and")


def test_every_signal_can_be_read_and_each_is_itself():
    s = step()
    gate = OverwriteGate(LinearHead([1.0] * len(SIGNALS)), signals=tuple(SIGNALS)).eval()
    seen = gate.features(s, torch.zeros(2, 5)).signals
    assert seen.shape == (2, 5, len(SIGNALS)) and seen.isfinite().all()
    for k, name in enumerate(SIGNALS):
        assert torch.allclose(seen[..., k], SIGNALS[name](s).clamp(-30, 30)), name
    assert tuple(OverwriteGate(LinearHead()).standard) == DOCUMENT == ("entropy", "margin", "confidence_change")
    with pytest.raises(InputError, match="'doubt'"):
        OverwriteGate(LinearHead(), signals=("doubt",))


def test_each_signal_is_what_its_name_says():
    s = step()
    q, before, x = s.log_q, s.log_q_before, s.x
    expected = {
        "entropy": entropy(q),
        "margin": margin(q),
        "confidence_change": confidence_change(q, before),
        "placed_log_prob": log_prob_of(q, x),
        "placed_margin": placed_margin(q, x),
        "placed_change": confidence_change(q, before, x),
        "top_mass": top_mass(q),
        "divergence": divergence(q, before),
    }
    assert SIGNALS.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.allclose(SIGNALS[name](s), values, atol=1e-6), name


def test_signals_are_cut_at_thirty_nats():
    certain = torch.tensor([[[0.0, -torch.inf, -torch.inf]] * 2])
    s = replace(step(L=2, V=3), x=torch.tensor([[0, 1], [0, 1]]), now=Table(certain.expand(2, 2, 3)))
    gate = OverwriteGate(LinearHead([1.0, 1.0]), signals=("margin", "placed_log_prob")).eval()
    assert gate.measure("margin", s).tolist() == [[30.0, 30.0]] * 2  # no second choice: infinite
    assert gate.measure("placed_log_prob", s).tolist() == [[0.0, -30.0]] * 2


def test_the_standardisers_learn_the_whole_batch_where_others_hold_the_rest():
    gate = OverwriteGate(LinearHead([1.0]), signals=("entropy",)).train()
    s = step()
    H = entropy(s.log_q)
    found = gate.signals(s, whole=lambda values: torch.cat([values, values + 2]))
    assert gate.standard["entropy"].count.item() == 20
    assert gate.standard["entropy"].mean.item() == pytest.approx(H.double().mean().item() + 1)
    deviation = (H.double().var(correction=0).item() + 1) ** 0.5
    assert torch.allclose(found[..., 0], (H - H.mean() - 1) / deviation, atol=1e-5)


def test_signals_that_are_known_are_taken_as_they_are():
    gate, s = OverwriteGate(LinearHead((1.0, 2.0, 3.0))).train(), step()
    known = torch.randn(2, 5, 3)
    assert torch.allclose(gate(s, known).logit_u, known @ torch.tensor([1.0, 2.0, 3.0]))
    assert gate.standard["entropy"].count.item() == 0  # and nothing is learnt of them


def test_a_gate_takes_the_prior_that_it_is_given():
    s = step()
    out = OverwriteGate(LinearHead(), PositionalPrior(0.5, 2.0)).eval()(s)
    assert torch.allclose(out.logit_r, prior_logit(5, 2, 8, 0.5, 2.0).expand(2, 5))


def test_another_combination_shares_everything_else():
    gate = OverwriteGate(LinearHead([1.0]), PositionalPrior(0.5), "product", signals=("margin",))
    for training in (True, False):
        other = gate.train(training).combined("logit_sum")
        assert (other.combine, other.training) == ("logit_sum", training)
        assert other.head is gate.head and other.prior is gate.prior and other.standard is gate.standard


def test_signals_that_are_one_word_are_refused_word_for_word():
    names = "entropy, margin, confidence_change, placed_log_prob, placed_margin, placed_change, top_mass, divergence"
    with pytest.raises(InputError) as told:
        OverwriteGate(LinearHead(), signals="entropy")
    assert str(told.value) == f"signals='entropy': give a tuple of names out of {names}"


def test_moments_are_saved_with_the_gate_and_shared_between_combinations():
    gate = OverwriteGate(LinearHead()).train()
    gate(step(seed=1))
    copy = OverwriteGate(LinearHead())
    copy.load_state_dict(gate.state_dict())
    one, two = gate.eval()(step(seed=2)), copy.eval()(step(seed=2))
    assert torch.equal(one.logit_p, two.logit_p)
    alone = gate.combined("gate_only")
    assert torch.equal(alone(step(seed=2)).logit_p, one.logit_u)
