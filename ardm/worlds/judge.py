"""What a sample of text is worth without a law: a judge that reads characters, words, entropy, diversity, neighbours.

No single one of these numbers can be trusted: a sample that repeats itself has few bits and good words but low entropy and few
distinct n-grams. :class:`TextScorer` gives them together, with what real text of the same size scores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.types import Float, Int
from ardm.worlds.corpora import TextCorpus
from ardm.worlds.histograms import finished, histogram_distance, pair_histogram

__all__ = [
    "NGramJudge",
    "TextScore",
    "TextScorer",
    "WordRate",
    "distinct_share",
    "split_held_out",
    "token_entropy",
    "vocabulary",
    "windows",
    "word_rate",
    "words_of",
]

LETTERS = re.compile(r"[^\W\d_]+")  # an apostrophe is no letter: "don't" is "don" and "t"


def _keys(tokens: np.ndarray, n: int, vocab_size: int) -> np.ndarray:
    """Every run of ``n`` tokens along the last axis ``[..., L]`` as one integer in base ``vocab_size``: ``[..., L-n+1]``."""
    length = tokens.shape[-1] - n + 1
    key = np.zeros((*tokens.shape[:-1], length), dtype=np.int64)
    for j in range(n):
        key = key * vocab_size + tokens[..., j : j + length]
    return key


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key, 0 where it is not among the sorted ``keys``."""
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


@dataclass(frozen=True, eq=False)
class _Counts:
    """Contexts of one length: how often each n-gram (context and follower), each context, and how many followers it has."""

    grams: np.ndarray
    count: np.ndarray
    contexts: np.ndarray
    total: np.ndarray
    followers: np.ndarray


@dataclass(frozen=True, eq=False)
class NGramJudge:
    """A model of characters that sees up to ``order - 1`` characters before each, with interpolated Witten-Bell smoothing.

    P(c | ctx) = (count(ctx, c) + N(ctx) P(c | ctx without its first character)) / (count(ctx) + N(ctx)), where N(ctx) is the
    number of distinct characters seen after ctx (Witten & Bell 1991, doi:10.1109/18.87000, method C); below the empty context
    lies the uniform distribution, and a context never seen says what the shorter one says.
    """

    vocab_size: int
    order: int
    tables: tuple[_Counts, ...]

    @classmethod
    def fit(cls, ids: Int[Tensor, " N"], vocab_size: int, order: int = 5) -> NGramJudge:
        """Count the n-grams of one text, for every n up to ``order``.

        On the reference texts of text8 and tinyshakespeare together, order 5 needs the fewest bits of 3 .. 8.
        """
        if order < 1 or vocab_size**order > 2**63:
            raise InputError(f"order={order}: with {vocab_size} characters take 1 .. {int(63 / math.log2(max(vocab_size, 2)))}")
        if len(ids) < order:
            raise InputError(f"a text of {len(ids)} characters: order {order} needs at least {order}")
        tokens = finished(ids, vocab_size).numpy()
        tables = []
        for n in range(1, order + 1):
            grams, count = np.unique(_keys(tokens, n, vocab_size), return_counts=True)
            contexts, first, followers = np.unique(grams // vocab_size, return_index=True, return_counts=True)
            tables.append(_Counts(grams, count, contexts, np.add.reduceat(count, first), followers))
        return cls(vocab_size, order, tuple(tables))

    def log_prob(self, x: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """log P of each character given those before it in its window, in nats, float64.

        The first characters of a window have only the shorter contexts that the window offers.
        """
        tokens = finished(x, self.vocab_size).numpy()
        p = np.full(tokens.shape, 1 / self.vocab_size)
        for k, table in enumerate(self.tables[: tokens.shape[1]]):
            grams = _keys(tokens, k + 1, self.vocab_size)
            count = _look_up(table.grams, table.count, grams)
            total = _look_up(table.contexts, table.total, grams // self.vocab_size)
            followers = _look_up(table.contexts, table.followers, grams // self.vocab_size)
            shorter = p[:, k:]
            p[:, k:] = np.where(total > 0, (count + followers * shorter) / np.maximum(total + followers, 1), shorter)
        return torch.from_numpy(np.log(p))

    def bits(self, x: Int[Tensor, "B L"]) -> float:
        """Mean of -log2 P per character. Longer windows need fewer bits: compare windows of one length."""
        return -float(self.log_prob(x).mean()) / math.log(2)


@dataclass(frozen=True)
class WordRate:
    """How many of the ``total`` complete words are ``known``."""

    known: int
    total: int

    @property
    def rate(self) -> float:
        """known / total; 0 without any complete word."""
        return self.known / self.total if self.total else 0.0


def words_of(ids: Int[Tensor, " N"], words: tuple[str, ...]) -> list[str]:
    """The words of a text in their order: maximal runs of letters, casefolded. ``words`` are the corpus's characters."""
    return _runs("".join(words[i] for i in ids.tolist()))


def _runs(text: str) -> list[str]:
    return [run.casefold() for run in LETTERS.findall(text)]


def vocabulary(text: str) -> frozenset[str]:
    """The distinct words of a text: maximal runs of letters, casefolded; an apostrophe splits."""
    return frozenset(_runs(text))


def word_rate(texts: Sequence[str], vocabulary: frozenset[str]) -> WordRate:
    """How many words of the windows are in the vocabulary.

    A run of letters that touches the first or the last character of its window may be cut, and does not count at all.
    """
    found = [
        run.group().casefold() for text in texts for run in LETTERS.finditer(text) if run.start() > 0 and run.end() < len(text)
    ]
    return WordRate(sum(word in vocabulary for word in found), len(found))


def token_entropy(x: Int[Tensor, "B L"], vocab_size: int) -> float:
    """Entropy, in nats, of single characters, all windows and positions pooled: the plug-in estimate, no correction."""
    p = double(torch.bincount(finished(x, vocab_size).flatten(), minlength=vocab_size)) / x.numel()
    return float(torch.special.entr(p).sum())


def distinct_share(x: Int[Tensor, "B L"], n: int = 4) -> float:
    """Distinct n-grams within windows, divided by all of them (distinct-n of Li et al. 2016, arXiv:1510.03055).

    It falls as a sample grows: compare samples of one size.
    """
    if not 1 <= n <= x.shape[1] or not len(x):
        raise InputError(f"n={n}: take 1 .. {x.shape[1]}, the length of the windows, and at least one window")
    grams = x.cpu().unfold(1, n, 1).reshape(-1, n)
    return len(grams.unique(dim=0)) / len(grams)


def split_held_out(corpus: TextCorpus, share: float = 0.8) -> tuple[Int[Tensor, " J"], Int[Tensor, " R"]]:
    """The held-out text in two: its first ``share`` to train a judge on (no denoiser saw it), the rest as reference."""
    cut = int(len(corpus.validation) * share)
    if not 0 < cut < len(corpus.validation):
        raise InputError(f"share={share}: of {len(corpus.validation)} held-out characters both parts need some; take 0.8")
    return corpus.validation[:cut], corpus.validation[cut:]


def windows(ids: Int[Tensor, " N"], length: int, count: int, *, seed: int) -> Int[Tensor, "B L"]:
    """``count`` windows of ``length`` neighbouring characters from uniform random places of a text; they may overlap."""
    if not 1 <= length <= len(ids) or count < 1:
        raise InputError(f"length={length}, count={count}: take 1 .. {len(ids)} characters and at least one window")
    first = torch.randint(len(ids) - length + 1, (count, 1), generator=generator(seed, "windows"))
    return ids[first + torch.arange(length)]


@dataclass(frozen=True)
class TextScore:
    """``judge_bits`` per character (Witten-Bell), ``word_rate`` in [0, 1], ``entropy`` of single characters in nats,
    ``distinct4`` (share of distinct 4-grams), ``pair_distance`` (total variation of neighbours to the reference text).
    """

    judge_bits: float
    word_rate: float
    entropy: float
    distinct4: float
    pair_distance: float


@dataclass(frozen=True, eq=False)
class TextScorer:
    """Scores samples of a corpus; see :meth:`of` for which part of the text each score comes from."""

    words: tuple[str, ...]
    length: int
    judge: NGramJudge
    vocabulary: frozenset[str]
    reference: Int[Tensor, " R"]
    pairs: Float[Tensor, "V V"]

    @classmethod
    def of(cls, corpus: TextCorpus, order: int = 5) -> TextScorer:
        """The judge from the first 80 % of the held-out text, neighbours from its rest, words seen twice in training text."""
        for_judge, reference = split_held_out(corpus)
        if len(reference) < corpus.length:
            raise InputError(
                f"length={corpus.length}: the reference text has {len(reference)} characters; take shorter windows"
            )
        often = Counter(words_of(corpus.train, corpus.words))
        return cls(
            corpus.words,
            corpus.length,
            NGramJudge.fit(for_judge, corpus.vocab_size, order),
            frozenset(word for word, count in often.items() if count >= 2),
            reference,
            pair_histogram(reference[None], corpus.vocab_size),
        )

    def score(self, x: Int[Tensor, "B L"]) -> TextScore:
        """All scores of a sample of finished windows; only windows of ``length`` compare with :meth:`ceiling`."""
        size = len(self.words)
        texts = ["".join(self.words[i] for i in row) for row in finished(x, size).tolist()]
        return TextScore(
            self.judge.bits(x),
            word_rate(texts, self.vocabulary).rate,
            token_entropy(x, size),
            distinct_share(x, 4),
            histogram_distance(pair_histogram(x, size), self.pairs),
        )

    def ceiling(self, count: int, repeats: int = 5, seed: int = 0, *, text: Int[Tensor, " N"] | None = None) -> TextScore:
        """The mean score of ``count`` real windows, of the reference text or of another ``text``, noise included.

        Its ``pair_distance`` is the noise floor of that many windows. With ``text=corpus.train`` it is what a perfect copy of
        the training text has: the last tenth of a text is not quite like the rest, so bits and pairs differ from those of the
        reference, and the words are better, being those of the vocabulary.
        """
        if repeats < 1:
            raise InputError(f"repeats={repeats}: it is at least 1")
        text = self.reference if text is None else text
        scores = [self.score(windows(text, self.length, count, seed=seed + r)) for r in range(repeats)]
        return TextScore(*(sum(values) / repeats for values in zip(*map(astuple, scores), strict=True)))
