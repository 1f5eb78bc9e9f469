"""Losses against sums written out, over every mask of a length-3 sequence where they are expectations."""

import itertools
import math

import pytest
import torch
from no_float64 import without_float64

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


def test_the_losses_of_parts_add_up_to_that_of_the_whole():
    """Two rows, of which three positions and one are taught; ``count`` is their number in both."""
    logit = torch.tensor([[0.3, -1.2, 0.8], [2.0, -0.4, 0.1]])
    label = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])
    where = torch.tensor([[True, True, True], [False, True, False]])
    count = where.float().sum()
    for whole, parts in (
        (bce(logit, label, where), [bce(logit[i : i + 1], label[i : i + 1], where[i : i + 1], count) for i in (0, 1)]),
        (expected_overwrites(logit, where), [expected_overwrites(logit[i : i + 1], where[i : i + 1], count) for i in (0, 1)]),
    ):
        assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)
    alone = bce(logit, label, torch.tensor([[False, True, False], [False] * 3]))
    assert alone.item() == pytest.approx(math.log1p(math.exp(-1.2)), rel=1e-6)  # one position: the mean is its loss


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


def test_a_relaxed_draw_of_given_numbers_by_hand():
    """The number 0.5 is not below p = 0.5; a logit of u is added to that of p, so that p = 0.5 gives u itself."""
    uniform = torch.tensor([[0.1, 0.5, 0.95]], dtype=torch.float64)
    assert relaxed_bernoulli(P.logit(), uniform, how="straight_through").tolist() == [[1, 0, 0]]
    even = torch.zeros(1, 3, dtype=torch.float64)
    assert relaxed_bernoulli(even, uniform)[0].tolist() == pytest.approx([0.1, 0.5, 0.95])
    assert relaxed_bernoulli(even, uniform, temperature=2.0)[0].tolist() == pytest.approx([0.25, 0.5, 1 / (1 + 19**-0.5)])
    ends = relaxed_bernoulli(even, torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64))
    assert ((ends > 0) & (ends < 1)).all() and ends[0, 0] < 1e-9 and ends[0, 2] > 1 - 1e-9


def test_numbers_are_drawn_where_the_logits_are():
    with without_float64() as device:
        drawn = relaxed_bernoulli(torch.zeros(2, 3, device=device), generator(0, "m"))
        assert drawn.device == device and drawn.shape == (2, 3)


def test_bad_relaxations_are_named():
    with pytest.raises(InputError, match="temperature=0"):
        relaxed_bernoulli(P.logit(), generator(0, "m"), temperature=0)
    with pytest.raises(InputError, match="'dice'"):
        relaxed_bernoulli(P.logit(), generator(0, "m"), how="dice")
