"""Minimal repair against brute force over every text of small laws."""

import itertools

import pytest
import torch

from ardm.base.errors import InputError
from ardm.worlds.laws import addition, agreement, dyck, markov, parity, permutation, sudoku
from ardm.worlds.puzzles import complete
from ardm.worlds.repairs import Repairs, minimal_repair, verifies
from ardm.worlds.world import world_of


def by_brute_force(law, x):
    """The nearest of all V^L texts, weighed by their probability: distance and chance of each visible token to differ."""
    texts = torch.tensor(list(itertools.product(range(law.vocab_size), repeat=law.length)))
    p = law.log_prob(texts).exp()
    texts, p = texts[p > 0], p[p > 0]
    differs = (x.unsqueeze(1) != texts) & (x.unsqueeze(1) < law.vocab_size)
    distance = differs.sum(-1)
    weight = p * (distance == distance.amin(-1, keepdim=True))
    return distance.amin(-1), (differs * weight.unsqueeze(-1)).sum(1) / weight.sum(-1, keepdim=True)


LAWS = {markov(4): 0, parity(7): 1, dyck(6): 2, addition(3): 2, permutation(4): 3}
"""Laws with few enough texts, and the most changes that the texts tried need: of the chain every text is possible."""


@pytest.mark.parametrize(("law", "most"), LAWS.items(), ids=lambda it: getattr(it, "name", ""))
def test_minimal_repair_is_that_of_the_nearest_texts(law, most):
    x = torch.randint(law.vocab_size + 1, (60, law.length), generator=torch.Generator().manual_seed(3))
    distance, wrong = by_brute_force(law, x)
    repairs = Repairs(law)
    assert (repairs.distance(x) == distance).all() and distance.max() >= most
    torch.testing.assert_close(repairs(x), wrong, rtol=0, atol=1e-12)
    assert (repairs(x)[x == law.vocab_size] == 0).all()


def test_of_two_tokens_that_contradict_each_other_each_is_half_wrong():
    law = sudoku(16)
    grid = law.sample(1, seed=1)
    x = torch.full_like(grid, law.vocab_size)
    x[0, 0] = x[0, 3] = grid[0, 0]  # one word twice in a row, and nothing else
    expected = torch.zeros(1, 16, dtype=torch.float64)
    expected[0, 0] = expected[0, 3] = 0.5
    torch.testing.assert_close(Repairs(law)(x), expected)


def test_a_right_text_needs_no_repair_and_the_count_of_nearest_is_that_of_viterbi():
    law = agreement(32)
    texts = law.sample(50, seed=2)
    repairs = Repairs(law)
    assert (repairs(texts) == 0).all() and (repairs.distance(texts) == 0).all()
    broken = texts.clone()
    broken[:, ::7] = 1
    one = law.nearest(broken)
    assert (repairs.distance(broken) == (one != broken).sum(-1)).all()
    assert (repairs(broken)[one != broken] > 0).all()


def test_who_knows_what_is_right():
    grids, text = world_of("sudoku9", 81), world_of("text8", 64)
    assert verifies(grids) and verifies(world_of("sudoku", 16)) and not verifies(text)
    truth = complete(2, seed=0)
    x = truth.clone()
    x[0, 5], x[1, 7] = (x[0, 5] + 1) % 9, 9
    wrong = minimal_repair(grids)(x, truth)
    assert wrong.nonzero().tolist() == [[0, 5]]
    with pytest.raises(InputError, match="text8: nobody can say"):
        minimal_repair(text)
