"""Distances from a law: exact distributions against brute force over all texts, bounds that hold, floors that are floors."""

from itertools import product

import pytest
import torch

from ardm.base.errors import InputError
from ardm.worlds.fidelity import (
    Fidelity,
    count_distribution,
    fidelity,
    fidelity_floor,
    pair_distribution,
    sequence_distance,
    sequence_floor,
    unigram_distance,
    unigram_floor,
)
from ardm.worlds.laws import Law, addition, agreement, dyck, markov, parity, permutation


def everything(law: Law) -> tuple[torch.Tensor, torch.Tensor]:
    """All sequences of the length and their exact probabilities."""
    x = torch.tensor(list(product(range(law.vocab_size), repeat=law.length)))
    return x, law.log_prob(x).exp()


@pytest.mark.parametrize("law", [markov(4), permutation(4), dyck(8), parity(6), addition(3)], ids=lambda law: law.name)
def test_pairs_and_counts_by_brute_force(law):
    x, p = everything(law)
    V = law.vocab_size
    pairs = torch.zeros(V * V, dtype=torch.float64)
    for i in range(law.length - 1):
        pairs.index_add_(0, x[:, i] * V + x[:, i + 1], p)
    assert torch.allclose(pair_distribution(law).flatten(), pairs / (law.length - 1), atol=1e-12)
    for token in range(min(V, 3)):
        counts = torch.zeros(law.length + 1, dtype=torch.float64).index_add_(0, (x == token).sum(1), p)
        assert torch.allclose(count_distribution(law, token), counts, atol=1e-12)


def test_distances_by_hand():
    """Parity of two bits has the texts 00 and 11, one half each. The sample 00, 00, 00, 01 has one invalid text of four."""
    found = fidelity(torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1]]), parity(2), "1")
    assert found.invalid == pytest.approx(1 / 4)
    assert found.words == pytest.approx(7 / 8 - 1 / 2)
    assert found.pairs == pytest.approx(1 / 2)  # 00, 01, 11 are 3/4, 1/4, 0 for 1/2, 0, 1/2
    assert found.counts == pytest.approx(1 / 2)  # ones: 0, 1, 2 are 3/4, 1/4, 0 for 1/2, 0, 1/2
    assert found.texts == pytest.approx(1 / 2)
    with pytest.raises(InputError, match="masks"):
        fidelity(torch.tensor([[0, 2]]), parity(2))


def test_no_distance_exceeds_that_of_whole_texts():
    """Each is a function of the text, so none can exceed the total variation between the texts themselves."""
    law, g = parity(4), torch.Generator().manual_seed(0)
    for _ in range(20):
        x = torch.randint(2, (30, 4), generator=g)
        found = fidelity(x, law, "1")
        assert max(found.invalid, found.words, found.pairs, found.counts) <= found.texts + 1e-12


def test_the_bound_is_the_largest_excess_over_the_floor():
    nan = float("nan")
    found, floor = Fidelity(0.1, 0.3, 0.05, nan, nan), Fidelity(0.0, 0.05, 0.08, nan, nan)
    assert found.bound(floor) == pytest.approx(0.25)
    assert floor.bound(Fidelity(0.0, 0.3, 0.1, nan, nan)) == 0.0


def test_texts_of_the_law_score_their_floor():
    law = agreement()
    floor = fidelity_floor(400, law, ".")
    assert floor.invalid == 0
    fresh = fidelity(law.sample(400, seed=99), law, ".")
    for name in ("words", "pairs", "counts"):
        assert getattr(fresh, name) == pytest.approx(getattr(floor, name), abs=0.03)
        assert 0 < getattr(floor, name) < 0.12
    assert fresh.bound(floor) < 0.03
    one = law.sample(1, seed=1).repeat(400, 1)  # valid, but always the same
    assert fidelity(one, law, ".").invalid == 0
    assert fidelity(one, law, ".").bound(floor) > 0.3


def test_unigram_distance_by_hand():
    """All texts of 5 tokens are 'det noun verb stop key': five copies of one text miss all but its five words."""
    law = agreement(5)
    x = law.encode("a bear rests . #animals").expand(7, 5)
    exact = law.marginals().mean(0)
    words = [law.words.index(w) for w in ("a", "bear", "rests", ".", "#animals")]
    expected = sum(0.2 - exact[w].item() for w in words)
    assert unigram_distance(x, law) == pytest.approx(expected, rel=1e-9)
    assert exact[law.words.index("a")].item() == pytest.approx(0.1)


def test_floor_falls_with_the_size_of_the_sample_and_is_met_by_the_law():
    law = agreement(9)
    small, large = unigram_floor(50, law), unigram_floor(800, law)
    assert large == pytest.approx(small / 4, rel=0.25)  # 1 / sqrt(16)
    assert unigram_distance(law.sample(800, seed=999), law) < 2 * large


def test_masks_are_not_a_finished_sequence():
    law = agreement(5)
    with pytest.raises(InputError, match="masks"):
        unigram_distance(torch.full((2, 5), law.vocab_size), law)


def test_sequence_distance_by_hand():
    """Dyck words of four brackets: (()) and ()(), one half each. Three of four right, all the first kind; one invalid."""
    x = torch.tensor([[0, 0, 1, 1]] * 3 + [[1, 0, 1, 0]])
    assert sequence_distance(x, dyck(4)) == pytest.approx((abs(3 / 4 - 1 / 2) + 1 / 4 + 1 / 2) / 2)
    assert sequence_distance(torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]]), dyck(4)) == pytest.approx(0)


def test_sequence_floor_falls_as_one_over_the_root_of_the_sample():
    few, many = sequence_floor(500, markov(4)), sequence_floor(8000, markov(4))
    assert few / many == pytest.approx(4, rel=0.15)
