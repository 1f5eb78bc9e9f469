"""Duels: pairs by hand, Holm's correction against the published example, families by what an entry says."""

import math

import pandas as pd
import pytest
from scipy import stats

from ardm.base.errors import InputError
from ardm.experiments.duels import FAMILIES, duels, family, holm, rows_of_forest, side_by_side, tally
from ardm.method.rules import entries

LOSSES = {  # task: rule: losses of three trainings
    "sudoku": {
        "T2M low-prob": (0.30, 0.34, 0.32),
        "P2-self": (0.40, 0.20, 0.60),
        "repair hide": (0.20, 0.25, 0.21),
        "oracle hide": (0.12, 0.12, 0.12),
        "one-way": (0.05, 0.05, 0.05),  # plain: no rival, whatever it scores
    },
    "text8": {"T2M low-prob": (0.5, 0.5, 0.5), "repair hide": (0.5, 0.5, 0.5)},
    "parity": {"repair hide": (0.5, 0.5, 0.5)},
}
TABLE = pd.DataFrame(
    [
        (task, rule, 8, seed, loss)
        for task, rules in LOSSES.items()
        for rule, losses in rules.items()
        for seed, loss in enumerate(losses)
    ],
    columns=["task", "rule", "nfe", "seed", "loss"],
)


def test_a_duel_by_hand():
    """Against T2M, mean .32: the differences are -.10, -.09 and -.11."""
    sudoku, text = duels(TABLE, "repair hide").itertuples()
    assert (sudoku.task, sudoku.rival, sudoku.nfe) == ("sudoku", "T2M low-prob", 8)
    assert sudoku.value == pytest.approx(-0.10)
    half = 4.302653 * 0.01 / math.sqrt(3)  # Student's t, two degrees of freedom
    assert (sudoku.low, sudoku.high) == (pytest.approx(-0.1 - half), pytest.approx(-0.1 + half))
    assert sudoku.way == pytest.approx(0.5)
    assert sudoku.p == pytest.approx(2 * stats.t.sf(0.1 / (0.01 / math.sqrt(3)), 2))
    assert sudoku.p_holm == pytest.approx(2 * sudoku.p)
    assert (text.value, text.p, text.p_holm) == (0, 1, 1) and math.isnan(text.way)  # equal, and no oracle


def test_the_rival_may_be_named_by_another_table():
    """There P2-self was better; here the differences to it, mean .40, are -.20, +.05 and -.39."""
    other = TABLE.assign(loss=TABLE["loss"].where(TABLE["rule"] != "P2-self", 0.1))
    found = duels(TABLE[TABLE["task"] == "sudoku"], "repair hide", named_by=other).iloc[0]
    assert (found["rival"], found["rival_mean"]) == ("P2-self", pytest.approx(0.4))
    assert found["value"] == pytest.approx(-0.18)


def test_a_short_way_is_no_measure():
    assert math.isnan(duels(TABLE, "repair hide", least_way=0.3)["way"].iloc[0])
    assert duels(TABLE, "repair hide", least_way=0.1)["way"].iloc[0] == pytest.approx(0.5)


def test_differences_are_tallied_by_what_is_better():
    found = pd.DataFrame(
        [(-2, -3, -1), (-1, -2, 1), (0, -1, 1), (0.5, -1, 2), (3, 2, 4), (3, 1, 5)], columns=["value", "low", "high"]
    )
    assert tally(found) == {"places": 6, "ahead": 2, "clear": 1, "behind": 2}
    assert tally(found, more=True) == {"places": 6, "ahead": 3, "clear": 2, "behind": 1}


def test_rows_of_a_forest_are_named_for_readers():
    row = rows_of_forest(duels(TABLE, "repair hide"), panel="loss", series="gate").iloc[0]
    assert (row["group"], row["row"], row["panel"], row["series"]) == ("Sudoku 4×4", "8 calls", "loss", "gate")
    assert row["value"] == pytest.approx(-10)


def test_duels_stand_side_by_side_in_hundredths():
    row = side_by_side(duels(TABLE, "repair hide")).loc[("Sudoku 4×4", 8)]
    assert row["best rival"] == "T2M low-prob"
    assert (row["its loss"], row["the gate's"], row["of the way to the oracle, %"]) == pytest.approx((32, 22, 50))
    assert row["difference"].value == pytest.approx(-10) and row["difference"].high < -7


def test_the_order_of_rows_does_not_matter():
    mixed = TABLE.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        duels(mixed, "repair hide").set_index("task").sort_index(), duels(TABLE, "repair hide").set_index("task").sort_index()
    )


def test_a_rule_that_was_not_played_is_named():
    with pytest.raises(InputError, match="no row of 'WINO'"):
        duels(TABLE, "WINO")


def test_holm_by_hand():
    """.01 x 4, .02 x 3, .03 x 2 is no more than the one before, .04 x 1 neither."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(InputError, match="p-values"):
        holm([math.nan])


def test_families_are_told_by_what_a_rule_is_given():
    known = entries()
    by_name = {
        "T2M low-prob": "untaught",
        "WINO": "untaught",
        "document's gate": "self-taught",
        "attentive hide ratio": "self-taught",
        "PRISM head": "self-taught",
        "own ratio hide": "self-taught",
        "repair hide": "verifier-taught",
        "unified gate": "verifier-taught",
        "oracle hide": "bound",
    }
    assert {name: family(known[name]) for name in by_name} == by_name
    assert {family(entry) for entry in known.values()} == set(FAMILIES)
