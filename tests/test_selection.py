"""Selection by counting and by hand."""

import pytest
import torch
from steps import rng

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.belief import Table
from ardm.method.selection import Selection
from ardm.method.types import Step

P = torch.tensor([[0.6, 0.9, 0.4, 0.8, 0.95]])
ALLOWED = torch.tensor([[True, True, True, True, False]])


def step(x, t=1, T=4, overwrites=None):
    x = torch.as_tensor(x)
    zero = torch.zeros_like(x)
    flat = torch.zeros(*x.shape, 6).log_softmax(-1)
    return Step(
        t=t,
        T=T,
        x=x,
        proposal=zero,
        now=Table(flat),
        before=None,
        log_q_written=zero.float(),
        hidden=flat[..., :0],
        is_mask=x == 6,
        is_fixed=zero.bool(),
        overwrites=zero if overwrites is None else torch.as_tensor(overwrites),
    )


def chosen(selection, s=None):
    return selection(P.logit(), ALLOWED, s or step([[0] * 5]), rng()).tolist()[0]


def test_bernoulli_draws_each_token_at_its_rate():
    p = torch.tensor([0.1, 0.5, 0.9]).logit().repeat(20_000, 1)
    everywhere = torch.ones_like(p, dtype=torch.bool)
    drawn = Selection()(p, everywhere, step(torch.zeros(20_000, 3, dtype=torch.long)), rng(20_000))
    assert drawn.float().mean(0).tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.012)  # over 3 standard errors


def test_bernoulli_acts_where_the_number_of_the_place_lies_below_p():
    """Each row has numbers of its own, whatever the others are; 0 never and 1 always."""
    p = torch.tensor([[0.2, 0.5, 0.8]]).repeat(4, 1)
    everywhere, s = torch.ones_like(p, dtype=torch.bool), step(torch.zeros(4, 3, dtype=torch.long))
    drawn = Selection()(p.logit(), everywhere, s, rng(4))
    assert torch.equal(drawn, rng(4).uniform(3) < p)
    part = step(torch.zeros(1, 3, dtype=torch.long))
    alone = Selection()(p[2:3].logit(), everywhere[2:3], part, Chance(0, "choices", torch.tensor([2])))
    assert torch.equal(alone, drawn[2:3])
    ends = torch.tensor([[0.0, 1.0, 0.0]]).logit()
    for seed in range(50):
        assert Selection()(ends, everywhere[:1], part, rng(seed=seed)).tolist() == [[False, True, False]]


def test_threshold_budget_and_permission():
    assert chosen(Selection("threshold")) == [True, True, False, True, False]
    assert chosen(Selection("threshold", 0.85)) == [False, True, False, False, False]
    assert chosen(Selection("threshold", budget=2)) == [False, True, False, True, False]
    assert chosen(Selection("threshold", 0.0, budget=3)) == [True, True, False, True, False]
    assert chosen(Selection("threshold", 0.0)) == [True, True, True, True, False]
    assert chosen(Selection("threshold", 1.0)) == [False] * 5
    assert chosen(Selection("threshold", budget=0)) == [False] * 5


def test_a_threshold_itself_is_not_above_it():
    even = torch.zeros(1, 2)  # p = 1/2
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    assert not Selection("threshold", 0.5)(even, everywhere, step([[0, 0]]), rng()).any()
    assert Selection("threshold", 0.499)(even, everywhere, step([[0, 0]]), rng()).all()


@pytest.mark.parametrize("name", ["budget", "per_position"])
def test_limits_end_at_two_to_the_31(name):
    assert getattr(Selection(**{name: 2**31}), name) == 2**31
    with pytest.raises(InputError, match=f"^{name}=2147483649: it is at most 2147483648$"):
        Selection(**{name: 2**31 + 1})


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
