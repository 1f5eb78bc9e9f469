"""Training a gate: from labels, or end to end through the denoiser's next call, in the states that its recipe names."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.denoiser import Transformer
from ardm.method.gate import AttentiveHead, GateOutput, LearnedHead, LinearHead, OverwriteGate
from ardm.method.gate_recipe import EndToEnd, GateRecipe, Rollout, Taught
from ardm.method.labels import LABELS, Situation
from ardm.method.losses import bce, denoising_loss, expected_overwrites, relaxed_bernoulli, total_variation
from ardm.method.optimise import Optimiser
from ardm.method.states import States, corrupted_states, rollout_states
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
) -> TrainedGate:
    """Train a gate by its recipe; a ``gate`` that is given is trained on, whatever head and signals the recipe names.

    ``denoiser`` and ``device`` go together. End to end and with ``joint`` gradients run through the denoiser, so it must be a
    :class:`~ardm.method.denoiser.Transformer`; otherwise anything that predicts will do.
    """
    end_to_end = isinstance(recipe.objective, EndToEnd)
    if (end_to_end or recipe.joint) and not isinstance(denoiser, Transformer):
        what = "joint=True" if recipe.joint else "objective=EndToEnd(...)"
        raise InputError(f"{what}: gradients need a Transformer, not {type(denoiser).__name__}")
    device = device or pick_device()
    data = generator(recipe.seed, "gate data")
    if recipe.joint:
        denoiser = copy.deepcopy(denoiser)
    hidden = denoiser(corpus.batch(1, data).to(device), 1.0).hidden.shape[-1]
    gate = (gate or new_gate(recipe, hidden)).to(device).train()
    optimiser = Optimiser(nn.ModuleList([gate, denoiser] if recipe.joint else [gate]), recipe.rate, recipe.steps)
    teacher = _frozen(denoiser) if end_to_end and not recipe.joint else denoiser

    losses = []
    for k in tqdm(range(recipe.steps), desc="gate", disable=not progress, mininterval=1.0):
        states = _states(teacher, gate, corpus, recipe, data, device)
        loss = _loss(gate, teacher, states, recipe, k / max(1, recipe.steps - 1), data)
        if recipe.joint:
            loss = loss + _denoiser_loss(denoiser, states)
        optimiser.descend(loss)
        losses.append(loss.detach())
    return TrainedGate(gate.eval(), denoiser, torch.stack(losses).tolist())


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


def _states(
    denoiser: Denoiser,
    gate: OverwriteGate,
    corpus: Corpus,
    recipe: GateRecipe,
    rng: torch.Generator,
    device: torch.device,
) -> States:
    """The states of one optimiser step, as the recipe makes them."""
    x0, V = corpus.batch(recipe.batch, rng), corpus.vocab_size
    if isinstance(recipe.states, Rollout):
        return rollout_states(denoiser, gate, x0, V, recipe.states, rng, device=device)
    return corrupted_states(denoiser, x0, V, recipe.states, rng, device=device, pair=recipe.stability > 0)


def _loss(
    gate: OverwriteGate,
    denoiser: Denoiser,
    states: States,
    recipe: GateRecipe,
    progress: float,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """The mean over the steps of objective, sparsity and stability, of u where labels alone teach and of p end to end."""
    objective = recipe.objective
    losses, logit_before = [], None
    for step in states.steps:
        out = gate(step)
        logit = out.logit_p if isinstance(objective, EndToEnd) else out.logit_u
        loss = recipe.sparsity * expected_overwrites(logit, ~step.is_fixed)
        if isinstance(objective, EndToEnd):
            loss = loss + _next_call_loss(denoiser, step, states.x0, out.logit_p, objective, progress, rng)
        if recipe.taught is not None:
            weight = objective.weight if isinstance(objective, EndToEnd) else 1.0
            loss = loss + weight * _taught_loss(denoiser, step, states, out, recipe.taught, rng)
        if recipe.stability and logit_before is not None:
            loss = loss + recipe.stability * total_variation(logit, logit_before)
        losses.append(loss)
        logit_before = logit
    return torch.stack(losses).mean()


def _taught_loss(
    denoiser: Denoiser, step: Step, states: States, out: GateOutput, taught: Taught, rng: torch.Generator
) -> Float[Tensor, ""]:
    """The cross-entropy of u against the label."""
    situation = Situation(step=step, x0=states.x0, final=states.final, denoiser=denoiser, hidden_share=taught.hidden_share)
    label = LABELS[taught.label](situation, rng)
    return bce(out.logit_u, label.value, label.where)


def _next_call_loss(
    denoiser: Transformer,
    step: Step,
    x0: Int[Tensor, "B L"],
    logit_p: Float[Tensor, "B L"],
    objective: EndToEnd,
    progress: float,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """The denoiser's loss after a relaxed edit by p, whose gradient reaches p."""
    m = relaxed_bernoulli(logit_p, rng, how=objective.how, temperature=objective.temperature_at(progress))
    return denoising_loss(edited(denoiser, step, m, objective.edit).logits, x0)


def edited(denoiser: Transformer, step: Step, m: Float[Tensor, "B L"], edit: str) -> Prediction:
    """The prediction after each token moved by a share m towards its proposal (``overwrite``) or towards the mask (``hide``).

    The denoiser reads (1 - m) E[x] + m E[y], with E its embedding of tokens and y the proposal or the mask.
    """
    towards = step.proposal if edit == "overwrite" else torch.full_like(step.x, step.now.vocab_size)
    m = m.unsqueeze(-1)
    return denoiser.read((1 - m) * denoiser.token(step.x) + m * denoiser.token(towards))


def _denoiser_loss(denoiser: Transformer, states: States) -> Float[Tensor, ""]:
    """The denoiser's own loss in the states that the gate learns on."""
    x = torch.cat([step.x for step in states.steps])
    return denoising_loss(denoiser(x).logits, states.x0.repeat(len(states.steps), 1))
