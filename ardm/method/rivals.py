"""The rivals of the field, side by side, each as a rule of the one loop: same denoiser, same calls, same proposals.

What a paper does beside the rule (its own training, its temperature, more calls) is left out; each docstring names its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.method.gate import OverwriteGate
from ardm.method.rules import check_choice, check_schedule, check_share, due, lowest, nothing, on_schedule, scores_of
from ardm.method.signals import entropy, log_prob_of, margin, placed_margin
from ardm.method.types import Action, Step

__all__ = [
    "DDPD",
    "EntropyBounded",
    "InformedCorrector",
    "MaskPredict",
    "MostConfidentFirst",
    "PathPlanning",
    "ReMDM",
    "TokenToMask",
    "TokenToToken",
]


@dataclass(frozen=True)
class MostConfidentFirst:
    """Write the next ceil(masks left / steps left) masks, those first of which the denoiser is surest; never touch them again.

    Surest by the probability of the first choice, ``max_prob``, or by its ``margin`` over the second (arXiv:2502.06768).
    """

    by: str = "max_prob"

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("max_prob", "margin"))

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        sure = step.log_q.amax(-1) if self.by == "max_prob" else margin(step.log_q)
        return Action(write=lowest(-sure, step.is_mask, due(step)), remask=nothing(step))


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
        return Action(write=within & step.is_mask, remask=nothing(step))


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
    low = lowest(score, ~step.is_fixed, hide)
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
        check_choice("how", self.how, ("cap", "rescale"))
        if self.eta is not None:
            check_share("eta", self.eta)

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

    From one half on such a proposal is the first choice. Masks are written in the given ``order`` by ``written_by`` of the steps.
    """

    threshold: float = 0.5
    written_by: float = 0.6
    order: str = "random"

    def __post_init__(self) -> None:
        check_schedule(self.written_by, self.order)
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold={self.threshold}: it is a probability in [0, 1)")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        sure = log_prob_of(step.log_q, step.proposal).exp() > self.threshold
        edit = ~step.is_mask & ~step.is_fixed & (step.proposal != step.x) & sure
        return Action(write=edit | on_schedule(step, self.written_by, self.order, generator), remask=nothing(step))


@dataclass(frozen=True)
class TokenToMask:
    """Hide a visible token whose probability is low, or has fallen (arXiv:2604.18738), to be written anew.

    ``by="low_prob"``: q(x_i) is below ``threshold``. ``"logit_diff"``: it fell by more than ``threshold`` in one step. At most
    ``per_position`` times a position, and ``share`` of the text a step, the worst first.
    """

    by: str = "low_prob"
    threshold: float = 0.3
    per_position: int = 3
    share: float = 0.25
    written_by: float = 0.6
    order: str = "random"

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("low_prob", "logit_diff"))
        check_share("share", self.share)
        check_schedule(self.written_by, self.order)

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        q = log_prob_of(step.log_q, step.x).exp()
        if self.by == "low_prob":
            bad, rank = q < self.threshold, q
        elif step.log_q_before is None:
            bad, rank = nothing(step), q
        else:
            rank = q - log_prob_of(step.log_q_before, step.x).exp()
            bad = -rank > self.threshold
        allowed = bad & ~step.is_mask & ~step.is_fixed & (step.overwrites < self.per_position)
        hide = lowest(rank, allowed, int(self.share * step.x.shape[1]))
        return Action(write=on_schedule(step, self.written_by, self.order, generator), remask=hide)


@dataclass(frozen=True)
class InformedCorrector:
    """Redraw in place the ``k`` visible tokens of highest ``noise`` x Gumbel - c, with c the placed margin (arXiv:2407.21243)."""

    k: int = 2
    noise: float = 1.0
    written_by: float = 0.6
    order: str = "random"

    def __post_init__(self) -> None:
        check_schedule(self.written_by, self.order)
        if self.k < 0 or not self.noise >= 0:
            raise InputError(f"k={self.k}, noise={self.noise}: both are at least 0")

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        gumbel = -torch.empty(step.x.shape, device=step.x.device).exponential_(generator=generator).log()
        doubt = self.noise * gumbel - placed_margin(step.log_q, step.x)
        redraw = lowest(-doubt, ~step.is_mask & ~step.is_fixed, self.k)
        return Action(write=redraw | on_schedule(step, self.written_by, self.order, generator), remask=nothing(step))


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
        hide = lowest(-out.logit_u, ~step.is_fixed & whole, self.k)
        return Action(write=step.is_mask, remask=hide, scores=scores_of(out))
