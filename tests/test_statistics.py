"""Shares and means with their intervals: by their formulas, and by how often they hold."""

import pytest
import torch
from scipy.stats import norm

from ardm.base.errors import InputError
from ardm.experiments.statistics import mean_over_trainings, paired_difference, share


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
