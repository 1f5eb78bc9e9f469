"""How well a score tells wrong tokens from right ones: its ranking, and its calibration as a probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.gate import OverwriteGate
from ardm.method.signals import log_prob_of
from ardm.method.states import held_out_states
from ardm.method.types import Bool, Corpus, Denoiser, Float

__all__ = ["Calibration", "Ranking", "calibration", "ranking", "ranking_over_texts", "told_apart"]


@dataclass(frozen=True)
class Calibration:
    """How far stated probabilities are from what happens. ``bins``: (mean p, share of positives, count) of each."""

    error: float  # expected calibration error: the mean over the tokens of |mean p - share| of their bin
    brier: float  # mean of (p - outcome)^2 (Brier 1950)
    bins: tuple[tuple[float, float, int], ...]


def calibration(p: Float[Tensor, " N"], positive: Bool[Tensor, " N"], *, bins: int = 10) -> Calibration:
    """Compare probabilities with outcomes in ``bins`` intervals of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    if not len(p):
        raise InputError("calibration of nothing: give at least one probability")
    if p.min() < 0 or p.max() > 1:
        raise InputError(f"p from {p.min():g} to {p.max():g}: probabilities are in [0, 1]")
    p, outcome = double(p.cpu()), double(positive.cpu())
    place = (p * bins).long().clamp(max=bins - 1)
    found = []
    for k in range(bins):
        there = place == k
        if there.any():
            found.append((p[there].mean().item(), outcome[there].mean().item(), int(there.sum())))
    error = sum(count * abs(mean - share) for mean, share, count in found) / len(p)
    return Calibration(error, (p - outcome).square().mean().item(), tuple(found))


def ranking(score: Float[Tensor, " N"], positive: Bool[Tensor, " N"]) -> float:
    """The probability that a random positive has a higher score than a random negative, ties half: the area under the ROC curve.

    Computed from the Mann-Whitney statistic. 0.5 is chance; below it the score points the wrong way.
    """
    there, elsewhere = score[positive], score[~positive]
    if not len(there) or not len(elsewhere):
        raise InputError("ranking needs at least one positive and one negative")
    statistic = stats.mannwhitneyu(double(there.cpu()).numpy(), double(elsewhere.cpu()).numpy()).statistic
    return float(statistic) / (len(there) * len(elsewhere))


@dataclass(frozen=True)
class Ranking:
    """The :func:`ranking` of a sample of texts with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def ranking_over_texts(
    score: Float[Tensor, "B L"], positive: Bool[Tensor, "B L"], among: Bool[Tensor, "B L"], *, seed: int, repeats: int = 200
) -> Ranking:
    """How the score ranks the tokens ``among`` which are ``positive`` above the others, pooled over the texts.

    The interval resamples whole texts, since the tokens of one text are not independent; seeds give the same resamples for
    every score.
    """
    rng = generator(seed, "bootstrap", "cpu")
    score, positive, among = score.cpu(), positive.cpu(), among.cpu()
    again = []
    for _ in range(repeats):
        pick = torch.randint(len(score), (len(score),), generator=rng)
        again.append(ranking(score[pick][among[pick]], positive[pick][among[pick]]))
    low, high = torch.tensor(again, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Ranking(ranking(score[among], positive[among]), low, high)


@torch.no_grad()
def told_apart(
    gate: OverwriteGate, denoiser: Denoiser, corpus: Corpus, *, seed: int, device: torch.device, count: int = 64
) -> dict[str, float]:
    """How the gate ranks tokens that differ from the true ones, and how the denoiser alone does by 1 - q_i(x_i).

    The states are corrupted ones of ``count`` held-out texts (:func:`~ardm.method.states.held_out_states`).
    """
    states = held_out_states(denoiser, corpus, count=count, seed=seed, device=device)
    among = [~step.is_mask for step, _ in states]
    wrong = torch.cat([(step.x != x0)[seen] for (step, x0), seen in zip(states, among, strict=True)])
    scores = {
        "the gate": [gate(step).logit_u for step, _ in states],
        "the probability of the token": [-log_prob_of(step.log_q, step.x) for step, _ in states],
    }
    return {
        name: ranking(torch.cat([score[seen] for score, seen in zip(parts, among, strict=True)]), wrong)
        for name, parts in scores.items()
    }
