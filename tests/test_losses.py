"""Losses against sums written out, and the bound against the law it bounds."""

import itertools
import math

import pytest
import torch

from ardm.evaluation import bits_per_token
from ardm.laws import Oracle, agreement
from ardm.losses import denoising_loss, gate_loss


def test_denoising_loss_is_the_mean_over_all_positions():
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    x0 = torch.tensor([[0, 1, 2], [3, 3, 0]])
    log_q = logits.log_softmax(-1)
    expected = -sum(log_q[b, i, x0[b, i]] for b, i in itertools.product(range(2), range(3))) / 6
    assert denoising_loss(logits, x0).item() == pytest.approx(expected.item(), rel=1e-12)


def test_gate_loss_by_hand():
    p = torch.tensor([[0.9, 0.2, 0.5]])
    label = torch.tensor([[1.0, 0.0, 1.0]])
    where = torch.tensor([[True, True, False]])
    expected = -(math.log(0.9) + math.log(0.8)) / 2
    assert gate_loss(p.logit(), label, where).item() == pytest.approx(expected, rel=1e-5)
    assert gate_loss(p.logit(), label, where, sparsity=0.5).item() == pytest.approx(expected + 0.5 * 1.1 / 2, rel=1e-5)


def test_gate_loss_of_nothing_is_zero():
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert gate_loss(torch.zeros(1, 2), torch.ones(1, 2), none).item() == 0


def test_the_bound_with_exact_conditionals_is_the_exact_code_length():
    """Averaged over every order the bound is -log2 P(x): with the oracle it must come out, order noise apart."""
    law = agreement(9)
    x0 = law.sample(40, seed=0)
    bits = bits_per_token(Oracle(law, error_rate=0.0), x0, law.vocab_size, seed=0, repeats=12)
    exact = -law.log_prob(x0) / math.log(2) / law.length
    noise = (bits - exact).std() / math.sqrt(len(x0))
    assert abs((bits - exact).mean().item()) < 4 * noise.item()
    assert noise < 0.05 * exact.mean()
