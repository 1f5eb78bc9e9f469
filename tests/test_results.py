"""The published tables as a notebook reads them: intervals and pairs by hand."""

import pandas as pd
import pytest
import torch

from ardm.base.errors import InputError
from ardm.experiments.cells import CHALLENGERS, REAL, plays
from ardm.experiments.profiles import PROFILES
from ardm.experiments.results import (
    RESULTS,
    best_rival,
    compare,
    effects,
    facts,
    machines,
    means,
    outcomes,
    percent,
    read,
    rivals,
    select,
    stale,
    state,
    summary,
)
from ardm.experiments.scores import packed
from ardm.experiments.tasks import TASKS
from ardm.method.rules import entries

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
    assert torch.equal(outcomes(packed(bits), 5), bits)
    assert torch.equal(outcomes("00", 5), torch.zeros(5, dtype=torch.bool))
    with pytest.raises(InputError, match="more than 3 texts"):
        outcomes("f", 3)


def test_rivals_are_those_of_the_field_and_the_strong_control():
    rules = (
        "T2M low-prob",
        "one-way",
        "uniform refinement",
        "random gate",
        "all-resample",
        "document's gate",
        "oracle hide",
        REAL,
    )
    assert rivals(pd.DataFrame({"rule": [*rules, *rules]})) == ["T2M low-prob", "uniform refinement", "all-resample"]
    with pytest.raises(InputError, match="no rule 'all-resampel': choose all-resample"):
        rivals(pd.DataFrame({"rule": ["all-resampel"]}))


def test_machines_are_named_once():
    one, two = {"cpu": "A", "device": "cpu"}, {"cpu": "B", "device": "cuda (C)"}
    sources = [{**one, "commit": "x"}, {**two, "commit": "x"}, {**one, "commit": "y"}]
    assert machines({"provenance": sources}) == "A, cpu; B, cuda (C)"
    assert machines({"provenance": one}) == "A, cpu"  # as in tables without keys


def test_the_state_of_a_table_without_keys_names_the_reason(tmp_path):
    (tmp_path / "arena.csv").write_text("task,outcomes,start\n")
    (tmp_path / "arena.json").write_text("{}")
    assert state("arena", tmp_path) == "not of today's code (arena.csv has no keys: it was made before cells had them)"


def test_summary_by_hand():
    found = summary(TABLE).set_index("rule")
    assert found.loc["a", "value"] == 0.5
    assert found.loc["a", "low"] == 0 and found.loc["a", "high"] == 1  # t of one degree of freedom: .5 ± 3.2, cut to shares
    assert found.loc["c", "value"] == 1
    assert found.loc["c", "low"] == pytest.approx(0.6756, abs=1e-3)  # Wilson's of 8 out of 8: 8 / (8 + 1.96^2)
    loss = summary(TABLE, "loss").set_index("rule")
    assert loss.loc["a", "high"] == pytest.approx(0.55 + 12.706 * 0.25, abs=1e-2)


def test_selected_rows_stand_as_they_were_asked_for():
    two = pd.concat([TABLE, TABLE.assign(nfe=8)])
    found = select(two, task="t", nfe=[8, 4], rule=["c", "a"])
    assert list(zip(found["rule"], found["nfe"], strict=True)) == [
        (rule, nfe) for rule in "ca" for nfe in (8, 4) for _ in range(2)
    ]
    with pytest.raises(InputError, match="no row with rule 'd' among these: choose from a, b, c"):
        select(two, nfe=8, rule=["a", "d"])
    with pytest.raises(InputError, match="no row with nfe 16"):
        select(two, nfe=16)


def test_means_stand_side_by_side():
    two = pd.concat([TABLE, TABLE.assign(nfe=8)])
    found = means(select(two, nfe=8), {"valid, %": ("quality", 100), "loss": ("loss", 1)})
    assert found.at["a", "valid, %"].value == 50 and found.at["a", "valid, %"].high == 100
    assert found.at["a", "loss"].value == pytest.approx(0.55)
    assert found.at["a", "loss"].high == pytest.approx(0.55 + 12.706 * 0.25, abs=1e-2)
    by_calls = means(two, {"valid": ("quality", 100)}, by=["rule", "nfe"])
    assert by_calls.at[("b", 4), "valid"].value == 25
    with pytest.raises(InputError, match="several cells: select one nfe first"):
        means(two, {"valid": ("quality", 100)})


def test_percent_leaves_all_else():
    found = percent(summary(TABLE))
    assert found[["value", "low", "high"]].equals(100 * summary(TABLE)[["value", "low", "high"]])
    assert list(found["nfe"]) == [4, 4, 4] and list(found["seeds"]) == [2, 2, 2]


def test_comparing_pairs_trainings():
    found = compare(TABLE, "a", "b").iloc[0]
    assert (found["value"], found["low"], found["high"]) == (0.25, 0.25, 0.25)  # .25 in both trainings
    mixed = TABLE.iloc[[1, 0, 3, 5, 4, 2]]  # the order of the rows says nothing
    assert tuple(compare(mixed, "c", "a").iloc[0])[2:] == pytest.approx(
        (0.5, 0.5 - 12.706 * 0.25, 0.5 + 12.706 * 0.25), abs=1e-2
    )
    elsewhere = pd.concat([TABLE, TABLE[TABLE["rule"] == "a"].assign(nfe=8)])
    assert list(compare(elsewhere, "a", "b")["nfe"]) == [4]  # b was not played with 8 calls


@pytest.mark.parametrize("pair", [("a", "b"), ("b", "a")])
def test_a_missing_training_is_an_error_that_names_it(pair):
    """On either side, as no row or as no number: never a NaN, which a verdict would read as "not better"."""
    for table in (
        TABLE.drop(index=3),
        TABLE.assign(quality=TABLE["quality"].where(TABLE.index != 3)),
    ):
        with pytest.raises(InputError, match=r"on t with 4 calls: training 1 is missing"):
            compare(table, *pair)
    with pytest.raises(InputError, match="training is there twice"):
        compare(pd.concat([TABLE, TABLE.iloc[[0]]]), *pair)


def test_a_rule_that_no_table_knows_is_named_and_a_column_that_a_task_lacks_is_left_out():
    with pytest.raises(InputError, match="no rule 'nobody'"):
        compare(TABLE, "a", "nobody")
    with pytest.raises(InputError, match="no rule 'nobody'"):
        compare(TABLE, "nobody", "a")
    two = pd.concat([TABLE.assign(pairs=0.5), TABLE.assign(task="u")])
    assert list(compare(two, "a", "b", "pairs")["task"]) == ["t"]
    assert list(compare(two, "a", "b")["task"]) == ["t", "u"]


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
        ("width/16", "t", 16, 1, 0.75),
        ("width/16", "t", 16, 2, 1.0),
    ]
    found = effects(pd.DataFrame(rows, columns=["variant", "task", "nfe", "seed", "quality"])).set_index(["variant", "nfe"])
    assert dict(found["value"]) == pytest.approx(
        {("calls/4", 4): -0.4, ("calls/16", 16): 0.25, ("width/16", 8): 0.0, ("width/16", 16): 0.125}
    )
    assert found.loc[("width/16", 8), "high"] == pytest.approx(12.706 * 0.25, abs=1e-2)  # t of one degree of freedom
    assert set(found["seeds"]) == {2} and set(found["axis"]) == {"calls", "width"}
    columns = ["variant", "task", "nfe", "seed", "quality"]
    for more, why in (
        ([("width/16", "t", 8, 3, 0.0)], "width/16 and the base on t with 8 calls: training 3 is missing"),
        ([("base", "t", 8, 3, 0.0)], "training 3 is missing"),
        ([("base", "t", 4, 3, 0.0)], "training 3 is missing"),
        ([("width/16", "u", 8, 1, 0.0)], "width/16 on u: the base was not played with 8 calls"),
    ):
        with pytest.raises(InputError, match=why):
            effects(pd.DataFrame([*rows, *more], columns=columns))


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


@pytest.mark.parametrize(("file", "content"), [("scale.csv", ""), ("scale.json", ""), ("scale.json", '{"settings"')])
def test_a_damaged_table_is_named_with_the_command_that_makes_it(file, content, tmp_path):
    TABLE.to_csv(tmp_path / "scale.csv", index=False)
    (tmp_path / "scale.json").write_text("{}")
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=rf"{file} is damaged .*`ardm arena --profile scale`"):
        stale("scale", tmp_path)


def test_tables_are_read_by_name(tmp_path):
    TABLE.to_csv(tmp_path / "scale.csv", index=False)
    (tmp_path / "scale.json").write_text('{"settings": {"seeds": 2}}')
    pd.testing.assert_frame_equal(read("scale", tmp_path), TABLE)  # outcomes are texts, not numbers
    assert facts(tmp_path, "scale") == {"settings": {"seeds": 2}}


def test_a_table_without_keys_is_stale(tmp_path):
    TABLE.to_csv(tmp_path / "final.csv", index=False)
    (tmp_path / "final.json").write_text('{"settings": {"seeds": 2}}')
    assert stale("final", tmp_path) == ["final.csv has no keys: it was made before cells had them"]


TABLES = [name for name in ("arena", "final", "scale", "grids", "ablations") if (RESULTS / f"{name}.csv").is_file()]


@pytest.mark.parametrize("name", TABLES)
def test_no_published_table_is_older_than_the_code(name):
    assert stale(name) == []


@pytest.mark.parametrize("name", [table for table in TABLES if table != "ablations"])
def test_a_published_table_is_that_of_its_profile_and_whole(name):
    """Every training of every cell, one start for all rules of a task and seed, as many calls as said."""
    table, made = read(name), facts(name=name)
    profile = PROFILES["paper" if name == "arena" else name]
    for setting in ("seeds", "count", "tuning", "tune_all", "texts_from", "tuned_up_to"):
        assert made["settings"][setting] == getattr(profile, setting), setting
    played = table[table["rule"] != REAL]
    cells = {
        (task, rule, nfe)
        for task in profile.tasks or set(played["task"])
        for rule in profile.rules or set(entries()) - set(CHALLENGERS)
        for nfe in profile.nfe or TASKS[task].nfe
        if plays(TASKS[task], entries()[rule], nfe)
    }
    seeds = played.groupby(["task", "rule", "nfe"])["seed"].agg(set)
    assert set(seeds.index) == cells and all(found == set(range(profile.seeds)) for found in seeds)
    for task, part in played.groupby("task"):
        assert set(part["count"]) == {profile.texts(TASKS[task])}
    assert (played["calls"] == played["nfe"]).all()
    assert set(played.groupby(["task", "seed"])["start"].nunique()) == {1}
    assert table["key"].is_unique and table["key"].str.fullmatch("[0-9a-f]{16}").all()
    made_by = made["provenance"]
    assert sum(one["cells"] for one in made_by) == len(table) and all(one["commit"] != "unknown" for one in made_by)


@pytest.mark.skipif("arena" not in TABLES, reason="no published tables here")
def test_the_best_setting_is_played():
    played, tuning, key = read(), read("tuning"), ["task", "rule", "nfe"]
    chosen = played.dropna(subset="knobs").groupby(key)["knobs"].first()
    for at, tried in tuning.groupby(key):
        assert tried.loc[tried["knobs"] == chosen[at], "loss"].min() <= tried["loss"].min() + 1e-5, at
    assert {"sudoku9-infill", "text8", "parity"} <= set(tuning["task"])
