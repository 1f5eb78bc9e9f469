"""Streams: philox against its published vectors and whole numbers in Python, generators against numpy, texts that never meet."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy.stats
import torch

from ardm.base import streams
from ardm.base.errors import InputError
from ardm.base.streams import HELD_OUT, Chance, generator, philox, seed_everything
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser
from ardm.method.types import Corpus
from ardm.worlds.corpora import LawCorpus, TextCorpus
from ardm.worlds.laws import agreement
from ardm.worlds.puzzles import GridCorpus

ONES = 0xFFFFFFFF


def by_hand(counter, key):
    """Philox 4x32-10 on Python's whole numbers, as its paper writes it."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = q >> 32 ^ b ^ k, q & ONES, p >> 32 ^ d ^ m, p & ONES
        k, m = k + 0x9E3779B9 & ONES, m + 0xBB67AE85 & ONES
    return a, b, c, d


def words(counter, key):
    return tuple(int(word) for word in philox(tuple(torch.tensor([word]) for word in counter), key))


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_vectors_published_with_it(counter, key, expected):
    """The known answers of Random123, the library of its authors."""
    counter, key, expected = (tuple(int(word, 16) for word in text.split()) for text in (counter, key, expected))
    assert words(counter, key) == expected == by_hand(counter, key)


def test_philox_is_that_of_whole_numbers_on_any_counter():
    draw = random.Random(0)
    for _ in range(200):
        counter, key = [draw.getrandbits(32) for _ in range(4)], tuple(draw.getrandbits(32) for _ in range(2))
        assert words(counter, key) == by_hand(counter, key)


KNOWN = [
    (0, "texts", [0, *b"texts"]),
    (2**32 - 1, "held out", [2**32 - 1, *b"held out"]),
    (2**32 + 3, "texts", [3, 2**32 - 2, 1, *b"texts"]),  # two words: the seed modulo 2^32, that there are two, the other
    (2**70, "é", [0, 2**32 - 3, 0, 64, 0xC3, 0xA9]),
]


@pytest.mark.parametrize(("seed", "stream", "entropy"), KNOWN)
def test_a_generator_has_the_state_that_numpy_makes_of_the_seed_sequence(seed, stream, entropy):
    """Its float32 numbers are the low 24 bits of numpy's Mersenne Twister, read from the first word of a fresh block."""
    twister = np.random.MT19937(np.random.SeedSequence(entropy))
    state = twister.state
    state["state"]["pos"] = 624
    twister.state = state
    expected = (twister.random_raw(1500) & 0xFFFFFF) / 2**24  # more than two blocks
    found = torch.rand(1500, generator=generator(seed, stream))
    assert found.tolist() == expected.tolist()


def test_a_large_seed_is_no_small_one_with_another_stream():
    """numpy cuts a seed into 32-bit words and puts the name behind them: 97 x 2^32 + 5 with "b" would be 5 with "ab"."""
    apart = [(5, "ab"), (97 << 32 | 5, "b"), (5 | 97 << 32 | 98 << 64, ""), (5, "b"), (5, ""), (5 | 1 << 32, "ab")]
    apart += [(5 | (2**32 - 2) << 32 | 97 << 64, "b"), (5 | 97 << 32 | 98 << 64 | 99 << 96, "d")]
    draws = {pair: tuple(torch.rand(4, generator=generator(*pair)).tolist()) for pair in apart}
    assert len(set(draws.values())) == len(draws) == len(apart)
    with pytest.raises(InputError, match="holds a NUL character"):
        generator(5, "a\0")


def test_streams_of_one_seed_are_unrelated_and_repeat():
    draws = {name: torch.rand(4, generator=generator(0, name)).tolist() for name in ("a", "b", "ab")}
    assert len({tuple(d) for d in draws.values()}) == 3
    assert torch.rand(4, generator=generator(0, "a")).tolist() == draws["a"]
    assert torch.rand(4, generator=generator(1, "a")).tolist() != draws["a"]


def test_all_bits_of_a_seed_count():
    """On the CPU ``manual_seed`` keeps the low 32."""
    assert torch.equal(*(torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in (3, 2**32 + 3)))
    assert not torch.equal(*(torch.rand(4, generator=generator(seed, "texts")) for seed in (3, 2**32 + 3)))
    assert not torch.equal(*(Chance(seed, "texts", torch.arange(2)).uniform(4) for seed in (3, 2**32 + 3)))
    law = agreement()
    assert not torch.equal(law.sample(4, seed=3), law.sample(4, seed=2**32 + 3))


@dataclass
class Noted:
    """A corpus that remembers what a training took from it."""

    corpus: Corpus
    taken: list[torch.Tensor] = field(default_factory=list)

    def __getattr__(self, name):
        return getattr(self.corpus, name)

    def batch(self, count, generator):
        self.taken.append(self.corpus.batch(count, generator))
        return self.taken[-1]


def numbered_text():
    """A text whose halves are both 0, 1, 2 ...: windows that begin at one place of either are one window."""
    place = torch.arange(50_000)
    return TextCorpus("numbers", tuple(map(str, place.tolist())), 8, place, place)


def texts(x):
    return {tuple(row) for row in x.tolist()}


@pytest.mark.parametrize("make", [lambda: LawCorpus(agreement(32)), GridCorpus, numbered_text], ids=["law", "grids", "text"])
def test_no_training_meets_a_held_out_text(make):
    """Ten seeds, each also as 2^32 + seed, with which torch's own seeding would have given the training texts once more."""
    corpus, learnt, held = make(), set(), set()
    for seed in range(10):
        noted = Noted(corpus)
        recipe = DenoiserRecipe(length=corpus.length, width=4, depth=1, heads=1, steps=1, batch=2, seed=seed)
        train_denoiser(recipe, noted, device=torch.device("cpu"), progress=False)
        learnt |= texts(noted.taken[0])
        held |= texts(corpus.held_out(2, seed=seed)) | texts(corpus.held_out(2, seed=2**32 + seed))
        old, apart = (corpus.batch(2, torch.Generator().manual_seed(number)) for number in (seed, 2**32 + seed))
        assert torch.equal(old, apart)
    assert (len(learnt), len(held)) == (20, 40)
    assert not learnt & held


def chance(seed=5, stream="choices", rows=range(8), step=2):
    return Chance(seed, stream, torch.tensor(list(rows))).at(step)


def test_a_row_does_not_depend_on_its_batch():
    whole = chance()
    expected = [whole.uniform(7), whole.uniform(7), whole.gumbel(7)]
    for row in (0, 3, 7):
        alone = chance(rows=[row])
        assert all(
            torch.equal(alone_now[0], now[row])
            for alone_now, now in zip([alone.uniform(7), alone.uniform(7), alone.gumbel(7)], expected, strict=True)
        )
    mixed = chance(rows=[6, 1, 6])
    assert torch.equal(mixed.uniform(7), expected[0][[6, 1, 6]])
    assert torch.equal(chance().uniform(3), expected[0][:, :3])  # nor on the positions to its right


def test_seed_stream_step_row_position_and_call_all_count():
    base = chance()
    blocks = [base.uniform(7), base.uniform(7), base.gumbel(7)]
    blocks += [chance(seed=6).uniform(7), chance(stream="proposals").uniform(7), chance(step=3).uniform(7)]
    blocks += [chance(rows=range(8, 16)).uniform(7)]
    assert len(torch.stack(blocks).unique()) == 7 * 8 * 7
    again = base.at(2)
    assert torch.equal(again.uniform(7), blocks[0])  # a step begins anew
    assert torch.equal(again.uniform(7), blocks[1])


def test_a_number_is_made_of_the_first_two_words_of_its_counter():
    """Position, row, step and call are the counter, the seed sequence's first two words the key; 27 and 26 bits make 53."""
    key = tuple(int(word) for word in np.random.SeedSequence([5, *b"choices"]).generate_state(2, np.uint32))
    drawn = chance()
    drawn.uniform(1)
    found = drawn.uniform(7)
    assert found.dtype == torch.float64
    for row, position in [(0, 0), (3, 6), (7, 2)]:
        high, low, *_ = by_hand((position, row, 2, 1), key)
        assert found[row, position].item() == ((high >> 5) * 2**26 + (low >> 6)) / 2**53


def test_a_device_without_float64_gets_the_leading_24_bits(monkeypatch):
    wide = chance().uniform(500)
    monkeypatch.setattr(streams, "widest", lambda device: torch.float32)
    narrow = chance().uniform(500)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow.double(), (wide * 2**24).floor() / 2**24)
    assert chance().gumbel(500).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("word", [0, ONES])
def test_the_largest_and_the_smallest_number_are_in_range_and_have_a_gumbel(monkeypatch, word, dtype):
    monkeypatch.setattr(streams, "widest", lambda device: dtype)
    monkeypatch.setattr(streams, "philox", lambda counter, key: tuple(torch.full_like(part, word) for part in counter))
    bits = 53 if dtype == torch.float64 else 24
    assert chance().uniform(1)[0, 0].item() == (0 if word == 0 else 1 - 2.0**-bits)
    assert chance().gumbel(1).isfinite().all()


@pytest.mark.parametrize("along", ["positions", "rows", "steps", "calls", "seeds"])
def test_numbers_are_uniform_and_neighbours_independent(along):
    """Kolmogorov and Smirnov on 20,000 numbers; chi-square on the 100 cells that neighbours fall into."""
    one, count = chance(rows=[0]), 20_000
    u = {
        "positions": lambda: one.uniform(count)[0],
        "rows": lambda: chance(rows=range(count)).uniform(1)[:, 0],
        "steps": lambda: torch.cat([one.at(t).uniform(1)[0] for t in range(1000)]),
        "calls": lambda: torch.cat([one.uniform(1)[0] for _ in range(1000)]),
        "seeds": lambda: torch.cat([chance(seed=seed, rows=[0]).uniform(1)[0] for seed in range(1000)]),
    }[along]()
    assert scipy.stats.kstest(u.numpy(), "uniform").pvalue > 1e-3
    cell = (u * 10).long()
    pairs = torch.bincount(cell[0::2] * 10 + cell[1::2], minlength=100)
    assert scipy.stats.chisquare(pairs.numpy()).pvalue > 1e-3


def test_gumbel_numbers_have_their_distribution():
    assert scipy.stats.kstest(chance(rows=[1]).gumbel(20_000)[0].numpy(), "gumbel_r").pvalue > 1e-3


def test_one_call_seeds_all_three_global_generators():
    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    seed_everything(7)
    first = numbers()
    seed_everything(7)
    assert numbers() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(numbers(), first, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(InputError, match=f"seed={seed}"):
        seed_everything(seed)


def test_a_negative_seed_has_no_stream():
    for make in (generator, lambda seed, stream: Chance(seed, stream, torch.arange(2))):
        with pytest.raises(InputError, match="seed=-1: it is at least 0"):
            make(-1, HELD_OUT)
