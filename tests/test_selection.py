"""Selection by counting and by hand."""

import pytest
import torch

from ardm.method.selection import Selection
from ardm.base.errors import InputError
from ardm.method.types import Step

P = torch.tensor([[0.6, 0.9, 0.4, 0.8, 0.95]])
ALLOWED = torch.tensor([[True, True, True, True, False]])


def step(x, t=1, T=4, overwrites=None) -> Step:
    x = torch.as_tensor(x)
    zero = torch.zeros_like(x)
    flat = torch.zeros(*x.shape, 6).log_softmax(-1)
    seen = zero if overwrites is None else torch.as_tensor(overwrites)
    return Step(t, T, x, zero, flat, None, zero.float(), flat[..., :0], x == 6, zero.bool(), seen)


def chosen(selection, s=None):
    return selection(P.logit(), ALLOWED, s or step([[0] * 5]), torch.Generator().manual_seed(0)).tolist()[0]


def test_bernoulli_draws_each_token_at_its_rate():
    p = torch.tensor([0.1, 0.5, 0.9]).logit().repeat(20_000, 1)
    everywhere = torch.ones_like(p, dtype=torch.bool)
    drawn = Selection()(p, everywhere, step(torch.zeros(20_000, 3, dtype=torch.long)), torch.Generator().manual_seed(0))
    assert drawn.float().mean(0).tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.012)  # over 3 standard errors


def test_threshold_budget_and_permission():
    assert chosen(Selection("threshold")) == [True, True, False, True, False]
    assert chosen(Selection("threshold", 0.85)) == [False, True, False, False, False]
    assert chosen(Selection("threshold", budget=2)) == [False, True, False, True, False]
    assert chosen(Selection("threshold", 0.0, budget=3)) == [True, True, False, True, False]
    assert chosen(Selection("threshold", 0.0)) == [True, True, True, True, False]
    assert chosen(Selection("threshold", 1.0)) == [False] * 5
    assert chosen(Selection("threshold", budget=0)) == [False] * 5


def test_a_falling_budget_goes_in_a_straight_line():
    falling = Selection("threshold", 0.0, budget=4, last_budget=1)
    assert [falling.budget_at(t, 4) for t in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert [falling.budget_at(t, 7) for t in range(1, 8)] == [4, 4, 3, 3, 2, 2, 1]  # 3.5, 2.5, 1.5 are rounded up
    assert falling.budget_at(1, 1) == 4
    for t, count in ((1, 4), (3, 2), (4, 1)):
        assert sum(chosen(falling, step([[0] * 5], t=t))) == count


def test_a_budget_of_a_position_spares_what_was_overwritten_often_enough_but_never_a_mask():
    selection = Selection("threshold", 0.0, per_position=2)
    s = step([[0, 0, 6, 0, 0]], overwrites=[[1, 2, 5, 3, 0]])
    assert chosen(selection, s) == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"how": "dice"}, "'dice'"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"budget": -1}, "budget=-1"),
        ({"per_position": -1}, "per_position=-1"),
        ({"last_budget": 2}, "without a budget"),
    ],
)
def test_bad_settings_are_named(bad, said):
    with pytest.raises(InputError, match=said):
        Selection(**bad)
