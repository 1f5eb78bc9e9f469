"""When masks are written: counts by hand and by brute force in exact fractions, orders by hand and by rate."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from no_float64 import without_float64
from steps import DOUBT, SURE, TIE, V, places, rng, seen, step

from ardm.base.errors import InputError
from ardm.method.schedule import ORDERS, Schedule, bernoulli, due, lowest, nothing, revisable

TABLE = {  # masks left after each step, from a text of masks alone
    (6, 4, 1.0): [4, 3, 1, 0],
    (6, 4, 0.5): [3, 0, 0, 0],
    (8, 8, 1.0): [7, 6, 5, 4, 3, 2, 1, 0],
    (10, 5, 0.6): [6, 3, 0, 0, 0],
    (3, 8, 1.0): [2, 2, 1, 1, 1, 0, 0, 0],
    (5, 1, 0.6): [0],
    (7, 3, 0.2): [0, 0, 0],
}


def written_out(x, T, schedule, fixed=None):
    """How many masks are left after each step when nothing but the schedule acts."""
    x, left = torch.tensor([x]), []
    for t in range(1, T + 1):
        write = schedule(step(x, t, T, fixed), rng(seed=t))
        assert not (write & (x < V)).any()
        x = x.masked_fill(write, 0)
        left.append((x == V).sum().item())
    return left


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("size", "left"), TABLE.items())
def test_masks_left_by_hand(order, size, left):
    n, T, written_by = size
    assert written_out([V] * n, T, Schedule(order, written_by)) == left


@given(n=st.integers(1, 60), T=st.integers(1, 40), tenths=st.integers(1, 10), order=st.sampled_from(ORDERS))
def test_masks_left_by_brute_force(n, T, tenths, order):
    """In exact fractions: after step t of the ceil(w T) that write, floor(n (1 - t / ceil(w T))) masks are left."""
    last = ceil(Fraction(tenths, 10) * T)
    left = [max(0, floor(n * (1 - Fraction(t, last)))) for t in range(1, T + 1)]
    assert written_out([V] * n, T, Schedule(order, tenths / 10)) == left
    assert left[last - 1] == 0  # written by then


def test_counts_are_exact_where_a_float_is_not():
    """22 x (1 - 9/22) = 13 exactly; in float32 the product falls just below, and one mask too many would be written."""
    assert written_out([V] * 22, 22, Schedule(written_by=1.0)) == list(range(21, -1, -1))
    assert (torch.tensor(22) * (1 - 9 / 22)).floor() == 12


def test_what_is_fixed_does_not_count_and_what_is_hidden_again_does():
    """4 of 6 are open and T = 4: 3, 2, 1, 0 masks may be left. Two are masks at first, so that step 1 and 2 write none."""
    fixed = [[True, True, False, False, False, False]]
    assert written_out([0, 1, V, V, 2, 3], 4, Schedule(written_by=1.0), fixed) == [2, 2, 1, 0]
    hidden = step([[V, 0, V, V, V, 0]], 3, 4)  # two hidden again at step 2: of 6 open, 1 may be left after step 3
    assert Schedule(written_by=1.0)(hidden, rng()).sum() == 3
    late = replace(hidden, t=4)
    assert Schedule(written_by=0.5)(late, rng()).tolist() == [[True, False, True, True, True, False]]


def test_orders_by_hand():
    """6 open positions, at t = 2 of 4 with all written by step 4: 3 masks may be left, so of 5 masks 2 are written."""
    x, q = [V, V, 0, V, V, V], [DOUBT, TIE, SURE, SURE, DOUBT, TIE]
    s = seen(x, q, 2, 4, proposal=[3] * 6)
    assert places(Schedule("left", 1.0)(s, rng())) == [0, 1]
    assert places(Schedule("surest", 1.0)(s, rng())) == [1, 3]  # max q: 0.97 at 3, then 0.5 at 1 and 5, the first of equals
    other = seen(x, q, 2, 4, proposal=[0] * 6)
    assert places(Schedule("surest", 1.0)(other, rng())) == [1, 3]  # whatever is proposed


def test_the_random_order_favours_no_mask():
    s = step(torch.tensor([[V, V, 0, V, V, V]]).expand(4000, 6), 2, 4)
    write = Schedule("random", 1.0)(s, rng(4000))
    assert (write.sum(-1) == 2).all()
    rate = torch.tensor([0.4, 0.4, 0, 0.4, 0.4, 0.4])
    assert torch.allclose(write.float().mean(0), rate, atol=0.03)  # 4 standard errors


def test_the_order_from_the_left_stands_where_the_text_is():
    with without_float64() as device:
        s = step([[V, 0, V]], 2, 4)
        rank = Schedule("left").rank(replace(s, x=s.x.to(device)), rng())
        assert rank.device == device and rank.tolist() == [[0, 1, 2]]


def test_a_schedule_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="order='up': choose random or surest or left"):
        Schedule("up")
    for written_by in (0, 1.2):
        with pytest.raises(InputError, match=f"written_by={written_by}"):
            Schedule(written_by=written_by)


def test_the_lowest_ranks_among_the_allowed():
    rank = torch.tensor([[3.0, 1.0, 2.0, 1.0, 0.0], [5.0, 4.0, 3.0, 2.0, 1.0]])
    among = torch.tensor([[True, True, True, True, False], [True, False, True, True, True]])
    assert lowest(rank, among, 2).int().tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 1, 1]]
    assert lowest(rank, among, torch.tensor([1, 9])).int().tolist() == [[0, 1, 0, 0, 0], [1, 0, 1, 1, 1]]
    assert not lowest(rank, among, 0).any()


def test_what_is_due_ends_with_no_mask():
    for masks, t, T, expected in ((4, 2, 4, 2), (6, 1, 6, 1), (7, 1, 3, 3), (5, 3, 3, 5), (0, 1, 2, 0)):
        s = step([[V] * masks + [0] * (9 - masks)], t, T)
        assert due(s).tolist() == [expected]


def test_small_things():
    s = step([[0, V, 1]], 1, 2, fixed=[[True, False, False]])
    assert nothing(s).tolist() == [[False] * 3]
    assert revisable(s).tolist() == [[False, False, True]]
    p = torch.tensor([0.0, 0.3, 1.0]).expand(4000, 3)
    share = bernoulli(p, rng(4000)).float().mean(0)
    assert share[0] == 0 and share[2] == 1
    assert share[1].item() == pytest.approx(0.3, abs=0.03)  # 4 standard errors
