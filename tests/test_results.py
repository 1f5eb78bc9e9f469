"""The published tables as a notebook reads them: intervals and pairs by hand."""

import pandas as pd
import pytest
import torch

from ardm.experiments.contestants import CONTESTANTS
from ardm.experiments.match import PROFILES, plays
from ardm.experiments.results import RESULTS, best_rival, compare, effects, facts, outcomes, read, summary
from ardm.experiments.tasks import TASKS, _packed
from ardm.base.errors import InputError

ROWS = [
    # task, rule, nfe, seed, count, quality, loss, outcomes
    ("t", "a", 4, 0, 4, 0.75, 0.3, "e"),
    ("t", "a", 4, 1, 4, 0.25, 0.8, "1"),
    ("t", "b", 4, 0, 4, 0.50, 0.5, "c"),
    ("t", "b", 4, 1, 4, 0.00, 0.4, "0"),
    ("t", "c", 4, 0, 4, 1.00, 0.9, "f"),
    ("t", "c", 4, 1, 4, 1.00, 0.9, "f"),
]
TABLE = pd.DataFrame(ROWS, columns=["task", "rule", "nfe", "seed", "count", "quality", "loss", "outcomes"])


def test_outcomes_are_read_back():
    bits = torch.tensor([True, False, False, True, False])
    assert torch.equal(outcomes(_packed(bits), 5), bits)
    assert torch.equal(outcomes("00", 5), torch.zeros(5, dtype=torch.bool))
    with pytest.raises(InputError, match="more than 3 texts"):
        outcomes("f", 3)


def test_summary_by_hand():
    found = summary(TABLE).set_index("rule")
    assert found.loc["a", "value"] == 0.5
    assert found.loc["a", "low"] == 0 and found.loc["a", "high"] == 1  # t of one degree of freedom: .5 ± 3.2, cut to shares
    assert found.loc["c", "value"] == 1
    assert found.loc["c", "low"] == pytest.approx(0.6756, abs=1e-3)  # Wilson's of 8 out of 8: 8 / (8 + 1.96^2)
    loss = summary(TABLE, "loss").set_index("rule")
    assert loss.loc["a", "high"] == pytest.approx(0.55 + 12.706 * 0.25, abs=1e-2)


def test_comparing_pairs_trainings():
    found = compare(TABLE, "a", "b").iloc[0]
    assert (found["value"], found["low"], found["high"]) == (0.25, 0.25, 0.25)  # .25 in both trainings
    assert compare(TABLE, "a", "nobody").empty


def test_the_best_rival_has_the_lowest_loss():
    assert best_rival(TABLE, "t", 4, ["a", "b", "c"]) == "b"
    assert best_rival(TABLE, "t", 4, ["c", "a"]) == "a"
    with pytest.raises(InputError, match="8 calls"):
        best_rival(TABLE, "t", 8, ["a"])


def test_effects_pair_each_variant_with_the_base_of_its_training():
    rows = [
        *(("base", "t", nfe, seed, q) for nfe, q in ((4, 0.1), (8, 0.5), (16, 0.75)) for seed in (1, 2)),
        ("width/16", "t", 8, 2, 0.75),  # in another order than the base
        ("width/16", "t", 8, 1, 0.25),
        ("width/16", "t", 8, 3, 0.0),  # the base was not played from this training
        ("width/16", "t", 16, 1, 0.75),
        ("width/16", "t", 16, 2, 1.0),
    ]
    found = effects(pd.DataFrame(rows, columns=["variant", "task", "nfe", "seed", "quality"])).set_index(["variant", "nfe"])
    assert dict(found["value"]) == pytest.approx(
        {("calls/4", 4): -0.4, ("calls/16", 16): 0.25, ("width/16", 8): 0.0, ("width/16", 16): 0.125}
    )
    assert found.loc[("width/16", 8), "high"] == pytest.approx(12.706 * 0.25, abs=1e-2)  # t of one degree of freedom
    assert set(found["seeds"]) == {2} and set(found["axis"]) == {"calls", "width"}


def test_a_missing_table_says_how_to_make_it(tmp_path):
    for name, command in (
        ("arena", "ardm arena --profile paper"),
        ("tuning", "ardm arena --profile paper"),
        ("final", "ardm arena --profile final"),
        ("scale", "ardm arena --profile scale"),
        ("ablations", "make ablations PROFILE=paper"),
    ):
        with pytest.raises(InputError, match=f"`{command}`"):
            read(name, tmp_path)
        with pytest.raises(InputError, match=f"`{command}`"):
            facts(tmp_path, name)


def test_tables_are_read_by_name(tmp_path):
    TABLE.to_csv(tmp_path / "scale.csv", index=False)
    (tmp_path / "scale.json").write_text('{"settings": {"seeds": 2}}')
    pd.testing.assert_frame_equal(read("scale", tmp_path), TABLE)  # outcomes are texts, not numbers
    assert facts(tmp_path, "scale") == {"settings": {"seeds": 2}}


@pytest.mark.skipif(not RESULTS.is_dir(), reason="no published tables here")
def test_the_published_tables_are_whole():
    """Five trainings of every cell, one start for all rules of a task and seed, as many calls as said, the best setting played."""
    table, made = read(), facts()
    real = table["rule"] == "the law itself"
    played = table[~real]
    assert set(played.groupby(["task", "rule", "nfe"])["seed"].nunique()) == {made["settings"]["seeds"]} == {5}
    assert (played["calls"] == played["nfe"]).all()
    starts = played.groupby(["task", "seed"])["start"].nunique()
    assert set(starts) == {1}
    for name, part in played.groupby("task"):
        task = TASKS[name]
        expected = {c.name for c in CONTESTANTS.values() if any(plays(task, c, nfe) for nfe in task.nfe)}
        assert set(part["rule"]) == expected, name
    assert {4, 8, 16} <= set(played["nfe"])
    tuning = read("tuning")
    key = ["task", "rule", "nfe"]
    chosen = played.groupby(key)["knobs"].first()
    for at, tried in tuning.groupby(key):
        assert tried.loc[tried["knobs"] == chosen[at], "loss"].min() <= tried["loss"].min() + 1e-5, at


@pytest.mark.parametrize("name", [name for name in ("final", "scale") if (RESULTS / f"{name}.csv").is_file()])
def test_the_other_published_tables_are_those_of_their_profiles(name):
    table, made = read(name), facts(name=name)
    profile = PROFILES[name]
    for setting in ("seeds", "count", "tuning", "tune_all", "texts_from", "tuned_up_to"):
        assert made["settings"][setting] == getattr(profile, setting), setting
    played = table[table["rule"] != "the law itself"]
    cells = {
        (task, rule, nfe)
        for task in profile.tasks
        for rule in profile.rules
        for nfe in profile.nfe or TASKS[task].nfe
        if plays(TASKS[task], CONTESTANTS[rule], nfe)
    }
    seeds = played.groupby(["task", "rule", "nfe"])["seed"].agg(set)
    assert set(seeds.index) == cells and all(found == set(range(profile.seeds)) for found in seeds)
    for task, part in played.groupby("task"):
        assert set(part["count"]) == {profile.texts(TASKS[task])}
    assert (played["calls"] == played["nfe"]).all()
    assert set(played.groupby(["task", "seed"])["start"].nunique()) == {1}
