"""Claims: decided by pairs of trainings, by hand."""

import pandas as pd
import pytest

from ardm.base.errors import InputError
from ardm.experiments.claims import Claim, decide, verdict

TABLE = pd.DataFrame(
    [
        ("agreement", rule, nfe, seed, value, -value)
        for (rule, nfe), values in {
            ("a", 16): (0.5, 0.7, 0.6),
            ("b", 16): (0.3, 0.4, 0.2),  # a less b: .2, .3, .4
            ("b", 32): (0.9, 1.0, 0.8),  # -.4, -.3, -.2
            ("c", 16): (0.5, 0.6, 0.7),  # 0, .1, -.1
        }.items()
        for seed, value in enumerate(values)
    ],
    columns=["task", "rule", "nfe", "seed", "quality", "overwrites"],
)


def test_a_claim_is_decided_by_the_interval_of_the_paired_difference():
    claims = [
        Claim("more than b", "quality", "a", "b"),
        Claim("more than b with twice the calls", "quality", "a", "b", nfe_b=32),
        Claim("more than c", "quality", "a", "c"),
        Claim("fewer overwrites than b", "quality", "a", "b", "overwrites", more=False),
        Claim("fewer than b", "quality", "a", "b", more=False),
    ]
    found = decide(TABLE, claims)
    assert list(found["verdict"]) == ["supported", "reversed", "not supported", "supported", "reversed"]
    first = found.iloc[0]
    half = 4.302653 * 0.1 / 3**0.5  # Student's t, two degrees of freedom
    assert (first["value"], first["low"], first["high"]) == pytest.approx((0.3, 0.3 - half, 0.3 + half))
    assert list(found["compared"]) == ["quality"] * 5
    assert list(found["words"]) == [claim.words for claim in claims]


def test_an_interval_that_touches_zero_decides_nothing():
    assert [verdict(0.0, 1.0), verdict(-1.0, 0.0), verdict(0.1, 1.0, more=False)] == ["not supported"] * 2 + ["reversed"]


def test_a_cell_that_was_not_played_is_named():
    with pytest.raises(InputError, match="no row with nfe 8"):
        decide(TABLE, [Claim("", "quality", "a", "b", nfe=8)])
    with pytest.raises(InputError, match="a and b on agreement: training 2 is missing"):
        decide(TABLE[(TABLE["rule"] != "b") | (TABLE["seed"] < 2)], [Claim("", "quality", "a", "b")])
