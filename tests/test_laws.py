"""Laws against brute force over every sequence of a tiny automaton, and against hand-worked probabilities."""

import itertools
import math

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.worlds.corpora import LawCorpus
from ardm.worlds.laws import LAWS, Law, Oracle, addition, agreement, dyck, latin, markov, parity, permutation, sudoku

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


def every(law):
    """All sequences of a small law's length, and their exact probabilities."""
    x = torch.tensor(list(itertools.product(range(law.vocab_size), repeat=law.length)))
    return x, law.log_prob(x).exp()


def uniform_on(law, member):
    """The law is uniform on exactly the sequences that ``member`` admits."""
    x, p = every(law)
    inside = torch.tensor([member(row) for row in x.tolist()])
    assert 0 < int(inside.sum()) < len(x)
    assert torch.allclose(p, inside.double() / inside.sum(), rtol=1e-12, atol=0)


def test_markov_chain_by_its_table():
    x, p = every(markov(4))
    step = [[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]]
    expected = [step[a][b] * step[b][c] * step[c][d] / 3 for a, b, c, d in x.tolist()]
    assert torch.allclose(p, torch.tensor(expected, dtype=torch.float64), rtol=1e-12)
    assert len(x) == 81
    assert p.sum().item() == pytest.approx(1)


def test_permutations_are_those_of_itertools():
    orders = set(itertools.permutations(range(5)))
    uniform_on(permutation(5), lambda row: tuple(row) in orders)


def test_brackets_are_balanced_by_erasing_pairs():
    def balanced(row):
        text = "".join("()"[bit] for bit in row)
        while "()" in text:
            text = text.replace("()", "")
        return not text

    uniform_on(dyck(8), balanced)
    assert int((every(dyck(8))[1] > 0).sum()) == 14  # Catalan


def test_parity_is_even():
    uniform_on(parity(7), lambda row: sum(row) % 2 == 0)
    x = torch.tensor([[0, 1, 2, 2]])
    assert parity(4).posterior(x)[0, 2:].tolist() == [[0.5, 0.5]] * 2  # a coin until the last place
    assert parity(4).posterior(torch.tensor([[0, 1, 1, 2]]))[0, 3].tolist() == [1.0, 0.0]


def test_addition_is_that_of_integers():
    law = addition(6)
    rows = [(a % 10, b % 10, c % 10, a // 10, b // 10, c // 10) for a in range(100) for b in range(100) if (c := a + b) < 100]
    assert torch.allclose(law.log_prob(torch.tensor(rows)), torch.full((5050,), -math.log(5050), dtype=torch.float64))
    g = torch.Generator().manual_seed(0)
    other = torch.randint(10, (4000, 6), generator=g)
    right = {tuple(row) for row in rows}
    assert law.is_valid(other).tolist() == [tuple(row) in right for row in other.tolist()]


def squares(boxes):
    """All squares of side 4, from every four rows."""
    row = torch.tensor(list(itertools.permutations(range(4))))
    grid = torch.stack([row[i] for i in torch.cartesian_prod(*[torch.arange(24)] * 4).T], dim=1)  # [24^4, 4, 4]
    distinct = (grid.sort(dim=1).values == torch.arange(4)[None, :, None]).all(1).all(1)
    if boxes:
        box = grid.unfold(1, 2, 2).unfold(2, 2, 2).reshape(len(grid), 4, 4)
        distinct &= (box.sort(-1).values == torch.arange(4)).all(-1).all(-1)
    return grid[distinct].reshape(-1, 16)


@pytest.mark.parametrize(("law", "boxes", "count"), [(latin(), False, 576), (sudoku(), True, 288)], ids=["latin", "sudoku"])
def test_squares_are_those_of_brute_force(law, boxes, count):
    grids = squares(boxes)
    assert len(grids) == count
    assert torch.allclose(law.log_prob(grids).exp(), torch.full((count,), 1 / count, dtype=torch.float64))
    spoilt = grids.clone()
    spoilt[:, 5] = (spoilt[:, 5] + 1) % 4
    assert not law.is_valid(spoilt).any()
    clues = torch.full((1, 16), 4)
    clues[0, [0, 6, 11]] = grids[17, [0, 6, 11]]
    agree = grids[(grids[:, [0, 6, 11]] == clues[0, [0, 6, 11]]).all(-1)]
    expected = torch.nn.functional.one_hot(agree, 4).double().mean(0)
    assert torch.allclose(law.posterior(clues)[0], expected, atol=1e-12)


def balanced(length):
    """How many balanced texts of brackets there are: the first pair encloses some of the rest, and the others follow it."""
    return 1 if not length else sum(balanced(inner) * balanced(length - 2 - inner) for inner in range(0, length, 2))


@pytest.mark.parametrize(
    ("law", "texts"),
    [
        (parity(8), sum(bin(number).count("1") % 2 == 0 for number in range(256))),
        (dyck(12), balanced(12)),
        (sudoku(), len(squares(boxes=True))),
    ],
    ids=["parity", "brackets", "sudoku"],
)
def test_some_laws_have_so_few_texts_that_a_training_sees_them_all(law, texts):
    """What is held out of these is never a text that the training has not seen: 128, 132 and 288."""
    assert texts == {"parity-8": 128, "dyck-12": 132, "sudoku-16": 288}[law.name]
    drawn = law.draw(40 * texts, generator(0, "denoiser data")).unique(dim=0)
    assert len(drawn) == texts
    assert torch.allclose(law.log_prob(drawn), torch.full((texts,), -math.log(texts), dtype=torch.float64))
    held_out = LawCorpus(law).held_out(200)
    assert (held_out[:, None] == drawn).all(-1).any(-1).all()


def test_small_latin_squares_by_count():
    assert [int((every(latin(length))[1] > 0).sum()) for length in (4, 9)] == [2, 12]


@pytest.mark.parametrize(
    ("make", "length"), [(sudoku, 9), (latin, 5), (permutation, 13), (dyck, 5), (addition, 4), (markov, 0), (parity, 0)]
)
def test_lengths_that_a_law_does_not_have_are_named(make, length):
    with pytest.raises(InputError, match=f"length={length}"):
        make(length)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_every_law_draws_what_it_holds_valid(name):
    law = LAWS[name]({"latin": 16, "sudoku": 16, "agreement": 9}.get(name, 6))
    x = law.sample(300, seed=4)
    assert law.is_valid(x).all()
    assert len(x.unique(dim=0)) > 4
    assert torch.allclose(law.marginals().sum(-1), torch.ones(law.length, dtype=torch.float64))


def test_the_nearest_text_by_brute_force():
    """Fewest changes among all texts of the law, and of those the most probable."""
    g = torch.Generator().manual_seed(3)
    for law in (markov(4), parity(5), dyck(6), permutation(4)):
        V = law.vocab_size
        every = torch.tensor(list(itertools.product(range(V), repeat=law.length)))
        log_p = law.log_prob(every)
        texts, log_p = every[log_p.isfinite()], log_p[log_p.isfinite()]
        x = torch.randint(V + 1, (40, law.length), generator=g)  # masks among them
        changes = ((x[:, None] != texts) & (x[:, None] < V)).sum(-1)
        found = law.nearest(x)
        assert torch.equal(((x != found) & (x < V)).sum(-1), changes.min(1).values)
        best = torch.where(changes == changes.min(1, keepdim=True).values, log_p, -torch.inf).max(1).values
        assert torch.allclose(law.log_prob(found), best)


def test_what_is_valid_is_its_own_nearest_text():
    law = agreement()
    x = law.sample(50, seed=0)
    assert torch.equal(law.nearest(x), x)
    wrong = x.clone()
    wrong[:, -1] = torch.where(x[:, -1] == law.encode("#tools"), law.encode("#ships"), law.encode("#tools"))  # another key
    assert torch.equal(law.nearest(wrong), x)  # cheaper to change the key than every noun
