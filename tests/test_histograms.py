"""Histograms of pairs and their distance: by hand, by a plain count, and against numpy."""

import numpy as np
import pytest
import torch

from ardm.base.errors import InputError
from ardm.worlds.histograms import finished, histogram_distance, pair_histogram


def test_pairs_by_hand():
    """Pairs 01 11 and 01 10 (never the last of one window with the first of the next)."""
    p = pair_histogram(torch.tensor([[0, 1, 1], [0, 1, 0]]), 2)
    assert torch.equal(p, torch.tensor([[0, 0.5], [0.25, 0.25]], dtype=torch.float64))
    with pytest.raises(InputError, match="at least 2"):
        pair_histogram(torch.tensor([[0], [1]]), 2)


def test_pairs_are_numpys_histogram_of_two_dimensions():
    x = torch.randint(5, (40, 9), generator=torch.Generator().manual_seed(1))
    first, second = x[:, :-1].flatten().numpy(), x[:, 1:].flatten().numpy()
    expected, _, _ = np.histogram2d(first, second, bins=[np.arange(6) - 0.5] * 2)
    assert np.array_equal(pair_histogram(x, 5).numpy() * 320, expected)


def test_total_variation_by_hand_and_as_the_largest_difference_of_an_event():
    p = pair_histogram(torch.tensor([[0, 1, 1], [0, 1, 0]]), 2)
    q = pair_histogram(torch.tensor([[0, 0, 0, 1, 0]]), 2)  # 00 00 01 10
    assert histogram_distance(p, q) == (0.5 + 0.25 + 0 + 0.25) / 2
    assert histogram_distance(p, p) == 0
    events = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    assert histogram_distance(p, q) == (events @ (p - q).flatten()).max().item()
    apart = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert histogram_distance(*apart) == 1
    with pytest.raises(InputError, match="one shape"):
        histogram_distance(p, q.flatten())


def test_what_is_finished_is_given_back_and_all_else_refused():
    x = torch.tensor([[0, 1]], dtype=torch.int32)
    assert finished(x, 2).dtype == torch.long and finished(x, 2).tolist() == [[0, 1]]
    for bad, message in (
        ([[0, 2]], r"x holds ids 0 .. 2: .*0 .. 1"),
        ([[-1, 1]], r"x holds ids -1 .. 1"),
        ([[]], "at least one"),
    ):
        with pytest.raises(InputError, match=message):
            finished(torch.tensor(bad, dtype=torch.long), 2)
