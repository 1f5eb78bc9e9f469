"""The judge of characters and the scores beside it: each by hand, by brute force or against a plain second implementation."""

import math
from collections import Counter, defaultdict
from itertools import product

import pytest
import torch
from scipy.stats import entropy

from ardm.base.errors import InputError
from ardm.worlds.corpora import TextCorpus
from ardm.worlds.histograms import histogram_distance, pair_histogram
from ardm.worlds.judge import (
    NGramJudge,
    TextScorer,
    WordRate,
    distinct_share,
    split_held_out,
    token_entropy,
    vocabulary,
    windows,
    word_rate,
    words_of,
)

NAMES = ["ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "ivan", "june"]
VERBS = ["sees", "likes", "helps", "calls", "meets"]


def ids_of(text: str, words: tuple[str, ...]) -> torch.Tensor:
    return torch.tensor([words.index(character) for character in text])


def small_corpus(length: int = 24) -> TextCorpus:
    """4000 sentences such as 'ada likes ben.', so that no file is needed."""
    pick = torch.Generator().manual_seed(0)
    sentences = [
        f"{NAMES[a % 10]} {VERBS[b % 5]} {NAMES[c % 10]}. "
        for a, b, c in torch.randint(1000, (4000, 3), generator=pick).tolist()
    ]
    text = "".join(sentences)
    words = tuple(sorted(set(text)))
    ids = ids_of(text, words)
    cut = len(ids) * 9 // 10
    return TextCorpus("small", words, length, ids[:cut], ids[cut:])


def test_witten_bell_by_hand():
    """'abaac' over a, b, c, d. Alone: a 3, b 1, c 1, three kinds. After a: b, a, c once each. After b: a, once."""
    judge = NGramJudge.fit(ids_of("abaac", tuple("abcd")), 4, order=2)
    a = (3 + 3 * 1 / 4) / (5 + 3)  # 15/32
    b = (1 + 3 * 1 / 4) / (5 + 3)  # 7/32
    d = (0 + 3 * 1 / 4) / (5 + 3)  # 3/32
    b_after_a = (1 + 3 * 7 / 32) / (3 + 3)  # 53/192
    a_after_b = (1 + 1 * 15 / 32) / (1 + 1)  # 47/64
    d_after_a = (0 + 3 * 3 / 32) / (3 + 3)  # 3/64
    expected = torch.tensor([[a, b_after_a, a_after_b, d_after_a], [b, a_after_b, d_after_a, d]], dtype=torch.float64)
    x = torch.stack([ids_of("abad", tuple("abcd")), ids_of("badd", tuple("abcd"))])
    assert (a, b, d) == (15 / 32, 7 / 32, 3 / 32)
    assert judge.log_prob(x).exp().numpy() == pytest.approx(expected.numpy(), rel=1e-12)
    assert judge.bits(x) == pytest.approx(-expected.log2().mean().item(), rel=1e-12)


def test_the_longest_context_backs_off_through_each_shorter_one():
    """'abab' over a, b at order 3: P(a) = (2 + 2/2) / 6, P(a | b) = (1 + 1/2) / 2, P(a | ab) = (1 + 3/4) / 2."""
    judge = NGramJudge.fit(ids_of("abab", ("a", "b")), 2, order=3)
    assert judge.log_prob(torch.tensor([[0, 1, 0]])).exp()[0, 2].item() == pytest.approx(7 / 8, rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_sum_to_one_after_every_context(order):
    """Three characters in the text and a fourth that it never has: all contexts, seen or not."""
    judge = NGramJudge.fit(torch.randint(3, (60,), generator=torch.Generator().manual_seed(1)), 4, order=order)
    for context in product(range(4), repeat=order - 1):
        x = torch.tensor([[*context, c] for c in range(4)])
        p = judge.log_prob(x)[:, -1].exp()
        assert p.sum().item() == pytest.approx(1, rel=1e-12)
        assert (p > 0).all()


def naive_log_prob(text: list[int], vocab_size: int, order: int, row: list[int]) -> list[float]:
    """The same model by dictionaries and recursion."""
    after = defaultdict(Counter)
    for k in range(order):
        for i in range(k, len(text)):
            after[tuple(text[i - k : i])][text[i]] += 1

    def p(character, context):
        shorter = p(character, context[1:]) if context else 1 / vocab_size
        counts = after[context]
        if not counts:
            return shorter
        return (counts[character] + len(counts) * shorter) / (sum(counts.values()) + len(counts))

    return [math.log(p(row[i], tuple(row[max(0, i - order + 1) : i]))) for i in range(len(row))]


@pytest.mark.parametrize(("vocab_size", "order", "size"), [(2, 7, 300), (5, 4, 400), (30, 3, 200), (65, 8, 150)])
def test_agrees_with_a_plain_implementation(vocab_size, order, size):
    rng = torch.Generator().manual_seed(vocab_size)
    text = torch.randint(vocab_size, (size,), generator=rng)
    x = torch.cat([torch.randint(vocab_size, (4, 12), generator=rng), text[: 12 * 4].reshape(4, 12)])
    found = NGramJudge.fit(text, vocab_size, order).log_prob(x)
    expected = torch.tensor([naive_log_prob(text.tolist(), vocab_size, order, row) for row in x.tolist()], dtype=torch.float64)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_windows_shorter_than_the_order_are_read():
    judge = NGramJudge.fit(torch.tensor([0, 1, 0, 1, 1, 0]), 2, order=5)
    assert torch.equal(judge.log_prob(torch.tensor([[0, 1]])), judge.log_prob(torch.tensor([[0, 1, 1, 0, 0, 1]]))[:, :2])


def test_the_judge_prefers_real_text_to_the_same_characters_shuffled():
    corpus = small_corpus()
    for_judge, reference = split_held_out(corpus)
    judge = NGramJudge.fit(for_judge, corpus.vocab_size)
    real = windows(reference, 24, 50, seed=0)
    order = torch.rand(real.shape, generator=torch.Generator().manual_seed(0)).argsort(-1)
    assert judge.bits(real) + 2 < judge.bits(real.gather(1, order))


@pytest.mark.parametrize(
    ("ids", "vocab_size", "order", "message"),
    [
        ([0, 1, 2], 2, 2, r"x holds ids 0 .. 2: .*0 .. 1"),
        ([0, 1], 2, 3, "order 3 needs at least 3"),
        ([0, 1], 2, 0, "order=0: .* take 1 .. 63"),
        ([0, 1] * 20, 65, 11, "order=11: with 65 characters take 1 .. 10"),
    ],
)
def test_a_judge_that_cannot_be_fitted_says_why(ids, vocab_size, order, message):
    with pytest.raises(InputError, match=message):
        NGramJudge.fit(torch.tensor(ids), vocab_size, order)


def test_masks_and_nothing_are_refused():
    judge = NGramJudge.fit(torch.tensor([0, 1, 0]), 2, order=2)
    with pytest.raises(InputError, match="finished text"):
        judge.log_prob(torch.tensor([[0, 2]]))
    with pytest.raises(InputError, match="at least one character"):
        judge.bits(torch.zeros(0, 4, dtype=torch.long))
    with pytest.raises(InputError, match="finished text"):
        token_entropy(torch.tensor([[0, 2]]), 2)


def test_words_are_runs_of_letters_without_case():
    assert vocabulary("Don't stop: the CAT, the 2nd caf\u00e9_x") == {"don", "t", "stop", "the", "cat", "nd", "caf\u00e9", "x"}
    words = tuple("aB c'")
    assert words_of(ids_of("Ba ac'B a", words), words) == ["ba", "ac", "b", "a"]


def test_word_rate_by_hand():
    known = frozenset({"the", "cat", "sat"})
    assert word_rate(["the cat xyz sat"], known) == WordRate(1, 2)  # 'the' and 'sat' touch an end
    assert word_rate([" the cat xyz sat "], known) == WordRate(3, 4)
    assert word_rate(["he Cat at.", "t,zz sat the"], known) == WordRate(2, 4)  # cat, at; zz, sat
    assert word_rate([" the cat xyz sat "], known).rate == 0.75


@pytest.mark.parametrize("texts", [[], [""], ["catcat"], ["cat sat"], [" .,' "]])
def test_no_complete_word_is_rate_zero_of_zero(texts):
    found = word_rate(texts, frozenset({"cat", "sat"}))
    assert (found, found.rate) == (WordRate(0, 0), 0.0)


def test_entropy_against_scipy():
    x = torch.randint(7, (9, 11), generator=torch.Generator().manual_seed(2)) % 5
    assert token_entropy(x, 8) == pytest.approx(entropy(torch.bincount(x.flatten()).numpy()), rel=1e-12)
    assert token_entropy(torch.full((3, 4), 2), 8) == 0


def test_distinct_share_by_hand():
    x = torch.tensor([[0, 1, 0, 1], [0, 1, 2, 0]])
    assert distinct_share(x, 2) == 4 / 6  # 01 10 01, 01 12 20
    assert distinct_share(x, 4) == 1
    assert distinct_share(torch.zeros(5, 8, dtype=torch.long)) == 1 / 25
    with pytest.raises(InputError, match=r"n=5: take 1 .. 4"):
        distinct_share(x, 5)


def test_held_out_text_is_split_in_order_and_windows_are_of_the_text():
    corpus = TextCorpus("count", tuple("0123"), 4, torch.zeros(90, dtype=torch.long), torch.arange(10) % 4)
    for_judge, reference = split_held_out(corpus)
    assert (for_judge.tolist(), reference.tolist()) == ([0, 1, 2, 3, 0, 1, 2, 3], [0, 1])
    with pytest.raises(InputError, match="share=1"):
        split_held_out(corpus, 1.0)
    x = windows(torch.arange(10), 4, 500, seed=3)
    assert torch.equal(x - x[:, :1], torch.arange(4).expand(500, 4))
    assert set(x[:, 0].tolist()) == set(range(7))  # the last place too
    assert torch.equal(x, windows(torch.arange(10), 4, 500, seed=3))
    assert not torch.equal(x, windows(torch.arange(10), 4, 500, seed=4))
    with pytest.raises(InputError, match="length=11"):
        windows(torch.arange(10), 11, 1, seed=0)


def test_the_scorer_takes_each_score_from_its_part_of_the_text():
    """A vocabulary of what the training text says twice; a judge and pairs of the two parts of the held-out text."""
    words = tuple(" abcde")
    train = ids_of("ab ab cd ab e e ", words)
    validation = ids_of("abc " * 20 + "ed " * 7, words)
    corpus = TextCorpus("parts", words, 8, train, validation)
    scorer = TextScorer.of(corpus, order=2)
    for_judge, reference = split_held_out(corpus)
    x = torch.stack([ids_of(" ab cd e", words), ids_of("a e cd c", words)])
    found = scorer.score(x)
    assert scorer.vocabulary == {"ab", "e"}
    assert found.judge_bits == NGramJudge.fit(for_judge, 6, 2).bits(x)
    assert found.word_rate == 2 / 4  # ab, cd; e, cd
    assert found.entropy == token_entropy(x, 6)
    assert found.distinct4 == distinct_share(x, 4) == 9 / 10  # " cd " twice
    assert found.pair_distance == histogram_distance(pair_histogram(x, 6), pair_histogram(reference[None], 6))


def test_the_ceiling_is_the_mean_over_real_windows_and_bounds_noise():
    corpus = small_corpus()
    scorer = TextScorer.of(corpus)
    one, two = (scorer.score(windows(scorer.reference, 24, 50, seed=s)) for s in (4, 5))
    both = scorer.ceiling(50, repeats=2, seed=4)
    assert both.judge_bits == pytest.approx((one.judge_bits + two.judge_bits) / 2, rel=1e-12)
    assert both.pair_distance == pytest.approx((one.pair_distance + two.pair_distance) / 2, rel=1e-12)
    assert both.word_rate == 1
    few, many = scorer.ceiling(25).pair_distance, scorer.ceiling(400).pair_distance
    assert few == pytest.approx(4 * many, rel=0.4)  # noise: one over the root of the sample
    constant = torch.zeros(2000, dtype=torch.long)
    assert scorer.ceiling(5, text=constant).entropy == 0 < both.entropy
    noise = scorer.score(torch.randint(corpus.vocab_size, (50, 24), generator=torch.Generator().manual_seed(0)))
    assert noise.judge_bits > 2 * both.judge_bits
    assert noise.word_rate < 0.5
    assert noise.pair_distance > 2 * both.pair_distance
    assert noise.distinct4 > both.distinct4
    with pytest.raises(InputError, match="repeats=0"):
        scorer.ceiling(50, repeats=0)


def test_a_reference_text_shorter_than_a_window_is_refused():
    corpus = TextCorpus("short", ("a", "b"), 30, torch.zeros(200, dtype=torch.long), torch.arange(100) % 2)
    with pytest.raises(InputError, match=r"length=30: the reference text has 20 characters"):
        TextScorer.of(corpus)
