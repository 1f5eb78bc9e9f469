import math

import pytest
import torch

from ardm.base.errors import InputError
from ardm.method.prior import PositionalPrior, forced_overwrites, maturity, prior_logit


def test_maturity_by_hand():
    assert maturity(4, 8).tolist() == [0, 2, 4, 6]
    assert maturity(4, 8, 0.5).tolist() == [1, 3, 5, 7]


def test_prior_by_hand():
    # n = 4, T = 8, alpha = 1.25, position 3 matures at 6; at t = 4 its logit is 1.25 * 2
    r = prior_logit(4, 4, 8).sigmoid()
    assert r[3].item() == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert r[2].item() == 0.5  # at its own maturity


def test_left_matures_before_right_and_everything_closes_with_time():
    r = torch.stack([prior_logit(16, t, 8, 1.25, 0.5).sigmoid() for t in range(1, 9)])
    assert (r.diff(dim=1) > 0).all()
    assert (r.diff(dim=0) < 0).all()


def test_a_steep_slope_is_a_step_function():
    r = prior_logit(4, 3, 8, 1e4).sigmoid()
    assert r.tolist() == [0, 0, 1, 1]


def test_a_flat_slope_is_one_half_everywhere():
    assert torch.allclose(prior_logit(4, 3, 8, 1e-6).sigmoid(), torch.full((4,), 0.5), atol=1e-5)


def test_forced_overwrites_by_hand():
    """n = 2, T = 2: tau = 0, 1; alpha = log 3, so r is 1/4, 1/10 at position 0 and 1/2, 1/4 at position 1."""
    assert forced_overwrites(2, 2, math.log(3)).tolist() == pytest.approx([0.35, 0.75], rel=1e-6)


@pytest.mark.parametrize(("n", "T", "alpha", "delta"), [(32, 32, 1.25, 0.0), (16, 64, 0.3, 2.0), (40, 10, 5.0, -3.0)])
def test_forced_overwrites_lie_within_one_of_their_integral(n, T, alpha, delta):
    tau = maturity(n, T, delta).double()
    softplus = torch.nn.functional.softplus
    integral = (softplus(alpha * (tau - 0.5)) - softplus(alpha * (tau - T - 0.5))) / alpha
    assert ((forced_overwrites(n, T, alpha, delta) - integral).abs() < 1).all()


def test_forced_overwrites_are_about_half_of_n_T():
    """Summed over positions and steps r is about nT/2 whatever the gate says: the defect that noisy-OR inherits."""
    n, T = 64, 64
    assert forced_overwrites(n, T).sum().item() == pytest.approx(n * T / 2, rel=0.05)


def test_without_slope_and_shift_they_are_five_quarters_and_none():
    assert torch.equal(forced_overwrites(3, 4), forced_overwrites(3, 4, 1.25, 0.0))
    assert torch.equal(prior_logit(3, 2, 4), prior_logit(3, 2, 4, 1.25, 0.0))
    assert torch.equal(PositionalPrior()(3, 2, 4), PositionalPrior(1.25, 0.0)(3, 2, 4))
    assert prior_logit(3, 2, 4).tolist() == pytest.approx([1.25 * (0 - 2), 1.25 * (4 / 3 - 2), 1.25 * (8 / 3 - 2)])
    assert PositionalPrior()(3, 2, 4).tolist() == pytest.approx(prior_logit(3, 2, 4).tolist())


def test_learnable_prior_keeps_its_slope_positive():
    prior = PositionalPrior(alpha=1.25, delta=0.5)
    assert torch.allclose(prior(6, 2, 4), prior_logit(6, 2, 4, 1.25, 0.5))
    prior.log_alpha.data -= 50
    assert prior.alpha.item() > 0
    prior(6, 2, 4).sum().backward()
    assert prior.log_alpha.grad is not None and prior.delta.grad is not None


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan])
def test_a_slope_that_is_not_positive_is_refused(alpha):
    with pytest.raises(InputError, match="alpha"):
        prior_logit(4, 1, 4, alpha)
    with pytest.raises(InputError, match="alpha"):
        PositionalPrior(alpha)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: maturity(0, 4), "n=0: it is at least 1"),
        (lambda: maturity(4, 0), "T=0: it is at least 1"),
        (lambda: forced_overwrites(4, 0), "T=0: it is at least 1"),
        (lambda: prior_logit(4, 1, 4, 0.0), "alpha=0.0: the slope is positive, else right tokens would mature first"),
        (lambda: prior_logit(4, 1, 4, 2e6), "alpha=2000000.0: it is between 1e-06 and 1e+06"),
        (lambda: PositionalPrior(9e-7), "alpha=9e-07: it is between 1e-06 and 1e+06"),
        (lambda: maturity(4, 4, -2e6), "delta=-2000000.0: it is at most 1e+06 either way"),
        (lambda: PositionalPrior(delta=2e6), "delta=2000000.0: it is at most 1e+06 either way"),
        (lambda: maturity(4, 4, True), "delta=True: it is a number"),
        (lambda: prior_logit(4, 1, 4, True), "alpha=True: it is a number"),
    ],
)
def test_what_is_refused_word_for_word(call, said):
    with pytest.raises(InputError) as told:
        call()
    assert str(told.value) == said


def test_the_limits_themselves_are_legal():
    assert maturity(1, 1).tolist() == [0]
    assert maturity(1, 1, 1e6).tolist() == [1e6] and maturity(1, 1, -1e6).tolist() == [-1e6]
    assert prior_logit(1, 1, 1, 1e6).tolist() == [-1e6]
    assert prior_logit(1, 1, 1, 1e-6).tolist() == pytest.approx([-1e-6])


def test_no_positions_or_no_steps_is_refused():
    with pytest.raises(InputError, match="n=0"):
        maturity(0, 4)
    with pytest.raises(InputError, match="T=0"):
        maturity(4, 0)
