"""The bound on the bits of a text, against sums over every mask and against the exact code length."""

import itertools
import math

import pytest
import torch

from ardm.base.streams import generator
from ardm.method.likelihood import bits_per_token
from ardm.method.types import Prediction
from ardm.worlds.laws import Oracle, agreement

MASKS = list(itertools.product((0, 1), repeat=3))


def test_the_bound_is_the_sum_over_every_mask_of_a_short_sequence():
    """Every set S of hidden tokens counts 1 / (L C(L, |S|)) times the mean of -log2 q over S, summed over all 7 sets."""
    V, L = 4, 3
    table = torch.randn(V + 1, L, V, generator=generator(5, "t"))

    def denoiser(x, time):
        logits = table[x, torch.arange(L)].sum(1, keepdim=True) + table[x, torch.arange(L)]
        return Prediction(logits, logits[..., :0])

    x0 = torch.tensor([[0, 3, 1]])
    expected = 0.0
    for mask in MASKS[1:]:
        hidden = torch.tensor([mask]).bool()
        log_q = denoiser(torch.where(hidden, V, x0), 1.0).logits.log_softmax(-1)
        picked = [log_q[0, i, x0[0, i]].item() for i in range(L) if mask[i]]
        expected -= sum(picked) / len(picked) / (L * math.comb(L, sum(mask))) / math.log(2)
    found = bits_per_token(denoiser, x0.repeat(400, 1), V, seed=0, repeats=8)
    assert found.mean().item() == pytest.approx(expected, abs=4 * found.std().item() / math.sqrt(400))


def test_the_bound_with_exact_conditionals_is_the_exact_code_length():
    """Averaged over every order the bound is -log2 P(x): with the oracle it must come out, order noise apart."""
    law = agreement(9)
    x0 = law.sample(40, seed=0)
    bits = bits_per_token(Oracle(law, error_rate=0.0), x0, law.vocab_size, seed=0, repeats=12)
    exact = -law.log_prob(x0) / math.log(2) / law.length
    noise = (bits - exact).std() / math.sqrt(len(x0))
    assert abs((bits - exact).mean().item()) < 4 * noise.item()
    assert noise < 0.05 * exact.mean()
