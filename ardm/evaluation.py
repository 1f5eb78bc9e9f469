"""What a sample is worth: validity beside fidelity, with intervals and noise floors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import binomtest, mannwhitneyu
from torch import Tensor

from ardm.devices import generator
from ardm.laws import Law
from ardm.signals import log_prob_of
from ardm.types import Bool, Denoiser, Float, InputError, Int

__all__ = [
    "Ranking",
    "Share",
    "bits_per_token",
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
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return Share(hits / count, float(interval.low), float(interval.high), count)


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
    return float(((count / len(x) - p).abs().sum() + (1 - p.sum()).clamp(min=0)) / 2)


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
    statistic = mannwhitneyu(there.cpu().double().numpy(), elsewhere.cpu().double().numpy()).statistic
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
