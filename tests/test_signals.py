"""Signals against scipy, finite differences and hand-worked numbers; the standardiser against numpy."""

import math

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ardm.base.errors import InputError
from ardm.method.signals import (
    Standardiser,
    confidence_change,
    divergence,
    entropy,
    log_prob_of,
    margin,
    placed_margin,
    top_mass,
)

logits_arrays = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 7)), elements=st.floats(-40, 40))


@given(logits_arrays)
def test_entropy_is_scipys(z):
    expected = scipy.stats.entropy(scipy.special.softmax(z, axis=-1), axis=-1)
    np.testing.assert_allclose(entropy(torch.from_numpy(z)).numpy(), expected, rtol=1e-6, atol=1e-12)


@given(logits_arrays)
def test_margin_is_the_gap_of_the_sorted_logits(z):
    ordered = np.sort(z, axis=-1)
    np.testing.assert_allclose(margin(torch.from_numpy(z)).numpy(), ordered[:, -1] - ordered[:, -2], rtol=1e-6, atol=1e-9)


def test_hand_worked():
    q = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    assert entropy(q.log()).item() == pytest.approx(1.5 * math.log(2), rel=1e-12)
    assert margin(q.log()).item() == pytest.approx(math.log(2), rel=1e-12)
    before = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    assert confidence_change(q.log(), before.log()).item() == pytest.approx(math.log(2))  # argmax: token 0, 1/4 -> 1/2
    assert confidence_change(q.log(), before.log(), torch.tensor(1)).item() == pytest.approx(-math.log(2))
    assert log_prob_of(q.log(), torch.tensor(2)).item() == pytest.approx(math.log(0.25))


def test_first_step_has_no_change():
    assert torch.equal(confidence_change(torch.randn(2, 3, 5), None), torch.zeros(2, 3))


def test_a_mask_has_no_probability():
    assert log_prob_of(torch.randn(1, 2, 4), torch.tensor([[4, 4]])).tolist() == [[0.0, 0.0]]


def test_logits_and_log_probabilities_give_the_same():
    z = torch.randn(3, 6, dtype=torch.float64) * 5
    for signal in (entropy, margin):
        assert torch.allclose(signal(z), signal(z.log_softmax(-1)), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_input_is_worked_on_in_float32(dtype):
    z = torch.randn(50, 9).to(dtype)
    assert entropy(z).dtype == torch.float32
    assert torch.allclose(entropy(z).double(), entropy(z.double()), rtol=1e-5, atol=1e-6)
    assert torch.allclose(margin(z).double(), margin(z.double()), rtol=1e-4, atol=1e-5)


def test_edges():
    assert entropy(torch.zeros(4)).item() == pytest.approx(math.log(4))
    assert margin(torch.zeros(4)).item() == 0
    certain = torch.tensor([0.0, -torch.inf, -torch.inf])
    assert entropy(certain).item() == 0
    assert margin(certain).item() == math.inf
    assert entropy(torch.zeros(2, 1)).tolist() == [0, 0]
    assert margin(torch.zeros(2, 1)).tolist() == [math.inf, math.inf]


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [-math.inf, -math.inf], [math.inf, 0.0]])
def test_what_is_no_distribution_is_refused(bad):
    said = "logits hold NaN, +inf or a row of -inf only: no distribution; look for a diverged training upstream"
    for signal in (entropy, margin):
        with pytest.raises(InputError) as told:
            signal(torch.tensor(bad))
        assert str(told.value) == said


def test_gradients_by_finite_differences():
    z = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(entropy, z)
    assert torch.autograd.gradcheck(margin, z)
    forbidden = torch.tensor([0.3, -0.2, -torch.inf], dtype=torch.float64, requires_grad=True)
    entropy(forbidden).backward()
    assert forbidden.grad.isfinite().all()


@given(st.lists(arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e3, 1e3)), min_size=1, max_size=5))
def test_standardiser_has_the_moments_of_everything_seen(batches):
    standard = Standardiser().train()
    for batch in batches:
        standard(torch.from_numpy(batch))
    together = np.concatenate(batches)
    assert standard.mean.item() == pytest.approx(together.mean(), abs=1e-8)
    assert standard.variance.item() == pytest.approx(together.var(), rel=1e-8, abs=1e-8)


def test_standardiser_is_frozen_in_eval_and_travels_in_the_state_dict():
    standard = Standardiser()
    standard(torch.tensor([1.0, 3.0]))
    standard.eval()
    out = standard(torch.tensor([100.0, 4.0]))
    assert out.tolist() == [98.0, 2.0]  # mean 2, deviation 1
    assert standard.count.item() == 2
    copy = Standardiser().eval()
    copy.load_state_dict(standard.state_dict())
    assert copy(torch.tensor(5.0)).item() == 3.0


def test_a_constant_first_batch_does_not_blow_up_the_next():
    """The document's standardiser kept variance 1e-5 after the all-zero first change, so 0.1 came out as about 22."""
    standard = Standardiser()
    assert standard(torch.zeros(8)).tolist() == [0.0] * 8
    standard.eval()
    assert standard(torch.tensor(0.1)).item() == pytest.approx(0.1)


def test_a_small_spread_is_a_scale_as_well():
    standard = Standardiser()
    standard(torch.tensor([0.0, 0.1], dtype=torch.float64))
    assert standard.scaled(torch.tensor([0.0, 0.1], dtype=torch.float64)).tolist() == pytest.approx([-1, 1])


def test_standardiser_leaves_out_infinities_and_what_it_is_told_to():
    standard = Standardiser()
    standard(torch.tensor([1.0, torch.inf, 3.0, 50.0]), torch.tensor([True, True, True, False]))
    assert (standard.count.item(), standard.mean.item(), standard.variance.item()) == (2, 2.0, 1.0)


def test_the_standardiser_stays_on_the_cpu_in_float64_whatever_its_gate_does():
    """A device without float64 must be able to host the gate; the meta device stands for one here."""
    standard = Standardiser()
    standard(torch.tensor([1.0, 3.0]))
    for moved in (standard.to("meta"), standard.half()):
        for moment in (moved.count, moved.mean, moved.spread):
            assert moment.device.type == "cpu" and moment.dtype == torch.float64
        assert moved.eval()(torch.tensor(4.0)).item() == 2.0


@given(logits_arrays, st.integers(0, 6))
def test_signals_of_the_placed_token_by_brute_force(z, token):
    token %= z.shape[-1]
    q = scipy.special.softmax(z, axis=-1)
    rival = np.delete(q, token, axis=-1).max(-1)
    tokens = torch.full(z.shape[:1], token)
    logits = torch.from_numpy(z)
    np.testing.assert_allclose(
        log_prob_of(logits, tokens).numpy(), scipy.special.log_softmax(z, -1)[:, token], rtol=1e-9, atol=1e-14
    )
    found = placed_margin(logits, tokens).numpy()
    np.testing.assert_allclose(found, np.log(q[:, token]) - np.log(rival), rtol=1e-6, atol=1e-9)


@given(logits_arrays, st.integers(1, 9))
def test_top_mass_is_the_sum_of_the_largest(z, k):
    expected = np.sort(scipy.special.softmax(z, axis=-1), axis=-1)[:, ::-1][:, :k].sum(-1)
    np.testing.assert_allclose(top_mass(torch.from_numpy(z), k).numpy(), expected, rtol=1e-9)


@given(logits_arrays, st.integers(0, 99))
def test_divergence_is_scipys(z, seed):
    other = np.random.default_rng(seed).normal(size=z.shape) * 5
    q, r = scipy.special.softmax(z, axis=-1), scipy.special.softmax(other, axis=-1)
    expected = scipy.spatial.distance.jensenshannon(q, r, axis=-1) ** 2
    found = divergence(torch.from_numpy(z), torch.from_numpy(other)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    assert (found <= math.log(2) + 1e-12).all()


@given(logits_arrays, st.integers(0, 99))
def test_confidence_change_is_the_difference_of_log_softmaxes(z, seed):
    before = np.random.default_rng(seed).normal(size=z.shape) * 5
    now, then = scipy.special.log_softmax(z, -1), scipy.special.log_softmax(before, -1)
    logits, logits_before = torch.from_numpy(z), torch.from_numpy(before)
    for v in range(z.shape[-1]):
        found = confidence_change(logits, logits_before, torch.full(z.shape[:1], v)).numpy()
        np.testing.assert_allclose(found, now[:, v] - then[:, v], rtol=1e-6, atol=1e-12)
    first = z.argmax(-1)
    rows = np.arange(len(z))
    expected = now[rows, first] - then[rows, first]
    tied = np.isclose(np.sort(z, -1)[:, -1], np.sort(z, -1)[:, -2])
    found = confidence_change(logits, logits_before).numpy()
    np.testing.assert_allclose(found[~tied], expected[~tied], rtol=1e-6, atol=1e-12)


def test_advanced_signals_by_hand():
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert placed_margin(q.log(), torch.tensor(0)).item() == pytest.approx(math.log(5 / 3))
    assert placed_margin(q.log(), torch.tensor(2)).item() == pytest.approx(math.log(2 / 5))
    assert top_mass(q.log(), 2).item() == pytest.approx(0.8)
    one, other = torch.tensor([0.0, -torch.inf]), torch.tensor([-torch.inf, 0.0])
    assert divergence(one, other).item() == pytest.approx(math.log(2))
    assert divergence(one, one).item() == 0 == divergence(one, None).item()


def test_of_one_word_nothing_moves_before_the_second_step():
    only = torch.zeros(2, 1)
    assert divergence(only, None).tolist() == confidence_change(only, None).tolist() == [0, 0]


def test_advanced_signals_at_the_edges():
    forbidden = torch.tensor([0.0, -torch.inf, -torch.inf])
    assert placed_margin(forbidden, torch.tensor(0)).item() == math.inf  # no rival
    assert placed_margin(forbidden, torch.tensor(1)).item() == -math.inf
    assert confidence_change(forbidden, forbidden, torch.tensor(1)).item() == 0  # forbidden both times
    assert placed_margin(torch.zeros(2, 1), torch.tensor([0, 1])).tolist() == [math.inf, 0.0]  # V = 1: no rival, and a mask
    assert top_mass(torch.zeros(2, 1)).tolist() == [1.0, 1.0]
    assert placed_margin(torch.zeros(4), torch.tensor(2)).item() == 0
    assert top_mass(torch.zeros(4), 3).item() == pytest.approx(0.75)
    assert top_mass(torch.zeros(10)).item() == pytest.approx(0.5)  # five words
    with pytest.raises(InputError, match="k=0"):
        top_mass(torch.zeros(3), 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_signal_takes_every_precision_and_refuses_nan(dtype):
    z, before, tokens = torch.randn(20, 9).to(dtype), torch.randn(20, 9).to(dtype), torch.randint(9, (20,))
    signals = {
        "placed": lambda a, b: log_prob_of(a, tokens),
        "placed margin": lambda a, b: placed_margin(a, tokens),
        "top mass": lambda a, b: top_mass(a),
        "divergence": divergence,
        "change": confidence_change,
        "placed change": lambda a, b: confidence_change(a, b, tokens),
    }
    for name, signal in signals.items():
        found = signal(z, before)
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32), name
        assert torch.allclose(found.double(), signal(z.double(), before.double()), rtol=1e-4, atol=1e-5), name
        bad = z.clone()
        bad[3, 4] = torch.nan
        with pytest.raises(InputError, match="no distribution"):
            signal(bad, before)


def test_gradients_of_the_other_signals_by_finite_differences():
    z = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    before = torch.randn(2, 5, dtype=torch.float64)
    tokens = torch.tensor([1, 3])
    for signal in (
        lambda a: log_prob_of(a, tokens),
        lambda a: placed_margin(a, tokens),
        lambda a: top_mass(a, 2),
        lambda a: divergence(a, before),
        lambda a: confidence_change(a, before),
    ):
        assert torch.autograd.gradcheck(signal, z)
