"""What a sample is worth: validity beside fidelity, with intervals and noise floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from ardm.devices import generator
from ardm.laws import Law
from ardm.signals import log_prob_of
from ardm.types import Bool, Denoiser, Float, InputError, Int

__all__ = [
    "Calibration",
    "Interval",
    "Ranking",
    "Share",
    "bits_per_token",
    "bootstrap_difference",
    "calibration",
    "mean_over_trainings",
    "paired_difference",
    "ranking",
    "ranking_over_texts",
    "sequence_distance",
    "sequence_floor",
    "share",
    "unigram_distance",
    "unigram_floor",
]


@dataclass(frozen=True)
class Share:
    """A share of successes with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def share(successes: Tensor) -> Share:
    """The share of true entries of a boolean tensor."""
    count = successes.numel()
    if count == 0:
        raise InputError("a share of nothing: give at least one outcome")
    hits = int(successes.sum())
    interval = stats.binomtest(hits, count).proportion_ci(method="wilson")
    return Share(hits / count, float(interval.low), float(interval.high), count)


@dataclass(frozen=True)
class Interval:
    """A mean or a difference of means with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_over_trainings(values: Float[Tensor, " S"]) -> Interval:
    """The mean of one number per training with Student's interval: it covers what another training would have given.

    A bootstrap of five numbers is too narrow, since it has nothing to resample the tails from; Student's t is not. Raises
    ``InputError`` below two trainings.
    """
    if len(values) < 2:
        raise InputError(f"{len(values)} training: an interval over trainings needs at least 2")
    v = values.double().cpu().numpy()
    half = stats.sem(v) * stats.t.ppf(0.975, len(v) - 1)
    return Interval(float(v.mean()), float(v.mean() - half), float(v.mean() + half))


def paired_difference(a: Float[Tensor, " S"], b: Float[Tensor, " R"]) -> Interval:
    """The mean of a - b, training by training, with Student's paired interval."""
    if a.shape != b.shape:
        raise InputError(f"{len(a)} against {len(b)} trainings: pairs need the same ones")
    return mean_over_trainings(a.double() - b.double())


def bootstrap_difference(a: Float[Tensor, " N"], b: Float[Tensor, " M"], *, seed: int = 0, repeats: int = 2000) -> Interval:
    """The mean of a - b over N texts that met the same random numbers, with its percentile bootstrap interval (scipy).

    It speaks of other texts from the same models; what another training would give is :func:`paired_difference`.
    """
    if a.shape != b.shape or len(a) < 2:
        raise InputError(f"{len(a)} against {len(b)} texts: pairs need the same texts, at least 2")
    gap = (a.double() - b.double()).cpu().numpy()
    if np.ptp(gap) == 0:
        return Interval(float(gap[0]), float(gap[0]), float(gap[0]))
    found = stats.bootstrap((gap,), np.mean, n_resamples=repeats, method="percentile", rng=np.random.default_rng(seed))
    low, high = found.confidence_interval
    return Interval(float(gap.mean()), float(low), float(high))


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
    p, outcome = p.double(), positive.double()
    place = (p * bins).long().clamp(max=bins - 1)
    found = []
    for k in range(bins):
        there = place == k
        if there.any():
            found.append((p[there].mean().item(), outcome[there].mean().item(), int(there.sum())))
    error = sum(count * abs(mean - share) for mean, share, count in found) / len(p)
    return Calibration(error, (p - outcome).square().mean().item(), tuple(found))


def unigram_distance(x: Int[Tensor, "B L"], law: Law) -> float:
    """Total variation, in [0, 1], between the words of the sample (positions pooled) and the law's exact word frequencies.

    A sample that is valid but always says the same scores badly here. A finite sample of the law itself does not score 0: see
    :func:`unigram_floor`.
    """
    seen = torch.bincount(x.flatten().cpu(), minlength=law.vocab_size).double()
    if len(seen) > law.vocab_size:
        raise InputError("the sample holds masks: only finished sequences are compared with the law")
    return 0.5 * float((seen / seen.sum() - law.marginals().mean(0)).abs().sum())


def unigram_floor(count: int, law: Law, *, repeats: int = 20, seed: int = 0) -> float:
    """What :func:`unigram_distance` is, on average, for ``count`` sequences drawn from the law itself."""
    return sum(unigram_distance(law.sample(count, seed=seed + r), law) for r in range(repeats)) / repeats


def sequence_distance(x: Int[Tensor, "B L"], law: Law) -> float:
    """Total variation, in [0, 1], between the sample's whole sequences and the law: exact, since the law says the probability of
    each sequence that was seen, and what it gives to all others together.
    """
    seen, count = x.cpu().unique(dim=0, return_counts=True)
    p = law.log_prob(seen).exp()
    return float(((count.double() / len(x) - p).abs().sum() + (1 - p.sum()).clamp(min=0)) / 2)


def sequence_floor(count: int, law: Law, *, repeats: int = 20) -> float:
    """The mean :func:`sequence_distance` of ``count`` sequences drawn from the law itself: what a perfect sampler has."""
    return sum(sequence_distance(law.sample(count, seed=2000 + k), law) for k in range(repeats)) / repeats


@torch.no_grad()
def bits_per_token(
    denoiser: Denoiser, x0: Int[Tensor, "B L"], vocab_size: int, *, seed: int, repeats: int = 4
) -> Float[Tensor, " B"]:
    r"""An upper bound, in bits per token, on what the denoiser needs to write each sequence in a random order.

    The mean over k = 1 .. L of (1/k) sum over k random masked positions of -log2 q_i(x0_i | the rest visible): the bound of
    order-agnostic models (Hoogeboom et al. 2022, arXiv:2110.02037, eq. 5), estimated from ``repeats`` times L masks spread
    evenly over k. With the exact conditionals it is the exact -log2 P(x0) / L in expectation over orders.
    """
    rng = generator(seed, "bits", "cpu")
    B, L = x0.shape
    total = torch.zeros(B, dtype=torch.float64)
    for _ in range(repeats):
        order = torch.rand(B, L, generator=rng).argsort(-1).argsort(-1)
        for k in range(1, L + 1):
            hidden = (order < k).to(x0.device)
            log_q = log_prob_of(denoiser(torch.where(hidden, vocab_size, x0), k / L).logits, x0)
            total -= ((log_q * hidden).sum(-1) / k).cpu().double()
    return total / (repeats * L * math.log(2))


def ranking(score: Float[Tensor, " N"], positive: Bool[Tensor, " N"]) -> float:
    """The probability that a random positive has a higher score than a random negative, ties half: the area under the ROC curve.

    Computed from the Mann-Whitney statistic. 0.5 is chance; below it the score points the wrong way.
    """
    there, elsewhere = score[positive], score[~positive]
    if not len(there) or not len(elsewhere):
        raise InputError("ranking needs at least one positive and one negative")
    statistic = stats.mannwhitneyu(there.cpu().double().numpy(), elsewhere.cpu().double().numpy()).statistic
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
