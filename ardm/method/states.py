"""Where a gate learns: steps of the sampler whose truth is known, made from corrupted texts or taken from runs of the sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.devices import widest
from ardm.base.streams import Chance, Lots, generator, lots
from ardm.method.belief import believe
from ardm.method.corruption import corrupt, mask_more
from ardm.method.draw import Draw
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import Corrupted, Rollout
from ardm.method.rules.hide import HideThenRefill
from ardm.method.rules.overwrite import Overwrite
from ardm.method.sampling import observe, refine
from ardm.method.types import Action, Corpus, Denoiser, Float, Int, Rule, Step

__all__ = ["States", "corrupted_states", "held_out_states", "rollout_states"]


@dataclass(frozen=True, kw_only=True)
class States:
    """Steps of the same texts, in their order in time, and what only the teacher knows of these texts."""

    steps: tuple[Step, ...]
    x0: Int[Tensor, "B L"]  # the true tokens
    final: Int[Tensor, "B L"] | None = None  # the tokens with which the run ended; None where the steps belong to no run


def _uniform(own: Lots, x: Int[Tensor, "B L"], device: torch.device) -> Float[Tensor, "b L"]:
    """One number in [0, 1) a position, drawn on the CPU: every device with float64 is given the same."""
    return own.uniform(*x.shape, dtype=widest(device)).to(device)


@torch.no_grad()
def corrupted_states(
    denoiser: Denoiser,
    x0: Int[Tensor, "B L"],
    vocab_size: int,
    how: Corrupted,
    rng: torch.Generator | Lots,
    *,
    device: torch.device,
    pair: bool = False,
) -> States:
    """Corrupted texts at a random step t, in the form in which a rule meets them. ``x0`` lies on the CPU.

    In a share ``how.own_errors`` of the texts the masks are filled with the denoiser's own proposals, as a sampler would leave
    them. The prediction of step t - 1, for the confidence change, is made from the same text with more tokens hidden. With ``pair``
    step t - 1 is returned too, before step t. ``x0`` is the whole batch also where ``rng`` keeps some rows of it.
    """
    T, own = x0.shape[1], lots(rng)
    t = 1 + int(torch.randint(T, (1,), generator=own.generator))
    texts = [corrupt(x0, vocab_size, mask_rate=1 - (t - 1) / T, error_rate=how.error_rate, generator=own.generator).x]
    for _ in range(2 if pair else 1):
        texts.insert(0, mask_more(texts[0], vocab_size, rate=1 / T, generator=own.generator))
    *before, last = (own.own(x).to(device) for x in texts)

    said, steps = believe(denoiser(before[0], 1.0)), []
    for x in before[1:]:
        uniform = _uniform(own, x0, device)
        steps.append(observe(denoiser, x, t=max(1, t - 1), T=T, uniform=uniform, before=said))
        said = steps[-1].now
    filled = (own.uniform(len(x0), 1) < how.own_errors).to(device)
    proposal = said.drawn(Draw(), _uniform(own, x0, device))
    last = torch.where(filled & (last == vocab_size), proposal, last)
    steps.append(observe(denoiser, last, t=t, T=T, uniform=_uniform(own, x0, device), before=said))
    return States(steps=tuple(steps), x0=own.own(x0).to(device))


class _Recorder:
    """A rule that keeps every step it is asked about."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.steps: list[Step] = []

    def __call__(self, step: Step, chance: Chance) -> Action:
        self.steps.append(step)
        return self.rule(step, chance)


def rollout_states(
    denoiser: Denoiser,
    gate: OverwriteGate,
    x0: Int[Tensor, "B L"],
    vocab_size: int,
    how: Rollout,
    rng: torch.Generator | Lots,
    *,
    device: torch.device,
) -> States:
    """Every step of a run of the sampler with the gate as it is now, from texts of which a random share is hidden.

    ``x0`` lies on the CPU, the whole batch also where ``rng`` keeps some rows of it. The gate does not learn here, nor do its
    standardisers: those see each state once, in the lesson.
    """
    own, draw = lots(rng), lots(rng).generator
    level = torch.rand(len(x0), 1, generator=draw)
    start = own.own(corrupt(x0, vocab_size, mask_rate=level, error_rate=0.0, generator=draw).x).to(device)
    learning = gate.training
    gate.eval()
    rule = _Recorder(Overwrite(gate) if how.edit == "overwrite" else HideThenRefill(gate.combined("gate_only")))
    seed = int(torch.randint(2**31, (1,), generator=draw))
    trace = refine(denoiser, rule, start, how.steps, seed=seed, first_row=own.first)
    gate.train(learning)
    return States(steps=tuple(rule.steps), x0=own.own(x0).to(device), final=trace.x)


def held_out_states(
    denoiser: Denoiser, corpus: Corpus, *, count: int, seed: int, device: torch.device, how: Corrupted | None = None
) -> list[tuple[Step, Int[Tensor, "B L"]]]:
    """What gates are judged on: corrupted states and their true tokens, of ``count`` held-out texts at eight random steps."""
    rng = generator(seed, "held-out states")
    parts = corpus.held_out(count, seed=seed).chunk(8)
    made = [corrupted_states(denoiser, x0, corpus.vocab_size, how or Corrupted(), rng, device=device) for x0 in parts]
    return [(states.steps[0], states.x0) for states in made]
