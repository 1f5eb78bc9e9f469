"""Shares and means with their intervals: by their formulas, and by how often they hold."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import norm

from ardm.base.errors import InputError
from ardm.experiments.statistics import mean_over_trainings, nested_difference, paired_difference, share


def test_wilson_interval_by_its_formula():
    n, hits = 200, 30
    z, p = norm.ppf(0.975), hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    found = share(torch.arange(n) < hits)
    assert (found.value, found.low, found.high) == pytest.approx((p, centre - half, centre + half), rel=1e-9)
    assert str(found) == "15.0 % [10.7, 20.6]"


def test_no_success_still_has_an_interval():
    found = share(torch.zeros(100, dtype=torch.bool))
    assert found.value == 0
    assert 0.03 < found.high < 0.04


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing"):
        share(torch.zeros(0, dtype=torch.bool))


def test_an_interval_over_trainings_is_students():
    """Five numbers by hand: mean 3, standard error sqrt(2.5 / 5), t of 4 degrees of freedom 2.776."""
    found = mean_over_trainings(torch.tensor([1.0, 2, 3, 4, 5]))
    half = 2.776445 * (2.5 / 5) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    with pytest.raises(InputError, match="1 training"):
        mean_over_trainings(torch.tensor([1.0]))


def test_students_interval_covers_where_a_bootstrap_of_five_does_not():
    """Coverage of the true mean over 400 samples of five normal numbers: 95 % is promised."""
    g, students, bootstrap = torch.Generator().manual_seed(0), 0, 0
    for _ in range(400):
        v = torch.randn(5, generator=g)
        found = mean_over_trainings(v)
        students += found.low <= 0 <= found.high
        again = v[torch.randint(5, (200, 5), generator=g)].mean(1)  # resampled with replacement
        bootstrap += bool(again.quantile(0.025) <= 0 <= again.quantile(0.975))
    assert students / 400 == pytest.approx(0.95, abs=0.035)
    assert bootstrap / 400 < 0.9


def test_pairing_takes_out_what_two_rules_share():
    shared = torch.tensor([0.2, 0.9, 0.5, 0.1, 0.7])
    gap = torch.tensor([0.10, 0.11, 0.09, 0.10, 0.12])
    found = paired_difference(shared + gap, shared)
    assert found.value == pytest.approx(gap.mean().item(), abs=1e-6)
    assert found.high - found.low < 0.04 < mean_over_trainings(shared).high - mean_over_trainings(shared).low
    with pytest.raises(InputError, match="5 against 4 trainings"):
        paired_difference(shared, shared[:4])


def spread(found):
    """The standard error that an interval would have, were it normal."""
    return (found.high - found.low) / (2 * 1.96)


def test_a_nested_bootstrap_draws_trainings_and_then_texts():
    """Against every draw there is: two trainings of two texts, all equally likely."""
    a, b = torch.tensor([[True, True], [True, False]]), torch.tensor([[False, False], [False, False]])
    gaps = (a.double() - b.double()).tolist()
    means = []
    for some in product(gaps, repeat=2):
        means += [sum(map(sum, texts)) / 4 for texts in product(*(product(one, repeat=2) for one in some))]
    found = nested_difference(a, b, draws=20_000)
    assert found.value == 0.75
    assert (found.low, found.high) == tuple(np.quantile(means, (0.025, 0.975)))
    still = nested_difference(a, b, trainings=False, draws=20_000)
    assert (still.low, still.high) == (0.5, 1.0)  # the first training is 1 in any draw, the second 0, 1/2 or 1


def test_where_texts_do_not_differ_it_is_the_bootstrap_of_trainings():
    a = torch.tensor([True, False, True, True, False])[:, None].expand(5, 40)
    found = nested_difference(a, torch.zeros(5, 40, dtype=torch.bool))
    draws = np.random.default_rng(1).choice([1.0, 0.0, 1.0, 1.0, 0.0], size=(100_000, 5)).mean(-1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, (0.025, 0.975))))


def test_of_texts_alone_it_has_the_standard_error_by_the_formula():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(5, 400, generator=rng) < share for share in (0.8, 0.7))
    gaps = a.double() - b.double()
    expected = (gaps.var(dim=1, correction=0) / 400).sum().sqrt() / 5
    assert spread(nested_difference(a, b, trainings=False)) == pytest.approx(expected.item(), rel=0.05)
    assert spread(nested_difference(a, b)) > expected


def test_pairs_need_the_same_texts():
    with pytest.raises(InputError, match=r"outcomes of \(2, 3\) against \(2, 4\)"):
        nested_difference(torch.ones(2, 3) > 0, torch.ones(2, 4) > 0)
