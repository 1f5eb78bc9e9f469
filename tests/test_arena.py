"""The arena: fair by test, resumable, never older than its code, and its rows are what a run by hand gives."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ardm.experiments.play
from ardm.base import fingerprint, graph
from ardm.base.errors import InputError
from ardm.base.graph import UnitsFailed
from ardm.experiments.arena import Arena, arena
from ardm.experiments.cells import CHALLENGERS, REAL, TUNING, Cell, Loaded, Reference, Search, Settings, Training, play, plays
from ardm.experiments.make import asked
from ardm.experiments.profiles import PROFILES
from ardm.experiments.results import publish, read, stale, state
from ardm.experiments.scores import LawFidelity
from ardm.experiments.store import Store, facts_of
from ardm.experiments.tasks import TASKS
from ardm.experiments.work import Place, training_batches
from ardm.method.entry import SCHEDULES
from ardm.method.gate_recipe import GATES
from ardm.method.rules import choose, entries
from ardm.method.sampling import blank, refine
from ardm.worlds.registry import locate

TINY = Settings(tasks=("parity",), seeds=2, count=12, tuning=6, denoiser_steps=20, gate_steps=3)
PARITY = TASKS["parity"]
ROOT = Path(ardm.__file__).parents[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Loaded(Store(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """One small arena with a rule of each kind, in a path with a space and an umlaut, and what it said."""
    folder, said = tmp_path_factory.mktemp("arena") / "ä b", []
    rules = ("autoregressive", "one-way", "ReMDM cap", "attentive hide ratio", "shuffled gate", "oracle hide")
    settings = replace(TINY, rules=rules, nfe=(4, 8))
    arena(settings, folder, jobs=2, say=said.append)
    return settings, folder, said


def rows(folder, name="arena.csv"):
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def rows_but_seconds(folder, name="arena.csv"):
    return [{column: value for column, value in row.items() if column != "seconds"} for row in rows(folder, name)]


def order(said):
    """What was done, as it ended."""
    return [line.partition("] ")[2].split("  ")[0] for line in said]


def plan(settings, folder=Path("nowhere")):
    """The searches and the trainings of an arena."""
    whole = Arena(settings, Place(folder, folder / "models"))
    return whole.searches, [one for batch in training_batches([*whole.searches, *whole.cells()]) for one in batch.jobs]


def cell(task=PARITY, rule="one-way", settings=TINY, nfe=4, seed=0, knobs=None):
    entry = entries()[rule]
    return settings.cell(task, entry, nfe=nfe, seed=seed, knobs=entry.knobs[0] if knobs is None else knobs)


# Fairness ----------------------------------------------------------------------------------------------------------------


def test_every_rule_meets_the_same_calls_start_temperature_and_random_numbers(models, monkeypatch):
    """No rule scores better by skipping calls, sampling colder or starting elsewhere: all that reaches the loop is compared."""
    seen = []

    def spy(denoiser, rule, x, steps, **settings):
        trace = refine(denoiser, rule, x, steps, **settings)
        seen.append(
            (x.clone(), steps, {k: v for k, v in settings.items() if k != "fixed"}, settings["fixed"].clone(), trace.calls)
        )
        return trace

    monkeypatch.setattr(ardm.experiments.play, "refine", spy)
    found = {}
    for entry in entries().values():
        scheduled = [{**entry.knobs[0], **when} for when in SCHEDULES if entry.scheduled]
        parts = TINY.training(PARITY, entry, 0).parts(models)
        for knobs in (*entry.knobs, *scheduled):
            row = play(PARITY, entry, parts, knobs, nfe=6, seed=3, count=10)
            found[entry.name] = (row["calls"], row["start"])
    assert len(seen) >= len(entries())
    x, steps, settings, fixed, _ = seen[0]
    assert settings == {"seed": 3}  # no temperature, no patience, no first row: the loop's defaults for all
    for other in seen:
        assert torch.equal(other[0], x) and torch.equal(other[3], fixed)
        assert other[1] == steps == 6
        assert other[2] == settings
        assert (other[4] == 6).all()
    assert len(set(found.values())) == 1


def test_no_gate_and_no_rule_changes_the_denoiser(models):
    recipe = TINY.recipe(PARITY, 0)
    before = {k: v.clone() for k, v in models.denoiser(recipe).state_dict().items()}
    gates = [models.gate(TINY.gate_recipe(PARITY, gate, 0), recipe) for gate in GATES.values()]
    after = models.denoiser(recipe).state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(gate.training for gate in gates)


def test_the_autoregressive_model_plays_one_call_a_token_alone():
    named = entries()
    assert [nfe for nfe in (4, 8, 16) if plays(PARITY, named["autoregressive"], nfe)] == [8]
    assert not plays(TASKS["agreement-repair"], named["one-way"], 8)  # it could not change a token
    assert plays(TASKS["sudoku9-infill"], named["one-way"], 8)
    assert plays(TASKS["agreement-repair"], named["oracle hide"], 8)
    assert not plays(TASKS["text8"], named["oracle hide"], 8)  # nobody knows what is wrong in real text
    assert not plays(TASKS["text8"], named["ReMDM conf"], 8) and plays(TASKS["text8-10m"], named["ReMDM conf"], 64)


def test_each_rule_says_whether_it_plays_the_long_tasks():
    """Those of the first tables, written out: the rules of the field that were best elsewhere, this book's, and the controls."""
    assert {entry.name for entry in entries().values() if plays(TASKS["sudoku9-infill"], entry, 8)} == {
        *("left-to-right", "one-way", "max-prob", "margin", "fixed schedule", "uniform refinement", "all-resample"),
        *("Mask-Predict", "ReMDM cap", "P2-self", "PRISM head", "T2T threshold", "T2M low-prob", "informed corrector"),
        *("document's gate", "learned noisy-OR in place", "learned p=u in place", "learned hide mismatch"),
        *("learned hide ratio", "attentive hide ratio", "shuffled gate", "random gate", "oracle hide"),
        *CHALLENGERS,
    }


def test_by_default_the_arena_plays_its_ten_tasks_and_no_ladder():
    assert {task.name for task, *_ in Settings().matches()} == {
        *("agreement", "sudoku", "brackets", "addition", "parity", "agreement-repair", "agreement-own"),
        *("sudoku9-infill", "sudoku9-repair", "text8"),
    }


def test_the_scale_profile_trains_one_denoiser_a_rung_and_tunes_at_the_calls_that_it_plays():
    searches, trainings = plan(PROFILES["scale"])
    assert len([one for one in trainings if one.gate is None]) == 5  # rungs
    assert len([one for one in trainings if one.gate is not None]) == 5 * 5  # rungs, trainings
    for rule in ("attentive hide ratio", "T2M low-prob", "oracle hide"):
        calls = {(search.task.name, search.nfe) for search in searches if search.rule == rule}
        assert {nfe for task, nfe in calls if task == "agreement-64"} == {16, 32}
        assert {nfe for task, nfe in calls if task == "agreement-16"} == {4, 8}
        assert len(calls) == 10


@pytest.mark.skipif(locate("text8") is None, reason="text8 is not here")
def test_every_rule_of_the_gpu_profile_plays_its_task_with_a_small_model(tmp_path):
    settings = replace(PROFILES["scale-gpu"], denoiser_steps=2, gate_steps=2, count=8)
    task = TASKS[settings.tasks[0]]
    task = replace(task, recipe=replace(task.recipe, length=32, width=16, depth=1, heads=2, batch=4))
    models = Loaded(Store(tmp_path))
    rules = [rule for rule in settings.rules if plays(task, entries()[rule], 4)]
    assert len(rules) == len(settings.rules) - 1  # all but the oracle
    for rule in rules:
        row = cell(task, rule, settings, seed=1).run(models)
        assert row["calls"] == 4 and 0 <= row["quality"] <= 1
    assert {facts_of(path)["recipe"].get("precision", "bfloat16") for path in tmp_path.glob("*.safetensors")} == {"bfloat16"}


def test_a_process_that_looks_at_the_task_of_its_batch_alone_finds_the_same_jobs(tmp_path):
    settings, place = replace(TINY, tasks=("parity", "sudoku"), nfe=None), Place(tmp_path, tmp_path)
    whole = {batch.name: batch for batch in Arena(settings, place).open()}
    of_one_task = [batch for batch in whole.values() if batch.task == "sudoku"]
    alone = {batch.name: batch for batch in Arena(replace(settings, tasks=("sudoku",)), place).open()}
    assert {batch.kind for batch in of_one_task} == {"search", "play"}
    for batch in of_one_task:
        assert alone[batch.name].jobs == batch.jobs


def test_a_gpu_trains_while_the_cores_play_small_models(tmp_path, monkeypatch):
    """Matches of wide models go to the GPU too. Without a GPU nobody asks for one."""
    seen = []

    def stop(units, *_, **how):
        seen[:] = units
        raise UnitsFailed("stopped here")

    monkeypatch.setattr(graph, "run", stop)

    def asked(settings, **how):
        with pytest.raises(UnitsFailed):
            arena(settings, tmp_path, **how)
        return {(unit.kind, unit.gpu, "ARDM_DEVICE=cpu" in unit.command) for unit in seen}

    small = replace(TINY, rules=("all-resample",), tune_all=True)
    assert asked(small, gpus=1) == {("train", 1, False), ("play", 0, True)}
    assert asked(replace(small, tasks=("text8-10m",)), gpus=1) == {("train", 1, False), ("play", 1, False)}
    assert not any("ARDM_DEVICE=cpu" in unit.command for unit in seen)
    asked(small, gpus=0)
    assert not any("ARDM_DEVICE=cpu" in unit.command for unit in seen)


# What a table says -------------------------------------------------------------------------------------------------------


def test_a_cell_that_was_cut_off_is_made_again_and_one_that_is_another_is_named(played, tmp_path):
    settings, folder, _ = played
    shutil.copytree(folder, tmp_path / "copy")
    place = Place(tmp_path / "copy", tmp_path / "copy" / "models")
    one, other = Arena(settings, place).cells()[:2]
    whole, said = place.kept(one), []
    for cut in ("", json.dumps(whole)[:99]):
        place.file(one).write_text(cut)
        assert not place.has(one) and place.has(other)
    arena(settings, place.folder, jobs=1, say=said.append)
    assert len(said) == 1 and {**place.kept(one)["result"], "seconds": 0} == {**whole["result"], "seconds": 0}
    for wrong, why in ((place.file(other).read_text(), "it is that of"), ("[]\n", "TypeError"), ("{\n", "JSONDecodeError")):
        place.file(one).write_text(wrong)
        with pytest.raises(InputError, match=rf"{place.file(one).name} is damaged \({why}.*remove it"):
            place.kept(one)


def test_only_whole_tables_of_their_profile_are_published(played, tmp_path, monkeypatch):
    settings, folder, _ = played
    book = tmp_path / "book"
    book.mkdir()
    with pytest.raises(InputError, match="were made with other settings than `ardm arena --profile final` has"):
        publish("final", folder, book)
    monkeypatch.setitem(PROFILES, "final", settings)
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    (part / "arena.csv").write_text("\n".join((folder / "arena.csv").read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"not of today's code \(the cells: 1 of"):
        publish("final", part, book)
    assert not list(book.iterdir())
    assert {path.name for path in publish("final", folder, book)} == {"final.csv", "final.json", "datapackage.json"}
    content = (folder / "arena.csv").read_bytes()
    assert (book / "final.csv").read_bytes() == content
    sums = {"sha256": {"final.csv": hashlib.sha256(content).hexdigest()}}
    assert json.loads((book / "final.json").read_text()) == json.loads((folder / "arena.json").read_text()) | sums
    assert len(read("final", book)) == len(rows(folder))
    (book / "final.csv").write_bytes(content.replace(b"parity", b"purity", 1))
    with pytest.raises(InputError, match=r"final\.csv is damaged \(it is not the file that was published\): make it with"):
        read("final", book)


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
    assert len({r["key"] for r in table}) == len(table) == 24
    tried = rows(folder, "tuning.csv")
    for name in ("ReMDM cap", "attentive hide ratio"):
        mine = [r for r in tried if r["rule"] == name and r["nfe"] == "4"]
        best, left = {"knobs": "{}"}, list(mine)
        for stage in entries()[name].stages:  # the writing order is tried with the best of the rule's own settings
            now, left = left[: len(stage)], left[len(stage) :]
            assert [json.loads(r["knobs"]) for r in now] == [json.loads(best["knobs"]) | choice for choice in stage]
            best = min(now, key=lambda r: float(r["loss"]))
        assert left == []
        assert {r["knobs"] for r in table if r["rule"] == name and r["nfe"] == "4"} == {best["knobs"]}
    chosen = {(r["nfe"], r["knobs"]) for r in table if r["rule"] == "attentive hide ratio"}
    assert {(r["nfe"], r["knobs"]) for r in table if r["rule"] == "shuffled gate"} == chosen
    assert {line.split("  ")[0] for line in said} == {f"[{n}/5] {what}" for n, what in enumerate(order(said), 1)}
    assert order(said)[-1].startswith("play: ") and sorted(order(said)) == [
        "play: parity, training 0, part 1",
        "play: parity, training 1, part 1",
        "search: parity, part 1",
        "train: models of parity, 8 tokens, training 0",
        "train: models of parity, 8 tokens, training 1",
    ]


def test_one_worker_makes_the_tables_that_two_make(played, tmp_path):
    settings, folder, _ = played
    arena(settings, tmp_path, jobs=1, say=lambda _: None)
    for name in ("arena.csv", "tuning.csv"):
        by_one, by_two = (rows_but_seconds(at, name) for at in (tmp_path, folder))
        assert by_one == by_two and len(by_one) > 20


def test_a_cell_is_what_a_run_by_hand_gives(played):
    """Parity by counting ones, the sampler called directly: nothing of cells, tasks or scores is used."""
    settings, folder, _ = played
    denoiser = Store(folder / "models").denoiser(settings.recipe(PARITY, 1))
    entry = entries()["one-way"]
    trace = refine(denoiser, entry.make(), blank(12, 8, 2), 4, seed=1)
    even = (trace.x.sum(1) % 2 == 0).tolist()
    stored = next(r for r in rows(folder) if (r["rule"], r["nfe"], r["seed"]) == ("one-way", "4", "1"))
    assert stored["outcomes"] == f"{int(''.join(str(int(bit)) for bit in even), 2):03x}"
    assert float(stored["quality"]) == pytest.approx(sum(even) / 12, abs=1e-6)
    assert float(stored["words"]) == pytest.approx(abs(trace.x.double().mean().item() - 0.5), abs=1e-6)
    assert float(stored["settled"]) == pytest.approx(trace.settled.double().mean().item(), abs=1e-5)


def test_a_table_says_of_which_code_and_machines_its_cells_are_and_what_all_of_it_took(played, tmp_path):
    """One cell and one search came from another commit, an hour each: the table counts them there, whoever writes it."""
    settings, folder, _ = played
    shutil.copytree(folder, tmp_path / "copy")
    folder = tmp_path / "copy"
    before = json.loads((folder / "arena.json").read_text())
    assert [(one["cells"], one["searches"]) for one in before["provenance"]] == [(24, 6)]
    assert before["provenance"][0]["torch"] == torch.__version__.split("+")[0]
    assert before["settings"]["count"] == 12
    assert before["training_seconds"] == round(
        sum(facts_of(path)["seconds"] for path in (folder / "models").glob("*.safetensors"))
    )
    kept = {path: json.loads(path.read_text()) for path in (folder / "cells").rglob("*.json")}
    for wanted, kind in (("one-way", Cell), ("ReMDM cap", Search)):
        path = next(p for p, k in kept.items() if k["made"]["rule"] == wanted and ("tuners" in k["made"]) == (kind is Search))
        told = kept[path]
        told["provenance"]["commit"], told["seconds"] = "0123456789ab", 3600.0
        path.write_text(json.dumps(told) + "\n")
    arena(settings, folder, jobs=1, say=lambda _: None)
    after = json.loads((folder / "arena.json").read_text())
    counts = {one["commit"]: (one["cells"], one["searches"]) for one in after["provenance"]}
    assert counts == {before["provenance"][0]["commit"]: (23, 5), "0123456789ab": (1, 1)}
    assert sum(one["trainings"] for one in after["provenance"]) == len(list((folder / "models").glob("*.safetensors")))
    assert after["playing_seconds"] >= 3600 and after["search_seconds"] >= 3600
    assert after["key"] == before["key"]


def test_an_interrupted_arena_goes_on_where_it_stopped(played):
    """One cell is removed: only that one is played again, and the table is the same but for its seconds."""
    settings, folder, _ = played
    before, cells = rows_but_seconds(folder), sorted((folder / "cells").rglob("*.json"))
    lost = next(c for c in cells if json.loads(c.read_text())["made"]["rule"] == "one-way")
    times = {c: c.stat().st_mtime_ns for c in cells if c != lost}
    lost.unlink()
    said = []
    arena(settings, folder, jobs=1, say=said.append)
    assert len(said) == 1 and said[0].startswith("[1/1] play: parity, training ")
    assert {c: c.stat().st_mtime_ns for c in times} == times
    assert rows_but_seconds(folder) == before


def test_a_table_knows_when_it_is_stale(played, tmp_path):
    _, folder, _ = played
    for name in ("arena.csv", "arena.json"):
        shutil.copy(folder / name, tmp_path / name)
    assert stale("arena", tmp_path) == [] and state("arena", tmp_path) == "of today's code"
    made, table = json.loads((tmp_path / "arena.json").read_text()), (tmp_path / "arena.csv").read_text()
    row = rows(folder)[3]
    (tmp_path / "arena.csv").write_text(table.replace(row["key"], "0" * 16))
    assert stale("arena", tmp_path) == [
        f"the cells: 1 of 24 are others than today, such as parity {row['rule']} {row['nfe']} {row['seed']}"
    ]
    (tmp_path / "arena.csv").write_text("\n".join(table.splitlines()[:-1]) + "\n")
    assert any(why.startswith("the cells: 1 of 24") for why in stale("arena", tmp_path))
    (tmp_path / "arena.csv").write_text(table)
    for change, why in (
        ({"settings": {**made["settings"], "count": 13}}, "the cells: 24 of 24"),
        ({"settings": {**made["settings"], "tuning": 7}}, "other searches"),
        ({"code": {**made["code"], "one-way": "0" * 16}}, "the code: 1 of 7 are others than today, such as one-way"),
        ({"versions": {**made["versions"], "torch": "1.0"}}, "the versions: 1 of 3 are others than today, such as torch"),
    ):
        (tmp_path / "arena.json").write_text(json.dumps(made | change))
        assert any(reason.startswith(why) for reason in stale("arena", tmp_path)), why


# Keys --------------------------------------------------------------------------------------------------------------------


def code_of(monkeypatch, module, change):
    """The package as if the source of one module were another."""
    true = fingerprint.source
    monkeypatch.setattr(fingerprint, "source", lambda path: change(true(path)) if path.stem == module else true(path))
    fingerprint.code.cache_clear()


@pytest.fixture
def other_code(monkeypatch):
    yield lambda module: code_of(monkeypatch, module, lambda text: text + "\nx = 1")
    monkeypatch.undo()
    fingerprint.code.cache_clear()


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("one_way", {"one-way"}),
        ("hide", {"hide"}),
        ("sampling", {"one-way", "hide", "real", "search"}),
        ("scores", {"one-way", "hide", "real", "search"}),
        ("fidelity", {"one-way", "hide", "real", "search"}),
        ("play", {"one-way", "hide", "real", "search"}),
        ("remdm", {"search"}),
        ("tasks", set()),
        ("profiles", set()),
        ("arena", set()),
        ("cells", set()),
        ("results", set()),
        ("figures", set()),
    ],
)
def test_a_cell_is_named_by_the_code_that_it_runs_and_by_no_other(other_code, module, again):
    jobs = {
        "one-way": cell(),
        "hide": replace(cell(rule="linear gate hide"), training=cell().training),  # the gate's own code is in the gate's key
        "real": Reference(task=PARITY, seed=0, texts=0, count=12),
        "search": TINY.search(PARITY, entries()["ReMDM cap"], 4),
    }
    before = {name: job.key for name, job in jobs.items()}
    other_code(module)
    after = {name: replace(job).key for name, job in jobs.items()}  # a copy that has no key yet
    assert {name for name in jobs if before[name] != after[name]} == again


def test_a_cell_is_named_by_all_that_decides_it():
    gated = cell(rule="attentive hide ratio")
    others = [
        gated,
        cell(rule="learned hide ratio", knobs=dict(gated.knobs)),
        cell(rule="attentive hide ratio", knobs={**dict(gated.knobs), "budget": 3}),
        cell(rule="attentive hide ratio", nfe=5),
        cell(rule="attentive hide ratio", seed=1),
        cell(rule="attentive hide ratio", settings=replace(TINY, count=13)),
        cell(rule="attentive hide ratio", settings=replace(TINY, texts_from=50)),
        cell(rule="attentive hide ratio", settings=replace(TINY, denoiser_steps=21)),
        cell(rule="attentive hide ratio", settings=replace(TINY, gate_steps=4)),
        cell(replace(PARITY, score_by=LawFidelity(counted="1")), rule="attentive hide ratio"),
        cell(replace(PARITY, name="odd"), rule="attentive hide ratio"),
        cell(replace(PARITY, gate_share=0.5), rule="attentive hide ratio"),
        replace(gated, training=Training(gated.training.denoiser, replace(gated.training.gate, rate=1e-3))),
    ]
    assert len({one.key for one in others}) == len(others)
    for same in (
        replace(TINY, tuning=3),
        replace(TINY, rules=("one-way",)),
        replace(TINY, seeds=9),
        replace(TINY, tune_all=True),
    ):
        assert cell(rule="attentive hide ratio", settings=same).key == gated.key
    for same in (replace(PARITY, title="bits"), replace(PARITY, nfe=(4,))):
        assert cell(same, rule="attentive hide ratio").key == gated.key


def test_what_decides_a_table_column_changes_the_file(tmp_path):
    """The counted word decides the loss, so that a cell with another one lies elsewhere."""
    task = TASKS["agreement"]
    files = {cell(replace(task, score_by=LawFidelity(counted=word))).file(tmp_path) for word in (None, ".", "a")}
    assert len(files) == 3


RUN = """
import sys
from pathlib import Path
from ardm.base.graph import UnitsFailed
from ardm.experiments.arena import arena
from ardm.experiments.cells import Settings
settings = Settings(
    tasks=("parity",), rules=("one-way", "all-resample"), nfe=(4,), seeds=1, count=4, tuning=0, denoiser_steps=3
)
try:
    arena(settings, Path(sys.argv[1]), jobs=1)
except UnitsFailed as error:
    print("FAILED", error)
"""


def test_no_table_outlives_its_code(tmp_path):
    """A copy of the package is edited. A comment and a docstring: nothing is played. A rule that raises: it is played, and says so,
    and the line that it gives says the same; the other rule is left alone.
    """
    shutil.copytree(ROOT / "ardm", tmp_path / "ardm", ignore=shutil.ignore_patterns("models", "results", "__pycache__"))
    where = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    rule = tmp_path / "ardm" / "method" / "rules" / "one_way.py"

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=where, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    first = run(sys.executable, "-c", RUN, "out")
    assert "[1/2] train: models of parity" in first and "[2/2] play: parity, training 0" in first, first
    table = (tmp_path / "out" / "arena.csv").read_bytes()

    head = "    def __call__(self, step: Step, chance: Chance) -> Action:\n"
    text = rule.read_text()
    assert head in text
    rule.write_text(text.replace(head, head + '        """Another docstring."""\n        # and a comment\n'))
    assert run(sys.executable, "-c", RUN, "out") == ""
    assert (tmp_path / "out" / "arena.csv").read_bytes() == table

    rule.write_text(text.replace(head, head + '        raise ArithmeticError("this rule is broken")\n'))
    told = run(sys.executable, "-c", RUN, "out")
    assert "FAILED 1 of 1 units failed" in told and "1 of 1 jobs failed" in told
    assert "one-way on parity, 4 calls, seed 0: ArithmeticError: this rule is broken" in told
    line = next(line for line in told.splitlines() if line.strip().startswith("ardm again"))
    alone = run(sys.executable, "-m", *line.split())
    assert "one_way.py" in alone and alone.strip().endswith("ArithmeticError: this rule is broken")


# Tuning ------------------------------------------------------------------------------------------------------------------


def test_with_tune_all_every_denoiser_tries_a_setting_on_texts_of_its_own(models):
    """Seven texts for two denoisers: four and three, of different seeds, all different, and in the mean each weighs the same."""
    task, rule = TASKS["agreement-repair"], entries()["ReMDM cap"]
    settings = replace(TINY, tune_all=True, tuning=7, denoiser_steps=2)
    search = settings.search(task, rule, 4)
    assert [(training.denoiser.seed, seed, count) for training, seed, count in search.tuners] == [
        (0, TUNING, 4),
        (1, TUNING + 1, 3),
    ]
    starts = [task.start(count, seed=seed).x for _, seed, count in search.tuners]
    assert len(torch.cat(starts).unique(dim=0)) == 7
    tried = search.run(models)["tried"]
    for row, knobs in zip(tried, rule.knobs, strict=True):
        each = [
            play(task, rule, training.parts(models), knobs, nfe=4, seed=seed, count=count)
            for training, seed, count in search.tuners
        ]
        assert row["loss"] == pytest.approx((4 * each[0]["loss"] + 3 * each[1]["loss"]) / 7)
        assert row["overwrites"] == pytest.approx((4 * each[0]["overwrites"] + 3 * each[1]["overwrites"]) / 7)
        assert row["count"] == 7
    assert search.key != replace(settings, tune_all=False).search(task, rule, 4).key


def test_who_tunes():
    rule = entries()["ReMDM cap"]
    every = replace(TINY, tune_all=True, seeds=5, tuning=60)
    assert [count for *_, count in every.search(PARITY, rule, 4).tuners] == [12] * 5
    assert [count for *_, count in every.search(TASKS["text8"], rule, 8).tuners] == [30]  # one denoiser, half of the texts
    assert [count for *_, count in replace(every, tune_all=False).search(PARITY, rule, 4).tuners] == [60]
    assert [count for *_, count in replace(every, tuning=3).search(PARITY, rule, 4).tuners] == [1] * 3
    assert TINY.search(PARITY, entries()["one-way"], 4) is None and replace(TINY, tuning=0).search(PARITY, rule, 4) is None
    assert TINY.search(PARITY, rule, 64) == TINY.search(PARITY, rule, 16)  # tuned up to 16 calls
    assert TINY.search(PARITY, entries()["shuffled gate"], 4).rule == "attentive hide ratio"


def test_texts_that_are_played_are_never_those_that_knobs_are_chosen_on():
    for named in PROFILES.values():
        profile = replace(named, rules=("T2M low-prob", "attentive hide ratio"))
        searches, _ = plan(profile)
        chosen = {seed for search in searches for _, seed, _ in search.tuners}
        shown = {one.texts for one in profile.cells({})}
        assert not chosen & shown
    with pytest.raises(InputError, match="texts_from=9999"):
        Settings(texts_from=9999)


def test_other_texts_are_other_texts_of_the_same_trainings(models):
    one, other = (cell(settings=replace(TINY, texts_from=seed), seed=1) for seed in (0, 50))
    assert (one.training, one.at) == (other.training, other.at)
    assert one.key != other.key and (one.texts, other.texts) == (1, 51)
    assert one.run(models)["outcomes"] != other.run(models)["outcomes"]


# Failures ----------------------------------------------------------------------------------------------------------------


def test_a_failed_cell_is_named_and_the_others_are_kept(played):
    settings, folder, _ = played
    broken = replace(settings, rules=("uniform refinement",), nfe=(4,), tuning=0)
    bad, good = (cell(rule="uniform refinement", settings=broken, seed=seed).file(folder / "cells") for seed in (1, 0))
    bad.mkdir(parents=True)  # a file cannot be put here
    with pytest.raises(
        UnitsFailed,
        match=r"1 of 2 units failed[^\n]*\nplay: parity, training 1[^\n]*\nuniform refinement on .* seed 1: InputError",
    ):
        arena(broken, folder, jobs=2, say=lambda _: None)
    assert good.is_file()
    bad.rmdir()


def test_one_job_is_done_again_by_its_key(played):
    """By its key, from the folder alone: what was asked lies there."""
    settings, folder, _ = played
    searches, trainings = plan(settings, folder)
    arena(settings, folder, say=lambda _: None)  # the last test asked for another
    stored = next(r for r in rows(folder) if (r["rule"], r["nfe"], r["seed"]) == ("ReMDM cap", "8", "1"))
    experiment = asked(folder)
    assert experiment.settings == settings and experiment.open() == []
    assert experiment.again(stored["key"])["outcomes"] == stored["outcomes"]
    search = next(one for one in searches if isinstance(one, Search) and one.rule == "ReMDM cap")
    kept = json.loads(search.file(folder / "cells").read_text())["result"]
    assert experiment.again(search.key)["best"] == kept["best"]
    assert experiment.again(trainings[0].key).denoiser is not None
    with pytest.raises(InputError, match="no job 'ab'"):
        experiment.again("ab")
    with pytest.raises(InputError, match="holds no arena"):
        asked(folder / "cells")
    told = json.loads((folder / "asked.json").read_text())
    (folder / "old").mkdir()
    (folder / "old" / "asked.json").write_text(json.dumps({**told, "settings": {"seeds": 1}}))
    with pytest.raises(InputError, match="another version of the code"):
        asked(folder / "old")


def test_what_a_dry_run_lists_is_what_is_out_of_date_and_no_other(played, other_code):
    """Nothing when all is there. One lost search: itself and the cells that its knobs decide. Another rule's code: that rule's."""
    settings, folder, _ = played
    arena(settings, folder, say=lambda _: None)

    def listed():
        return {str(job) for batch in Arena(settings, Place(folder, folder / "models")).open() for job in batch.jobs}

    assert listed() == set()
    lost = next(search for search in plan(settings, folder)[0] if (search.rule, search.nfe) == ("ReMDM cap", 8))
    text = lost.file(folder / "cells").read_text()
    lost.file(folder / "cells").unlink()
    cells = {f"ReMDM cap on parity, 8 calls, seed {seed}" for seed in (0, 1)}
    assert listed() == {"the search for ReMDM cap on parity, 8 calls", *cells}
    lost.file(folder / "cells").write_text(text)
    other_code("one_way")
    assert listed() == {f"one-way on parity, {nfe} calls, seed {seed}" for nfe in (4, 8) for seed in (0, 1)}


def test_models_are_trained_only_for_what_is_played(played, tmp_path):
    """All cells are there and the models are gone: nothing to do. One cell is gone too: its denoiser is trained, no gate."""
    settings, folder, _ = played
    arena(settings, folder, say=lambda _: None)
    shutil.copytree(folder / "cells", tmp_path / "cells")
    moved = Arena(settings, Place(tmp_path, tmp_path / "models"))
    assert moved.open() == []
    next(one for one in moved.cells() if str(one) == "one-way on parity, 8 calls, seed 1").file(tmp_path / "cells").unlink()
    assert [[str(job) for job in batch.jobs] for batch in moved.open()] == [
        ["the denoiser of parity, seed 1"],
        ["one-way on parity, 8 calls, seed 1"],
    ]


def test_bad_settings_are_named_before_anything_runs(tmp_path):
    for make, why in (
        (lambda: Settings(tasks=("chess",)), "no task 'chess'"),
        (lambda: Settings(rules=("one-way", "magic")), "no rule 'magic'"),
        (lambda: Settings(nfe=(4, 0)), "nfe=0"),
        (lambda: Settings(seeds=0), "seeds=0"),
        (lambda: Settings(tuning=-1), "tuning=-1"),
        (lambda: arena(TINY, tmp_path / "a", jobs=0), "jobs=0"),
        (lambda: arena(Settings(tasks=("agreement-64",), rules=("autoregressive",)), tmp_path / "a"), "nothing to play"),
        (lambda: arena(Settings(rules=("autoregressive",), nfe=(5,)), tmp_path / "a"), "nothing to play"),
        (lambda: choose(["magic"]), "no rule 'magic'"),
    ):
        with pytest.raises(InputError, match=why):
            make()
    assert not (tmp_path / "a").exists()


def test_every_cell_of_a_profile_is_a_cell_once():
    cells = PROFILES["final"].cells({})
    assert len({one.key for one in cells}) == len(cells)
    assert {type(one) for one in cells} == {Cell, Reference}
