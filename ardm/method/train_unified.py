"""The unified gate and its training: it reads texts as they would stand if every proposal were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.processes import Alone, processes
from ardm.base.streams import Chance, Lots
from ardm.method.corruption import corrupt
from ardm.method.gate import Features, GateOutput
from ardm.method.labels import Label
from ardm.method.lessons import Lesson, lessons, stuck
from ardm.method.rules.write_and_hide import WriteAndHide
from ardm.method.sampling import refine
from ardm.method.schedule import Schedule
from ardm.method.states import States
from ardm.method.train_on_own_runs import ReadingGate, ReadingHead, Repaired, _OwnRunsTraining
from ardm.method.training import Run, train
from ardm.method.types import Action, Corpus, Denoiser, Float, Step
from ardm.method.unified import Unified

__all__ = ["UnifiedGate", "new_unified_gate", "train_unified", "with_proposals"]


def with_proposals(step: Step) -> Step:
    """The step with every proposal written in ``x``; ``is_mask`` still says where the masks are."""
    return replace(step, x=torch.where(step.is_mask, step.proposal, step.x))


class UnifiedGate(ReadingGate):
    """A gate whose p is that of a token in the text with all proposals: of the proposal at a mask, elsewhere of what stands.

    The head is given that token, and as its 2 S + 1 signals the S of a token that stands, the S of a proposal, of which one half is
    0, and 1 at a mask. The denoiser's hidden states are those of the text with its masks: no call is added.
    """

    def combined(self, combine: str) -> UnifiedGate:
        """The same gate, parameters and moments shared, with another way to combine u and r."""
        other = UnifiedGate(self.head, self.prior, combine, tuple(self.standard)).train(self.training)
        other.standard = self.standard
        return other

    def signals(self, step: Step, whole: Callable[[Tensor], Tensor] | None = None) -> Float[Tensor, "B L S"]:
        """The standardised signals of every token that stands and of every proposal; in training mode they are learnt first."""
        return super().signals(with_proposals(step), whole)

    def features(self, step: Step, logit_r: Float[Tensor, "B L"], signals: Float[Tensor, "B L S"] | None = None) -> Features:
        """The features of every token, the signals of the two kinds apart."""
        found, mask = super().features(step, logit_r, signals), step.is_mask.unsqueeze(-1).float()
        return replace(found, signals=torch.cat([found.signals * (1 - mask), found.signals * mask, mask], dim=-1))

    def forward(self, step: Step, signals: Float[Tensor, "B L S"] | None = None) -> GateOutput:
        """The logits of p, u and r of every token and proposal; ``signals`` are :meth:`signals` of the step, where known."""
        return super().forward(with_proposals(step), signals)


def new_unified_gate(recipe: Unified, hidden: int, vocab_size: int) -> UnifiedGate:
    """The untrained gate of the recipe, for a denoiser whose hidden states have ``hidden`` numbers."""
    signals = 2 * len(recipe.signals) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = ReadingHead(hidden, signals, vocab_size, width=recipe.width, blocks=recipe.blocks, reads=recipe.reads)
        gate = UnifiedGate(head, combine="gate_only", signals=recipe.signals)
    gate.prior.requires_grad_(False)
    return gate


def train_unified(
    denoiser: Denoiser,
    corpus: Corpus,
    recipe: Unified,
    *,
    repaired: Repaired | None = None,
    device: torch.device | None = None,
    progress: bool = True,
    run: Run | None = None,
) -> tuple[UnifiedGate, list[float]]:
    """The gate of the recipe in eval mode, and the loss of every optimiser step.

    ``repaired`` is asked what is wrong in texts without masks, those that stand after every proposal is written. All else is as in
    :func:`ardm.method.train_on_own_runs.train_on_own_runs`. ``InputError`` where nobody is asked.
    """
    if repaired is None:
        raise InputError(f"label={recipe.label!r} needs somebody who knows the right texts: give repaired=")
    device, run = device or pick_device(), run or Run()
    training = _UnifiedTraining(denoiser, corpus, recipe, repaired, device)
    losses = train(training, run, device, progress=progress)
    gate = training.gate.eval()
    run.warnings += stuck(gate, training.last, processes(device.type))
    return gate, losses


class _UnifiedTraining(_OwnRunsTraining):
    """Labels of whole texts in the states of the gate's own runs: see :class:`~ardm.method.training.Training`."""

    def __init__(self, denoiser: Denoiser, corpus: Corpus, recipe: Unified, repaired: Repaired, device: torch.device) -> None:
        super().__init__(denoiser, corpus, recipe, repaired, device)
        hidden = self.gate.head.hidden
        self.model = self.gate = new_unified_gate(recipe, hidden, corpus.vocab_size).to(device)

    def draw(self, k: int, own: Lots, crew: Alone) -> tuple[Lesson, ...]:
        """The states of a run with the gate as it is, by the way of writing whose turn it is, and their labels."""
        way = self.recipe.ways[k % len(self.recipe.ways)]
        states = unified_states(self.denoiser, self.gate.eval(), self.corpus, self.recipe, way, own, self.device)
        x = torch.cat([with_proposals(step).x for step in states.steps])
        wrong = self.repaired(x, states.x0.repeat(len(states.steps), 1)).float().split(len(states.x0))
        labels = [Label(value, ~step.is_fixed) for value, step in zip(wrong, states.steps, strict=True)]
        self.last = lessons(self.gate.train(), states.steps, ((label, None) for label in labels), own, crew)
        return self.last


def unified_states(
    denoiser: Denoiser,
    gate: UnifiedGate,
    corpus: Corpus,
    recipe: Unified,
    way: str,
    own: Lots,
    device: torch.device,
) -> States:
    """Every step of a run with the gate as it is, that writes in this way, for the rows that ``own`` keeps."""
    draw, V = own.generator, corpus.vocab_size
    x0 = corpus.batch(recipe.batch, draw)
    level = torch.rand(len(x0), 1, generator=draw) * recipe.most_hidden
    start = corrupt(x0, V, mask_rate=level, error_rate=recipe.error_rate, generator=draw).x
    start = own.own(torch.where(torch.rand(len(x0), 1, generator=draw) < recipe.blank, V, start))
    rule = WriteAndHide(gate, way, recipe.threshold, recipe.budget, schedule=Schedule(recipe.order))
    steps: list[Step] = []

    def watched(step: Step, chance: Chance) -> Action:
        steps.append(step)
        return rule(step, chance)

    seed = int(torch.randint(2**31, (1,), generator=draw))
    trace = refine(denoiser, watched, start.to(device), recipe.calls, seed=seed, first_row=own.first)
    return States(steps=tuple(steps), x0=own.own(x0).to(device), final=trace.x)
