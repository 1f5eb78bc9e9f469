"""What is right and what is wrong in a text, world by world: a law, the grids of Sudoku, real text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from torch import Tensor

from ardm.base.errors import InputError
from ardm.method.types import Bool, Corpus, Int
from ardm.worlds.corpora import GRIDS, TextCorpus, checksum, open_corpus
from ardm.worlds.judge import TextScorer, windows
from ardm.worlds.laws import LAWS, Law
from ardm.worlds.puzzles import is_valid_grid

__all__ = ["GridWorld", "LawWorld", "TextWorld", "World", "Wrong", "world_of"]

Wrong = Callable[[Tensor], Tensor]
"""Which visible tokens of a text have to change: tokens ``[B, L]`` -> yes or no ``[B, L]``."""

REAL = 3000
"""Added to the seed of real texts; the floor that they are compared with is drawn from small seeds."""


@dataclass(frozen=True)
class World:
    """A corpus in texts of one length, and what can be said of a text without asking a denoiser.

    ``knows``: it says which tokens of any text are wrong. The others only know those of a text that was made from a right one.
    """

    name: str
    length: int
    knows: ClassVar[bool] = False

    @property
    def corpus(self) -> Corpus:
        """The corpus; it is opened once in each process."""
        return _opened(self.name, self.length)

    def right(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """Whether each text is right as a whole."""
        raise InputError(f"{self.name}: no text is right or wrong as a whole; choose another score")

    def wrong(self, truth: Int[Tensor, "B L"] | None) -> Wrong | None:
        """What tells the wrong tokens of texts made from ``truth``; None where nobody can."""
        if truth is None:
            return None
        mask_id = self.corpus.vocab_size
        return lambda x: (x < mask_id) & (x != truth)

    def real(self, count: int, *, seed: int) -> Int[Tensor, "B L"]:
        """What a perfect sampler would give when it starts from nothing."""
        return self.corpus.held_out(count, seed=REAL + seed)


@dataclass(frozen=True)
class LawWorld(World):
    """A law: right is what it gives any probability, wrong what the nearest of its texts has otherwise."""

    knows: ClassVar[bool] = True

    @property
    def law(self) -> Law:
        return self.corpus.law

    def right(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        return self.law.is_valid(x)

    def wrong(self, truth: Int[Tensor, "B L"] | None) -> Wrong:
        """The visible tokens that the nearest text of the law has otherwise; several texts may be as right as the truth."""
        law, mask_id = self.law, self.law.vocab_size
        return lambda x: (x < mask_id) & (x != law.nearest(x))

    def real(self, count: int, *, seed: int) -> Int[Tensor, "B L"]:
        return self.law.sample(count, seed=seed, stream="real")


@dataclass(frozen=True)
class GridWorld(World):
    """Sudoku of side 9: right is a valid grid, wrong what the solution has otherwise."""

    def right(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        return is_valid_grid(x.cpu())


@dataclass(frozen=True)
class TextWorld(World):
    """Real text: scored as a sample, never text by text."""

    @property
    def scorer(self) -> TextScorer:
        """The judge, the vocabulary and the neighbours of this text; made once in each process."""
        return _scorer(self.name, self.length)

    def real(self, count: int, *, seed: int) -> Int[Tensor, "B L"]:
        """Windows of the reference text, which neither the denoiser nor the judge has seen."""
        return windows(self.scorer.reference, self.length, count, seed=REAL + seed)


def world_of(corpus: str, length: int) -> World:
    """The world of a corpus by its name. Nothing is opened; ``InputError`` for a corpus that does not exist."""
    if corpus in LAWS:
        return LawWorld(corpus, length)
    if corpus == GRIDS:
        return GridWorld(corpus, length)
    checksum(corpus)
    return TextWorld(corpus, length)


@cache
def _opened(name: str, length: int) -> Corpus:
    return open_corpus(name, length)


@cache
def _scorer(name: str, length: int) -> TextScorer:
    corpus = _opened(name, length)
    if not isinstance(corpus, TextCorpus):
        raise InputError(f"{name} is no text: open a registered one")
    return TextScorer.of(corpus)
