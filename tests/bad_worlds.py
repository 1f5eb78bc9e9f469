"""What laws, grids and corpora say of bad input. ``test_bad_worlds.py`` runs it without the checker of annotations, as users do.

Every case is right, judged by something simple, or one ``InputError`` that begins with the name of an argument that was bad.
"""

from __future__ import annotations

import math
import os
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.worlds import puzzles, registry
from ardm.worlds.corpora import LawCorpus, TextCorpus, open_corpus, public_puzzles
from ardm.worlds.laws import LAWS, Oracle, agreement, parity

FULL = os.environ.get("ARDM_TESTS") == "full"
many = settings(max_examples=2000 if FULL else 60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)

NO_NUMBERS = st.sampled_from(
    [True, False, 2.0, 2.5, math.nan, math.inf, "3", "", None, (2,), [2], 1 + 0j, b"2", torch.tensor(2.0)]
)
WHOLE = st.one_of(
    st.integers(-3, 40),
    st.sampled_from([-(2**63), -1, 10**12, 2**31, 2**63, 2**64 - 1, 2**64, 10**30, np.int64(3), np.int32(-1)]),
)
ANY = st.one_of(WHOLE, NO_NUMBERS)
GRID = puzzles.complete(1, seed=3)
BLANKS = ".0_"


def is_whole(value, least=None, most=None):
    """Whether it is a number that counts something."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and (least is None or value >= least) and (most is None or value <= most)


def outcome(work, also="no other words", **given):
    """The result, or the name of the argument that the error begins with, or ``also`` where it says that."""
    try:
        return work(), None
    except InputError as error:
        said = str(error)
        assert "\n" not in said and len(said) < 400, said
        if re.search(also, said):
            return None, also
        named = [name for name in given if said.startswith((f"{name}=", f"{name} has", f"{name} holds", f"{name} of"))]
        assert named, f"names none of {list(given)}: {said}"
        return None, named[0]


# Laws --------------------------------------------------------------------------------------------------------------------


@many
@given(name=st.sampled_from(sorted(LAWS)), length=ANY)
def test_a_law_of_any_length(name, length):
    law, bad = outcome(lambda: LAWS[name](length), length=length)
    if bad:
        assert not (name in ("markov", "parity") and is_whole(length, 1, 16_384))  # they have every length
    else:
        assert is_whole(length, 1) and law.length == length
        assert law.is_valid(law.sample(2, seed=0)).all()


@many
@given(count=ANY, seed=ANY)
def test_any_sample(count, seed):
    law = parity(6)
    x, bad = outcome(lambda: law.sample(count, seed=seed), count=count, seed=seed)
    if bad:
        assert (bad == "seed") != is_whole(seed, 0) or bad == "count"
        assert bad == "seed" or not is_whole(count, 0, 2**28)
    else:
        assert is_whole(count, 0) and is_whole(seed, 0)
        assert x.shape == (count, 6) and (x.sum(1) % 2 == 0).all()


@st.composite
def ids(draw, length, top):
    """Tokens of some shape and type, some of them outside 0 .. top, in memory as they come or not."""
    shapes = (2, length), (1, length), (0, length), (length,), (2, length + 1), (2, length - 1), (1, 2, length), ()
    shape = draw(st.sampled_from(shapes))
    low, high = draw(st.sampled_from([(0, top), (0, top), (-1, top), (0, top + 3), (0, 10**12)]))
    x = torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    x = x.to(draw(st.sampled_from([torch.long, torch.long, torch.int32, torch.float32, torch.bool, torch.float16])))
    if draw(st.booleans()) and x.ndim == 2:
        x = x.t().contiguous().t()
    return x[:1].expand(3, -1) if draw(st.booleans()) and x.ndim == 2 and len(x) else x


def right_ids(x, length, top):
    whole = x.dtype in (torch.long, torch.int32)
    return whole and x.ndim == 2 and x.shape[1] == length and bool(((x >= 0) & (x <= top)).all())


@many
@given(x=ids(6, 2))
def test_any_text_to_be_judged_by_a_law(x):
    law = parity(6)
    found, bad = outcome(lambda: law.is_valid(x), x=x)
    if bad:
        assert not right_ids(x, 6, 2)
    else:
        assert found.tolist() == [all(v in (0, 1) for v in row) and sum(row) % 2 == 0 for row in x.tolist()]


@many
@given(x=ids(6, 2), error_rate=st.one_of(st.floats(), st.sampled_from([0.1, 0, 1, True, "x", None])))
def test_any_text_to_be_read_by_a_law(x, error_rate):
    law = parity(6)
    found, bad = outcome(lambda: law.posterior(x, error_rate=error_rate), x=x, error_rate=error_rate, no=0)
    if bad:
        assert bad == "error_rate" or not right_ids(x, 6, 2)
    else:
        assert 0 <= error_rate < 1 and right_ids(x, 6, 2)
        assert found.shape == (*x.shape, 2) and torch.allclose(found.sum(-1), torch.ones(x.shape, dtype=torch.float64))


@many
@given(x=ids(6, 2))
def test_the_nearest_of_any_text(x):
    law = parity(6)
    found, bad = outcome(lambda: law.nearest(x), x=x)
    if bad:
        assert not right_ids(x, 6, 2)
    else:
        changes = ((found != x) & (x != 2)).sum(1)
        odd = [2 not in row and sum(row) % 2 for row in x.tolist()]
        assert law.is_valid(found).all() and changes.tolist() == [int(one) for one in odd]


@many
@given(error_rate=st.one_of(st.floats(), st.sampled_from([True, "x", None])))
def test_an_oracle_that_expects_any_share_of_errors(error_rate):
    found, bad = outcome(lambda: Oracle(parity(6), error_rate), error_rate=error_rate)
    assert (found is None) == (bad == "error_rate") != (type(error_rate) is float and 0 <= error_rate < 1)


@many
@given(x=st.lists(st.integers(-3, 50), max_size=7))
def test_the_words_of_any_tokens(x):
    law = agreement(7)
    words, bad = outcome(lambda: law.decode(x), x=x)
    assert bool(bad) == any(not 0 <= token <= 47 for token in x)
    if not bad and len(x):
        assert law.encode(words).tolist() == x and law.encode(words).dtype == torch.long


# Corpora -----------------------------------------------------------------------------------------------------------------


@many
@given(name=st.sampled_from(["agreement", "parity", "sudoku", "sudoku9"]), length=ANY)
def test_a_corpus_of_any_length(name, length):
    corpus, bad = outcome(lambda: open_corpus(name, length), length=length)
    assert bad or corpus.length == length


@many
@given(name=st.one_of(st.text(max_size=20), st.sampled_from([None, 3, [], ("dyck",), b"dyck", "sudoku10k", "../dyck"])))
def test_a_corpus_of_any_name(name):
    if name in (*LAWS, "sudoku9", *registry.names()):
        return
    with pytest.raises(InputError, match=r"^unknown corpus .*: choose agreement, "):
        open_corpus(name, 16)


TEXTS = TextCorpus("novel", ("a", "b"), 4, torch.arange(90) % 2, torch.arange(10) % 2)


@many
@given(corpus=st.sampled_from([TEXTS, LawCorpus(parity(4))]), count=ANY, seed=ANY, held_out=st.booleans())
def test_any_number_of_texts_of_a_corpus(corpus, count, seed, held_out):
    if is_whole(count, 41, 2**40):
        return  # memory, not input
    work = (lambda: corpus.held_out(count, seed=seed)) if held_out else (lambda: corpus.batch(count, generator(1, "x")))
    x, bad = outcome(work, count=count, seed=seed)
    if bad == "count":
        assert not is_whole(count, 0, 40)
    elif bad:
        assert not is_whole(seed, 0)
    else:
        assert x.shape == (count, 4)


@many
@given(count=ANY, seed=ANY)
def test_any_number_of_public_puzzles(count, seed):
    if registry.locate("sudoku10k") is None:
        pytest.skip("sudoku10k is not here")
    found, bad = outcome(lambda: public_puzzles(count, seed=seed), count=count, seed=seed)
    assert bad or (is_whole(count, 1, 10_000) and found[0].shape == (count, 81) and puzzles.is_valid_grid(found[1]).all())


# Grids -------------------------------------------------------------------------------------------------------------------


WRITINGS = (st.text("123456789.0_ \n", min_size=75, max_size=90), st.text(max_size=100), st.sampled_from([None, 7, b"1" * 81]))


@many
@given(text=st.one_of(*WRITINGS))
def test_any_writing_of_a_grid(text):
    cells = "".join(text.split()) if isinstance(text, str) else ""
    if len(cells) == 81 and set(cells) <= set("123456789" + BLANKS):
        assert puzzles.parse_grid(text).tolist() == [9 if cell in BLANKS else int(cell) - 1 for cell in cells]
    else:
        with pytest.raises(InputError, match=r"^.* is no grid: write 81 characters"):
            puzzles.parse_grid(text)


@many
@given(count=ANY, seed=ANY)
def test_any_number_of_grids(count, seed):
    if is_whole(count, 4):
        return  # time, not input
    grids, bad = outcome(lambda: puzzles.complete(count, seed=seed), count=count, seed=seed)
    if bad:
        assert not is_whole(count, 0) or not is_whole(seed, 0)
    else:
        assert grids.shape == (count, 81) and puzzles.is_valid_grid(grids).all()


COUNTS = [torch.tensor([1, 2]), torch.tensor([1.5, 2.0]), torch.ones(7).long()]


@many
@given(grids=st.one_of(ids(81, 9), st.just(GRID.expand(2, -1))), count=st.one_of(ANY, st.sampled_from(COUNTS)))
def test_any_errors_planted_in_any_grids(grids, count):
    masked = "a grid to plant errors in has a mask"
    found, bad = outcome(
        lambda: puzzles.plant_errors(grids, count, generator=generator(0, "x")), masked, solutions=grids, count=count
    )
    if bad == masked:
        assert (grids == 9).any()
    elif not bad:
        assert right_ids(grids, 81, 8)
        assert ((found != grids).sum(1) == torch.as_tensor(count)).all()


@many
@given(x=ids(81, 9))
def test_any_grids_judged_shuffled_and_solved(x):
    fit = right_ids(x, 81, 9)
    assert not (outcome(lambda: puzzles.is_valid_grid(x), x=x)[1] and fit)
    assert not (outcome(lambda: puzzles.in_conflict(x), x=x)[1] and fit)
    assert bool(outcome(lambda: puzzles.shuffled(x, generator(0, "x")), grids=x)[1]) == (not fit)
    row = x[0] if x.ndim == 2 and len(x) else x
    outcome(lambda: puzzles.solutions(row, limit=1), "a cell holds", clues=x)
    outcome(lambda: puzzles.unique_puzzle(row, 40, seed=0), "give a valid grid", solution=x)


@many
@given(clues=st.one_of(st.integers(-2, 16), st.integers(40, 90), NO_NUMBERS), seed=ANY)
def test_any_number_of_clues(clues, seed):
    puzzle, bad = outcome(lambda: puzzles.unique_puzzle(GRID[0], clues, seed=seed), clues=clues, seed=seed)
    assert bad or (is_whole(clues, 17, 81) and int((puzzle != 9).sum()) == clues)


@many
@given(limit=ANY)
def test_any_limit_of_solutions(limit):
    clues = GRID[0].clone()
    clues[:10] = 9
    found, bad = outcome(lambda: puzzles.solutions(clues, limit), limit=limit)
    assert bad or (len(found) <= limit and all(puzzles.is_valid_grid(one.unsqueeze(0)) for one in found))
