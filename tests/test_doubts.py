"""What a table should be doubted for, on rows written by hand."""

import json

import pandas as pd

from ardm.experiments.doubts import doubts


def row(rule, nfe=8, seed=0, overwrites=1.0, calls=None, task="sudoku", **knobs):
    told = {"overwrites": overwrites, "calls": nfe if calls is None else calls, "knobs": json.dumps(knobs)}
    return {"task": task, "rule": rule, "nfe": nfe, "seed": seed, **told}


def told(*rows):
    return doubts(pd.DataFrame(rows))


def test_a_setting_at_the_end_of_its_grid_is_told_once_however_many_trainings_there_are():
    rows = [row("all-resample", seed=seed) for seed in (0, 1)]
    rows += [row("P2-self", nfe=nfe, seed=seed, eta=eta) for nfe, eta in ((4, 8.0), (8, 2.0), (16, 8.0)) for seed in (0, 1)]
    assert told(*rows) == ["P2-self: eta = 8, the largest tried, was best in 2 of 3 searches"]


def test_seldom_is_no_doubt_and_neither_is_a_number_that_can_go_no_further():
    seldom = [row("P2-self", nfe=nfe, eta=eta) for nfe, eta in ((2, 8.0), (4, 2.0), (8, 2.0), (16, 4.0))]
    assert told(*seldom) == []
    assert told(row("T2T threshold", threshold=0.0)) == []  # q > 0 lets everything pass
    assert told(row("informed corrector", k=1, noise=1.0)) == []
    assert told(row("KLASS", threshold=0.9, moved=0.1)) == []  # two thresholds tried: one of them has to be best
    assert told(row("shuffled gate", how="threshold", threshold=0.2, budget=4)) == []  # another rule's search


def test_a_rule_that_can_revise_and_never_did():
    rows = [row("WINO", overwrites=0.0, write_above=0.6, hide_below=0.7, seed=seed) for seed in (0, 1)]
    rows += [row("WINO", nfe=16, overwrites=o, write_above=0.6, hide_below=0.7, seed=s) for s, o in enumerate((0.0, 0.2))]
    assert told(*rows, row("one-way", overwrites=0.0)) == ["WINO: revised nothing on sudoku with 8 calls"]


def test_other_calls_than_were_asked_for():
    assert told(row("one-way", calls=7.5), row("one-way", seed=1)) == [
        "one-way: 1 of 2 cells made other calls than were asked for"
    ]


def test_the_row_of_the_law_itself_is_no_rule():
    assert told(row("one-way"), row("the law itself", nfe=0, overwrites=float("nan"), calls=float("nan"))) == []
