"""The ablations: one thing changed at a time, the base the arena's own gate, and a plan in which nothing is done twice."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ardm.experiments.ablations import AXES, ORDER, PROFILES, VARIANTS, ablate, collect, fetch, gate_file, keep, trained, unfinished, variant_named
from ardm.experiments.contestants import CONTESTANTS, FOUR, GATES
from ardm.base.streams import generator
from ardm.method.gate import COMBINE, SIGNALS
from ardm.method.train_gate import CHOICES
from ardm.experiments.match import Kit, Settings, play
from ardm.method.rules import ORDERS
from ardm.method.sampling import observe
from ardm.method.selection import Selection
from ardm.experiments.tasks import TASKS
from ardm.base.errors import InputError

SNAKEFILE = Path(__file__).resolve().parent.parent / "notebooks" / "ablations" / "Snakefile"
TINY = Settings(("sudoku",), nfe=(4, 8), seeds=2, count=12, denoiser_steps=20, gate_steps=4)

# What an axis may change of the recipe beside the field it is named after, because the change cannot be without it.
ALONG = {
    "features": {"signals", "hidden", "head", "rate"},
    "label": {"states", "edit", "batch"},
    "states": {"edit", "batch"},
    "loss": {"auxiliary", "sparsity", "stability", "combine", "edit"},
    "denoiser": {"joint", "steps"},
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(TASKS["sudoku"], TINY, 0, tmp_path_factory.mktemp("models"))


def of(axis, field):
    return {variant.gate[field] for variant in AXES[axis].values() if field in variant.gate}


def test_each_variant_changes_what_its_axis_says_and_no_two_are_the_same():
    base = asdict(VARIANTS["base"].recipe(Settings(), 3))
    assert base == asdict(replace(GATES["attentive"], seed=3))
    seen = []
    for axis, named in AXES.items():
        for variant in named.values():
            recipe = asdict(variant.recipe(Settings(), 3))
            changed = {field for field in recipe if recipe[field] != base[field]}
            assert changed <= {axis, *ALONG.get(axis, ())}, (axis, changed)
            knobs = dict(variant.knobs) or dict(VARIANTS["base"].knobs)  # a rule that writes in no order takes none
            how = (variant.combine, dict(variant.select), variant.rule, knobs)
            plain = ("gate_only", {}, VARIANTS["base"].rule, dict(VARIANTS["base"].knobs))
            beside = [a != b for a, b in zip(how, plain, strict=True)]
            assert bool(changed) + sum(beside) == 1
            seen.append((recipe, how))
    assert all(one not in seen[k + 1 :] for k, one in enumerate(seen))


def test_every_choice_there_is_is_played():
    assert {variant.combine for variant in VARIANTS.values()} == set(COMBINE)
    for field in ("label", "states", "loss", "head"):
        assert {variant.recipe(Settings(), 0).__dict__[field] for variant in VARIANTS.values()} == set(CHOICES[field])
    given = of("features", "signals")
    assert {frozenset(FOUR) - set(s) for s in given if len(s) == 3} == {frozenset({name}) for name in FOUR}
    assert {s for s in given if len(s) == 1} == {(name,) for name in FOUR}
    assert {(), tuple(SIGNALS)} <= given
    assert of("width", "width") == {16, 128} and of("steps", "steps") == {75, 900}
    assert {*AXES["order"], ORDER} == set(ORDERS)
    assert VARIANTS["base"].calls == (4, 8, 16, 32)


def test_fewer_steps_of_the_base_are_fewer_of_all_in_proportion():
    steps = {name: variant.recipe(PROFILES["small"], 0).steps for name, variant in VARIANTS.items()}
    assert (steps["base"], steps["steps/quarter"], steps["steps/triple"]) == (60, 15, 180)
    assert VARIANTS["steps/quarter"].recipe(replace(TINY, gate_steps=1), 0).steps == 1


def test_a_misspelt_variant_is_named_with_those_that_are_close():
    with pytest.raises(InputError, match="no variant 'combine/prodct': did you mean combine/product"):
        variant_named("combine/prodct")
    with pytest.raises(InputError, match="choose among base, combine/noisy_or"):
        variant_named("?")


@pytest.mark.parametrize(
    ("name", "knobs"), [("base", {"threshold": 0.5, "budget": 4}), ("selection/top_2", {"threshold": 0.0, "budget": 2})]
)
def test_a_cell_is_what_the_arenas_rule_gives_with_these_knobs(kit, name, knobs):
    rows = ablate(name, kit, trained(name, kit))
    assert [row["nfe"] for row in rows] == ([4, 8, 16, 32] if name == "base" else [4, 8])
    rival = CONTESTANTS["attentive hide ratio"]
    for row in rows:
        other = play(kit.task, kit, rival, {"how": "threshold", "order": ORDER, **knobs}, nfe=row["nfe"], seed=0, count=12)
        assert {k: v for k, v in row.items() if k in other and k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, nan_ok=True
        )
        assert row["overwrites"] > 0 or name == "base"


def test_a_variant_plays_what_it_says_and_leaves_the_base_alone(kit):
    losses = trained("base", kit).losses
    before = gate_file(kit).read_bytes()
    rows = {name: ablate(name, kit, trained(name, kit)) for name in ("selection/top_1", "features/linear", "edit/in_place")}
    assert all([row["nfe"] for row in found] == [4, 8] for found in rows.values())
    assert {row["start"] for found in rows.values() for row in found} == {ablate("base", kit, trained("base", kit))[0]["start"]}
    assert all(0 < row["overwrites"] <= row["nfe"] for row in rows["selection/top_1"])  # one token a step
    assert trained("base", kit).losses == losses and len(losses) == 4
    assert gate_file(kit).read_bytes() == before
    assert {file.name for file in kit.models.glob("*base*")} == {gate_file(kit).name}


def test_in_place_overwrites_exactly_what_would_be_hidden(kit):
    gate, variant = trained("base", kit).gate, VARIANTS["edit/in_place"]
    x = kit.task.corpus.held_out(8)
    x[:, ::3] = kit.task.corpus.vocab_size
    step = observe(kit.denoiser(), x, t=3, T=8, generator=generator(0, "x"))
    hide = VARIANTS["base"].rule(gate)(step, generator(1, "x"))
    place = variant.rule(gate)(step, generator(1, "x"))
    assert hide.remask.any() and not place.remask.any()
    assert torch.equal(place.write, hide.write | hide.remask)


def test_the_joint_variant_plays_on_the_denoiser_that_was_trained_along(kit):
    before = {name: weight.clone() for name, weight in kit.denoiser().state_dict().items()}
    made = trained("denoiser/joint", kit)
    assert not torch.equal(made.denoiser.state_dict()["token.weight"], before["token.weight"])
    assert all(torch.equal(weight, before[name]) for name, weight in kit.denoiser().state_dict().items())
    called = []
    made.denoiser.register_forward_hook(lambda *_: called.append(1))
    ablate("denoiser/joint", kit, made)
    assert len(called) == 4 + 8


def test_a_denoiser_that_is_there_is_copied(kit, tmp_path, monkeypatch):
    kit.denoiser()
    monkeypatch.setattr("ardm.method.train_denoiser.train_denoiser", None)
    other = Kit(kit.task, TINY, 0, tmp_path / "new")
    fetch(other, kit.models)
    assert other.file("denoiser").read_bytes() == kit.file("denoiser").read_bytes()
    assert [file.name for file in other.models.iterdir()] == [kit.file("denoiser").name]


def test_kept_cells_become_tables(tmp_path):
    cells = [("base", 0, 0.5), ("base", 1, 0.4), ("width/16", 0, 0.2), ("width/16", 1, 0.1)]
    for number, (name, seed, quality) in enumerate(cells):
        row = {"variant": name, "task": "sudoku", "nfe": 8, "seed": seed, "count": 10, "seconds": 0.5, "quality": quality}
        keep([row], tmp_path / "cells" / f"{number}.json")
    collect(sorted((tmp_path / "cells").iterdir()), TINY, tmp_path)
    table, effect = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("ablations", "effects"))
    assert list(table[["variant", "seed", "quality"]].itertuples(index=False, name=None)) == cells
    assert effect.iloc[0].to_dict() == pytest.approx(
        {
            "axis": "width",
            "variant": "width/16",
            "task": "sudoku",
            "nfe": 8,
            "value": -0.3,
            "low": -0.3,
            "high": -0.3,
            "seeds": 2,
        }
    )
    facts = json.loads((tmp_path / "ablations.json").read_text())
    assert (facts["cells"], facts["playing_seconds"], len(facts["provenance"])) == (4, 20, 1)
    assert facts["base"]["selection"] == asdict(Selection("threshold", 0.5, budget=4))
    assert facts["base"]["gate"]["label"] == "likelihood_ratio" and facts["settings"]["count"] == 12


def test_what_is_missing_is_said_with_its_reason(tmp_path):
    cells = {name: tmp_path / name / "rows.json" for name in ("done", "failed", "silent", "waiting")}
    for name, said in (("done", "x"), ("failed", "run: 10%\nardm: run failed in cell [3]\n"), ("silent", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.txt").write_text(said)
    cells["done"].write_text("{}")
    assert unfinished(cells).splitlines() == [
        "ablations: 3 of 4 cells are missing, 2 of them failed; the same command goes on with them",
        "  failed: ardm: run failed in cell [3]",
        "  silent: it said nothing",
    ]


def plan(folder, *options):
    """What Snakemake would do in an empty folder: jobs by rule, and all that it said."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE, "--directory", folder, "--cores", "2", "-n"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}, said


def test_the_plan_trains_each_model_once_and_plays_each_cell_once(tmp_path):
    jobs, said = plan(tmp_path)
    cells = 2 * len(VARIANTS)
    assert jobs == {"denoiser": 2, "gate": 2, "cell": cells, "collect": 1, "all": 1, "total": cells + 6}, said
    rows = re.findall(r"output: (\S+)/rows.json", said)
    assert set(rows) == {f"ablations/small/sudoku/{seed}/{name}" for seed in (0, 1) for name in VARIANTS}
    assert len(rows) == cells
    jobs, said = plan(tmp_path, "--config", "profile=paper", "axes=width,steps", "seeds=3")
    assert jobs == {"denoiser": 6, "gate": 6, "cell": 2 * 3 * 5, "collect": 1, "all": 1, "total": 44}, said


def test_what_is_there_is_not_planned_again(tmp_path):
    for seed in (0, 1):
        there = Kit(TASKS["sudoku"], PROFILES["small"], seed, tmp_path / "ablations" / "small" / "models")
        for file in (there.file("denoiser"), gate_file(there)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    jobs, said = plan(tmp_path, "--config", "axes=width")
    assert jobs == {"cell": 6, "collect": 1, "all": 1, "total": 8}, said


def test_fewer_tasks_are_planned_and_the_tables_gather_what_was_played_before(tmp_path):
    options = ("--config", "profile=paper", "tasks=agreement", "axes=width", "seeds=2")
    jobs, said = plan(tmp_path, *options)
    assert jobs == {"denoiser": 2, "gate": 2, "cell": 6, "collect": 1, "all": 1, "total": 12}, said
    settings = replace(PROFILES["paper"], seeds=2)
    for task in ("agreement", "sudoku"):
        for seed in (0, 1):
            there = Kit(TASKS[task], settings, seed, tmp_path / "ablations" / "paper" / "models")
            for file in (there.file("denoiser"), gate_file(there)):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
    planned = [("agreement", name) for name in ("base", "width/16", "width/128")]
    before = [("sudoku", "base"), ("sudoku", "order/left"), ("agreement", "edit/in_place")]
    for task, name in (*planned, *before):
        for seed in (0, 1):
            folder = tmp_path / "ablations" / "paper" / task / str(seed) / name
            row = {"variant": name, "task": task, "nfe": 8, "seed": seed, "count": 4, "seconds": 0.5, "quality": 0.5}
            keep([row], folder / "rows.json")
            (folder / "run.ipynb").touch()
    jobs, said = plan(tmp_path, *options)
    assert jobs == {"collect": 1, "all": 1, "total": 2}, said
    command = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE, "--directory", tmp_path, "--cores", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "ablations" / "paper" / "ablations.csv")
    found = table[["task", "variant", "seed"]].itertuples(index=False, name=None)
    assert set(found) == {(*cell, seed) for cell in (*planned, *before) for seed in (0, 1)}
    assert len(table) == 12  # each once


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("profile=big", "no profile 'big': choose among small, paper"),
        ("axes=width,size", "no axis 'size': choose among combine"),
        ("tasks=sudoku,chess", "no task 'chess': choose among agreement"),
        ("seeds=1", "seeds=1: an interval over trainings needs at least 2"),
    ],
)
def test_a_bad_option_is_named_before_anything_runs(tmp_path, option, said):
    jobs, output = plan(tmp_path, "--config", option)
    assert not jobs and said in output
