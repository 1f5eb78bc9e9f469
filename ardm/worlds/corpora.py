"""Corpora behind one interface: the exact law, Sudoku grids, and the texts of the registry (:mod:`ardm.worlds.registry`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_whole
from ardm.base.streams import HELD_OUT
from ardm.base.streams import generator as rng
from ardm.method.types import Corpus, Int
from ardm.worlds import registry
from ardm.worlds.laws import LARGEST, LAWS, Law
from ardm.worlds.puzzles import GridCorpus, parse_grid, solved_table

__all__ = ["Corpus", "LawCorpus", "TextCorpus", "checksum", "open_corpus", "public_puzzles", "text"]

GRIDS = "sudoku9"
PUZZLES = "sudoku10k"


@dataclass(frozen=True)
class LawCorpus:
    """Fresh draws from a law, for training and held out from streams that never meet.

    The texts themselves may: parity of 8 bits has 128, brackets of 12 have 132, Sudoku of side 4 has 288, and training sees all.
    """

    law: Law

    @property
    def name(self) -> str:
        return self.law.name

    @property
    def words(self) -> tuple[str, ...]:
        return self.law.words

    @property
    def length(self) -> int:
        return self.law.length

    @property
    def vocab_size(self) -> int:
        return self.law.vocab_size

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        return self.law.draw(count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        return self.law.sample(count, seed=seed, stream=HELD_OUT)

    def decode(self, x: Int[Tensor, " L"]) -> str:
        return self.law.decode(x)


@dataclass(frozen=True)
class TextCorpus:
    """Windows of ``length`` characters: the first 90 % of the text to train on, the last 10 % held out."""

    name: str
    words: tuple[str, ...]
    length: int
    train: Int[Tensor, " N"]
    validation: Int[Tensor, " M"]
    law: None = None

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        return self._windows(self.train, count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        return self._windows(self.validation, count, rng(seed, HELD_OUT))

    def _windows(self, ids: Tensor, count: int, generator: torch.Generator) -> Tensor:
        check_whole("count", count, 0, LARGEST // self.length)
        first = torch.randint(len(ids) - self.length + 1, (count, 1), generator=generator)
        return ids[first + torch.arange(self.length)]

    def decode(self, x: Int[Tensor, " L"]) -> str:
        return "".join((*self.words, "▒")[int(token)] for token in x)


def open_corpus(name: str, length: int) -> Corpus:
    """The named corpus in sequences of ``length`` tokens: a law by its name, ``sudoku9``, or a registered text."""
    if not isinstance(name, str):
        raise _unknown(name)
    check_whole("length", length, 1)
    if name in LAWS:
        return LawCorpus(LAWS[name](length))
    if name == GRIDS:
        if length != 81:
            raise InputError(f"length={length}: a grid of {GRIDS} has 81 cells; give length 81")
        return GridCorpus()
    if name == PUZZLES:
        raise InputError(f"{PUZZLES} is a list of puzzles, not a corpus: read it with public_puzzles, or open {GRIDS}")
    characters = text(name)
    if not 1 <= length <= len(characters) // 10:
        raise InputError(f"length={length}: {name} has {len(characters)} characters; take windows of 1 to a tenth of that")
    words = tuple(sorted(set(characters)))
    index = {character: i for i, character in enumerate(words)}
    ids = torch.tensor([index[character] for character in characters])
    cut = len(ids) * 9 // 10
    return TextCorpus(name, words, length, ids[:cut], ids[cut:])


def public_puzzles(count: int, *, seed: int = 0) -> tuple[Int[Tensor, "N 81"], Int[Tensor, "N 81"]]:
    """``count`` random puzzles (9 = empty) of the public list of 10,000, each with its one solution."""
    check_whole("count", count, 0)
    check_whole("seed", seed, 0)
    lines = text(PUZZLES).splitlines()[1:]
    if not 1 <= count <= len(lines):
        raise InputError(f"count={count}: the public list has {len(lines)} puzzles; take 1 to all of them")
    chosen = torch.randperm(len(lines), generator=rng(seed, "puzzles"))[:count]
    pairs = [lines[i].split(",") for i in chosen.tolist()]
    puzzles, solved = (torch.stack([parse_grid(grid) for grid in column]) for column in zip(*pairs, strict=True))
    return puzzles, solved


def checksum(name: str) -> str:
    """The registered SHA-256 of a text; nothing for a law or the grids, which are made by code."""
    return "" if name in LAWS or name == GRIDS else _registered(name).sha256


@cache
def text(name: str) -> str:
    """The whole text, fetched when it is nowhere on this machine. Raises ``InputError`` when it cannot be had or is not itself."""
    return registry.content(_registered(name).name, {"solve": _solved}).decode("utf8")


def _solved(listed: bytes) -> bytes:
    return solved_table(listed.decode("utf8", errors="replace")).encode()


def _registered(name: str) -> registry.Entry:
    if name not in registry.names():
        raise _unknown(name)
    return registry.entry(name)


def _unknown(name: object) -> InputError:
    texts = [known for known in registry.names() if known != PUZZLES]
    return InputError(f"unknown corpus {name!r}: choose {', '.join((*LAWS, GRIDS, *texts))}")
