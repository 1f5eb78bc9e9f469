"""The starting document's code: each defect does what it is said to do, and without them the method is the book's."""

import math

import pytest
import torch

from ardm.base.errors import InputError
from ardm.method.belief import Table
from ardm.method.gate import LinearHead, OverwriteGate
from ardm.method.literal import AS_WRITTEN, DEFECTS, LiteralGate, RunningNormaliser
from ardm.method.types import Step


def step(seed=0, rows=4, before=True) -> Step:
    g = torch.Generator().manual_seed(seed)
    log_q = (3 * torch.randn(rows, 6, 5, generator=g)).log_softmax(-1)
    log_q_before = torch.randn(rows, 6, 5, generator=g).log_softmax(-1) if before else None
    x = torch.randint(5, (rows, 6), generator=g)
    no = torch.zeros_like(x, dtype=torch.bool)
    return Step(
        t=2,
        T=8,
        x=x,
        proposal=x,
        now=Table(log_q),
        before=Table(log_q_before) if before else None,
        log_q_written=torch.zeros(x.shape),
        hidden=log_q[..., :2],
        is_mask=no,
        is_fixed=no,
        overwrites=torch.zeros_like(x),
    )


def test_without_defects_it_is_the_books_gate_up_to_how_moments_are_averaged():
    """After one batch the two averages agree: mean 0 weight left of the start, so only the variance's eps differs."""
    gate, ours = LiteralGate(LinearHead(), ()), OverwriteGate(LinearHead())
    for one in (gate, ours):
        one.train()(step(1))
        one.eval()
    assert torch.allclose(gate(step(2)).logit_p, ours(step(2)).logit_p, atol=1e-3)


def test_moments_move_by_a_twentieth_a_batch():
    normal = RunningNormaliser(first_variance=False, updates_in_eval=False)
    normal(torch.tensor([0.0, 2.0]))
    assert (normal.mean.item(), normal.variance.item()) == (1.0, 1.0)
    normal(torch.tensor([3.0, 9.0]))
    assert normal.mean.item() == pytest.approx(0.95 * 1 + 0.05 * 6)
    assert normal.variance.item() == pytest.approx(0.95 * 1 + 0.05 * 9)


def test_the_first_constant_batch_blows_up_the_next():
    """Variance 0 + 1e-5, and 1e-5 again under the root: 0.1 comes out as 0.1 / sqrt(2e-5), about 22."""
    found = {}
    for first_variance in (True, False):
        normal = RunningNormaliser(first_variance=first_variance, updates_in_eval=False)
        normal(torch.zeros(8))
        found[first_variance] = normal.eval()(torch.tensor(0.1)).item()
    assert found[True] == pytest.approx(0.1 / math.sqrt(2e-5), rel=1e-4)
    assert found[False] == pytest.approx(0.1, rel=1e-4)


def test_updates_in_eval_make_a_texts_p_depend_on_its_batch():
    lone, crowd = step(3, rows=1), step(3, rows=1)
    other = step(4)
    for defects, differ in ((("updates_in_eval",), True), ((), False)):
        gate = LiteralGate(LinearHead(), defects).train()
        gate(step(1))
        gate.eval()
        one = gate(lone).logit_p
        gate(other)
        assert (not torch.allclose(one, gate(crowd).logit_p)) == differ


def signals(defects, s):
    gate = LiteralGate(LinearHead(), defects).train()
    return gate.features(s, torch.linspace(-1, 1, 6).expand(4, 6))


def test_a_shared_normaliser_moves_the_margin_alone():
    plain, shared = signals((), step()), signals(("shared_normaliser",), step())
    assert torch.equal(plain.signals[..., 0], shared.signals[..., 0])
    assert plain.signals[..., 1].mean().abs() < 1e-5 < 0.1 < shared.signals[..., 1].mean().abs()


def test_positions_order_and_proxy():
    s = step()
    plain = signals((), s)
    assert plain.position[0].tolist() == pytest.approx([i / 6 for i in range(6)])
    assert signals(("position_to_1",), s).position[0].tolist() == pytest.approx([i / 5 for i in range(6)])
    order = signals(("feature_order",), s)
    assert torch.equal(order.position, plain.prior) and torch.equal(order.time, plain.position)
    assert torch.equal(order.prior, plain.time)
    proxy = LiteralGate(LinearHead(), ("proxy_change",))
    proxy.standard["confidence_change"] = torch.nn.Identity()
    found = proxy.train().features(s, torch.zeros(4, 6)).signals
    assert torch.allclose(found[..., 2], -found[..., 1].sigmoid())


def test_names():
    assert set(AS_WRITTEN) == set(DEFECTS) - {"proxy_change"}
    with pytest.raises(InputError, match="'typo'"):
        LiteralGate(LinearHead(), ["typo"])
    gate = LiteralGate(LinearHead(), ("position_to_1",))
    assert gate.combined("product").defects == {"position_to_1"}
    assert gate.combined("product").standard is gate.standard
