"""What a gate is taught: one number per token, 1 where it should be overwritten, behind one interface.

Every label takes the same :class:`Situation` and returns a :class:`Label`. The truth x0 is known in training alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import Lots, lots
from ardm.method.types import Bool, Denoiser, Float, Int, Step

__all__ = ["LABELS", "Label", "Situation", "leave_one_out", "likelihood_ratio"]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A step as a rule meets it, and what only the teacher knows: the true tokens and those with which the run ended."""

    step: Step
    x0: Int[Tensor, "B L"]
    final: Int[Tensor, "B L"] | None  # None where the step belongs to no run
    denoiser: Denoiser
    hidden_share: float = 0.12  # of the visible tokens, hidden for the likelihood-ratio label


@dataclass(frozen=True)
class Label:
    """``value`` in [0, 1]: should this token be overwritten? It is said of the positions in ``where`` alone."""

    value: Float[Tensor, "B L"]
    where: Bool[Tensor, "B L"]


def _mismatch(it: Situation, rng: torch.Generator | Lots) -> Label:
    wrong = (it.step.x != it.x0).float()
    return Label(wrong, torch.ones_like(it.step.is_mask))


def _likelihood_ratio(it: Situation, rng: torch.Generator | Lots) -> Label:
    step = it.step
    chance = lots(rng).uniform(*step.x.shape).to(step.x.device)
    where = ~step.is_mask & (chance < it.hidden_share)
    mask_id = step.now.vocab_size
    with torch.no_grad():
        log_q = it.denoiser(torch.where(where, mask_id, step.x), 1 - (step.t - 1) / step.T).logits.log_softmax(-1)
    return Label(likelihood_ratio(log_q, step.x) * where, where)


def _final(it: Situation, rng: torch.Generator | Lots) -> Label:
    if it.final is None:
        raise InputError("label 'final' compares with the end of a run: train on rollouts (states=Rollout())")
    return Label((it.step.x != it.final).float(), torch.ones_like(it.step.is_mask))


LABELS: dict[str, Callable[[Situation, torch.Generator | Lots], Label]] = {
    "mismatch": _mismatch,  # x_i != x0_i: also punishes what is different and fine (PRISM, arXiv:2510.01384, on written tokens)
    "likelihood_ratio": _likelihood_ratio,  # 1 - q*(x_i) / max q*, with q* from a call in which x_i was hidden
    "final": _final,  # x_i is not the token with which the run ends: needs no truth (TraceLock, arXiv:2605.24697)
}
"""The labels by name. A mask is always to be overwritten, except for the likelihood ratio, which says nothing of masks."""


def likelihood_ratio(log_q: Float[Tensor, "B L V"], x: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """1 - q_i(x_i) / max_v q_i(v), for q predicted without seeing x_i: 0 for the likeliest token and those as likely as it,
    near 1 for a contradiction. Masks get 1.
    """
    known = x < log_q.shape[-1]
    own = log_q.gather(-1, torch.where(known, x, 0).unsqueeze(-1)).squeeze(-1)
    return torch.where(known, 1 - (own - log_q.amax(-1)).exp(), 1.0).float()


@torch.no_grad()
def leave_one_out(denoiser: Denoiser, x: Int[Tensor, "B L"], vocab_size: int, time: float = 1.0) -> Float[Tensor, "B L V"]:
    """log q_i(. | x without x_i) at every position: L calls, each with one position hidden. What the likelihood-ratio label
    estimates in one call, hiding several at once.
    """
    rows = []
    for i in range(x.shape[1]):
        hidden = x.clone()
        hidden[:, i] = vocab_size
        rows.append(denoiser(hidden, time).logits[:, i].log_softmax(-1))
    return torch.stack(rows, dim=1)
