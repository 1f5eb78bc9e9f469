"""Signals and draws from a head without its logits: equal to those from the logits, within the precision of the numbers."""

from __future__ import annotations

from inspect import unwrap

import pytest
import torch
from torch.testing import assert_close

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.draw import Draw
from ardm.method.head import read_head
from ardm.method.signals import confidence_change, entropy, log_prob_of, margin
from ardm.method.types import Head

B, L, D = 3, 7, 16
CLOSE = {torch.float64: {"rtol": 1e-10, "atol": 1e-10}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


def given(V, dtype=torch.float64, scale=1.0, seed=0):
    rng = torch.Generator().manual_seed(seed)
    hidden, weight, bias = (torch.randn(*shape, generator=rng, dtype=dtype) for shape in ((B, L, D), (V, D), (V,)))
    tokens = torch.randint(V + 1, (B, L), generator=rng)  # a mask among them
    return hidden, Head(scale * weight, bias), tokens, Chance(seed, "draws", torch.arange(B)).uniform(L)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(
    ("V", "tile"), [(1, (4, 4)), (2, (4, 1)), (50, (4, 8)), (50, (100, 100)), (1031, (5, 64)), (1031, None)]
)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_a_head_is_read_as_its_logits_are(V, tile, dtype, scale):
    hidden, head, tokens, uniform = given(V, dtype, scale)
    logits = hidden @ head.weight.T + head.bias
    read = read_head(head, hidden, tokens=tokens, uniform=uniform, tile=tile)
    assert_close(read.log_sum, logits.logsumexp(-1), **CLOSE[dtype])
    assert_close(read.entropy, entropy(logits), **CLOSE[dtype])
    assert_close(read.margin, margin(logits), **CLOSE[dtype])
    assert_close(read.log_q, log_prob_of(logits, tokens), **CLOSE[dtype])
    assert (read.best == logits.argmax(-1)).all()
    assert (read.proposal == Draw()(logits.log_softmax(-1), uniform)).all()
    assert_close(read.log_q_proposal, log_prob_of(logits, read.proposal), **CLOSE[dtype])


@pytest.mark.parametrize(
    "draw", [Draw(0), Draw(0.3), Draw(2.0), Draw(top_k=3), Draw(0.7, top_k=40, top_p=0.8), Draw(top_p=0.1)]
)
def test_the_same_uniform_numbers_give_the_same_tokens(draw):
    for seed in range(20):
        hidden, head, _, uniform = given(211, seed=seed)
        logits = hidden @ head.weight.T + head.bias
        read = read_head(head, hidden, uniform=uniform, draw=draw, tile=(5, 32))
        assert (read.proposal == draw(logits.log_softmax(-1), uniform)).all()


def test_a_rare_token_keeps_its_share_of_the_uniform_numbers():
    """A word of probability 1e-9 behind a chunk that holds the rest: drawn just above its edge, and not just below."""
    weight, hidden = torch.zeros(64, 1), torch.ones(1, 2, 1)
    weight[40:] = -torch.inf
    weight[:40] = torch.tensor(1 / 39 - 1e-9 / 39).log()
    weight[39] = torch.tensor(1e-9).log()
    edge = 1 - 1e-9
    uniform = torch.tensor([[edge - 2e-10, edge + 2e-10]], dtype=torch.float64)
    found = read_head(Head(weight.double()), hidden.double(), uniform=uniform, tile=(4, 13)).proposal
    assert found.tolist() == [[38, 39]]


def test_forbidden_words_and_whole_forbidden_chunks():
    hidden, head, tokens, uniform = given(60)
    bias = head.bias.clone()
    bias[8:24], bias[40] = -torch.inf, -torch.inf
    logits = hidden @ head.weight.T + bias
    read = read_head(head._replace(bias=bias), hidden, tokens=tokens, uniform=uniform, tile=(4, 8))
    assert_close(read.entropy, entropy(logits), **CLOSE[torch.float64])
    assert_close(read.margin, margin(logits), **CLOSE[torch.float64])
    assert_close(read.log_q, log_prob_of(logits, tokens), **CLOSE[torch.float64])
    assert (read.proposal == Draw()(logits.log_softmax(-1), uniform)).all()


def test_the_confidence_change_needs_no_logits_of_the_step_before():
    hidden, head, tokens, _ = given(97)
    before = hidden + 0.1
    now, then = read_head(head, hidden), read_head(head, before)
    change = head.log_prob(hidden, tokens, now.log_sum) - head.log_prob(before, tokens, then.log_sum)
    logits = [h @ head.weight.T + head.bias for h in (hidden, before)]
    assert_close(change, confidence_change(*logits, tokens), **CLOSE[torch.float64])


def test_gradients_are_those_through_the_logits():
    hidden, head, tokens, uniform = given(83)
    leaves = [x.clone().requires_grad_() for x in (hidden, head.weight, head.bias)]
    twins = [x.detach().clone().requires_grad_() for x in leaves]
    read = read_head(Head(*leaves[1:]), leaves[0], tokens=tokens, uniform=uniform, tile=(4, 16))
    logits = twins[0] @ twins[1].T + twins[2]
    plain = (
        entropy(logits),
        margin(logits),
        log_prob_of(logits, tokens),
        log_prob_of(logits, read.proposal),
        logits.logsumexp(-1),
    )
    streamed = read.entropy, read.margin, read.log_q, read.log_q_proposal, read.log_sum
    for factor, (one, two) in enumerate(zip(streamed, plain, strict=True), start=1):
        (factor * one.square().sum()).backward(retain_graph=True)
        (factor * two.square().sum()).backward(retain_graph=True)
    for one, two in zip(leaves, twins, strict=True):
        assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-9)


def test_no_logits_of_all_words_are_ever_held():
    """No tensor of a call has more than a few tiles' numbers: 40 positions x 4,096 words would be 163,840."""
    hidden, head = torch.randn(1, 40, D), Head(torch.randn(4096, D))
    uniform = Chance(0, "draws", torch.arange(1)).uniform(40)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for x in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() != head.weight.untyped_storage().data_ptr():
                    largest = max(largest, x.numel())
            return out

    with Watch():
        read_head(head, hidden, uniform=uniform, tile=(8, 128))
    assert largest <= 40 * 128


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(B, L, D + 1)}, "hidden states of width 17: this head reads 16"),
        ({"head": Head(torch.zeros(5, D), torch.zeros(4))}, "a bias of 4 words for a head of 5"),
        ({"tokens": torch.zeros(B, L + 1, dtype=torch.long)}, r"tokens of shape \(3, 8\)"),
        ({"uniform": torch.zeros(B, L)}, "uniform numbers of torch.float32"),
        ({"hidden": torch.full((B, L, D), torch.nan)}, "no distribution"),
        ({"head": Head(torch.zeros(5, D), torch.full((5,), -torch.inf))}, "no distribution"),
    ],
)
def test_bad_input_is_one_clear_error(change, message):
    call = {"head": Head(torch.zeros(5, D)), "hidden": torch.zeros(B, L, D), **change}
    with pytest.raises(InputError, match=message):
        unwrap(read_head)(**call)  # as without the checks of shapes that tests add
