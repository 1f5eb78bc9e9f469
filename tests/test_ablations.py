"""The ablations: one thing changed at a time, the base the arena's own gate, no cell older than its code, nothing done twice."""

import json
from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch

from ardm.base import fingerprint
from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.cli import main
from ardm.experiments.ablations import (
    AXES,
    PROFILES,
    VARIANTS,
    Ablations,
    cell,
    collect,
    variant_named,
)
from ardm.experiments.cells import Loaded, Settings, Training, play
from ardm.experiments.results import effects, stale
from ardm.experiments.store import Store, denoiser_made, facts_of, gate_made
from ardm.experiments.tasks import TASKS
from ardm.experiments.variant import ORDER, Variant, hiding
from ardm.experiments.work import Place
from ardm.method.gate import COMBINE, FOUR, SIGNALS
from ardm.method.gate_recipe import GATES, EndToEnd, Rollout
from ardm.method.labels import LABELS
from ardm.method.rules import entries
from ardm.method.sampling import observe
from ardm.method.schedule import ORDERS, Schedule
from ardm.method.selection import Selection

TINY = Settings(tasks=("sudoku",), nfe=(4, 8), seeds=2, count=12, denoiser_steps=20, gate_steps=4)
SUDOKU = TASKS["sudoku"]

# What the variants of an axis differ in, one set a kind of change. Some change more than one thing, since the first cannot be
# without the others: heads that are linear or without attention have learning rates of their own, final tokens exist only on runs.
CHANGED = {
    "combine": [{"combine"}],
    "selection": [
        {"selection.threshold"},
        {"selection.how"},
        {"selection.threshold", "selection.budget"},
        {"selection.budget"},
        {"selection.last_budget"},
    ],
    "features": [{"signals"}, {"signals", "head.hidden"}, {"head.hidden"}, {"head.kind", "rate"}],
    "label": [{"objective.label"}, {"objective.label", "states", "batch"}],
    "states": [{"states", "batch"}],
    "loss": [{"sparsity"}, {"stability"}, {"objective"}, {"objective", "sparsity"}, {"objective", "stability"}],
    "denoiser": [{"joint", "steps"}],
    "width": [{"head.width"}],
    "steps": [{"steps"}],
    "edit": [{"rule"}, {"rule", "schedule"}, {"finish"}],
    "order": [{"schedule.order"}],
    "written_by": [{"schedule.written_by"}],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def models(store):
    return Loaded(store)


def tiny(name, settings=TINY, seed=0):
    return cell(settings, name, SUDOKU, seed)


def values(variant):
    return {**asdict(variant.gate), **variant.use}


def changes(one, two, at=""):
    """The names of what differs, down to the values of values; of values of different kinds, their own name."""
    found = set()
    for name in {**one, **two}:
        a, b = one.get(name), two.get(name)
        if a == b:
            continue
        inner = isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys()
        found |= changes(a, b, f"{at}{name}.") if inner else {at + name}
    return found


# What is changed ---------------------------------------------------------------------------------------------------------


def test_the_base_is_the_recommended_gate_hiding_four_at_most_surest_first():
    base = VARIANTS["base"]
    assert base.gate == GATES["attentive"] and base.combine == "gate_only" and not base.own_gate
    assert base.rule.func.__name__ == "HideThenRefill"
    assert base.rule.keywords == {"selection": Selection("threshold", 0.5, budget=4), "schedule": Schedule("surest", 0.6)}
    assert base.calls == (4, 8, 16, 32)


@pytest.mark.parametrize("axis", AXES)
def test_each_variant_changes_what_its_axis_says(axis):
    for name, variant in AXES[axis].items():
        changed = changes(values(VARIANTS["base"]), values(variant))
        assert changed in CHANGED[axis], (name, changed)
        assert not variant.calls


def test_no_two_variants_are_the_same():
    seen = [json.dumps(values(variant)) for variant in VARIANTS.values()]
    assert len(set(seen)) == len(VARIANTS) == 49


def test_every_choice_there_is_is_played():
    gates = [variant.gate for variant in VARIANTS.values()]
    ends = [gate.objective for gate in gates if isinstance(gate.objective, EndToEnd)]
    assert {variant.combine for variant in VARIANTS.values()} == set(COMBINE)
    assert {gate.taught.label for gate in gates if gate.taught} == set(LABELS)
    assert {gate.head.kind for gate in gates} == {"attentive", "learned", "linear"}
    assert {end.how for end in ends} == {"gumbel_sigmoid", "straight_through"} and {end.weight for end in ends} == {0.0, 1.0}
    assert all((end.combine, end.edit) == ("gate_only", "hide") for end in ends)
    given = [variant.gate.signals for variant in AXES["features"].values()]
    assert {frozenset(FOUR) - set(s) for s in given if len(s) == 3} == {frozenset({name}) for name in FOUR}
    assert {s for s in given if len(s) == 1} == {(name,) for name in FOUR}
    assert {(), tuple(SIGNALS)} <= set(given)
    assert {*AXES["order"], ORDER} == set(ORDERS)
    for gate in gates:
        if isinstance(gate.states, Rollout):
            assert gate.batch * gate.states.steps == VARIANTS["base"].gate.batch  # as many states an optimiser step


def test_fewer_steps_of_the_base_are_fewer_of_all_in_proportion():
    small = {name: tiny(name, PROFILES["small"]).training.gate.steps for name in VARIANTS}
    assert (small["base"], small["steps/quarter"], small["steps/triple"], small["denoiser/joint"]) == (60, 15, 180, 100)
    paper = {name: tiny(name, PROFILES["paper"]).training.gate.steps for name in VARIANTS}
    assert (paper["base"], paper["steps/quarter"], paper["steps/triple"], paper["denoiser/joint"]) == (100, 25, 300, 167)
    assert {paper[name] for name in VARIANTS if name.partition("/")[0] not in ("steps", "denoiser")} == {100}
    assert tiny("steps/quarter", replace(TINY, gate_steps=1)).training.gate.steps == 1
    assert tiny("base", Settings(tasks=("sudoku",))).training.gate == VARIANTS["base"].gate


def test_a_misspelt_variant_is_named_with_those_that_are_close():
    with pytest.raises(InputError, match="no variant 'combine/prodct': did you mean combine/product"):
        variant_named("combine/prodct")
    with pytest.raises(InputError, match="choose among base, combine/noisy_or"):
        variant_named("?")


# Playing -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "knobs"), [("base", {"threshold": 0.5, "budget": 4}), ("selection/top_2", {"threshold": 0.0, "budget": 2})]
)
def test_a_cell_is_what_the_arenas_rule_gives_with_these_knobs(models, name, knobs):
    one, rival = tiny(name), entries()["attentive hide ratio"]
    rows = one.run(models)
    assert [row["nfe"] for row in rows] == ([4, 8, 16, 32] if name == "base" else [4, 8])
    parts, knobs = one.training.parts(models), {"how": "threshold", "order": ORDER, **knobs}
    for row in rows:
        other = play(SUDOKU, rival, parts, knobs, nfe=row["nfe"], seed=0, count=12)
        told = {key: value for key, value in row.items() if key not in ("nfe", "seconds")}
        assert told == pytest.approx({key: value for key, value in other.items() if key != "seconds"}, nan_ok=True)
        assert row["overwrites"] > 0 or name == "base"


def test_a_variant_plays_what_it_says_and_the_gate_of_the_base_alone_is_kept(store, models):
    rows = {name: tiny(name).run(models) for name in ("base", "selection/top_1", "features/linear", "edit/in_place")}
    assert all([row["nfe"] for row in found] == [4, 8] for name, found in rows.items() if name != "base")
    assert len({row["start"] for found in rows.values() for row in found}) == 1
    assert all(0 < row["overwrites"] <= row["nfe"] for row in rows["selection/top_1"])  # one token a step
    base = tiny("base").training
    assert set(store.folder.glob("*.safetensors")) == {store.file(one.made) for one in (Training(base.denoiser), base)}


def test_a_gate_of_its_own_is_that_of_its_recipe_and_the_gate_of_the_base_is_the_stored_one(store, models):
    base, linear = (tiny(name).trained(models) for name in ("base", "features/linear"))
    assert base.gate is models.gate(tiny("base").training.gate, tiny("base").training.denoiser)
    assert len(facts_of(store.file(tiny("base").training.made))["losses"]) == 4
    assert len(linear.losses) == 4 and set(linear.gate.standard) == set(FOUR)
    assert sum(weight.numel() for weight in linear.gate.head.parameters()) == 5  # of four signals, and a bias


def test_in_place_overwrites_exactly_what_would_be_hidden(models):
    made = tiny("base").trained(models)
    x, rows = SUDOKU.corpus.held_out(8, seed=0), torch.arange(8)
    x[:, ::3] = SUDOKU.corpus.vocab_size
    step = observe(made.denoiser, x, t=3, T=8, uniform=Chance(0, "x", rows).uniform(16))
    top = Selection("threshold", 0.0, budget=4)  # so short a training finds no suspects
    rules = [hiding(top, rule=VARIANTS[name].rule.func)(gate=made.gate) for name in ("base", "edit/in_place")]
    hide, place = (rule(step, Chance(0, "y", rows)) for rule in rules)
    assert hide.remask.any() and not place.remask.any()
    assert torch.equal(place.write, hide.write | hide.remask)


def test_the_joint_variant_plays_on_the_denoiser_that_was_trained_along(models):
    one = tiny("denoiser/joint")
    denoiser = models.denoiser(one.training.denoiser)
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
    made = one.trained(models)
    assert not torch.equal(made.denoiser.state_dict()["token.weight"], before["token.weight"])
    assert all(torch.equal(weight, before[name]) for name, weight in denoiser.state_dict().items())
    called = []
    made.denoiser.register_forward_hook(lambda *_: called.append(1))
    one.play(made, models)
    assert len(called) == 4 + 8


# Keys --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_code(monkeypatch):
    """The package as if the source of one module were another."""
    true = fingerprint.source

    def forget():
        for cached in (fingerprint.code, denoiser_made, gate_made):
            cached.cache_clear()

    def change(module):
        monkeypatch.setattr(fingerprint, "source", lambda path: true(path) + "\nx = 1" * (path.stem == module))
        forget()

    yield change
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("in_place", {"edit/in_place"}),
        ("variant", {"base", "edit/in_place", "width/16"}),
        ("sampling", {"base", "edit/in_place", "width/16"}),
        ("scores", {"base", "edit/in_place", "width/16"}),
        ("train_gate", {"base", "edit/in_place", "width/16"}),  # in the key of the gate, be it kept or not
        ("ablations", set()),
        ("tasks", set()),
        ("arena", set()),
        ("figures", set()),
    ],
)
def test_a_cell_is_named_by_the_code_that_it_runs_and_by_no_other(other_code, module, again):
    names = ("base", "edit/in_place", "width/16")
    before = {name: tiny(name).key for name in names}
    other_code(module)
    assert {name for name in names if tiny(name).key != before[name]} == again


def test_another_name_is_the_same_cell_and_another_value_is_not():
    one = tiny("base")
    assert replace(one, name="other").key == one.key
    for other in (
        replace(one, variant=Variant(combine="product")),
        replace(one, variant=Variant(rule=hiding(finish=False))),
        replace(one, calls=(4,)),
        replace(one, count=13),
        replace(one, texts=1),
        tiny("base", seed=1),
        tiny("base", replace(TINY, denoiser_steps=21)),
        tiny("base", replace(TINY, gate_steps=5)),
    ):
        assert other.key != one.key


# Tables ------------------------------------------------------------------------------------------------------------------


def fake(folder, settings=TINY, names=("base", "width/16"), task=SUDOKU):
    """Kept cells that nobody played: quality falls with the number of the cell."""
    found = [cell(settings, name, task, seed) for name in names for seed in range(settings.seeds)]
    for number, one in enumerate(found):
        place(folder).file(one).parent.mkdir(parents=True, exist_ok=True)
        place(folder).keep(one, [{"nfe": 8, "quality": 0.5 - number / 10, "seconds": 0.5}], seconds=2.25)
    return found


def place(folder):
    return Place(folder, folder / "models")


def test_kept_cells_become_tables(tmp_path):
    played = fake(tmp_path)
    collect(played, TINY, place(tmp_path))
    table = pd.read_csv(tmp_path / "ablations.csv")
    assert list(table[["variant", "seed", "quality", "key"]].itertuples(index=False, name=None)) == [
        ("base", 0, 0.5, played[0].key),
        ("base", 1, 0.4, played[1].key),
        ("width/16", 0, 0.3, played[2].key),
        ("width/16", 1, 0.2, played[3].key),
    ]
    effect = {"axis": "width", "variant": "width/16", "task": "sudoku", "nfe": 8, "seeds": 2}
    found = effects(table).iloc[0].to_dict()
    assert found == pytest.approx({**effect, "value": -0.2, "low": -0.2, "high": -0.2})
    facts = json.loads((tmp_path / "ablations.json").read_text())
    assert (facts["cells"], facts["seconds"], [one["cells"] for one in facts["provenance"]]) == (4, 9, [4])
    assert facts["base"]["selection"] == asdict(Selection("threshold", 0.5, budget=4))
    assert facts["base"]["gate"]["objective"]["label"] == "likelihood_ratio" and facts["settings"]["count"] == 12


def test_a_table_says_of_which_commits_its_cells_are(tmp_path):
    played = fake(tmp_path)
    file = place(tmp_path).file(played[2])
    file.write_text(json.dumps((kept := json.loads(file.read_text())) | {"provenance": kept["provenance"] | {"commit": "old"}}))
    collect(played, TINY, place(tmp_path))
    made = json.loads((tmp_path / "ablations.json").read_text())["provenance"]
    assert [one["cells"] for one in made] == [3, 1] and made[1]["commit"] == "old"


def test_a_table_knows_when_it_is_stale(tmp_path, other_code):
    collect(fake(tmp_path, names=VARIANTS), TINY, place(tmp_path))
    assert stale("ablations", tmp_path) == []
    made, table = json.loads((tmp_path / "ablations.json").read_text()), (tmp_path / "ablations.csv").read_text()
    for change, why in (
        ({"settings": {**made["settings"], "count": 13}}, "the cells: 98 of 98"),
        ({"versions": {**made["versions"], "torch": "1.0"}}, "the versions: 1 of 3 are others than today, such as torch"),
        ({"data": {"sudoku": "other"}}, "the corpora: 1 of 1 are others than today, such as sudoku"),
    ):
        (tmp_path / "ablations.json").write_text(json.dumps(made | change))
        assert any(reason.startswith(why) for reason in stale("ablations", tmp_path)), why
    (tmp_path / "ablations.json").write_text(json.dumps(made))
    (tmp_path / "ablations.csv").write_text("\n".join(table.splitlines()[:-1]) + "\n")
    assert stale("ablations", tmp_path) == ["the cells: 1 of 98 are others than today, such as written_by/0.8 sudoku 1"]
    (tmp_path / "ablations.csv").write_text(table)
    other_code("in_place")
    assert stale("ablations", tmp_path) == [
        "the code: 1 of 49 are others than today, such as edit/in_place",
        "the cells: 2 of 98 are others than today, such as edit/in_place sudoku 0, edit/in_place sudoku 1",
    ]


def test_a_table_without_keys_is_stale(tmp_path):
    (tmp_path / "ablations.csv").write_text("variant,task,nfe,seed\nbase,sudoku,8,0\n")
    (tmp_path / "ablations.json").write_text("{}")
    assert stale("ablations", tmp_path) == ["ablations.csv has no keys: it was made before cells had them"]


def test_rows_are_kept_with_all_that_made_them(tmp_path, store):
    one = tiny("order/left")
    there = Place(tmp_path, store.folder)
    there.do_and_keep(one)
    held = json.loads(there.file(one).read_text())
    assert there.file(one) == tmp_path / "cells" / "sudoku" / f"{one.key}.json" and there.kept(one) == held
    assert [row["nfe"] for row in held["result"]] == [4, 8] and held["made"] == json.loads(json.dumps(one.made))
    assert held["seconds"] > sum(row["seconds"] * 12 for row in held["result"]) and "commit" in held["provenance"]


# The experiment ----------------------------------------------------------------------------------------------------------


def listed(experiment):
    """What it would do: the jobs by kind of batch."""
    return {
        kind: sorted(str(job) for batch in experiment.open() if batch.kind == kind for job in batch.jobs)
        for kind in ("train", "play")
    }


def test_each_model_is_trained_once_and_each_cell_played_once(tmp_path):
    small = listed(Ablations(PROFILES["small"], place(tmp_path)))
    assert small["train"] == [
        f"{what}, seed {seed}" for what in ("a gate for sudoku", "the denoiser of sudoku") for seed in (0, 1)
    ]
    assert small["play"] == sorted(f"{name} on sudoku, seed {seed}" for name in VARIANTS for seed in (0, 1))
    some = listed(Ablations(replace(PROFILES["paper"], seeds=3), place(tmp_path), ("width", "steps")))
    assert (len(some["train"]), len(some["play"])) == (12, 2 * 3 * 5)
    batches = Ablations(PROFILES["small"], place(tmp_path)).open()
    assert max(len(batch.jobs) for batch in batches) <= 20
    first = next(batch for batch in batches if batch.name == "play-sudoku-1-0")
    assert [batch.says for batch in batches if batch.name in first.after] == ["models of sudoku, 16 tokens, training 1"]


def test_what_is_there_is_not_played_again(tmp_path):
    fake(tmp_path, PROFILES["small"], ["base", "width/16"])
    left = listed(Ablations(PROFILES["small"], place(tmp_path), ("width",)))
    assert left["play"] == [f"width/128 on sudoku, seed {seed}" for seed in (0, 1)]
    assert left["train"] == [f"the denoiser of sudoku, seed {seed}" for seed in (0, 1)]  # a variant trains its own gate


def test_the_command_makes_the_tables_of_some_axes(tmp_path, capsys):
    """Sudoku with tiny models, three variants, by the graph, in a path with a space and an umlaut; then nothing is left to do."""
    options = ["--axes", "width", "--seeds", "2", "--count", "8", "--denoiser-steps", "5", "--gate-steps", "3", "--nfe", "4"]
    folder = tmp_path / "ä b" / "some"
    assert main(["ablations", *options, "--out", str(folder), "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("10 jobs in 4 batches would be done\n")
    assert main(["ablations", *options, "--out", str(folder), "--jobs", "2"]) == 0
    assert "[4/4] play: sudoku, training " in capsys.readouterr().err
    table, found = pd.read_csv(folder / "ablations.csv"), pd.read_csv(folder / "effects.csv")
    assert set(table["variant"]) == {"base", "width/16", "width/128"} and len(table) == 2 * (4 + 1 + 1)
    assert set(found["variant"]) == {"width/16", "width/128", "calls/4", "calls/16", "calls/32"}
    assert main(["ablations", *options, "--out", str(folder), "--dry-run"]) == 0
    assert capsys.readouterr().out == "0 jobs in 0 batches would be done\n"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--profile", "big"), "profile='big': choose small or paper"),
        (("--axes", "width,size"), "axis='size': choose combine"),
        (("--tasks", "sudoku,chess"), "no task 'chess': choose among agreement"),
        (("--seeds", "1"), "seeds=1: an interval over trainings needs at least 2"),
        (("--on", "moon"), "no profile 'moon': name kubernetes, slurm"),
    ],
)
def test_a_bad_option_is_named_before_anything_runs(tmp_path, capsys, option, said):
    assert main(["ablations", *option, "--out", str(tmp_path / "a")]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))
