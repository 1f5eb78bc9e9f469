"""How far a sample is from its law: single words, neighbours, counts, whole texts, each with what a perfect sampler would score.

Each of these distances is a total variation between two distributions of one and the same function of a text, so none exceeds
the total variation between the sampler and the law. The share of invalid texts does not either, for the law has none. The largest
of them is therefore the best lower bound on that distance, and the one number that validity and fidelity are weighed with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.method.types import Float, Int
from ardm.worlds.histograms import histogram_distance, pair_histogram
from ardm.worlds.laws import Law

__all__ = [
    "Fidelity",
    "count_distribution",
    "fidelity",
    "fidelity_floor",
    "pair_distribution",
    "sequence_distance",
    "sequence_floor",
    "unigram_distance",
    "unigram_floor",
]

COUNTABLE = 1000  # laws with at most so many texts: whole texts are compared too


@cache
def _reached(law: Law) -> tuple[Tensor, Tensor]:
    """Weight of the beginnings that lead to each state after i tokens, and of the endings from there: each ``[L+1, S]``."""
    beta = law.backward()
    alpha = torch.zeros_like(beta)
    alpha[0, law.start] = 1.0
    for i in range(law.length):
        alpha[i + 1].index_add_(0, law.following.flatten(), (alpha[i].unsqueeze(-1) * law.weight).flatten())
    return alpha, beta


@cache
def pair_distribution(law: Law) -> Float[Tensor, "V V"]:
    """The exact distribution of two neighbouring tokens, all places pooled."""
    alpha, beta = _reached(law)
    total = torch.zeros(law.vocab_size, law.vocab_size, dtype=torch.float64)
    for i in range(law.length - 1):
        first = alpha[i].unsqueeze(-1) * law.weight  # [S, V]: weight of token v leaving state s
        second = law.weight * beta[i + 2][law.following]  # [S, V]
        for v in range(law.vocab_size):
            total[v] += first[:, v] @ second[law.following[:, v]]
    return total / total.sum()


@cache
def count_distribution(law: Law, token: int) -> Float[Tensor, " N"]:
    """``[L+1]``: the exact probability that a text holds ``token`` so many times; of a stop, the length in sentences."""
    weight = torch.zeros(law.length + 1, len(law.accepts), dtype=torch.float64)
    weight[0, law.start] = 1.0
    for _ in range(law.length):
        after = torch.zeros_like(weight)
        for v in range(law.vocab_size):
            moved = (weight * law.weight[:, v]).roll(int(v == token), 0)
            after.index_add_(1, law.following[:, v], moved)
        weight = after / after.sum()
    ending = weight[:, law.accepts].sum(1)
    return ending / ending.sum()


def unigram_distance(x: Int[Tensor, "B L"], law: Law) -> float:
    """Total variation, in [0, 1], between the words of the sample (positions pooled) and the law's exact word frequencies.

    A sample that is valid but always says the same scores badly here. A finite sample of the law itself does not score 0: see
    :func:`unigram_floor`.
    """
    seen = double(torch.bincount(x.flatten().cpu(), minlength=law.vocab_size))
    if len(seen) > law.vocab_size:
        raise InputError("the sample holds masks: only finished sequences are compared with the law")
    return 0.5 * float((seen / seen.sum() - law.marginals().mean(0)).abs().sum())


def unigram_floor(count: int, law: Law, *, repeats: int = 20, seed: int = 0) -> float:
    """What :func:`unigram_distance` is, on average, for ``count`` sequences drawn from the law itself."""
    return sum(unigram_distance(law.sample(count, seed=seed + r, stream="floor"), law) for r in range(repeats)) / repeats


def sequence_distance(x: Int[Tensor, "B L"], law: Law) -> float:
    """Total variation, in [0, 1], between the sample's whole sequences and the law: exact, since the law says the probability of
    each sequence that was seen, and what it gives to all others together.
    """
    seen, count = x.cpu().unique(dim=0, return_counts=True)
    p = law.log_prob(seen).exp()
    return float(((double(count) / len(x) - p).abs().sum() + (1 - p.sum()).clamp(min=0)) / 2)


def sequence_floor(count: int, law: Law, *, repeats: int = 20) -> float:
    """The mean :func:`sequence_distance` of ``count`` sequences drawn from the law itself: what a perfect sampler has."""
    return sum(sequence_distance(law.sample(count, seed=k, stream="floor"), law) for k in range(repeats)) / repeats


@dataclass(frozen=True)
class Fidelity:
    """Of one sample, each in [0, 1]: the share of invalid texts and the distances from the law; NaN where not computed."""

    invalid: float
    words: float
    pairs: float
    counts: float
    texts: float

    def bound(self, floor: Fidelity) -> float:
        """The largest of the five, each less what a perfect sample of the size scores: a lower bound on the distance from the
        law, up to sampling noise.
        """
        gaps = [a - b for a, b in zip(vars(self).values(), vars(floor).values(), strict=True)]
        return max(0.0, *(gap for gap in gaps if not math.isnan(gap)))


def fidelity(x: Int[Tensor, "B L"], law: Law, counted: str | None = None) -> Fidelity:
    """Validity and distances of the finished texts ``x``. ``counted``: a word whose number in a text is compared too."""
    x = x.cpu()
    V = law.vocab_size
    if (x >= V).any():
        raise InputError("the sample holds masks: only finished sequences are compared with the law")
    counts = math.nan
    if counted is not None:
        token = law.words.index(counted)
        seen = double(torch.bincount((x == token).sum(1), minlength=law.length + 1)) / len(x)
        counts = histogram_distance(seen, count_distribution(law, token))
    return Fidelity(
        invalid=1 - double(law.is_valid(x)).mean().item(),
        words=unigram_distance(x, law),
        pairs=histogram_distance(pair_histogram(x, V), pair_distribution(law)) if law.length > 1 else math.nan,
        counts=counts,
        texts=sequence_distance(x, law) if _texts(law) <= COUNTABLE else math.nan,
    )


@cache
def _texts(law: Law) -> float:
    """How many texts the law has."""
    ways = double(law.accepts)
    for _ in range(law.length):
        ways = ((law.weight > 0) * ways[law.following]).sum(-1)
    return ways[law.start].item()


@cache
def fidelity_floor(count: int, law: Law, counted: str | None = None, *, repeats: int = 20) -> Fidelity:
    """The mean :func:`fidelity` of ``count`` texts drawn from the law itself: what a perfect sampler scores."""
    parts = [vars(fidelity(law.sample(count, seed=k, stream="floor"), law, counted)) for k in range(repeats)]
    return Fidelity(**{name: sum(part[name] for part in parts) / repeats for name in parts[0]})
