"""The rules, side by side: each says, from one :class:`~ardm.method.types.Step`, which tokens to write and which to hide.

Here are the plain ones, the document's and this book's, and what rules are made of; :mod:`ardm.method.rivals` has those of the field.

What a rule cannot do is call the denoiser, draw a token, know the truth or remember: that is the same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.method.gate import GateOutput, OverwriteGate
from ardm.method.prior import prior_logit
from ardm.method.selection import Selection
from ardm.method.signals import log_prob_of
from ardm.method.types import Action, Bool, Int, Rule, Step

__all__ = [
    "ORDERS",
    "FixedSchedule",
    "HideThenRefill",
    "LeftToRight",
    "OneWay",
    "OracleGate",
    "Overwrite",
    "RandomGate",
    "Shuffled",
    "UniformRefinement",
    "check_choice",
    "check_schedule",
    "check_share",
    "due",
    "lowest",
    "nothing",
    "on_schedule",
    "scores_of",
]


def nothing(step: Step) -> Bool[Tensor, "B L"]:
    """No position."""
    return torch.zeros_like(step.is_mask)


def _bernoulli(p: Tensor, generator: torch.Generator) -> Bool[Tensor, "B L"]:
    return torch.rand(p.shape, generator=generator, device=p.device) < p


def lowest(rank: Tensor, among: Bool[Tensor, "B L"], count: Tensor | int) -> Bool[Tensor, "B L"]:
    """The ``count`` positions of lowest ``rank`` in each row of ``among``."""
    order = rank.masked_fill(~among, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    return among & (order < torch.as_tensor(count, device=rank.device).reshape(-1, 1))


def due(step: Step) -> Tensor:
    """ceil(masks left / steps left): how many masks of each row to write now, so that the last step ends with none."""
    return (step.is_mask.sum(-1) / (step.T - step.t + 1)).ceil()


ORDERS = ("random", "surest", "left")
"""In which order masks are written: by lot, the highest max q first, or from the left. None of them looks at the proposal."""


def on_schedule(step: Step, written_by: float, order: str, generator: torch.Generator) -> Bool[Tensor, "B L"]:
    """Masks to write in one of :data:`ORDERS`, so many that none is left after ``written_by`` of the steps.

    Hidden tokens join the masks. From ``written_by`` of the steps on every mask is written at the next call; before that a hidden
    token waits its turn, in a text that started full until few masks are allowed: suspects are gathered before they are written.
    """
    open_positions = (~step.is_fixed).sum(-1)
    wanted = (open_positions * max(0.0, 1 - step.t / max(1, math.ceil(written_by * step.T)))).floor()
    if order == "surest":
        rank = -step.log_q.amax(-1)
    elif order == "left":
        rank = torch.arange(step.x.shape[1], device=step.x.device).expand_as(step.x).float()
    else:
        rank = torch.rand(step.x.shape, generator=generator, device=step.x.device)
    return lowest(rank, step.is_mask, (step.is_mask.sum(-1) - wanted).clamp(min=0))


def check_schedule(written_by: float, order: str) -> None:
    """Raise ``InputError`` unless masks can be written so."""
    check_share("written_by", written_by)
    check_choice("order", order, ORDERS)


def check_share(name: str, value: float) -> None:
    """Raise ``InputError`` unless the value is in (0, 1]."""
    if not 0 < value <= 1:
        raise InputError(f"{name}={value}: it is a share in (0, 1]")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``InputError`` unless the value is one of the choices."""
    if value not in choices:
        raise InputError(f"{name}={value!r}: choose {' or '.join(choices)}")


@dataclass(frozen=True)
class OneWay:
    """Masked diffusion: write each mask with probability (alpha_s - alpha_t) / (1 - alpha_t), never touch it again.

    With the linear schedule that probability is 1 / (T - t + 1), and step T writes the rest (arXiv:2406.07524).
    """

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        chance = torch.full(step.x.shape, 1 / (step.T - step.t + 1), device=step.x.device)
        return Action(write=step.is_mask & _bernoulli(chance, generator), remask=nothing(step))


@dataclass(frozen=True)
class LeftToRight:
    """Write the next ceil(masks left / steps left) masks from the left. With T = n this is one token a call."""

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        rank = torch.arange(step.x.shape[1], device=step.x.device).expand_as(step.x).float()
        return Action(write=lowest(rank, step.is_mask, due(step)), remask=nothing(step))


@dataclass(frozen=True)
class UniformRefinement:
    """Overwrite every token, masked or visible, with the same probability at every step."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InputError(f"rate={self.rate}: it is a probability in (0, 1]")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        p = torch.full(step.x.shape, self.rate, device=step.x.device)
        return Action(write=_bernoulli(p, generator) & ~step.is_fixed, remask=nothing(step), scores={"p": p})


@dataclass(frozen=True)
class FixedSchedule:
    """Overwrite with the positional prior r_i^t alone: the gate with u = 0 (after AR-Diffusion, arXiv:2305.09515)."""

    alpha: float = 1.25
    delta: float = 0.0

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        logit = prior_logit(step.x.shape[1], step.t, step.T, self.alpha, self.delta, device=step.x.device)
        r = logit.sigmoid().expand(step.x.shape)
        return Action(write=_bernoulli(r, generator) & ~step.is_fixed, remask=nothing(step), scores={"p": r, "r": r})


@dataclass(frozen=True)
class Shuffled:
    """The control: revise as many visible tokens as ``rule`` does, but at random places; it writes the same masks.

    What is lost against the rule itself is what its *selection* is worth, as apart from its amount.
    """

    rule: Rule

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        action = self.rule(step, generator)
        visible = ~step.is_mask & ~step.is_fixed
        redrawn, hidden = (action.write & visible).sum(-1), action.remask.sum(-1)
        order = torch.rand(step.x.shape, generator=generator, device=step.x.device)
        touched = lowest(order, visible, redrawn + hidden)
        write = lowest(order, visible, redrawn)
        return Action(write=write | (action.write & step.is_mask), remask=touched & ~write, scores=action.scores)


@dataclass(frozen=True)
class RandomGate:
    """The control that looks at nothing: at each step hide ``k`` visible tokens at random, to be written anew."""

    k: int = 2
    written_by: float = 0.6
    order: str = "random"

    def __post_init__(self) -> None:
        check_schedule(self.written_by, self.order)
        if self.k < 0:
            raise InputError(f"k={self.k}: a number of tokens is at least 0")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        order = torch.rand(step.x.shape, generator=generator, device=step.x.device)
        hide = lowest(order, ~step.is_mask & ~step.is_fixed, self.k)
        return Action(write=on_schedule(step, self.written_by, self.order, generator), remask=hide)


@dataclass(frozen=True)
class OracleGate:
    """The upper bound: revise exactly the tokens that are wrong, as ``wrong`` knows, all at once.

    ``wrong`` maps the texts ``[B, L]`` to the visible tokens that have to change; no gate can ask it. They are hidden to be
    written anew (see :func:`on_schedule`), or ``in_place`` overwritten by the proposal.
    """

    wrong: Callable[[Int[Tensor, "B L"]], Bool[Tensor, "B L"]]
    in_place: bool = False
    written_by: float = 0.6
    order: str = "random"

    def __post_init__(self) -> None:
        check_schedule(self.written_by, self.order)

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        revise = self.wrong(step.x) & ~step.is_mask & ~step.is_fixed
        write = on_schedule(step, self.written_by, self.order, generator)
        if self.in_place:
            return Action(write=write | revise, remask=nothing(step), scores={"p": revise.float()})
        return Action(write=write, remask=revise, scores={"p": revise.float()})


@dataclass(frozen=True)
class Overwrite:
    """The document's sampler (section 2.5): overwrite token i in place with probability p_i^t, or as ``selection`` says.

    ``accept="always"`` writes what was drawn. ``"better"`` is an acceptance test: over a visible token it writes only what the
    denoiser holds to be likelier than that token. This makes a text more probable than the law would, token by token.
    """

    gate: OverwriteGate
    selection: Selection = Selection()
    accept: str = "always"

    def __post_init__(self) -> None:
        check_choice("accept", self.accept, ("always", "better"))

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        out = self.gate(step)
        write = self.selection(out.logit_p, ~step.is_fixed, step, generator)
        if self.accept == "better":
            write &= step.is_mask | (log_prob_of(step.log_q, step.proposal) > log_prob_of(step.log_q, step.x))
        return Action(write=write, remask=nothing(step), scores=scores_of(out))


@dataclass(frozen=True)
class HideThenRefill:
    """Write masks, and hide suspects: later calls see them as masks and write them anew.

    All masks are written by ``written_by`` of the steps, in the given ``order`` (see :func:`on_schedule`). At each step but the
    last, the visible tokens that ``selection`` picks by p become masks: the denoiser then judges the place without seeing the
    suspect. No call is added. At the last step nothing can be hidden any more: with ``finish`` the suspects are overwritten in
    place.
    """

    gate: OverwriteGate
    selection: Selection = Selection("threshold", 0.5, budget=4)
    written_by: float = 0.6
    order: str = "random"
    finish: bool = True

    def __post_init__(self) -> None:
        check_schedule(self.written_by, self.order)

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        out = self.gate(step)
        write = on_schedule(step, self.written_by, self.order, generator)
        suspect = self.selection(out.logit_p, ~step.is_mask & ~step.is_fixed, step, generator)
        if step.t == step.T:
            write = write | suspect if self.finish else write
            return Action(write=write, remask=nothing(step), scores=scores_of(out))
        return Action(write=write, remask=suspect, scores=scores_of(out))


def scores_of(out: GateOutput) -> dict[str, Tensor]:
    """What a gate's rule reports of every position: p, u and r."""
    return {"p": out.logit_p.sigmoid(), "u": out.logit_u.sigmoid(), "r": out.logit_r.sigmoid()}
