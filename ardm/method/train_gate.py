"""Training a gate: from labels or end to end through the next call, on corrupted texts or on the sampler's own runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ardm.base.devices import pick_device
from ardm.base.errors import InputError, at_least_one
from ardm.base.streams import generator
from ardm.method.corruption import corrupt, mask_more
from ardm.method.denoiser import Transformer
from ardm.method.gate import COMBINE, DOCUMENT, AttentiveHead, LearnedHead, LinearHead, OverwriteGate
from ardm.method.labels import LABELS, Situation
from ardm.method.losses import bce, denoising_loss, expected_overwrites, relaxed_bernoulli, total_variation
from ardm.method.optimise import Optimiser
from ardm.method.rules import HideThenRefill, Overwrite
from ardm.method.sampling import draw, observe, refine
from ardm.method.types import Action, Corpus, Denoiser, Float, Int, Prediction, Rule, Step

__all__ = [
    "GateRecipe",
    "TrainedGate",
    "corrupted_states",
    "held_out_states",
    "new_gate",
    "rollout_states",
    "train_gate",
]

CHOICES = {
    "head": ("learned", "attentive", "linear"),
    "label": tuple(LABELS),
    "states": ("corrupted", "rollout"),
    "loss": ("bce", "gumbel_sigmoid", "straight_through"),
    "combine": tuple(COMBINE),
    "edit": ("overwrite", "hide"),
    "change_of": ("first_choice", "truth"),
}


@dataclass(frozen=True)
class GateRecipe:
    """All that decides what a gate becomes, given its denoiser."""

    head: str = "learned"  # learned; attentive: tokens see each other; or linear
    signals: tuple[str, ...] = DOCUMENT  # what the head is given, names of ardm.method.gate.SIGNALS
    label: str = "mismatch"  # what it is taught, a name of ardm.method.labels.LABELS
    states: str = "corrupted"  # where: on corrupted texts, or in runs of the sampler with the gate as it is (rollout)
    loss: str = "bce"  # bce on u; or end to end through a relaxed overwrite: gumbel_sigmoid, straight_through
    combine: str = "noisy_or"  # how u and r make p: what the gate starts sampling with, and end to end the p that overwrites
    edit: str = "overwrite"  # end to end and in rollouts: overwrite in place, or hide
    auxiliary: float = 0.0  # end to end: weight of the bce beside it
    sparsity: float = 0.0  # weight of the expected share of overwrites
    stability: float = 0.0  # weight of the total variation of p from step to step
    temperature: float = 1.0  # of the relaxation, at the first optimiser step
    last_temperature: float = 0.2  # and at the last; geometric between
    change_of: str = "first_choice"  # in training, the confidence change of the first choice or of the truth
    learn_prior: bool = False  # end to end: fit alpha and delta too
    joint: bool = False  # train a copy of the denoiser along
    steps: int = 400
    batch: int = 64  # texts an optimiser step
    rate: float = 5e-3
    error_rate: float = 0.1  # corrupted states: share of the visible tokens that are wrong
    own_errors: float = 0.5  # corrupted states: share of the texts whose masks are filled by the denoiser, all at once
    rollout_steps: int = 8  # rollouts: steps of a run; each of them is trained on
    hidden_share: float = 0.12  # likelihood ratio: share of the visible tokens hidden in the extra call
    seed: int = 0
    hidden: bool = True  # the learned head is given the denoiser's hidden state
    width: int = 64  # units of the learned or attentive head

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name}={getattr(self, name)!r}: choose {' or '.join(choices)}")
        at_least_one(self, "steps", "batch", "rollout_steps", "width")
        for name in ("auxiliary", "sparsity", "stability"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}={getattr(self, name)}: a weight is at least 0")
        for name in ("temperature", "last_temperature", "rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)}: it is above 0")
        for name in ("error_rate", "own_errors", "hidden_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}={getattr(self, name)}: it is a share in [0, 1]")
        if self.label == "final" and self.states != "rollout":
            raise InputError("label='final' compares with the end of a run: set states='rollout'")
        if self.learn_prior and (self.loss == "bce" or self.combine == "gate_only"):
            raise InputError("learn_prior=True: the prior is in the loss only end to end, with a combination that uses it")

    @property
    def end_to_end(self) -> bool:
        return self.loss != "bce"


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
    """Train a gate by its recipe; ``gate`` goes on with a given one (the recipe's ``head`` and ``signals`` then say nothing).

    With ``loss="bce"`` only u is trained: how it meets the prior is chosen afterwards, by
    :meth:`~ardm.method.gate.OverwriteGate.combined`. End to end, the loss is that of the denoiser's **next** prediction after a relaxed
    overwrite, against the truth, so no label is needed; the denoiser must then be one that reads embeddings
    (:class:`~ardm.method.denoiser.Transformer`).
    """
    if (recipe.end_to_end or recipe.joint) and not isinstance(denoiser, Transformer):
        raise InputError(
            f"loss={recipe.loss!r}, joint={recipe.joint}: gradients need a Transformer, not {type(denoiser).__name__}"
        )
    device = device or pick_device()
    data = generator(recipe.seed, "gate data")
    if recipe.joint:
        denoiser = copy.deepcopy(denoiser)
    hidden = denoiser(corpus.batch(1, data).to(device), 1.0).hidden.shape[-1]
    gate = (gate or new_gate(recipe, hidden)).to(device).train()
    trained = nn.ModuleList([gate, denoiser] if recipe.joint else [gate])
    frozen = _frozen(denoiser) if recipe.end_to_end and not recipe.joint else denoiser
    optimiser = Optimiser(trained, recipe.rate, recipe.steps)

    losses = []
    for k in tqdm(range(recipe.steps), desc="gate", disable=not progress, mininterval=1.0):
        x0 = corpus.batch(recipe.batch, data)
        make = rollout_states if recipe.states == "rollout" else corrupted_states
        steps, final = make(denoiser, gate, x0, corpus.vocab_size, recipe, data, device)
        heat = recipe.temperature * (recipe.last_temperature / recipe.temperature) ** (k / max(1, recipe.steps - 1))
        loss = _loss(gate, frozen, steps, x0.to(device), final, recipe, heat, data)
        if recipe.joint:
            x = torch.cat([step.x for step in steps])
            loss = loss + denoising_loss(denoiser(x).logits, x0.to(device).repeat(len(steps), 1))
        optimiser.descend(loss)
        losses.append(loss.detach())
    return TrainedGate(gate.eval(), denoiser, torch.stack(losses).tolist())


def new_gate(recipe: GateRecipe, hidden: int) -> OverwriteGate:
    """The untrained gate of the recipe, for a denoiser whose hidden states have ``hidden`` numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        count = len(recipe.signals)
        if recipe.head == "linear":
            head: nn.Module = LinearHead([0.0] * count)
        else:
            make = LearnedHead if recipe.head == "learned" else AttentiveHead
            head = make(hidden if recipe.hidden else 0, count, recipe.width)
        gate = OverwriteGate(head, combine=recipe.combine, signals=recipe.signals)
    gate.prior.requires_grad_(recipe.learn_prior)
    return gate


def _frozen(denoiser: Transformer) -> Transformer:
    """A copy through which gradients pass and in which they leave nothing behind."""
    return copy.deepcopy(denoiser).requires_grad_(False)


def _loss(
    gate: OverwriteGate,
    denoiser: Denoiser,
    steps: list[Step],
    x0: Tensor,
    final: Tensor | None,
    recipe: GateRecipe,
    heat: float,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """The mean over the steps of what the recipe asks for, plus the stability of neighbouring steps."""
    parts, before = [], None
    for step in steps:
        out = gate(step, x0 if recipe.change_of == "truth" else None)
        logit = out.logit_p if recipe.end_to_end else out.logit_u
        part = recipe.sparsity * expected_overwrites(logit, ~step.is_fixed)
        if recipe.end_to_end:
            m = relaxed_bernoulli(logit, rng, how=recipe.loss, temperature=heat)
            part = part + denoising_loss(edited(denoiser, step, m, recipe.edit).logits, x0)
        weight = recipe.auxiliary if recipe.end_to_end else 1.0
        if weight:
            label = LABELS[recipe.label](Situation(step, x0, final, denoiser, recipe.hidden_share), rng)
            part = part + weight * bce(out.logit_u, label.value, label.where)
        if recipe.stability and before is not None:
            part = part + recipe.stability * total_variation(logit, before)
        parts.append(part)
        before = logit
    return torch.stack(parts).mean()


def edited(denoiser: Transformer, step: Step, m: Float[Tensor, "B L"], edit: str) -> Prediction:
    """The next prediction after each token moved by m towards its proposal (``overwrite``) or towards the mask (``hide``):
    the denoiser reads (1 - m) E[x] + m E[y].
    """
    towards = step.proposal if edit == "overwrite" else torch.full_like(step.x, step.log_q.shape[-1])
    m = m.unsqueeze(-1)
    return denoiser.read((1 - m) * denoiser.token(step.x) + m * denoiser.token(towards))


@torch.no_grad()
def corrupted_states(
    denoiser: Denoiser,
    gate: OverwriteGate | None,
    x0: Int[Tensor, "B L"],
    V: int,
    recipe: GateRecipe,
    rng: torch.Generator,
    device: torch.device,
) -> tuple[list[Step], None]:
    """Corrupted texts at a random step t, in the form in which a rule meets them; the gate plays no part.

    In a share ``own_errors`` of the texts the masks are filled with the denoiser's own proposals, as a sampler would leave them.
    The prediction of the step before, for the confidence change, is made from the same text with more tokens hidden. With
    ``stability`` that step is returned too.
    """
    T = x0.shape[1]
    t = 1 + int(torch.randint(T, (1,), generator=rng))
    state = corrupt(x0, V, mask_rate=1 - (t - 1) / T, error_rate=recipe.error_rate, generator=rng)
    texts = [state.x]
    for _ in range(2 if recipe.stability else 1):
        texts.insert(0, mask_more(texts[0], V, rate=1 / T, generator=rng))
    texts = [x.to(device) for x in texts]
    log_q, steps = denoiser(texts[0], 1.0).logits.log_softmax(-1), []
    for k, x in enumerate(texts[1:], start=1):
        if k == len(texts) - 1:
            filled = (torch.rand(len(x0), 1, generator=rng) < recipe.own_errors).to(device)
            proposal = draw(log_q.cpu(), rng).to(device)
            x = torch.where(filled & (x == V), proposal, x)
        when = max(1, t - (len(texts) - 1 - k))
        steps.append(observe(denoiser, x, t=when, T=T, generator=rng, log_q_before=log_q))
        log_q = steps[-1].log_q
    return steps, None


def held_out_states(
    denoiser: Denoiser, corpus: Corpus, *, count: int, seed: int, device: torch.device, recipe: GateRecipe | None = None
) -> list[tuple[Step, Int[Tensor, "B L"]]]:
    """What gates are judged on: corrupted states and their true tokens, of ``count`` held-out texts at eight random steps."""
    rng = generator(seed, "held-out states")
    states = []
    for x0 in corpus.held_out(count, seed=seed).chunk(8):
        (step,), _ = corrupted_states(denoiser, None, x0, corpus.vocab_size, recipe or GateRecipe(), rng, device)
        states.append((step, x0.to(device)))
    return states


class _Notes:
    """A rule that keeps the steps it is asked about."""

    def __init__(self, rule: Rule) -> None:
        self.rule, self.steps = rule, []

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        self.steps.append(step)
        return self.rule(step, generator)


def rollout_states(
    denoiser: Denoiser,
    gate: OverwriteGate,
    x0: Int[Tensor, "B L"],
    V: int,
    recipe: GateRecipe,
    rng: torch.Generator,
    device: torch.device,
) -> tuple[list[Step], Int[Tensor, "B L"]]:
    """Every step of a run of the sampler with the gate as it is now, from texts hidden in part, and the texts it ends with."""
    level = torch.rand(len(x0), 1, generator=rng)
    start = corrupt(x0, V, mask_rate=level, error_rate=0.0, generator=rng).x.to(device)
    learning = gate.training
    gate.eval()  # the standardisers learn from the loss's own pass alone
    notes = _Notes(Overwrite(gate) if recipe.edit == "overwrite" else HideThenRefill(gate.combined("gate_only")))
    seed = int(torch.randint(2**31, (1,), generator=rng))
    trace = refine(denoiser, notes, start, recipe.rollout_steps, seed=seed)
    gate.train(learning)
    return notes.steps, trace.x
