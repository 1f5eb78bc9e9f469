"""The draw, tested on its intervals: against sums in extended precision, never by sampling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ardm.base.errors import InputError
from ardm.method import draw
from ardm.method.draw import Draw

BELOW_ONE = 1 - 2.0**-53  # the largest uniform number there is


def edges_of(log_q, temperature=1.0):
    """``[V]``: the right edge of every token's interval, in numpy's extended precision and one running sum."""
    scaled = np.asarray(log_q).astype(np.longdouble) / temperature
    q = np.exp(scaled - scaled.max())
    return q.cumsum() / q.sum()


def drawn(log_q, uniform, **settings):
    """The token for each of the uniform numbers, from one row of log-probabilities."""
    log_q = torch.as_tensor(log_q)
    uniform = torch.as_tensor(np.asarray(uniform, dtype=np.float64))
    return Draw(**settings)(log_q.expand(1, len(uniform), -1), uniform.unsqueeze(0))[0].numpy()


def grid(count):
    """The midpoints of so many equal parts of [0, 1): a share of them is a probability, to one part."""
    return (np.arange(count) + 0.5) / count


@pytest.mark.parametrize("size", [3, 50, 1000, 50_257])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.5, 1.0])
def test_a_token_of_probability_1e_9_has_an_interval_of_that_length(size, place):
    rare, log_q = round(place * (size - 1)), np.random.default_rng(size).normal(0, 2, size)
    others = np.delete(log_q, rare)
    log_q[rare] = np.log(1e-9) + np.log(np.exp(others).sum())
    edges = edges_of(log_q)
    left, right = edges[rare - 1] if rare else np.longdouble(0), edges[rare]
    assert float(right - left) == pytest.approx(1e-9, rel=1e-6)
    near = 1e-13  # a ten-thousandth of the interval
    assert (drawn(log_q, [left + near, (left + right) / 2, right - near]) == rare).all()
    if rare > 0:
        assert drawn(log_q, [left - near])[0] == rare - 1
    if rare < size - 1:
        assert drawn(log_q, [right + near])[0] == rare + 1


def test_the_edges_of_a_large_vocabulary_lie_where_they_should():
    rng = np.random.default_rng(0)
    log_q = rng.normal(0, 4, 50_257)
    edges = edges_of(log_q)
    tokens = rng.permutation((np.diff(edges, prepend=0) > 1e-12).nonzero()[0])[:300]
    near = np.longdouble(2e-13)
    assert np.array_equal(drawn(log_q, edges[tokens] - near), tokens)
    assert np.array_equal(drawn(log_q, np.append(0, edges)[tokens] + near), tokens)


@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 2.5]), st.floats(0, 30))
def test_two_stages_find_what_one_finds(size, seed, temperature, spread):
    rng = np.random.default_rng(seed)
    log_q, uniform = rng.normal(0, spread, size), np.append(rng.random(50), [0.0, BELOW_ONE])
    log_q[rng.random(size) < 0.3] = -np.inf
    log_q[rng.integers(size)] = 0.0
    edges = edges_of(log_q, temperature)
    clear = np.abs(uniform[:, None] - edges[:-1]).min(1, initial=1) > 1e-14
    expected = np.searchsorted(edges, uniform, side="right").clip(max=size - 1)
    assert np.array_equal(drawn(log_q, uniform, temperature=temperature)[clear], expected[clear])
    assert clear[1:-1].mean() > 0.9


@pytest.mark.parametrize("size", [4, 9, 10, 100, 101])
def test_forbidden_tokens_are_never_drawn(size):
    """At both ends, for whole chunks and for one token in two."""
    uniform = np.concatenate([[0.0, 2.0**-53, 0.5, 1 - 2.0**-52, BELOW_ONE], grid(997)])
    ids = np.arange(size)
    for allowed in (ids == size // 2, ids == 0, ids == size - 1, ids % 2 == 1, ids < size // 2, ids >= size // 2):
        for seed in range(20):
            log_q = np.where(allowed, np.random.default_rng(seed).normal(0, 3, size), -np.inf)
            assert allowed[drawn(log_q, uniform)].all()
            assert allowed[drawn(log_q, uniform, temperature=0.0)].all()


def test_both_ends_of_the_uniform_numbers():
    log_q = np.log([1e-12, 0.5, 0.25, 0.25 - 2e-12, 1e-12])
    assert drawn(log_q, [0.0, 0.9e-12, 1.1e-12, 1 - 1.1e-12, 1 - 0.9e-12, BELOW_ONE]).tolist() == [0, 0, 1, 3, 4, 4]
    assert drawn(log_q[1:4], [0.0, BELOW_ONE]).tolist() == [0, 2]


@pytest.mark.parametrize("size", [4, 16, 64])
def test_an_interval_holds_its_left_edge_and_not_its_right_one(size):
    assert drawn(np.zeros(size), np.arange(size) / size).tolist() == list(range(size))  # powers of two: no rounding


def test_sums_that_are_rounded_in_another_order_never_lead_to_a_forbidden_token():
    """A parallel running sum need not stand still where a term is 0."""
    weights, edges = torch.tensor([[1.0, 0.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.1, 2.0, 2.1]])
    for target, place in ((0.5, 0), (1.05, 2), (2.05, 2), (3.0, 2)):
        assert draw._first_past(weights, edges, torch.tensor([[target]])).item() == place


def test_a_number_past_every_edge_gives_the_last_token_that_has_a_probability():
    """Where sums are rounded otherwise than on the CPU a target can pass the last edge: 1 stands for such a case."""
    for size in (5, 30):
        log_q = np.where(np.arange(size) % 3 == 1, 0.0, -np.inf)
        assert drawn(log_q, [1.0])[0] == np.isfinite(log_q).nonzero()[0][-1]


def test_temperature_by_hand():
    q = np.array([0.6, 0.3, 0.1])
    for temperature, power in ((1.0, 1), (0.5, 2), (2.0, 0.5)):
        shares = np.bincount(drawn(np.log(q), grid(10_000), temperature=temperature), minlength=3) / 10_000
        assert shares == pytest.approx(q**power / (q**power).sum(), abs=1e-4)
    assert (drawn(np.log(q), grid(10), temperature=0.0) == 0).all()
    assert (drawn([-1000.0, -1001.0, -5.0, -5.001], grid(10), temperature=1e-6) == 2).all()  # no underflow, no NaN


def kept_by_hand(q, top_k, top_p):
    """What is left of q: sort, keep the first k, then the fewest whose renormalised sum reaches p."""
    order = sorted(range(len(q)), key=lambda v: -q[v])[:top_k]
    total, kept = sum(q[v] for v in order), []
    for v in order:
        kept.append(v)
        if top_p is not None and sum(q[u] for u in kept) / total >= top_p:
            break
    return [q[v] / sum(q[u] for u in kept) if v in kept else 0.0 for v in range(len(q))]


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(2, None), (None, 0.6), (None, 0.45), (3, 0.7), (10, 1.0), (1, None), (None, 0.01)]
)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_top_k_and_top_p_by_hand(top_k, top_p, temperature):
    q = np.array([0.05, 0.4, 0.1, 0.25, 0.2]) ** (1 / temperature)
    q = (q / q.sum()).tolist()
    log_q = temperature * np.log(q)
    shares = np.bincount(drawn(log_q, grid(10_000), temperature=temperature, top_k=top_k, top_p=top_p), minlength=5) / 10_000
    expected = kept_by_hand(q, top_k, top_p)
    assert shares == pytest.approx(expected, abs=2e-4)
    assert ((shares > 0) == (np.array(expected) > 0)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_log_probabilities_are_summed_in_float64(dtype):
    """2,000 tokens of 0.0005 each: float16 loses count of them, and float32 of the place of the edges."""
    log_q = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1).to(dtype)
    edges = edges_of(log_q.double().numpy())
    assert np.array_equal(drawn(log_q, edges[:-1] - 1e-12), np.arange(1999))
    assert np.array_equal(drawn(log_q, edges[:-1] + 1e-12), np.arange(1, 2000))


def test_a_constant_added_to_log_q_changes_nothing():
    log_q = np.random.default_rng(1).normal(0, 3, 77)
    tokens = drawn(log_q, grid(500))
    for constant in (-5000.0, 5000.0):
        assert np.array_equal(drawn(log_q + constant, grid(500)), tokens)


def test_no_position_depends_on_another_nor_on_how_many_are_worked_on_at_once(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    log_q = torch.randn(4, 9, 31, generator=rng).log_softmax(-1)
    uniform = torch.rand(4, 9, generator=rng, dtype=torch.float64)
    whole = Draw()(log_q, uniform)
    assert torch.equal(Draw()(log_q[2:3, 4:6], uniform[2:3, 4:6]), whole[2:3, 4:6])
    for most in (1, 31, 100):
        monkeypatch.setattr(draw, "BLOCK", {"cpu": most})
        assert torch.equal(Draw()(log_q, uniform), whole)
    assert Draw()(log_q[:0], uniform[:0]).shape == (0, 9)


def test_what_it_is_given_stays_as_it_is():
    log_q = torch.randn(2, 3, 5, dtype=torch.float64)
    before = log_q.clone()
    Draw(temperature=0.7, top_k=3, top_p=0.9)(log_q, torch.full((2, 3), 0.5, dtype=torch.float64))
    assert torch.equal(log_q, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1.0), ("temperature", np.nan), ("temperature", np.inf), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.5)],
)
def test_bad_settings_are_named(name, value):
    with pytest.raises(InputError, match=f"{name}={value}"):
        Draw(**{name: value})


def test_what_is_no_distribution_is_refused():
    half = torch.full((1, 1), 0.5, dtype=torch.float64)
    for bad in ([float("nan"), 0.0], [float("inf"), 0.0], [-float("inf")] * 2):
        for temperature in (1.0, 0.0):
            with pytest.raises(InputError, match="no distribution"):
                Draw(temperature)(torch.tensor([[bad]]), half)
    with pytest.raises(InputError, match="float32"):
        Draw()(torch.zeros(1, 1, 2), half.float())
