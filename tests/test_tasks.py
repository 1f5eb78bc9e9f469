"""Tasks: starts that depend on the seed alone, exact counts of what is planted, scores by hand."""

import pytest
import torch

from ardm.worlds.laws import Oracle
from ardm.method.rules import OneWay, OracleGate
from ardm.method.sampling import refine
from ardm.experiments.tasks import ARENA, LADDER, LARGE, TASKS, Task, _packed
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.base.errors import InputError

LAW = DenoiserRecipe(corpus="parity", length=6)


def blind(task):
    return Oracle(task.law, 0.05) if task.law is not None else None


@pytest.mark.parametrize("name", [n for n, t in TASKS.items() if t.recipe.corpus not in ("text8", "tinyshakespeare")])
def test_every_start_is_the_same_for_every_rule_and_other_for_another_seed(name):
    task = TASKS[name]
    one, two = (task.start(6, seed=3, denoiser=blind(task)) for _ in range(2))
    assert torch.equal(one.x, two.x) and torch.equal(one.fixed, two.fixed)
    assert one.x.shape == (6, task.recipe.length)
    assert not (one.fixed & (one.x == task.corpus.vocab_size)).any()
    if task.kind != "write":
        assert not torch.equal(one.x, task.start(6, seed=4, denoiser=blind(task)).x)


def test_the_ladders_change_one_thing_at_a_time():
    """Between neighbours of the toy ladder length or model changes, never both, and calls a token are the same everywhere."""
    ladder = {task.name: task for task in LADDER}
    sizes = {name: (t.recipe.width, t.recipe.depth) for name, t in ladder.items()}
    longer = [ladder[f"agreement-{n}"] for n in (16, 32, 64)]
    assert [t.recipe.length for t in longer] == [16, 32, 64]
    assert {sizes[t.name] for t in longer} == {sizes["agreement-32"]}
    assert {ladder[f"agreement-{size}"].recipe.length for size in ("narrow", "32", "wide")} == {32}
    assert sizes["agreement-narrow"] < sizes["agreement-32"] < sizes["agreement-wide"]
    same = ("corpus", "steps", "batch", "rate", "error_rate", "positional", "precision")
    assert len({tuple(getattr(t.recipe, name) for name in same) for t in LADDER}) == 1
    assert ladder["agreement-32"].recipe == TASKS["agreement"].recipe
    for task in (*LADDER, *LARGE):
        assert task.one_denoiser and [task.recipe.length / calls for calls in task.nfe] == [4, 2]
        assert task.name not in {t.name for t in ARENA}


def test_the_models_for_a_gpu_have_the_sizes_that_they_are_called_by():
    """Counted by hand: a block has 12 D^2 weights and 13 D biases and gains; then tokens, positions, last norm and readout."""
    counts = []
    for task in LARGE:
        recipe, V = task.recipe, 27
        D, L = recipe.width, recipe.length
        by_hand = recipe.depth * (12 * D * D + 13 * D) + (V + 1) * D + L * D + 2 * D + V * D + V
        assert recipe.shape(V).parameters == by_hand
        assert recipe.precision == "bfloat16" and D % recipe.heads == 0
        counts.append(by_hand)
    assert counts == pytest.approx([10e6, 25e6, 85e6], rel=0.1)


def test_a_repair_plants_as_many_errors_as_it_says():
    task = Task("t", LAW, "t", "repair", (2, 4))
    start = task.start(300, seed=0, denoiser=blind(task))
    x0 = task.corpus.held_out(300, seed=0)
    assert set((start.x != x0).sum(1).tolist()) == {2, 3, 4}
    assert not start.fixed.any()
    grid = TASKS["sudoku9-repair"].start(40, seed=0, denoiser=None)
    planted = (grid.x != TASKS["sudoku9-repair"].corpus.held_out(40, seed=0)).sum(1)
    assert planted.min() >= 4 and planted.max() <= 20 and len(planted.unique()) > 5
    assert torch.equal(grid.wrong(grid.x).sum(1), planted)


def test_an_infill_fixes_its_clues_and_they_are_right():
    task = TASKS["sudoku9-infill"]
    start = task.start(20, seed=1, denoiser=None)
    x0 = task.corpus.held_out(20, seed=1)
    low, high = task.amount
    assert ((start.fixed.sum(1) >= low) & (start.fixed.sum(1) <= high)).all()
    assert torch.equal(start.x[start.fixed], x0[start.fixed])
    assert (start.x[~start.fixed] == 9).all()


def test_own_errors_are_the_denoisers():
    """A perfect denoiser that sees half of a text of independent halves still writes contradictions when it fills at once."""
    task = Task("t", LAW, "t", "own", (60, 60))
    start = task.start(500, seed=0, denoiser=Oracle(task.law, 0.0))
    changed = start.x != task.corpus.held_out(500, seed=0)
    assert 0.15 < changed.float().mean() < 0.35  # of 60 % hidden bits, half come out other
    right = task.law.is_valid(start.x).float().mean()
    assert 0.4 < right < 0.6  # parity of bits written at once is a coin


def test_what_a_repair_did_by_hand():
    """Even parity, start 100000: one bit is wrong. Whichever is turned, all are right in the end; turning two leaves one wrong."""
    task = Task("t", LAW, "t", "repair", (1, 1))
    start = task.start(50, seed=0, denoiser=blind(task))
    assert start.wrong is not None
    assert (start.wrong(start.x).sum(1) == 1).all()
    trace = refine(Oracle(task.law, 0.05), OracleGate(start.wrong), start.x, 2, seed=0)
    row = task.score(trace.x, start, trace)
    assert row["touched"] == 1
    idle = refine(Oracle(task.law, 0.05), OneWay(), start.x, 2, seed=0)
    row = task.score(idle.x, start, idle)
    assert (row["touched"], row["recovered"], row["damaged"], row["quality"]) == (0, 0, 0, 0)


def test_scores_of_the_law_itself_and_of_a_constant():
    task = Task("t", DenoiserRecipe(corpus="markov", length=4), "t", counted="a")
    start = task.start(1, seed=0, denoiser=blind(task))
    row = task.score(task.real(500, seed=1), start)
    assert row["quality"] == 1 and row["loss"] < 0.04
    entropy = -(task.law.log_prob(torch.cartesian_prod(*[torch.arange(3)] * 4)).exp().log().mul(1)).double()
    p = (-entropy).exp()
    assert row["nats"] == pytest.approx(float((p * entropy).sum()) / 4, abs=0.04)
    row = task.score(torch.zeros(500, 4, dtype=torch.long), start)
    assert row["quality"] == 1 and row["loss"] > 0.5
    assert row["distinct"] == 1 / 500


def test_outcomes_are_packed_one_bit_a_text():
    assert _packed(torch.tensor([True, False, True, True, False, True])) == "2d"
    assert _packed(torch.tensor([False] * 8)) == "00"


def test_an_unknown_kind_is_named():
    with pytest.raises(InputError, match="kind='dream'"):
        Task("t", LAW, "t", "dream").start(2, seed=0, denoiser=None)
