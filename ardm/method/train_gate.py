"""Training a gate: from labels, or end to end through the denoiser's next call, in the states that its recipe names."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.processes import Alone, processes
from ardm.base.streams import Lots, generator
from ardm.method.denoiser import Transformer
from ardm.method.gate import AttentiveHead, LearnedHead, LinearHead, OverwriteGate
from ardm.method.gate_recipe import EndToEnd, GateRecipe, Rollout
from ardm.method.labels import LABELS, Label, Situation
from ardm.method.lessons import Lesson, lessons, stuck
from ardm.method.losses import bce, denoising_loss, expected_overwrites, relaxed_bernoulli, total_variation
from ardm.method.states import States, corrupted_states, rollout_states
from ardm.method.training import Run, train
from ardm.method.types import Corpus, Denoiser, Float, Int, Prediction, Step

__all__ = ["TrainedGate", "edited", "new_gate", "train_gate"]


@dataclass(frozen=True)
class TrainedGate:
    """The gate in eval mode; the denoiser it goes with (the one given, or with ``joint`` a trained copy); every step's loss."""

    gate: OverwriteGate
    denoiser: Denoiser
    losses: list[float]


def train_gate(
    denoiser: Denoiser,
    corpus: Corpus,
    recipe: GateRecipe,
    *,
    gate: OverwriteGate | None = None,
    device: torch.device | None = None,
    progress: bool = True,
    run: Run | None = None,
) -> TrainedGate:
    """Train a gate by its recipe; a ``gate`` that is given is trained on, whatever head and signals the recipe names.

    ``denoiser`` and ``device`` go together. End to end and with ``joint`` gradients run through the denoiser, so it must be a
    :class:`~ardm.method.denoiser.Transformer`; otherwise anything that predicts will do. ``run`` says how it is trained, in
    pieces or with a checkpoint, and is told of a gate that ends next to 0 or 1.
    """
    if (isinstance(recipe.objective, EndToEnd) or recipe.joint) and not isinstance(denoiser, Transformer):
        what = "joint=True" if recipe.joint else "objective=EndToEnd(...)"
        raise InputError(f"{what}: gradients need a Transformer, not {type(denoiser).__name__}")
    device, run = device or pick_device(), run or Run()
    training = _GateTraining(denoiser, corpus, recipe, gate, device)
    losses = train(training, run, device, progress=progress)
    gate = training.gate.eval()
    run.warnings += stuck(gate, training.last, processes(device.type), by="p" if training.end_to_end else "u")
    return TrainedGate(gate, training.denoiser, losses)


@dataclass(frozen=True, kw_only=True)
class _Material:
    """The lessons of an optimiser step, the true texts, and the share of the training that is done."""

    lessons: tuple[Lesson, ...]
    x0: Int[Tensor, "B L"]
    progress: float


class _GateTraining:
    """Labels, the denoiser's next call or both: see :class:`~ardm.method.training.Training`."""

    name = "gate"
    last: tuple[Lesson, ...] = ()

    def __init__(
        self, denoiser: Denoiser, corpus: Corpus, recipe: GateRecipe, gate: OverwriteGate | None, device: torch.device
    ) -> None:
        self.corpus, self.recipe, self.device = corpus, recipe, device
        self.steps, self.batch, self.rate = recipe.steps, recipe.batch, recipe.rate
        self.end_to_end = isinstance(recipe.objective, EndToEnd)
        self.data = generator(recipe.seed, "gate data")
        self.denoiser = copy.deepcopy(denoiser) if recipe.joint else denoiser
        hidden = self.denoiser(corpus.batch(1, self.data).to(device), 1.0).hidden.shape[-1]
        self.gate = (gate or new_gate(recipe, hidden)).to(device).train()
        self.model = nn.ModuleList([self.gate, self.denoiser] if recipe.joint else [self.gate])
        self.teacher = _frozen(self.denoiser) if self.end_to_end and not recipe.joint else self.denoiser

    def draw(self, k: int, own: Lots, crew: Alone) -> _Material:
        """The states of one optimiser step, as the recipe makes them, and what the gate is taught there."""
        states = self._states(own)
        taught = (self._taught(step, states, own) for step in states.steps)
        self.last = lessons(self.gate, states.steps, taught, own, crew)
        return _Material(lessons=self.last, x0=states.x0, progress=k / max(1, self.steps - 1))

    def _states(self, own: Lots) -> States:
        recipe, V = self.recipe, self.corpus.vocab_size
        x0 = self.corpus.batch(recipe.batch, own.generator)
        if isinstance(recipe.states, Rollout):
            return rollout_states(self.teacher, self.gate, x0, V, recipe.states, own, device=self.device)
        pair = recipe.stability > 0
        return corrupted_states(self.teacher, x0, V, recipe.states, own, device=self.device, pair=pair)

    def _taught(self, step: Step, states: States, own: Lots) -> tuple[Label | None, Tensor | None]:
        """The label of a state, and the uniform numbers of a relaxed draw."""
        uniform = own.uniform(*step.x.shape).to(self.device) if self.end_to_end else None
        taught = self.recipe.taught
        if taught is None:
            return None, uniform
        situation = Situation(
            step=step, x0=states.x0, final=states.final, denoiser=self.teacher, hidden_share=taught.hidden_share
        )
        return LABELS[taught.label](situation, own), uniform

    def loss(self, drawn: _Material, share: float) -> Float[Tensor, ""]:
        """The mean over the steps of objective, sparsity and stability, of u where labels alone teach and of p end to end; with
        ``joint`` the denoiser's own loss in the states that the gate learns on as well.
        """
        recipe, objective = self.recipe, self.recipe.objective
        losses, logit_before = [], None
        for lesson in drawn.lessons:
            out = self.gate(lesson.step, lesson.signals)
            logit = out.logit_p if self.end_to_end else out.logit_u
            loss = recipe.sparsity * expected_overwrites(logit, ~lesson.step.is_fixed, lesson.open)
            if isinstance(objective, EndToEnd):
                loss = loss + share * _next_call_loss(self.teacher, lesson, out.logit_p, drawn, objective)
            if lesson.label is not None:
                weight = objective.weight if isinstance(objective, EndToEnd) else 1.0
                loss = loss + weight * bce(out.logit_u, lesson.label.value, lesson.label.where, lesson.told)
            if recipe.stability and logit_before is not None:
                loss = loss + recipe.stability * share * total_variation(logit, logit_before)
            losses.append(loss)
            logit_before = logit
        loss = torch.stack(losses).mean()
        if recipe.joint:
            x = torch.cat([lesson.step.x for lesson in drawn.lessons])
            loss = loss + share * denoising_loss(self.denoiser(x).logits, drawn.x0.repeat(len(drawn.lessons), 1))
        return loss


def new_gate(recipe: GateRecipe, hidden: int) -> OverwriteGate:
    """The untrained gate of the recipe, for a denoiser whose hidden states have ``hidden`` numbers."""
    signals, objective = recipe.signals, recipe.objective
    end_to_end = isinstance(objective, EndToEnd)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        gate = OverwriteGate(
            _new_head(recipe, hidden), combine=objective.combine if end_to_end else "noisy_or", signals=signals
        )
    gate.prior.requires_grad_(end_to_end and objective.learn_prior)
    return gate


def _new_head(recipe: GateRecipe, hidden: int) -> nn.Module:
    head, signals = recipe.head, len(recipe.signals)
    if head.kind == "linear":
        return LinearHead([0.0] * signals)
    make = LearnedHead if head.kind == "learned" else AttentiveHead
    return make(hidden if head.hidden else 0, signals, head.width)


def _frozen(denoiser: Transformer) -> Transformer:
    """A copy through which gradients pass and in which they leave nothing behind."""
    return copy.deepcopy(denoiser).requires_grad_(False)


def _next_call_loss(
    denoiser: Transformer, lesson: Lesson, logit_p: Float[Tensor, "B L"], drawn: _Material, objective: EndToEnd
) -> Float[Tensor, ""]:
    """The denoiser's loss after a relaxed edit by p, whose gradient reaches p."""
    temperature = objective.temperature_at(drawn.progress)
    m = relaxed_bernoulli(logit_p, lesson.uniform, how=objective.how, temperature=temperature)
    return denoising_loss(edited(denoiser, lesson.step, m, objective.edit).logits, drawn.x0)


def edited(denoiser: Transformer, step: Step, m: Float[Tensor, "B L"], edit: str) -> Prediction:
    """The prediction after each token moved by a share m towards its proposal (``overwrite``) or towards the mask (``hide``).

    The denoiser reads (1 - m) E[x] + m E[y], with E its embedding of tokens and y the proposal or the mask.
    """
    towards = step.proposal if edit == "overwrite" else torch.full_like(step.x, step.now.vocab_size)
    m = m.unsqueeze(-1)
    return denoiser.read((1 - m) * denoiser.token(step.x) + m * denoiser.token(towards))
