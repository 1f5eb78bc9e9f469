"""Random numbers that never meet: a stream for each purpose, and in a run of the sampler a stream for each text.

A seed and the name of a stream are hashed together (numpy's ``SeedSequence``), so that one seed gives unrelated numbers to
different purposes, and training texts never come from the numbers of held-out ones.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ardm.base.devices import widest
from ardm.base.errors import InputError, check_whole

__all__ = ["HELD_OUT", "WORD", "Chance", "Lots", "generator", "lots", "philox", "seed_everything"]

WORD = 0xFFFFFFFF
"""The largest number of 32 bits."""

HELD_OUT = "held out"
"""The stream of texts that no training draws from."""


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch (every device)."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed={seed}: it is in [0, 2^32)")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  the global one, for libraries that still use it
    torch.manual_seed(seed)


def _sequence(seed: int, stream: str) -> np.random.SeedSequence:
    check_whole("seed", seed, 0)
    return np.random.SeedSequence(_words(int(seed), stream))


def _words(seed: int, stream: str) -> list[int]:
    """The 32-bit words that a seed and the name of a stream are hashed as: no two pairs have the same ones.

    A seed below 2^32 is one word, and the bytes of the name follow, a word each. A larger one is n words, the lowest first, and
    2^32 - n stands as the second, where no byte can be: it says how many of those that follow belong to the seed.
    """
    if "\0" in stream:  # the hash takes words that are 0 at the end for none
        raise InputError(f"stream={stream!r}: its name holds a NUL character; leave it out")
    low, *high = (seed >> shift & WORD for shift in range(0, max(1, seed.bit_length()), 32))
    return [low, *([2**32 - 1 - len(high), *high] if high else ()), *stream.encode()]


def generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator of its own for each purpose: the same seed gives unrelated numbers to different streams.

    ``manual_seed`` keeps 32 bits on the CPU, so that two of many streams would sooner or later be one. Here the whole state of
    the Mersenne Twister, 19,937 bits, is filled from the seed sequence as numpy fills it.
    """
    sequence = _sequence(seed, stream)
    if torch.device(device).type != "cpu":
        return torch.Generator(device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]) >> 1)
    made = torch.Generator()
    state = made.get_state().numpy().copy()
    state[8:24].view(np.int32)[:] = (1, 1, 0, 0)  # one number is left, so that the first call makes 624 new ones
    state[24 : 24 + 8 * 624].view(np.uint64)[:] = np.random.MT19937(sequence).state["state"]["key"]
    return made.set_state(torch.from_numpy(state))


@dataclass(frozen=True)
class Lots:
    """Some rows of a batch, and the generator that all rows are drawn from: whoever computes a row, its numbers are the same."""

    generator: torch.Generator
    first: int = 0
    count: int | None = None  # None: as many rows as there are
    of: int | None = None  # rows of the whole batch

    def own(self, x: Tensor) -> Tensor:
        """These rows of the whole batch."""
        return x if self.count is None else x[self.first : self.first + self.count]

    def uniform(self, rows: int, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """``[rows, *shape]`` numbers in [0, 1) on the CPU for these rows, of those drawn for all."""
        every = rows if self.of is None else self.of
        return self.own(torch.rand(every, *shape, generator=self.generator, dtype=dtype))


def lots(rng: torch.Generator | Lots) -> Lots:
    """The numbers of all rows where a generator is given."""
    return rng if isinstance(rng, Lots) else Lots(rng)


ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of x times the factor, both below 2^32, without leaving int64."""
    low, high = (x & 0xFFFF) * factor, (x >> 16) * factor
    return (high + (low >> 16)) >> 16, (low + ((high & 0xFFFF) << 16)) & WORD


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox 4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405): four 32-bit words, as int64, for every counter.

    A keyed hash of its counter: any number of a stream is there at once, on every device the same.
    """
    a, b, c, d = counter
    k, m = key
    for _ in range(ROUNDS):
        high_a, low_a = _product(a, MULTIPLIERS[0])
        high_c, low_c = _product(c, MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
        k, m = (k + WEYL[0]) & WORD, (m + WEYL[1]) & WORD
    return a, b, c, d


class Chance:
    """The random numbers of one step of a run: each text draws from a stream of its own, by seed, row and step.

    So a text does not depend on the others in its batch: row 3 alone is row 3 of any batch. Every call gives new numbers; the
    same calls with the same seed, stream, rows and step give the same ones, on every device.
    """

    def __init__(self, seed: int, stream: str, rows: Tensor, step: int = 0) -> None:
        """``rows``: ``[B]``, the number of each text in the run that the seed names, below 2^32."""
        check_whole("seed", seed, 0, 2**64 - 1)
        self.key = tuple(int(word) for word in _sequence(seed, stream).generate_state(2, np.uint32))
        self.rows, self.step, self.calls = rows, step, 0

    def at(self, step: int) -> Chance:
        """The same streams at another step."""
        other = object.__new__(Chance)
        other.key, other.rows, other.step, other.calls = self.key, self.rows, step, 0
        return other

    def of(self, where: Tensor) -> Chance:
        """The streams of some of the texts, by a mask over B."""
        other = self.at(self.step)
        other.rows = self.rows[where]
        return other

    def uniform(self, length: int) -> Tensor:
        """``[B, length]`` numbers in [0, 1), float64 with 53 random bits (float32 with 24 where the device has no more)."""
        position = torch.arange(length, device=self.rows.device).expand(len(self.rows), -1)
        row = self.rows.unsqueeze(1).expand_as(position)
        where = torch.full_like(position, self.step), torch.full_like(position, self.calls)
        self.calls += 1
        high, low, *_ = philox((position, row & WORD, *where), self.key)
        dtype = widest(self.rows.device)
        if dtype == torch.float32:
            return (high >> 8).to(dtype) / 2**24
        return ((high >> 5) * 2**26 + (low >> 6)).to(dtype) / 2**53

    def gumbel(self, length: int) -> Tensor:
        """``[B, length]`` standard Gumbel numbers, -log(-log u)."""
        u = self.uniform(length)
        return -(-(u + (1 - u) * torch.finfo(u.dtype).tiny).log()).log()
