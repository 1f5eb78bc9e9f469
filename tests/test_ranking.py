"""Rankings against the share of pairs, calibration by hand, intervals over whole texts."""

import pytest
import torch

from ardm.base.errors import InputError
from ardm.experiments.ranking import calibration, ranking, ranking_over_texts


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
