"""The slow teacher, with the exact posterior of a law as its denoiser: planted errors, right texts, ties, and what it costs."""

import itertools
from dataclasses import replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.experiments.store import Store, gate_made
from ardm.method.own_runs import RATIO, REPAIR, SLOW, OwnRuns
from ardm.method.slow_teacher import CarefulRepair, SlowTeacher
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.train_on_own_runs import train_on_own_runs
from ardm.worlds.corpora import LawCorpus
from ardm.worlds.laws import Oracle, agreement, permutation
from ardm.worlds.repairs import Repairs

LAW = agreement(9)
V, CPU = LAW.vocab_size, torch.device("cpu")
TEACHER = SlowTeacher(Oracle(LAW, error_rate=0.05), V)
RIGHT = LAW.encode("a tug rests . a raft sinks . #ships")


def wrong(text, where, word):
    """A right text with one word in the place of another."""
    x = text.clone()
    x[where] = LAW.encode(word)[0]
    return x


def test_right_texts_are_left_alone():
    texts = LAW.sample(32, seed=3)
    assert TEACHER(texts, texts).max() == 0  # also in adjectives and verbs, for which others would do as well


@pytest.mark.parametrize(("where", "word"), [(1, "fern"), (5, "hammer"), (8, "#plants"), (3, "#tools"), (0, "tug")])
def test_a_planted_error_is_changed_in_every_run_and_nothing_else_is(where, word):
    """It stands against at least two other tokens, which agree."""
    x = wrong(RIGHT, where, word).unsqueeze(0)
    label = TEACHER(x, x)[0]
    assert label[where] == 1 and label.sum() == 1


def tied(law, texts):
    """Labels of texts, with their errors of sampling: six runs of each text."""
    label = SlowTeacher(Oracle(law, error_rate=0.02), law.vocab_size)(texts, texts)
    return label, 4 * 0.5 / (6 * len(texts)) ** 0.5  # four standard errors


def test_of_two_tokens_that_contradict_each_other_each_counts_one_half():
    """Four different letters are right; where two are the same either may be the wrong one, and nothing tells which."""
    law = permutation(4)
    texts = torch.tensor([*itertools.permutations((0, 0, 1, 2)), *itertools.permutations((3, 3, 2, 1))])
    texts = texts.unique(dim=0)
    label, error = tied(law, texts)
    twice = (texts.unsqueeze(1) == texts.unsqueeze(2)).sum(1) == 2
    assert label[~twice].mean() < 0.02  # a letter is drawn wrong now and then, and the next one to be hidden may be another
    assert (label[twice].view(-1, 2).mean(0) - 0.5).abs().max() < error


def test_a_tie_is_shared_as_minimal_repair_shares_it():
    """A noun of one kind and the key of another: three nouns would fit the key, and one key the noun."""
    law = agreement(5)
    kinds = {"tools": "saw drill hammer", "ships": "barge raft tug", "plants": "fern reed pine"}
    told = [(noun, key) for kind, nouns in kinds.items() for noun in nouns.split() for key in kinds if key != kind]
    texts = torch.stack([law.encode(f"a {noun} {verb} . #{key}") for noun, key in told for verb in ("rests", "waits", "turns")])
    expected = Repairs(law)(texts)
    assert torch.allclose(expected[:, [1, 4]], torch.tensor([0.75, 0.25], dtype=torch.float64))
    label, error = tied(law, texts)
    assert (label.mean(0) - expected.mean(0)).abs().max() < error


def test_masks_are_filled_on_the_way_and_never_wrong():
    x = wrong(RIGHT, 5, "hammer").unsqueeze(0)
    x[0, [0, 2, 6]] = V
    label = TEACHER(x, x)[0]
    assert label[5] == 1 and label.sum() == 1


def test_a_label_is_that_of_its_text_in_any_batch():
    law = permutation(4)
    teacher = SlowTeacher(Oracle(law, error_rate=0.02), law.vocab_size, runs=3)
    texts = torch.tensor(list(itertools.permutations((0, 0, 1, 2)))).unique(dim=0)
    whole = teacher(texts, texts)
    assert torch.equal(teacher(texts[3:], texts[3:]), whole[3:]) and torch.equal(teacher(texts.flip(0), texts), whole.flip(0))
    assert len(whole[texts == 0].view(-1, 2).unique(dim=0)) > 2  # not all by the same numbers


def test_it_costs_its_runs_times_its_calls():
    called = []

    def counting(x, time):
        called.append(len(x))
        return Oracle(LAW, 0.05)(x, time)

    texts = LAW.sample(4, seed=1)
    SlowTeacher(counting, V, runs=3, calls=5)(texts, texts)
    assert called == [4] * 15


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(TEACHER, runs=0), "runs=0: it is at least 1"),
        (lambda: replace(TEACHER, calls=0), "calls=0: it is at least 1"),
        (lambda: CarefulRepair(threshold=0.0), "threshold=0.0: it is a share"),
        (lambda: CarefulRepair(at_once=0), "at_once=0: it is at least 1"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_gate_taught_by_it_finds_the_planted_error():
    recipe = OwnRuns(label=SLOW, reads=True, width=16, steps=40, batch=24, calls=3, blank=0.0, most_hidden=0.2)
    law = permutation(4)
    oracle, corpus = Oracle(law, error_rate=0.02), LawCorpus(law)
    teacher = SlowTeacher(oracle, law.vocab_size, runs=2, calls=6)
    gate, losses = train_on_own_runs(oracle, corpus, recipe, repaired=teacher, device=CPU, progress=False)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert not recipe.verified and recipe.has_teacher and not gate.training
    with pytest.raises(InputError, match=r"label='slow teacher' needs .* repaired="):
        train_on_own_runs(oracle, corpus, recipe, device=CPU, progress=False)


def test_the_store_makes_the_teacher_from_the_denoiser_and_its_code_is_in_the_key(tmp_path, monkeypatch):
    of = DenoiserRecipe(length=9, width=16, depth=1, heads=2, steps=2, batch=4)
    recipe = OwnRuns(label=SLOW, width=8, steps=2, batch=3, calls=2)
    asked = []
    real = SlowTeacher.__call__
    monkeypatch.setattr(SlowTeacher, "__call__", lambda self, x, truth: asked.append(self) or real(self, x, truth))
    store = Store(tmp_path, CPU)
    store.gate(recipe, of)
    assert len(asked) == 2 and (asked[0].runs, asked[0].calls) == (6, 8)
    monkeypatch.setattr("ardm.base.fingerprint.code", lambda *modules: str(modules))
    gate_made.cache_clear()
    codes = {label: gate_made(replace(recipe, label=label), of).code for label in (SLOW, REPAIR, RATIO)}
    gate_made.cache_clear()
    assert [("slow_teacher" in code, "repairs" in code) for code in codes.values()] == [
        (True, False),
        (False, True),
        (False, False),
    ]
