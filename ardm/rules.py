"""The rules, side by side: each says, from one :class:`~ardm.types.Step`, which tokens to write and which to hide.

What a rule cannot do is call the denoiser, draw a token, know the truth or remember: that is the same for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.gate import GateOutput, OverwriteGate
from ardm.prior import prior_logit
from ardm.selection import Selection
from ardm.signals import entropy, log_prob_of, margin, placed_margin
from ardm.types import Action, Bool, InputError, Rule, Step

__all__ = [
    "DDPD",
    "EntropyBounded",
    "FixedSchedule",
    "HideThenRefill",
    "InformedCorrector",
    "LeftToRight",
    "MaskPredict",
    "MostConfidentFirst",
    "OneWay",
    "Overwrite",
    "PathPlanning",
    "ReMDM",
    "Shuffled",
    "TokenToMask",
    "TokenToToken",
    "UniformRefinement",
]


def _nothing(step: Step) -> Bool[Tensor, "B L"]:
    return torch.zeros_like(step.is_mask)


def _bernoulli(p: Tensor, generator: torch.Generator) -> Bool[Tensor, "B L"]:
    return torch.rand(p.shape, generator=generator, device=p.device) < p


def _first(rank: Tensor, among: Bool[Tensor, "B L"], count: Tensor | int) -> Bool[Tensor, "B L"]:
    """The ``count`` positions of lowest ``rank`` in each row of ``among``."""
    order = rank.masked_fill(~among, torch.inf).argsort(dim=-1, stable=True).argsort(-1)
    return among & (order < torch.as_tensor(count, device=rank.device).reshape(-1, 1))


def _due(step: Step) -> Tensor:
    """ceil(masks left / steps left): how many masks of each row to write now, so that the last step ends with none."""
    return (step.is_mask.sum(-1) / (step.T - step.t + 1)).ceil()


def _on_schedule(step: Step, written_by: float, generator: torch.Generator) -> Bool[Tensor, "B L"]:
    """Masks to write in random order, so many that none is left after ``written_by`` of the steps."""
    open_positions = (~step.is_fixed).sum(-1)
    wanted = (open_positions * max(0.0, 1 - step.t / max(1, math.ceil(written_by * step.T)))).floor()
    order = torch.rand(step.x.shape, generator=generator, device=step.x.device)
    return _first(order, step.is_mask, (step.is_mask.sum(-1) - wanted).clamp(min=0))


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise InputError(f"{name}={value}: it is a share in (0, 1]")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}={value!r}: choose {' or '.join(choices)}")


@dataclass(frozen=True)
class OneWay:
    """Masked diffusion: write each mask with probability (alpha_s - alpha_t) / (1 - alpha_t), never touch it again.

    With the linear schedule that probability is 1 / (T - t + 1), and step T writes the rest (arXiv:2406.07524).
    """

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        chance = torch.full(step.x.shape, 1 / (step.T - step.t + 1), device=step.x.device)
        return Action(write=step.is_mask & _bernoulli(chance, generator), remask=_nothing(step))


@dataclass(frozen=True)
class LeftToRight:
    """Write the next ceil(masks left / steps left) masks from the left. With T = n this is one token a call."""

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        rank = torch.arange(step.x.shape[1], device=step.x.device).expand_as(step.x).float()
        return Action(write=_first(rank, step.is_mask, _due(step)), remask=_nothing(step))


@dataclass(frozen=True)
class MostConfidentFirst:
    """Write the next ceil(masks left / steps left) masks, those first of which the denoiser is surest; never touch them again.

    Surest by the probability of the first choice, ``max_prob``, or by its ``margin`` over the second (arXiv:2502.06768).
    """

    by: str = "max_prob"

    def __post_init__(self) -> None:
        _check_choice("by", self.by, ("max_prob", "margin"))

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        sure = step.log_q.amax(-1) if self.by == "max_prob" else margin(step.log_q)
        return Action(write=_first(-sure, step.is_mask, _due(step)), remask=_nothing(step))


@dataclass(frozen=True)
class EntropyBounded:
    """Write the most masks, lowest entropy first, for which the sum of their entropies less the largest is at most ``gamma``.

    That difference bounds what writing them at once can lose, and one mask is always written (arXiv:2505.24857). The number
    of steps is an upper limit: a text may be finished earlier, and the last step writes what is left.
    """

    gamma: float = 0.1  # nats

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise InputError(f"gamma={self.gamma}: a bound in nats, at least 0")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        H = entropy(step.log_q).masked_fill(~step.is_mask, torch.inf)
        ascending, order = H.sort(dim=-1, stable=True)
        lighter = ascending.cumsum(-1) - ascending  # the sum of those before: the sum up to here, less the largest
        within = torch.zeros_like(step.is_mask).scatter_(-1, order, lighter <= self.gamma)
        return Action(write=within & step.is_mask, remask=_nothing(step))


@dataclass(frozen=True)
class UniformRefinement:
    """Overwrite every token, masked or visible, with the same probability at every step."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InputError(f"rate={self.rate}: it is a probability in (0, 1]")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        p = torch.full(step.x.shape, self.rate, device=step.x.device)
        return Action(write=_bernoulli(p, generator) & ~step.is_fixed, remask=_nothing(step), scores={"p": p})


@dataclass(frozen=True)
class FixedSchedule:
    """Overwrite with the positional prior r_i^t alone: the gate with u = 0 (after AR-Diffusion, arXiv:2305.09515)."""

    alpha: float = 1.25
    delta: float = 0.0

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        logit = prior_logit(step.x.shape[1], step.t, step.T, self.alpha, self.delta, device=step.x.device)
        r = logit.sigmoid().expand(step.x.shape)
        return Action(write=_bernoulli(r, generator) & ~step.is_fixed, remask=_nothing(step), scores={"p": r, "r": r})


@dataclass(frozen=True)
class MaskPredict:
    """After step t the open positions of lowest probability, n (T - t) / T of them, are masks; all others are written.

    A token's probability is the one it had when it was written (Ghazvininejad et al. 2019, arXiv:1904.09324); a given token
    has probability 1.
    """

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        score = torch.where(step.is_mask, log_prob_of(step.log_q, step.proposal), step.log_q_written)
        return _keep_best(step, score)


@dataclass(frozen=True)
class PathPlanning:
    """P2 with the denoiser as its own planner: like Mask-Predict, but visible tokens are judged anew at each step, by q(x_i).

    ``eta`` multiplies the log-probability of visible tokens: 0 never hides one, above 1 hides more (arXiv:2502.03540).
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not self.eta >= 0:
            raise InputError(f"eta={self.eta}: it is at least 0")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        visible = self.eta * log_prob_of(step.log_q, step.x)
        return _keep_best(step, torch.where(step.is_mask, log_prob_of(step.log_q, step.proposal), visible))


def _keep_best(step: Step, score: Tensor) -> Action:
    hide = ((~step.is_fixed).sum(-1) * (step.T - step.t) / step.T).floor()
    low = _first(score, ~step.is_fixed, hide)
    return Action(write=step.is_mask & ~low, remask=low & ~step.is_mask)


@dataclass(frozen=True)
class ReMDM:
    """Masked diffusion that hides each visible token again with probability sigma (Wang et al. 2025, arXiv:2503.00307).

    With a share ``a`` of the tokens kept now and ``b`` after the step, sigma is at most min(1, (1 - b) / a): ``how="cap"`` takes
    the smaller of that and ``eta``, ``"rescale"`` that times ``eta``. Masks are written with probability
    (b - (1 - sigma) a) / (1 - a). ``by_confidence`` shares sigma out over the visible tokens by softmax(-q when written), so that
    the doubtful ones get most. ``loop`` writes nine tenths first, then hides and writes at a standstill between the diffusion
    times 0.55 and 0.05, then finishes. Defaults: the paper's for long text, 0.008 (cap), 0.015 (rescale), 0.02 (loop).
    """

    how: str = "cap"
    eta: float | None = None
    by_confidence: bool = False
    loop: bool = False

    def __post_init__(self) -> None:
        _check_choice("how", self.how, ("cap", "rescale"))
        if self.eta is not None:
            _check_share("eta", self.eta)

    def kept(self, time: float) -> float:
        """The share of tokens kept at a diffusion time from 1 (none) to 0 (all)."""
        on, off, plateau = 0.55, 0.05, 0.9
        if not self.loop:
            return 1 - time
        if time > on:
            return plateau * (1 - time) / (1 - on)
        return plateau if time > off else 1 - (1 - plateau) * time / off

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        time, after = 1 - (step.t - 1) / step.T, 1 - step.t / step.T
        a, b = self.kept(time), self.kept(after)
        most = min(1.0, (1 - b) / a) if a > 0 else 1.0
        eta = self.eta or (0.02 if self.loop else {"cap": 0.008, "rescale": 0.015}[self.how])
        sigma = min(eta, most) if self.how == "cap" else eta * most
        if self.loop and not 0.05 < time <= 0.55:
            sigma = 0.0
        visible = ~step.is_mask & ~step.is_fixed
        hide_with = torch.full(step.x.shape, sigma, device=step.x.device)
        if self.by_confidence:
            weight = (-step.log_q_written.exp()).masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0.0)
            hide_with = sigma * weight
            sigma = 0.0  # of a mask, which has no confidence
        write_with = torch.full_like(hide_with, min(1.0, max(0.0, (b - (1 - sigma) * a) / (1 - a))) if a < 1 else 1.0)
        uniform = torch.rand(step.x.shape, generator=generator, device=step.x.device)
        return Action(write=step.is_mask & (uniform < write_with), remask=visible & (uniform < hide_with))


@dataclass(frozen=True)
class TokenToToken:
    """Replace a visible token by the proposal where the denoiser gives that more than ``threshold`` (LLaDA2.1, arXiv:2602.08676).

    From one half on such a proposal is the first choice. Masks are written in random order by ``written_by`` of the steps.
    """

    threshold: float = 0.5
    written_by: float = 0.6

    def __post_init__(self) -> None:
        _check_share("written_by", self.written_by)
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold={self.threshold}: it is a probability in [0, 1)")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        sure = log_prob_of(step.log_q, step.proposal).exp() > self.threshold
        edit = ~step.is_mask & ~step.is_fixed & (step.proposal != step.x) & sure
        return Action(write=edit | _on_schedule(step, self.written_by, generator), remask=_nothing(step))


@dataclass(frozen=True)
class TokenToMask:
    """Hide a visible token whose probability is low, or has fallen (arXiv:2604.18738), to be written anew at the next call.

    ``by="low_prob"``: q(x_i) is below ``threshold``. ``"logit_diff"``: it fell by more than ``threshold`` in one step. At most
    ``per_position`` times a position, and ``share`` of the text a step, the worst first.
    """

    by: str = "low_prob"
    threshold: float = 0.3
    per_position: int = 3
    share: float = 0.25
    written_by: float = 0.6

    def __post_init__(self) -> None:
        _check_choice("by", self.by, ("low_prob", "logit_diff"))
        _check_share("share", self.share)
        _check_share("written_by", self.written_by)

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        q = log_prob_of(step.log_q, step.x).exp()
        if self.by == "low_prob":
            bad, rank = q < self.threshold, q
        elif step.log_q_before is None:
            bad, rank = _nothing(step), q
        else:
            rank = q - log_prob_of(step.log_q_before, step.x).exp()
            bad = -rank > self.threshold
        allowed = bad & ~step.is_mask & ~step.is_fixed & (step.overwrites < self.per_position)
        hide = _first(rank, allowed, int(self.share * step.x.shape[1]))
        return Action(write=_on_schedule(step, self.written_by, generator), remask=hide)


@dataclass(frozen=True)
class InformedCorrector:
    """Redraw in place the ``k`` visible tokens of highest ``noise`` x Gumbel - c, with c the placed margin (arXiv:2407.21243)."""

    k: int = 2
    noise: float = 1.0
    written_by: float = 0.6

    def __post_init__(self) -> None:
        _check_share("written_by", self.written_by)
        if self.k < 0 or not self.noise >= 0:
            raise InputError(f"k={self.k}, noise={self.noise}: both are at least 0")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        gumbel = -torch.empty(step.x.shape, device=step.x.device).exponential_(generator=generator).log()
        doubt = self.noise * gumbel - placed_margin(step.log_q, step.x)
        redraw = _first(-doubt, ~step.is_mask & ~step.is_fixed, self.k)
        return Action(write=redraw | _on_schedule(step, self.written_by, generator), remask=_nothing(step))


@dataclass(frozen=True)
class DDPD:
    """Plan, then denoise: hide the ``k`` tokens the gate doubts most, and write them at the next call (after arXiv:2410.06264).

    Two calls for k tokens. From a hidden text the first call fills everything at once: the noise it starts from.
    """

    gate: OverwriteGate
    k: int = 4

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k={self.k}: it is at least 1")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        out = self.gate(step)
        whole = ~step.is_mask.any(-1, keepdim=True)
        hide = _first(-out.logit_u, ~step.is_fixed & whole, self.k)
        return Action(write=step.is_mask, remask=hide, scores=_scores(out))


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
        touched = _first(order, visible, redrawn + hidden)
        write = _first(order, visible, redrawn)
        return Action(write=write | (action.write & step.is_mask), remask=touched & ~write, scores=action.scores)


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
        _check_choice("accept", self.accept, ("always", "better"))

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        out = self.gate(step)
        write = self.selection(out.logit_p, ~step.is_fixed, step, generator)
        if self.accept == "better":
            write &= step.is_mask | (log_prob_of(step.log_q, step.proposal) > log_prob_of(step.log_q, step.x))
        return Action(write=write, remask=_nothing(step), scores=_scores(out))


@dataclass(frozen=True)
class HideThenRefill:
    """Write masks in random order, and hide suspects so that the next call sees them as masks and rewrites them.

    All masks are written by ``written_by`` of the steps. At each step but the last, the visible tokens that ``selection`` picks
    by p become masks: the denoiser then judges the place without seeing the suspect. No call is added.
    """

    gate: OverwriteGate
    selection: Selection = Selection("threshold", 0.5, budget=4)
    written_by: float = 0.6

    def __post_init__(self) -> None:
        _check_share("written_by", self.written_by)

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        out = self.gate(step)
        write = _on_schedule(step, self.written_by, generator)
        hide = self.selection(out.logit_p, ~step.is_mask & ~step.is_fixed, step, generator)
        return Action(write=write, remask=hide, scores=_scores(out))


def _scores(out: GateOutput) -> dict[str, Tensor]:
    return {"p": out.logit_p.sigmoid(), "u": out.logit_u.sigmoid(), "r": out.logit_r.sigmoid()}
