import pytest
import torch
from scipy.stats import norm

from ardm.experiments.statistics import bootstrap_difference, mean_over_trainings, paired_difference, share
from ardm.experiments.ranking import calibration, ranking, ranking_over_texts
from ardm.worlds.fidelity import sequence_distance, sequence_floor, unigram_distance, unigram_floor
from ardm.worlds.laws import agreement, dyck, markov
from ardm.base.errors import InputError


def test_wilson_interval_by_its_formula():
    n, hits = 200, 30
    z, p = norm.ppf(0.975), hits / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    found = share(torch.arange(n) < hits)
    assert (found.value, found.low, found.high) == pytest.approx((p, centre - half, centre + half), rel=1e-9)
    assert str(found) == "15.0 % [10.7, 20.6]"


def test_no_success_still_has_an_interval():
    found = share(torch.zeros(100, dtype=torch.bool))
    assert found.value == 0
    assert 0.03 < found.high < 0.04


def test_a_share_of_nothing_is_refused():
    with pytest.raises(InputError, match="nothing"):
        share(torch.zeros(0, dtype=torch.bool))


def test_unigram_distance_by_hand():
    """All texts of 5 tokens are 'det noun verb stop key': five copies of one text miss all but its five words."""
    law = agreement(5)
    x = law.encode("a bear rests . #animals").expand(7, 5)
    exact = law.marginals().mean(0)
    words = [law.words.index(w) for w in ("a", "bear", "rests", ".", "#animals")]
    expected = sum(0.2 - exact[w].item() for w in words)
    assert unigram_distance(x, law) == pytest.approx(expected, rel=1e-9)
    assert exact[law.words.index("a")].item() == pytest.approx(0.1)


def test_floor_falls_with_the_size_of_the_sample_and_is_met_by_the_law():
    law = agreement(9)
    small, large = unigram_floor(50, law), unigram_floor(800, law)
    assert large == pytest.approx(small / 4, rel=0.25)  # 1 / sqrt(16)
    assert unigram_distance(law.sample(800, seed=999), law) < 2 * large


def test_masks_are_not_a_finished_sequence():
    law = agreement(5)
    with pytest.raises(InputError, match="masks"):
        unigram_distance(torch.full((2, 5), law.vocab_size), law)


def test_ranking_is_the_share_of_pairs_in_order():
    g = torch.Generator().manual_seed(0)
    score = torch.randint(6, (60,), generator=g).double()  # many ties
    positive = torch.rand(60, generator=g) < 0.4
    a, b = score[positive][:, None], score[~positive][None]
    assert ranking(score, positive) == pytest.approx(((a > b).double() + 0.5 * (a == b)).mean().item())
    assert ranking(positive.double(), positive) == 1.0
    assert ranking(-positive.double(), positive) == 0.0
    with pytest.raises(InputError, match="at least one"):
        ranking(score, torch.zeros(60, dtype=torch.bool))


def test_ranking_over_texts_pools_the_chosen_tokens_and_resamples_whole_texts():
    g = torch.Generator().manual_seed(0)
    score = torch.rand(40, 6, generator=g)
    positive = torch.rand(40, 6, generator=g) < score  # informative, not perfect
    among = torch.rand(40, 6, generator=g) < 0.8
    found = ranking_over_texts(score, positive, among, seed=1)
    assert found.value == ranking(score[among], positive[among])
    assert found.low < found.value < found.high
    assert found == ranking_over_texts(score, positive, among, seed=1)
    assert found.low != ranking_over_texts(score, positive, among, seed=2).low


def test_ranking_over_texts_that_are_all_alike_has_no_width_and_few_texts_a_wide_one():
    score = torch.tensor([[0.9, 0.2, 0.6, 0.4]])
    positive = torch.tensor([[True, False, False, True]])
    every = torch.ones(30, 4, dtype=torch.bool)
    alike = ranking_over_texts(score.repeat(30, 1), positive.repeat(30, 1), every, seed=0)
    assert alike.low == pytest.approx(alike.value) == pytest.approx(alike.high) == pytest.approx(0.75)
    # tokens of one text agree: resampling tokens would make the interval far narrower than resampling texts does
    g = torch.Generator().manual_seed(3)
    text = torch.rand(30, 1, generator=g)
    score, label = text.repeat(1, 4), (torch.rand(30, 1, generator=g) < text).repeat(1, 4)
    by_text = ranking_over_texts(score, label, every, seed=0)
    by_token = ranking_over_texts(score.reshape(-1, 1), label.reshape(-1, 1), every.reshape(-1, 1), seed=0)
    assert by_text.high - by_text.low > 1.5 * (by_token.high - by_token.low)


def test_sequence_distance_by_hand():
    """Dyck words of four brackets: (()) and ()(), one half each. Three of four right, all the first kind; one invalid."""
    x = torch.tensor([[0, 0, 1, 1]] * 3 + [[1, 0, 1, 0]])
    assert sequence_distance(x, dyck(4)) == pytest.approx((abs(3 / 4 - 1 / 2) + 1 / 4 + 1 / 2) / 2)
    assert sequence_distance(torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]]), dyck(4)) == pytest.approx(0)


def test_sequence_floor_falls_as_one_over_the_root_of_the_sample():
    few, many = sequence_floor(500, markov(4)), sequence_floor(8000, markov(4))
    assert few / many == pytest.approx(4, rel=0.15)


def test_an_interval_over_trainings_is_students():
    """Five numbers by hand: mean 3, standard error sqrt(2.5 / 5), t of 4 degrees of freedom 2.776."""
    found = mean_over_trainings(torch.tensor([1.0, 2, 3, 4, 5]))
    half = 2.776445 * (2.5 / 5) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    with pytest.raises(InputError, match="1 training"):
        mean_over_trainings(torch.tensor([1.0]))


def test_students_interval_covers_where_a_bootstrap_of_five_does_not():
    """Coverage of the true mean over 400 samples of five normal numbers: 95 % is promised."""
    g, students, bootstrap = torch.Generator().manual_seed(0), 0, 0
    for _ in range(400):
        v = torch.randn(5, generator=g)
        a = mean_over_trainings(v)
        b = bootstrap_difference(v, torch.zeros(5), repeats=200)
        students += a.low <= 0 <= a.high
        bootstrap += b.low <= 0 <= b.high
    assert students / 400 == pytest.approx(0.95, abs=0.035)
    assert bootstrap / 400 < 0.9


def test_pairing_takes_out_what_two_rules_share():
    shared = torch.tensor([0.2, 0.9, 0.5, 0.1, 0.7])
    gap = torch.tensor([0.10, 0.11, 0.09, 0.10, 0.12])
    found = paired_difference(shared + gap, shared)
    assert found.value == pytest.approx(gap.mean().item(), abs=1e-6)
    assert found.high - found.low < 0.04 < mean_over_trainings(shared).high - mean_over_trainings(shared).low
    with pytest.raises(InputError, match="5 against 4 trainings"):
        paired_difference(shared, shared[:4])


def test_the_bootstrap_of_texts_against_the_normal_approximation():
    g = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 3000, generator=g) < torch.tensor([[0.7], [0.6]])).double()
    found = bootstrap_difference(a, b)
    half = 1.96 * (a - b).std().item() / 3000**0.5
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)
    assert bootstrap_difference(a, a).high == 0
    with pytest.raises(InputError, match="3000 against 2999 texts"):
        bootstrap_difference(a, b[1:])


def test_calibration_by_hand():
    """Four tokens at p = .1 (one wrong) and two at p = .9 (both wrong): |.1 - .25| * 4/6 + |.9 - 1| * 2/6."""
    found = calibration(torch.tensor([0.1] * 4 + [0.9] * 2), torch.tensor([1, 0, 0, 0, 1, 1]).bool())
    assert found.error == pytest.approx((0.15 * 4 + 0.1 * 2) / 6, abs=1e-6)
    assert found.brier == pytest.approx((0.81 + 3 * 0.01 + 2 * 0.01) / 6, abs=1e-6)
    assert [(round(m, 6), s, n) for m, s, n in found.bins] == [(0.1, 0.25, 4), (0.9, 1.0, 2)]
    assert calibration(torch.ones(3), torch.ones(3).bool()).error == 0
    with pytest.raises(InputError, match="nothing"):
        calibration(torch.ones(0), torch.ones(0).bool())
    with pytest.raises(InputError, match=r"1\.5"):
        calibration(torch.tensor([1.5]), torch.ones(1).bool())
