"""The recipe of a gate: which head, on which states it learns and what it minimises; and the recipes that have a name."""

from __future__ import annotations

from dataclasses import dataclass, field

from ardm.base.errors import InputError, at_least_one, check_choice
from ardm.method.gate import ATTENTION_HEADS, COMBINE, DOCUMENT, FOUR, SIGNALS
from ardm.method.labels import LABELS

__all__ = ["GATES", "RECOMMENDED", "Corrupted", "EndToEnd", "GateRecipe", "Head", "Rollout", "Taught"]

EDITS = ("overwrite", "hide")
"""What becomes of a suspect: the proposal takes its place, or a mask does."""


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value}: it is a share in [0, 1]")


def _check_weight(name: str, value: float) -> None:
    if not value >= 0:
        raise InputError(f"{name}={value}: a weight is at least 0")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name}={value}: it is above 0")


@dataclass(frozen=True)
class Head:
    """What turns the features of a token into the logit of u: a class of :mod:`ardm.method.gate` and its sizes.

    ``learned``: an MLP that judges each token alone. ``attentive``: tokens see each other. ``linear``: a weighted sum of the
    signals, without hidden state and without units.
    """

    kind: str = "learned"
    hidden: bool = True  # reads the denoiser's hidden state
    width: int = 64  # units

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("learned", "attentive", "linear"))
        at_least_one(self, "width")
        if self.kind == "attentive" and self.width % ATTENTION_HEADS:
            raise InputError(f"width={self.width}: an attentive head needs a multiple of its {ATTENTION_HEADS} attention heads")


@dataclass(frozen=True)
class Corrupted:
    """Learn on corrupted texts, each at a random step; the gate plays no part in how they come about."""

    error_rate: float = 0.1  # share of the visible tokens that are wrong
    own_errors: float = 0.5  # share of the texts whose masks are filled by the denoiser, all at once
    kind: str = field(default="corrupted", init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate < 1:
            raise InputError(f"error_rate={self.error_rate}: it is a share in [0, 1)")
        _check_fraction("own_errors", self.own_errors)


@dataclass(frozen=True)
class Rollout:
    """Learn on every step of runs of the sampler, edited by the gate as it is at that moment."""

    edit: str = "overwrite"  # overwrite suspects in place, or hide them
    steps: int = 8  # of a run
    kind: str = field(default="rollout", init=False)

    def __post_init__(self) -> None:
        check_choice("edit", self.edit, EDITS)
        at_least_one(self, "steps")


@dataclass(frozen=True)
class Taught:
    """Minimise the cross-entropy of u against a label. How u meets the prior is chosen after the training."""

    label: str = "mismatch"  # a name of ardm.method.labels.LABELS
    hidden_share: float = 0.12  # likelihood ratio: share of the visible tokens hidden in its extra call
    kind: str = field(default="taught", init=False)

    def __post_init__(self) -> None:
        check_choice("label", self.label, LABELS)
        _check_fraction("hidden_share", self.hidden_share)


@dataclass(frozen=True)
class EndToEnd:
    """Minimise the denoiser's loss at the next call, after a relaxed edit by p: no label is needed.

    ``taught``, if given, is added ``weight`` times. The temperature of the Gumbel-sigmoid falls geometrically over the training;
    straight-through draws have none.
    """

    how: str = "gumbel_sigmoid"  # or straight_through: see ardm.method.losses.relaxed_bernoulli
    combine: str = "noisy_or"  # how u and r make the p that edits, a name of ardm.method.gate.COMBINE
    edit: str = "overwrite"  # move a token towards its proposal, or hide: towards the mask
    taught: Taught | None = None
    weight: float = 0.0
    temperature: float = 1.0  # at the first optimiser step
    last_temperature: float = 0.2  # at the last
    learn_prior: bool = False  # fit the prior's slope and shift too
    kind: str = field(default="end to end", init=False)

    def __post_init__(self) -> None:
        check_choice("how", self.how, ("gumbel_sigmoid", "straight_through"))
        check_choice("combine", self.combine, COMBINE)
        check_choice("edit", self.edit, EDITS)
        _check_weight("weight", self.weight)
        _check_positive("temperature", self.temperature)
        _check_positive("last_temperature", self.last_temperature)
        if (self.taught is None) != (self.weight == 0):
            raise InputError(f"weight={self.weight}, taught={self.taught}: give both, or leave both out")
        if self.learn_prior and self.combine == "gate_only":
            raise InputError("learn_prior=True, combine='gate_only': the prior is not in the loss; choose another combination")

    def temperature_at(self, progress: float) -> float:
        """The temperature of the relaxation after this share of the training, from 0 to 1."""
        return self.temperature * (self.last_temperature / self.temperature) ** progress


@dataclass(frozen=True)
class GateRecipe:
    """All that decides what a gate becomes, given its denoiser."""

    head: Head = Head()
    signals: tuple[str, ...] = DOCUMENT  # what the head is given, names of ardm.method.gate.SIGNALS
    states: Corrupted | Rollout = Corrupted()
    objective: Taught | EndToEnd = Taught()
    sparsity: float = 0.0  # weight of the expected share of overwrites
    stability: float = 0.0  # weight of the total variation of p from step to step
    joint: bool = False  # train a copy of the denoiser along
    steps: int = 400  # optimiser steps
    batch: int = 64  # texts an optimiser step
    rate: float = 5e-3  # peak learning rate
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.signals:
            check_choice("signals", name, SIGNALS)
        if len(set(self.signals)) < len(self.signals):
            raise InputError(f"signals={self.signals}: name each once")
        _check_weight("sparsity", self.sparsity)
        _check_weight("stability", self.stability)
        _check_positive("rate", self.rate)
        at_least_one(self, "steps", "batch")
        if self.taught and self.taught.label == "final" and not isinstance(self.states, Rollout):
            raise InputError("label='final' compares with the end of a run: set states=Rollout()")

    @property
    def taught(self) -> Taught | None:
        """The labels in the loss, if any."""
        return self.objective if isinstance(self.objective, Taught) else self.objective.taught


RECOMMENDED = GateRecipe(head=Head("attentive"), signals=FOUR, objective=Taught("likelihood_ratio"), steps=300, rate=2e-3)
"""The gate that this book recommends, to be used with hide then refill."""

GATES = {
    "linear": GateRecipe(head=Head("linear"), steps=200),
    "mismatch": GateRecipe(signals=FOUR, steps=200),
    "ratio": GateRecipe(signals=FOUR, objective=Taught("likelihood_ratio"), steps=200),
    "hidden": GateRecipe(signals=(), states=Corrupted(error_rate=0.0, own_errors=1.0), steps=200),
    "final": GateRecipe(signals=FOUR, states=Rollout("hide"), objective=Taught("final"), batch=16, steps=60),
    "attentive": RECOMMENDED,
}
"""The gates that rules of the arena ask for, by name; each is trained for the denoiser that it plays with.

:meta hide-value:
"""
