"""A small denoiser, gates and a start, for tests that go over every rule entry."""

from functools import cache

import torch

from ardm.base.streams import Chance
from ardm.experiments.store import untrained_gate
from ardm.method.denoiser import Shape, Transformer
from ardm.method.rules import entries
from ardm.method.sampling import observe

V, L, B, D = 37, 9, 4, 16


@cache
def transformer(vocab_size=V, dtype=torch.float64):
    """A denoiser that is sure of some things and not of others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Transformer(Shape(vocab_size=vocab_size, length=L, width=D, depth=1, heads=2)).eval()
        with torch.no_grad():
            made.readout.weight.normal_()
            made.token.weight.normal_()
            made.readout.bias.normal_()
    return made.to(dtype).requires_grad_(False)


@cache
def gate_of(recipe, denoiser, seed=0):
    """An untrained gate whose head says something, with moments of signals that it has seen."""
    if recipe is None:
        return None
    vocab_size = denoiser.shape.vocab_size
    gate = untrained_gate(recipe, D, vocab_size)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in gate.head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))
        x = torch.randint(vocab_size + 1, (6, L), generator=rng)
        gate.train()(observe(denoiser, x, t=2, T=5, uniform=Chance(seed, "warm", torch.arange(6)).uniform(L)))
    return gate.eval()


def rule_of(name, denoiser, knobs=None):
    """The rule of an entry, with the last of its settings unless others are given."""
    entry = entries()[name]
    knobs = entry.knobs[-1] if knobs is None else knobs
    return entry.make(gate_of(entry.gate, denoiser), lambda x: x % 3 == 1, **knobs)


def start(vocab_size=V):
    """Texts with holes, and some of their tokens given."""
    rng = torch.Generator().manual_seed(3)
    x = torch.randint(vocab_size, (B, L), generator=rng)
    hidden = torch.rand(B, L, generator=rng) < 0.6
    return torch.where(hidden, vocab_size, x), ~hidden & (torch.rand(B, L, generator=rng) < 0.5)
