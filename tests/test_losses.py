"""Losses against sums written out, over every mask of a length-3 sequence where they are expectations."""

import itertools
import math

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.losses import bce, denoising_loss, expected_overwrites, relaxed_bernoulli, total_variation

MASKS = list(itertools.product((0, 1), repeat=3))
P = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)


def chance(mask) -> float:
    """P(m) of independent draws with probabilities P."""
    return math.prod(p if m else 1 - p for p, m in zip(P[0].tolist(), mask, strict=True))


def test_denoising_loss_is_the_mean_over_all_positions():
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    x0 = torch.tensor([[0, 1, 2], [3, 3, 0]])
    log_q = logits.log_softmax(-1)
    expected = -sum(log_q[b, i, x0[b, i]] for b, i in itertools.product(range(2), range(3))) / 6
    assert denoising_loss(logits, x0).item() == pytest.approx(expected.item(), rel=1e-12)


def test_bce_by_hand():
    p = torch.tensor([[0.9, 0.2, 0.5]])
    label = torch.tensor([[1.0, 0.0, 0.25]])
    assert bce(p.logit(), label, torch.tensor([[True, True, False]])).item() == pytest.approx(
        -(math.log(0.9) + math.log(0.8)) / 2, rel=1e-5
    )
    assert bce(p.logit(), label).item() == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.5)) / 3, rel=1e-5)
    assert bce(p.logit(), label, torch.zeros(1, 3, dtype=torch.bool)).item() == 0


def test_expected_overwrites_is_the_sum_over_every_mask():
    expected = sum(chance(mask) * sum(mask) for mask in MASKS) / 3
    assert expected_overwrites(P.logit()).item() == pytest.approx(expected, rel=1e-12)
    some = torch.tensor([[True, False, True]])
    assert expected_overwrites(P.logit(), some).item() == pytest.approx((0.2 + 0.9) / 2, rel=1e-12)


def test_total_variation_by_hand():
    before = torch.tensor([[0.5, 0.5, 0.5]], dtype=torch.float64)
    assert total_variation(P.logit(), before.logit()).item() == pytest.approx((0.3 + 0.0 + 0.4) / 3, rel=1e-12)


@pytest.mark.parametrize(("how", "temperature"), [("straight_through", 1.0), ("gumbel_sigmoid", 1e-4), ("gumbel_sigmoid", 2.0)])
def test_relaxed_draws_have_the_law_of_the_hard_ones(how, temperature):
    """Rounded, they fall on each of the 8 masks with its exact probability; so the mean of any loss is its sum over the masks."""
    count = 40_000
    m = relaxed_bernoulli(P.logit().repeat(count, 1), generator(0, "m"), how=how, temperature=temperature)
    hard = m.round()
    loss = lambda mask: (mask[0] - 2 * mask[1] + 3 * mask[2] * mask[0]) ** 2  # noqa: E731  any function of the mask
    for mask in MASKS:
        share = (hard == torch.tensor(mask)).all(-1).double().mean().item()
        assert share == pytest.approx(chance(mask), abs=4 * math.sqrt(chance(mask) / count))
    expected = sum(chance(mask) * loss(mask) for mask in MASKS)
    drawn = loss(hard.unbind(-1))
    assert drawn.mean().item() == pytest.approx(expected, abs=4 * drawn.std().item() / math.sqrt(count))
    if temperature == 2.0:
        assert ((m > 0) & (m < 1)).all()  # relaxed indeed


def test_gradients_of_the_relaxed_draw():
    """Straight-through: dm/dp = 1, so dm/dlogit = p(1 - p). Gumbel-sigmoid: m(1 - m) / temperature."""
    logit = P.logit().requires_grad_()
    relaxed_bernoulli(logit, generator(0, "m"), how="straight_through").sum().backward()
    assert torch.allclose(logit.grad, P * (1 - P))
    logit = P.logit().requires_grad_()
    m = relaxed_bernoulli(logit, generator(0, "m"), temperature=0.5)
    m.sum().backward()
    assert torch.allclose(logit.grad, (m * (1 - m) / 0.5).detach())
    assert torch.autograd.gradcheck(lambda a: relaxed_bernoulli(a, generator(1, "m"), temperature=0.7), logit)


def test_bad_relaxations_are_named():
    with pytest.raises(InputError, match="temperature=0"):
        relaxed_bernoulli(P.logit(), generator(0, "m"), temperature=0)
    with pytest.raises(InputError, match="'dice'"):
        relaxed_bernoulli(P.logit(), generator(0, "m"), how="dice")
