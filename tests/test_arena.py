"""The arena: fair by test, resumable, and its rows are what a run by hand gives."""

import csv
import json
from dataclasses import replace

import pytest
import torch

import ardm.experiments.arena
import ardm.experiments.match
from ardm.experiments.arena import REAL, arena
from ardm.cli import main
from ardm.experiments.contestants import CONTESTANTS, GATES, SCHEDULES, choose
from ardm.worlds.corpora import locate
from ardm.method.gate import LinearHead, OverwriteGate
from ardm.experiments.match import PROFILES, Kit, Settings, digest, play, plays
from ardm.book.runs import RunFailed
from ardm.method.sampling import refine
from ardm.experiments.tasks import TASKS, Start
from ardm.base.errors import InputError

TINY = Settings(("parity",), seeds=2, count=12, tuning=6, denoiser_steps=20, gate_steps=3)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(TASKS["parity"], TINY, 0, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One small arena with a rule of each kind, and what it said."""
    folder, said = tmp_path_factory.mktemp("arena"), []
    rules = ("autoregressive", "one-way", "ReMDM cap", "attentive hide ratio", "shuffled gate", "oracle hide")
    settings = replace(TINY, rules=rules, nfe=(4, 8))
    arena(settings, folder, jobs=2, say=said.append)
    return settings, folder, said


def rows(folder, name="arena.csv"):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def test_every_rule_meets_the_same_calls_start_temperature_and_random_numbers(kit, monkeypatch):
    """No rule scores better by skipping calls, sampling colder or starting elsewhere: all that reaches the loop is compared."""
    task, seen = TASKS["parity"], []

    def spy(denoiser, rule, x, steps, **settings):
        trace = refine(denoiser, rule, x, steps, **settings)
        seen.append(
            (x.clone(), steps, {k: v for k, v in settings.items() if k != "fixed"}, settings["fixed"].clone(), trace.calls)
        )
        return trace

    monkeypatch.setattr(ardm.experiments.match, "refine", spy)
    found = {}
    for contestant in CONTESTANTS.values():
        scheduled = [{**contestant.grid[0], **when} for when in SCHEDULES if contestant.schedule]
        for knobs in (*contestant.grid, *scheduled):
            row = play(task, kit, contestant, knobs, nfe=6, seed=3, count=10)
            found[contestant.name] = (row["calls"], row["start"])
    assert len(seen) >= len(CONTESTANTS)
    x, steps, settings, fixed, _ = seen[0]
    assert settings == {"seed": 3}  # no temperature, no top_k, no patience: the loop's defaults for all
    for other in seen:
        assert torch.equal(other[0], x) and torch.equal(other[3], fixed)
        assert other[1] == steps == 6
        assert other[2] == settings
        assert (other[4] == 6).all()
    assert len(set(found.values())) == 1


def test_no_gate_and_no_rule_changes_the_denoiser(kit):
    before = {k: v.clone() for k, v in kit.denoiser().state_dict().items()}
    for name in GATES:
        kit.gates(name)
    after = kit.denoiser().state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(gate.training for gate in (kit.gates(name)[name] for name in GATES))


def test_every_rule_of_the_field_competes_once_and_says_where_it_is_from():
    names = list(CONTESTANTS)
    assert len(names) == len(set(names)) >= 35
    field = (
        "left-to-right one-way max-prob margin entropy-bounded fixed uniform all-resample Mask-Predict cap rescale conf loop P2 "
        "PRISM T2T low-prob logit-diff informed DDPD final-token linear noisy-OR product logit-sum p=u hide shuffled random oracle"
    )
    for word in field.split():
        assert any(word in name for name in names), word
    for contestant in CONTESTANTS.values():
        assert contestant.source
        assert "," not in contestant.name  # the command line separates by commas
        assert contestant.gate is None or contestant.gate in GATES
        assert contestant.like is None or contestant.like in CONTESTANTS
    with pytest.raises(InputError, match="no rule 'magic'"):
        choose(["magic"])


def test_gates_trained_before_a_field_was_added_keep_their_file_names(tmp_path):
    """The names that a first run of the paper profile gave; a recipe with a younger field changed has another."""
    kit = Kit(TASKS["sudoku"], Settings(), 0, tmp_path)
    assert {name: kit.file(name).stem for name in ("linear", "mismatch", "ratio", "hidden", "final")} == {
        "linear": "d71ae8f7c29c-linear-c87041bee338",
        "mismatch": "d71ae8f7c29c-mismatch-77607f05e48f",
        "ratio": "d71ae8f7c29c-ratio-498ff020ce6e",
        "hidden": "d71ae8f7c29c-hidden-e91e41ca4b47",
        "final": "d71ae8f7c29c-final-bff7b7baf0b4",
    }
    recipe = kit.settings.gate_recipe(kit.task, "ratio", 0)
    assert digest(recipe.choices) == "498ff020ce6e"
    others = {digest(replace(recipe, **change).choices) for change in ({"width": 16}, {"hidden": False}, {"seed": 1})}
    assert len(others - {"498ff020ce6e"}) == 3


def test_cells_played_before_a_field_was_added_keep_their_file_names(tmp_path):
    """The names that a run of the paper profile gave before recipes had a precision."""
    names = [
        ardm.experiments.arena.Job(*at, 0, (), Settings(), tmp_path).file.stem
        for at in (("agreement", "one-way", 8), ("sudoku9-infill", "Mask-Predict", 16))
    ]
    assert names == ["6b5704d93a1e", "532771a9b15e"]


class Planned(Exception):
    """Raised instead of playing."""


def planned(monkeypatch, settings, folder, until):
    """What an arena would do, phase by phase, up to one; nothing is done."""
    phases = {}

    def note(pool, what, do, jobs, say):
        phases[what] = list(jobs)
        if what == until:
            raise Planned

    monkeypatch.setattr(ardm.experiments.arena, "_all", note)
    with pytest.raises(Planned):
        arena(settings, folder, jobs=1)
    return phases


def test_by_default_the_arena_plays_its_ten_tasks_and_no_ladder(monkeypatch, tmp_path):
    cells = planned(monkeypatch, Settings(seeds=1, tuning=0), tmp_path, "cells")["cells"]
    assert {job.task for job in cells} == {
        *("agreement", "sudoku", "brackets", "addition", "parity", "agreement-repair", "agreement-own"),
        *("sudoku9-infill", "sudoku9-repair", "text8"),
    }


def test_the_scale_profile_trains_one_denoiser_a_rung_and_tunes_at_the_calls_that_it_plays(monkeypatch, tmp_path):
    phases = planned(monkeypatch, PROFILES["scale"], tmp_path, "searches")
    rungs = [f"agreement-{rung}" for rung in ("16", "32", "64", "narrow", "wide")]
    assert sorted(part.task for part in phases["denoisers"]) == rungs
    assert len(phases["gates"]) == 5 * 5  # rungs, trainings
    searched = {(job.task, job.rule, job.nfe) for job in phases["searches"]}
    for rule in ("attentive hide ratio", "T2M low-prob", "oracle hide"):
        calls = {(task, nfe) for task, name, nfe in searched if name == rule}
        assert {nfe for task, nfe in calls if task == "agreement-64"} == {16, 32}
        assert {nfe for task, nfe in calls if task == "agreement-16"} == {4, 8}
        assert len(calls) == 10


@pytest.mark.skipif(locate("text8") is None, reason="text8 is not here")
def test_every_rule_of_the_gpu_profile_plays_its_task_with_a_small_model(tmp_path):
    settings = replace(PROFILES["scale-gpu"], denoiser_steps=2, gate_steps=2)
    task = TASKS[settings.tasks[0]]
    task = replace(task, recipe=replace(task.recipe, length=32, width=16, depth=1, heads=2, batch=4))
    kit = Kit(task, settings, 1, tmp_path)
    rules = [CONTESTANTS[rule] for rule in settings.rules if plays(task, CONTESTANTS[rule], 4)]
    assert len(rules) == len(settings.rules) - 1  # no oracle knows what is wrong in real text
    for contestant in rules:
        row = play(task, kit, contestant, contestant.grid[0], nfe=4, seed=1, count=4)
        assert row["calls"] == 4 and 0 <= row["quality"] <= 1
    assert "bfloat16" in (tmp_path / kit.file("denoiser").name).read_bytes().decode("latin-1")


def test_the_autoregressive_model_plays_one_call_a_token_alone():
    task = TASKS["parity"]
    assert [nfe for nfe in (4, 8, 16) if plays(task, CONTESTANTS["autoregressive"], nfe)] == [8]
    assert not plays(TASKS["agreement-repair"], CONTESTANTS["one-way"], 8)  # it could not change a token
    assert plays(TASKS["agreement-repair"], CONTESTANTS["oracle hide"], 8)


def test_a_small_arena_whole(played):
    settings, folder, said = played
    table = rows(folder)
    cells = {(r["rule"], int(r["nfe"]), int(r["seed"])) for r in table}
    rules = [r for r in settings.rules if r != "autoregressive"]
    assert cells == {(r, n, s) for r in rules for n in (4, 8) for s in (0, 1)} | {("autoregressive", 8, s) for s in (0, 1)} | {
        (REAL, 0, s) for s in (0, 1)
    }
    for row in table:
        assert row["rule"] == REAL or float(row["calls"]) == int(row["nfe"])
        assert 0 <= float(row["quality"]) <= 1
        assert int(row["outcomes"], 16).bit_count() == round(12 * float(row["quality"]))
    assert len({r["start"] for r in table if r["rule"] != REAL and r["seed"] == "0"}) == 1
    tried = rows(folder, "tuning.csv")
    for name in ("ReMDM cap", "attentive hide ratio"):
        mine = [r for r in tried if r["rule"] == name and r["nfe"] == "4"]
        best, left = {"knobs": "{}"}, list(mine)
        for stage in CONTESTANTS[name].stages:  # the writing order is tried with the best of the rule's own settings
            now, left = left[: len(stage)], left[len(stage) :]
            assert [json.loads(r["knobs"]) for r in now] == [json.loads(best["knobs"]) | choice for choice in stage]
            best = min(now, key=lambda r: float(r["loss"]))
        assert left == []
        assert {r["knobs"] for r in table if r["rule"] == name and r["nfe"] == "4"} == {best["knobs"]}
    chosen = {(r["nfe"], r["knobs"]) for r in table if r["rule"] == "attentive hide ratio"}
    assert {(r["nfe"], r["knobs"]) for r in table if r["rule"] == "shuffled gate"} == chosen
    facts = json.loads((folder / "arena.json").read_text())
    assert facts["provenance"]["torch"] == torch.__version__.split("+")[0]
    assert facts["settings"]["count"] == 12
    assert said[-1].startswith("cells: 24 of 24")


def test_every_rule_that_writes_on_a_schedule_is_tuned_over_the_same_ones():
    """A rule has an order of writing exactly when its order is tuned, so that none of them alone has the better one."""
    gates = dict.fromkeys(GATES, OverwriteGate(LinearHead()))
    start = Start(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.bool), wrong=lambda x: x > 0)
    for contestant in CONTESTANTS.values():
        rule = contestant.make(gates, start, **contestant.grid[0]) if contestant.name != "document's gate" else None
        assert contestant.schedule == hasattr(getattr(rule, "rule", rule), "order") or contestant.like, contestant.name
        assert (SCHEDULES in contestant.stages) == contestant.schedule
    assert len(SCHEDULES) == 9 and SCHEDULES[0] == {"order": "random", "written_by": 0.6}


def test_a_setting_can_be_tried_on_every_training(played):
    """The mean over both denoisers, each on its half of the texts; on a task with one denoiser the first alone."""
    settings, folder, _ = played
    both = replace(settings, tune_all=True)
    job = ardm.experiments.arena.Job("parity", "ReMDM cap", 4, 0, None, both, folder)
    assert job.file != replace(job, settings=settings).file
    ardm.experiments.arena._work(job)
    tried = json.loads(job.file.read_text())["tried"]
    rule = CONTESTANTS["ReMDM cap"]
    for row, knobs in zip(tried, rule.grid, strict=True):
        kits = [Kit(TASKS["parity"], settings, seed, folder / "models") for seed in (0, 1)]
        halves = [play(TASKS["parity"], kit, rule, knobs, nfe=4, seed=ardm.experiments.arena.TUNING_SEED, count=3) for kit in kits]
        assert row["quality"] == pytest.approx(sum(half["quality"] for half in halves) / 2)
        assert row["count"] == 6
    assert (len(both.tuners(TASKS["parity"])), len(both.tuners(TASKS["text8"])), len(settings.tuners(TASKS["parity"]))) == (
        2,
        1,
        1,
    )


def test_other_texts_are_other_texts_of_the_same_trainings(played):
    settings, folder, _ = played
    new = replace(settings, texts_from=50)
    jobs = [ardm.experiments.arena.Job("parity", "one-way", 4, 1, (), one, folder) for one in (settings, new)]
    assert jobs[0].file != jobs[1].file
    kit = Kit(TASKS["parity"], settings, 1, folder / "models")
    row = play(TASKS["parity"], kit, CONTESTANTS["one-way"], {}, nfe=4, seed=51, count=12)
    ardm.experiments.arena._work(jobs[1])
    stored = json.loads(jobs[1].file.read_text())
    assert (stored["seed"], stored["outcomes"]) == (1, row["outcomes"])
    assert Kit(TASKS["parity"], new, 1, folder / "models").file("denoiser") == kit.file("denoiser")


def test_a_cell_is_what_a_run_by_hand_gives(played, tmp_path):
    settings, folder, _ = played
    kit = Kit(TASKS["parity"], settings, 1, folder / "models")
    row = play(TASKS["parity"], kit, CONTESTANTS["one-way"], {}, nfe=4, seed=1, count=12)
    stored = next(r for r in rows(folder) if (r["rule"], r["nfe"], r["seed"]) == ("one-way", "4", "1"))
    for name in ("quality", "loss", "words", "overwrites", "settled"):
        assert float(stored[name]) == pytest.approx(row[name], rel=1e-5)
    assert stored["outcomes"] == row["outcomes"]


def test_an_interrupted_arena_goes_on_where_it_stopped(played):
    """One cell is removed: only that one is played again, and the table is the same but for its seconds."""
    settings, folder, _ = played
    before, cells = rows(folder), sorted((folder / "cells").rglob("*.json"))
    lost = next(c for c in cells if json.loads(c.read_text()).get("rule") == "one-way")
    times = {c: c.stat().st_mtime_ns for c in cells if c != lost}
    lost.unlink()
    said = []
    arena(settings, folder, jobs=1, say=said.append)
    assert said == [s for s in said if s.startswith(("denoisers", "gates"))] + [said[-1]]
    assert said[-1].startswith("cells: 1 of 1")
    assert {c: c.stat().st_mtime_ns for c in times} == times
    strip = lambda table: [{k: v for k, v in r.items() if k != "seconds"} for r in table]  # noqa: E731
    assert strip(rows(folder)) == strip(before)


def test_a_failed_cell_is_named_and_the_others_are_kept(played, monkeypatch):
    settings, folder, _ = played
    broken = replace(settings, rules=("uniform refinement",), nfe=(4,), tuning=0)
    bad, good = (ardm.experiments.arena.Job("parity", "uniform refinement", 4, s, (("rate", 0.5),), broken, folder).file for s in (1, 0))
    bad.mkdir(parents=True)  # a file cannot be put here
    monkeypatch.setattr(ardm.experiments.arena, "_missing", list)
    with pytest.raises(RunFailed, match=r"1 of 4 cells failed.*uniform refinement on parity, 4 calls, seed 1"):
        arena(broken, folder, jobs=1, say=lambda _: None)
    assert good.is_file()


def test_bad_settings_are_named_before_anything_runs(tmp_path, capsys):
    for arguments, word in (
        (["--tasks", "chess"], "no task 'chess'"),
        (["--tasks", "agreement-64,text8-85m", "--rules", "autoregressive"], "nothing to play"),  # known, though by name alone
        (["--rules", "one-way,magic"], "no rule 'magic'"),
        (["--nfe", "4,none"], "'none'"),
        (["--nfe", "0"], "nfe=0"),
        (["--seeds", "0"], "seeds=0"),
        (["--rules", "autoregressive", "--nfe", "5"], "nothing to play"),
        (["--jobs", "0"], "jobs=0"),
    ):
        assert main(["arena", "--out", str(tmp_path / "a"), *arguments]) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
