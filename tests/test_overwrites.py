"""Overwrites judged by the law: one run by hand, and a real one against what the sampling loop counted of it."""

import pytest
import torch

from ardm import blank, load_denoiser, refine
from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.experiments.overwrites import OUTCOMES, overwritten, wrong_tokens
from ardm.method.rules import RandomGate, UniformRefinement
from ardm.method.sampling import Frame, Trace
from ardm.worlds.laws import agreement

START = "some dark crow rest . a crow turns . #animals"  # crow: some and rest are plural
STEPS = (  # the text after a step
    "some quiet _ rest . a crow turns . #animals",  # dark in place by another that is right, crow hidden
    "some quiet crows rest . a crow turns . #animals",  # crow comes back mended
    "some quiet _ rest . a crow turns . #animals",  # the right crows hidden
    "some quiet saws rest . a crow turns . #animals",  # and come back wrong; rest by itself
    "some quiet saws rest . a crow turns . #animals",  # nothing
)
WRITTEN, HIDDEN = ([1], [2], [], [2, 3], []), ([2], [], [2], [], [])


@pytest.fixture(scope="module")
def law():
    return agreement(10)


def recorded(law, texts, written, hidden):
    """The run of one text: the start and the text after each step, the places that were written, and hidden, at it."""
    x = [law.encode(text)[None] for text in texts]

    def at(places):
        return torch.isin(torch.arange(10), torch.tensor(places, dtype=torch.long))[None]

    steps = zip(x[1:], written, hidden, strict=True)
    frames = tuple(Frame(x=now, write=at(w), remask=at(h), changed=at([]), scores={}) for now, w, h in steps)
    none = torch.zeros(1, dtype=torch.long)  # what the loop counts is not asked for
    counts = dict.fromkeys(("calls", "writes", "rewrites", "changes", "remasks", "wasted", "settled"), none)
    return Trace(start=x[0], x=x[-1], overwritten=torch.zeros_like(x[0]), frames=frames, **counts)


@pytest.fixture(scope="module")
def by_hand(law):
    return recorded(law, (START, *STEPS), WRITTEN, HIDDEN)


def test_each_overwrite_of_a_run_by_hand(law, by_hand):
    """At step 1 ``dark`` becomes ``quiet``, the wrong ``crow`` is hidden; at 3 ``crows``, to become ``saws``; ``rest`` stays.

    Filling a mask overwrites nothing. The wrong tokens in sight before the steps: crow at the first, saws at the last.
    """
    found = overwritten(law, by_hand)
    where = {name: there.nonzero()[:, [0, 2]].tolist() for name, there in found.outcomes().items()}
    assert where == dict(zip(OUTCOMES, ([[0, 2]], [[0, 1]], [[3, 3]], [[2, 2]]), strict=True))
    assert found.shares() == {**dict.fromkeys(OUTCOMES, 25.0), "caught": 50.0}


def test_two_nouns_of_different_kinds_are_wrong_in_some_repair(law):
    """Either of two clashing nouns can be mended: the nearest text names one, hiding the other makes the repair as small."""
    text = "some dark crows rest . a saw turns . _"
    assert wrong_tokens(law, law.encode(text)[None]).sum() == 1
    found = overwritten(law, recorded(law, (text, text), [[2, 6]], [[]]))
    assert found.shares()["hit a wrong token"] == 50
    assert found.in_some_repair(10, generator(0, "test")) == 100
    with pytest.raises(InputError, match="sample=0"):
        found.in_some_repair(0, generator(0, "test"))


@pytest.mark.parametrize("rule", [UniformRefinement(0.5), RandomGate()], ids=["in place", "hiding"])
def test_what_the_loop_counted_is_counted_again(rule):
    denoiser, recipe, _ = load_denoiser("agreement")
    law = agreement(recipe.length)
    trace = refine(denoiser, rule, blank(4, law.length, law.vocab_size), 6, seed=0, record=True)
    found = overwritten(law, trace)
    assert torch.equal(found.over.sum((0, 2)), trace.overwrites)
    assert torch.equal((found.over & found.same).sum((0, 2)), trace.wasted)
    assert sum(int(there.sum()) for there in found.outcomes().values()) == int(trace.overwrites.sum()) > 0


def test_a_run_that_was_not_recorded_is_refused(law, by_hand):
    with pytest.raises(InputError, match="record=True"):
        overwritten(law, Trace(**{**vars(by_hand), "frames": ()}))
