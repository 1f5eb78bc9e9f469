"""Laws against brute force over every sequence of a tiny automaton, and against hand-worked probabilities."""

import itertools
import math

import pytest
import torch

from ardm.laws import Law, Oracle, agreement
from ardm.types import InputError

V, L = 3, 4


@pytest.fixture(scope="module")
def tiny() -> Law:
    """Two states; token 2 is forbidden in state 1; must end in state 0 or 1 but not 2."""
    weight = torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.4, 0.0], [1.0, 0.0, 0.5]], dtype=torch.float64)
    following = torch.tensor([[0, 1, 2], [1, 0, 0], [2, 0, 0]])
    return Law("tiny", ("x", "y", "z"), L, weight, following, 0, torch.tensor([True, True, False]))


@pytest.fixture(scope="module")
def table(tiny: Law) -> dict[tuple[int, ...], float]:
    """Every sequence and its probability, by walking the automaton in plain Python."""
    weights = {}
    for sequence in itertools.product(range(V), repeat=L):
        state, weight = tiny.start, 1.0
        for token in sequence:
            weight *= float(tiny.weight[state, token])
            state = int(tiny.following[state, token])
        weights[sequence] = weight if bool(tiny.accepts[state]) else 0.0
    total = sum(weights.values())
    return {sequence: weight / total for sequence, weight in weights.items()}


def test_log_prob_is_the_brute_force_table(tiny, table):
    x = torch.tensor(list(table))
    expected = torch.tensor(list(table.values()), dtype=torch.float64)
    assert torch.allclose(tiny.log_prob(x).exp(), expected, rtol=1e-12, atol=0)
    assert torch.equal(tiny.is_valid(x), expected > 0)
    assert 0 < int((expected > 0).sum()) < V**L


def test_sampling_follows_the_table(tiny, table):
    count = 40_000
    drawn = tiny.sample(count, seed=3)
    index = drawn @ torch.tensor([V**3, V**2, V, 1])
    seen = torch.bincount(index, minlength=V**L).double()
    expected = torch.tensor(list(table.values()), dtype=torch.float64) * count
    likely = expected > 5
    chi2 = float(((seen - expected)[likely] ** 2 / expected[likely]).sum())
    freedom = int(likely.sum()) - 1
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)
    assert seen[expected == 0].sum() == 0


@pytest.mark.parametrize("error_rate", [0.0, 0.2])
@pytest.mark.parametrize("visible", [(V, V, V, V), (0, V, V, 1), (V, 2, V, V), (0, 1, 0, V)])
def test_posterior_is_bayes_over_the_table(tiny, table, error_rate, visible):
    expected = torch.zeros(L, V, dtype=torch.float64)
    for sequence, chance in table.items():
        for seen, true in zip(visible, sequence, strict=True):
            if seen != V:
                chance *= 1 - error_rate if seen == true else error_rate / (V - 1)
        for i, token in enumerate(sequence):
            expected[i, token] += chance
    expected /= expected.sum(-1, keepdim=True)
    found = tiny.posterior(torch.tensor([visible]), error_rate=error_rate)[0]
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_marginals_are_the_posterior_of_nothing(tiny, table):
    expected = torch.zeros(L, V, dtype=torch.float64)
    for sequence, chance in table.items():
        for i, token in enumerate(sequence):
            expected[i, token] += chance
    assert torch.allclose(tiny.marginals(), expected, rtol=1e-10, atol=1e-14)


def test_a_contradiction_without_errors_is_refused(tiny):
    impossible = torch.tensor([[1, 2, 0, 0]])  # token 2 is forbidden in state 1
    with pytest.raises(InputError, match="error_rate > 0"):
        tiny.posterior(impossible)
    assert tiny.posterior(impossible, error_rate=0.1).isfinite().all()


def test_shortest_agreement_by_hand():
    """Five tokens leave room for one clause without adjectives: 2 numbers, 12 nouns, 5 verbs, the rest forced: 120 texts."""
    law = agreement(5)
    x = torch.stack([law.encode("a bear rests . #animals"), law.encode("some saws sink . #tools")])
    assert torch.allclose(law.log_prob(x), torch.full((2,), -math.log(120), dtype=torch.float64))


def test_six_tokens_by_hand():
    """One adjective, any of 6 alike: 720 texts."""
    law = agreement(6)
    assert law.log_prob(law.encode("some quiet tugs turn . #ships")[None]).item() == pytest.approx(-math.log(720))


@pytest.mark.parametrize(
    "text",
    [
        "a bears rest . #animals",  # determiner and noun disagree
        "a bear rest . #animals",  # noun and verb disagree
        "a bear rests . #tools",  # the key is of another kind
        "a bear rests #animals .",  # order
        "a bear rests . _",  # unfinished
    ],
)
def test_what_the_grammar_forbids(text):
    law = agreement(5)
    assert not law.is_valid(law.encode(text)[None]).item()


def test_two_nouns_of_different_kinds_are_forbidden_wherever_the_key_is():
    law = agreement(9)
    good = law.encode("a bear rests . some crows sink . #animals")
    bad = law.encode("a bear rests . some saws sink . #animals")
    assert law.is_valid(torch.stack([good, bad])).tolist() == [True, False]


def test_agreement_draws_are_valid_and_47_words():
    law = agreement()
    assert (law.vocab_size, law.length) == (47, 32)
    assert law.is_valid(law.sample(200, seed=1)).all()


def test_the_key_tells_the_kind_from_thirty_tokens_away():
    law = agreement(32)
    x = torch.full((1, 32), law.vocab_size)
    x[0, -1] = law.encode("#ships")
    first_nouns = law.posterior(x)[0, 1]
    ships = {word for kind in ("barge", "raft", "tug") for word in (kind, kind + "s")}
    others = {"bear", "saw", "ferns"}
    assert sum(float(first_nouns[law.words.index(w)]) for w in ships) > 0.5
    assert sum(float(first_nouns[law.words.index(w)]) for w in others) == 0


def test_lengths_without_a_text_are_refused():
    with pytest.raises(InputError, match="length=3"):
        agreement(3)
    with pytest.raises(InputError, match="length=0"):
        agreement(0)


def test_oracle_is_the_posterior_as_a_denoiser(tiny):
    x = torch.tensor([[0, V, V, 1]])
    prediction = Oracle(tiny, error_rate=0.1)(x, 0.5)
    assert torch.allclose(prediction.logits.softmax(-1), tiny.posterior(x, error_rate=0.1))
    assert prediction.hidden.shape == (1, L, 0)


def test_encode_names_the_unknown_word():
    with pytest.raises(InputError, match="'wolf'"):
        agreement(5).encode("a wolf")
