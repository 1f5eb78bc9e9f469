"""Training a gate on its own runs, by a teacher: one that knows the right texts, or the frozen denoiser alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.processes import Alone, processes
from ardm.base.streams import Chance, Lots, generator, lots
from ardm.method.corruption import corrupt
from ardm.method.denoiser import Block
from ardm.method.gate import ATTENTION_HEADS, COMBINE, Features, GateOutput, OverwriteGate
from ardm.method.labels import LABELS, Label, Situation
from ardm.method.lessons import Lesson, lessons, stuck
from ardm.method.losses import bce
from ardm.method.own_runs import OwnRuns
from ardm.method.rules.hide import HideThenRefill
from ardm.method.sampling import refine
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection
from ardm.method.states import States
from ardm.method.training import Run, train
from ardm.method.types import Action, Corpus, Denoiser, Float, Int, Step

__all__ = ["ReadingGate", "ReadingHead", "Repaired", "new_reading_gate", "own_states", "train_on_own_runs"]

Repaired = Callable[[Tensor, Tensor], Tensor]
"""What is wrong in texts, given those that they were made from: ``(x, truth)`` -> ``[B, L]`` in [0, 1]."""


class ReadingHead(nn.Module):
    """logit u from transformer blocks over [h; signals; i/n; t/T; r] of every token, and if it ``reads`` the tokens themselves.

    The denoiser's hidden state at a place says what the denoiser expects there; the token that stands there it need not keep.
    """

    def __init__(self, hidden: int, signals: int, vocab_size: int, *, width: int, blocks: int, reads: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.features = nn.Linear(hidden + signals + 3, width)
        self.token = nn.Embedding(vocab_size + 1, width) if reads else None
        self.blocks = nn.ModuleList(Block(width, ATTENTION_HEADS) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 1)

    def forward(self, f: Features, x: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        h = self.features(f.joined(self.hidden))
        if self.token is not None:
            h = h + self.token(x)
        for block in self.blocks:
            h = block(h)
        return self.readout(self.norm(h)).squeeze(-1)


class ReadingGate(OverwriteGate):
    """An overwrite gate whose head is given the tokens beside their features."""

    def combined(self, combine: str) -> ReadingGate:
        """The same gate, parameters and moments shared, with another way to combine u and r."""
        other = ReadingGate(self.head, self.prior, combine, tuple(self.standard)).train(self.training)
        other.standard = self.standard
        return other

    def forward(self, step: Step, signals: Float[Tensor, "B L S"] | None = None) -> GateOutput:
        """The logits of p, u and r of every token; ``signals``, where they are known, are :meth:`signals` of the step."""
        token = self.head.token
        if token is not None and token.num_embeddings != step.now.vocab_size + 1:
            raise InputError(
                f"logits of {step.now.vocab_size} words: this gate reads {token.num_embeddings - 1}, its denoiser's"
            )
        logit_r = self.prior(step.x.shape[1], step.t, step.T).expand(step.x.shape)
        logit_u = self.head(self.features(step, logit_r, signals), step.x)
        return GateOutput(COMBINE[self.combine](logit_u, logit_r), logit_u, logit_r)


def new_reading_gate(recipe: OwnRuns, hidden: int, vocab_size: int) -> ReadingGate:
    """The untrained gate of the recipe, for a denoiser whose hidden states have ``hidden`` numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        head = ReadingHead(
            hidden, len(recipe.signals), vocab_size, width=recipe.width, blocks=recipe.blocks, reads=recipe.reads
        )
        gate = ReadingGate(head, combine="gate_only", signals=recipe.signals)
    gate.prior.requires_grad_(False)
    return gate


def train_on_own_runs(
    denoiser: Denoiser,
    corpus: Corpus,
    recipe: OwnRuns,
    *,
    repaired: Repaired | None = None,
    device: torch.device | None = None,
    progress: bool = True,
    run: Run | None = None,
) -> tuple[ReadingGate, list[float]]:
    """The gate of the recipe in eval mode, and the loss of every optimiser step.

    ``repaired`` says what is wrong in a text, for the labels that have a teacher: :func:`ardm.worlds.repairs.minimal_repair`, or a
    :class:`ardm.method.slow_teacher.SlowTeacher`. The denoiser is frozen; ``device`` is where it computes. ``run`` says how it is
    trained, in pieces or with a checkpoint, and is told of a gate that ends next to 0 or 1. ``InputError`` where the label needs
    ``repaired`` and there is none.
    """
    if recipe.has_teacher and repaired is None:
        raise InputError(f"label={recipe.label!r} needs somebody who knows the right texts: give repaired=")
    device, run = device or pick_device(), run or Run()
    training = _OwnRunsTraining(denoiser, corpus, recipe, repaired, device)
    losses = train(training, run, device, progress=progress)
    gate = training.gate.eval()
    run.warnings += stuck(gate, training.last, processes(device.type))
    return gate, losses


class _OwnRunsTraining:
    """Labels in the states of the gate's own runs: see :class:`~ardm.method.training.Training`."""

    name = "gate"
    last: tuple[Lesson, ...] = ()

    def __init__(
        self, denoiser: Denoiser, corpus: Corpus, recipe: OwnRuns, repaired: Repaired | None, device: torch.device
    ) -> None:
        self.denoiser, self.corpus, self.recipe, self.repaired, self.device = denoiser, corpus, recipe, repaired, device
        self.steps, self.batch, self.rate = recipe.steps, recipe.batch, recipe.rate
        self.data = generator(recipe.seed, "own runs")
        hidden = denoiser(corpus.batch(1, self.data).to(device), 1.0).hidden.shape[-1]
        self.model = self.gate = new_reading_gate(recipe, hidden, corpus.vocab_size).to(device)

    def draw(self, k: int, own: Lots, crew: Alone) -> tuple[Lesson, ...]:
        """The states of a run with the gate as it is, and their labels."""
        states = own_states(self.denoiser, self.gate.eval(), self.corpus, self.recipe, own, self.device)
        labels = _labels(self.denoiser, states, self.recipe, self.repaired, own)
        self.last = lessons(self.gate.train(), states.steps, ((label, None) for label in labels), own, crew)
        return self.last

    def loss(self, drawn: tuple[Lesson, ...], share: float) -> Float[Tensor, ""]:
        terms = []
        for lesson in drawn:
            out = self.gate(lesson.step, lesson.signals)
            terms.append(bce(out.logit_u, lesson.label.value, lesson.label.where, lesson.told))
        return torch.stack(terms).mean()


def own_states(
    denoiser: Denoiser,
    gate: OverwriteGate,
    corpus: Corpus,
    recipe: OwnRuns,
    rng: torch.Generator | Lots,
    device: torch.device,
) -> States:
    """Every step of a run with the gate as it is, for the rows that ``rng`` keeps."""
    own, draw = lots(rng), lots(rng).generator
    x0, V = corpus.batch(recipe.batch, draw), corpus.vocab_size
    level = torch.rand(len(x0), 1, generator=draw) * recipe.most_hidden
    start = corrupt(x0, V, mask_rate=level, error_rate=recipe.error_rate, generator=draw).x
    start = own.own(torch.where(torch.rand(len(x0), 1, generator=draw) < recipe.blank, V, start))
    selection = Selection("threshold", recipe.threshold, budget=recipe.budget)
    rule, steps = HideThenRefill(gate, selection, schedule=Schedule(recipe.order)), []

    def watched(step: Step, chance: Chance) -> Action:
        steps.append(step)
        return rule(step, chance)

    seed = int(torch.randint(2**31, (1,), generator=draw))
    trace = refine(denoiser, watched, start.to(device), recipe.calls, seed=seed, first_row=own.first)
    return States(steps=tuple(steps), x0=own.own(x0).to(device), final=trace.x)


@torch.no_grad()
def _labels(denoiser: Denoiser, states: States, recipe: OwnRuns, repaired: Repaired | None, rng: Lots) -> list[Label]:
    """The label of every state: of its visible tokens alone."""
    if repaired is not None and recipe.has_teacher:
        x = torch.cat([step.x for step in states.steps])
        wrong = repaired(x, states.x0.repeat(len(states.steps), 1)).float().split(len(states.x0))
        return [Label(value, ~step.is_mask) for value, step in zip(wrong, states.steps, strict=True)]
    told = LABELS["likelihood_ratio"]
    return [told(Situation(step=step, x0=states.x0, final=states.final, denoiser=denoiser), rng) for step in states.steps]
