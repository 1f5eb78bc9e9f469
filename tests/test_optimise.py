"""The optimiser: what weight decay touches, the schedule of the rate, and the clipped gradient."""

import pytest
import torch
from torch import nn

from ardm.method.gate import AttentiveHead, LearnedHead, OverwriteGate
from ardm.method.optimise import Optimiser

RATE, DECAY = 0.1, 0.5


def still(model: nn.Module) -> torch.Tensor:
    """A loss whose gradient is zero in every parameter: what moves then was moved by the decay."""
    return sum(parameter.sum() for parameter in model.parameters()) * 0.0


def descend(optimiser: Optimiser, loss: torch.Tensor) -> None:
    loss.backward()
    optimiser.descend()


@pytest.mark.parametrize("head", [LearnedHead, AttentiveHead])
def test_only_matrices_decay_and_by_the_rate_times_the_decay(head):
    """Without a gradient AdamW multiplies a matrix by 1 - rate * decay; biases, norms and the prior's two numbers stay."""
    gate = OverwriteGate(head(4, width=8))
    before = {name: value.detach().clone() for name, value in gate.named_parameters()}
    optimiser = Optimiser(gate, RATE, steps=10, decay=DECAY)  # 10 steps: the warm-up is over at once
    descend(optimiser, still(gate))
    kinds = set()
    for name, value in gate.named_parameters():
        is_matrix = value.dim() == 2
        kinds.add((is_matrix, name.split(".")[-1]))
        expected = before[name] * (1 - RATE * DECAY) if is_matrix else before[name]
        assert torch.allclose(value, expected, rtol=1e-6, atol=0) and (is_matrix or torch.equal(value, expected)), name
    assert {(True, "weight"), (False, "bias"), (False, "log_alpha"), (False, "delta")} <= kinds
    assert ((False, "weight") in kinds) == (head is AttentiveHead)  # of a norm


def test_frozen_parameters_are_left_alone():
    gate = OverwriteGate(LearnedHead(4))
    gate.prior.requires_grad_(False)
    optimiser = Optimiser(gate, RATE, steps=10)
    assert len(optimiser.parameters) == len(list(gate.parameters())) - 2
    descend(optimiser, sum(parameter.sum() for parameter in gate.head.parameters()))
    assert (gate.prior.alpha.item(), gate.prior.delta.item()) == (pytest.approx(1.25), 0.0)


def test_the_rate_warms_up_and_falls_to_a_twentieth():
    """200 steps: up in 20 equal steps, then straight down to 5 %. Adam's step on a constant gradient is the rate itself."""
    weight = nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(weight, RATE, steps=200, decay=0.0)
    moved = []
    for _ in range(200):
        before = weight.weight.item()
        descend(optimiser, weight.weight.sum())
        moved.append(before - weight.weight.item())
    expected = [RATE * min((k + 1) / 20, 1 - 0.95 * k / 200) for k in range(200)]
    assert moved == pytest.approx(expected, rel=2e-3)
    assert moved[-1] == pytest.approx(0.05 * RATE, rel=0.12)


def test_a_gradient_is_cut_to_norm_1():
    """The first moment of Adam shows the gradient that it was given: 0.1 times it after one step."""
    for size, expected in ((30.0, 1.0), (0.3, 0.3)):
        weight = nn.Linear(1, 1, bias=False)
        optimiser = Optimiser(weight, RATE, steps=10)
        descend(optimiser, size * weight.weight.sum())
        assert optimiser.adam.state[weight.weight]["exp_avg"].item() == pytest.approx(0.1 * expected, rel=1e-4)


def test_gradients_add_up_until_a_step_is_made_and_then_there_are_none():
    weight = nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(weight, RATE, steps=10)
    for part in (0.1, 0.2):
        (part * weight.weight.sum()).backward()
    optimiser.descend()
    assert optimiser.adam.state[weight.weight]["exp_avg"].item() == pytest.approx(0.1 * 0.3, rel=1e-5)
    assert weight.weight.grad is None
