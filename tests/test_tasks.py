"""Tasks: starts that depend on the seed alone, exact counts of what is planted, scores by hand, streams that never meet."""

import json
from dataclasses import replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.experiments.scores import LawFidelity, Repair, TextQuality, Validity, packed
from ardm.experiments.starts import Blank, Infill, OwnErrors, PlantedErrors
from ardm.experiments.task import Task
from ardm.experiments.tasks import ARENA, LADDER, LARGE, TASKS
from ardm.method.rules.one_way import OneWay
from ardm.method.rules.oracle import OracleGate
from ardm.method.sampling import refine
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.types import Prediction
from ardm.worlds.laws import Oracle, parity
from ardm.worlds.registry import locate
from ardm.worlds.world import GridWorld, LawWorld, TextWorld, world_of

LAW = DenoiserRecipe(corpus="parity", length=6)
TEXT = pytest.mark.skipif(locate("text8") is None, reason="text8 is not here")


def task_of(start, score=None, recipe=LAW, **how):
    return Task(name="t", title="t", recipe=recipe, score_by=score or Repair(), start_from=start, causal=False, **how)


class Blind:
    """Thinks every digit as likely as any other."""

    def __call__(self, x, time):
        return Prediction(torch.zeros(*x.shape, 9), torch.zeros(*x.shape, 0))


def blind(task):
    return Oracle(task.corpus.law, 0.05) if isinstance(task.world, LawWorld) else None


@pytest.mark.parametrize("name", [n for n, t in TASKS.items() if not isinstance(t.world, TextWorld)])
def test_every_start_is_the_same_for_every_rule_and_other_for_another_seed(name):
    task = TASKS[name]
    one, two = (task.start(6, seed=3, denoiser=blind(task)) for _ in range(2))
    assert torch.equal(one.x, two.x) and torch.equal(one.fixed, two.fixed)
    assert one.x.shape == (6, task.recipe.length)
    assert not (one.fixed & (one.x == task.corpus.vocab_size)).any()
    if not task.from_nothing:
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
    same = ("corpus", "steps", "batch", "rate", "error_rate", "precision")
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


@pytest.mark.parametrize(
    ("task", "low", "high"),
    [
        (task_of(PlantedErrors(wrong=(2, 4))), 2, 4),
        (task_of(PlantedErrors(wrong=(0, 6))), 0, 6),
        (TASKS["sudoku9-repair"], 4, 20),
        (TASKS["agreement-repair"], 2, 6),
    ],
    ids=["two to four", "none to all", "grid", "agreement"],
)
def test_a_repair_plants_as_many_errors_as_it_says_and_no_two_numbers_more_often(task, low, high):
    start = task.start(600, seed=0)
    planted = (start.x != task.corpus.held_out(600, seed=0)).sum(1)
    many = planted.bincount(minlength=high + 1)
    assert many[:low].sum() == 0 and many.sum() == 600 and len(many) == high + 1
    expected = 600 / (high - low + 1)
    assert ((many[low:] - expected).abs() < 5 * expected**0.5).all()
    assert not start.fixed.any() and (start.x < task.corpus.vocab_size).all()


def test_planted_errors_are_any_other_token_alike():
    x0 = TASKS["sudoku9-repair"].corpus.held_out(2000, seed=5)
    x = TASKS["sudoku9-repair"].start(2000, seed=5).x
    shift = ((x - x0) % 9)[x != x0].bincount(minlength=9).double()
    assert shift[0] == 0
    assert ((shift[1:] - shift.sum() / 8).abs() < 5 * (shift.sum() / 8) ** 0.5).all()


def test_what_is_wrong_is_said_by_the_world():
    """A grid: what differs from its solution. A law: what the nearest text has otherwise, though another text was the start's."""
    grid = TASKS["sudoku9-repair"].start(40, seed=0)
    x0 = TASKS["sudoku9-repair"].corpus.held_out(40, seed=0)
    assert torch.equal(grid.wrong(grid.x), grid.x != x0)
    assert not grid.wrong(torch.full_like(x0, 9)).any()  # a mask is not wrong
    start = task_of(PlantedErrors(wrong=(2, 2))).start(200, seed=0)
    assert not start.wrong(start.x).any()  # two bits turned: another text of even parity
    assert LawWorld("parity", 6).wrong(None) is not None and GridWorld("sudoku9", 81).wrong(None) is None
    assert [TASKS[name].tells for name in ("agreement", "sudoku9-infill", "text8")] == [True, True, False]


def test_an_infill_fixes_its_clues_and_they_are_right():
    task = TASKS["sudoku9-infill"]
    start = task.start(300, seed=1)
    x0 = task.corpus.held_out(300, seed=1)
    assert set(start.fixed.sum(1).tolist()) == set(range(30, 51))
    assert torch.equal(start.x[start.fixed], x0[start.fixed])
    assert (start.x[~start.fixed] == 9).all()


def test_own_errors_are_the_denoisers():
    """A perfect denoiser that sees half of a text of independent halves still writes contradictions when it fills at once."""
    task = task_of(OwnErrors(hidden=0.6))
    start = task.start(500, seed=0, denoiser=blind(task))
    changed = start.x != task.corpus.held_out(500, seed=0)
    assert 0.25 < changed.float().mean() < 0.35  # of 60 % hidden bits, half come out other
    right = task.corpus.law.is_valid(start.x).float().mean()
    assert 0.4 < right < 0.6  # parity of bits written at once is a coin
    with pytest.raises(InputError, match="give the denoiser"):
        task.start(5, seed=0)


def test_what_a_repair_did_by_hand():
    """Even parity, one bit turned. Whichever is turned back, all are right in the end; one that does nothing touches nothing."""
    task = task_of(PlantedErrors(wrong=(1, 1)))
    start = task.start(50, seed=0)
    assert start.wrong is not None
    assert (start.wrong(start.x).sum(1) == 1).all()
    oracle = Oracle(parity(6), 0.05)
    trace = refine(oracle, OracleGate(start.wrong), start.x, 2, seed=0)
    assert task.score(trace.x, start, trace)["touched"] == 1
    idle = refine(oracle, OneWay(), start.x, 2, seed=0)
    row = task.score(idle.x, start, idle)
    assert (row["touched"], row["recovered"], row["damaged"], row["quality"], row["loss"]) == (0, 0, 0, 0, 1)
    with pytest.raises(InputError, match="give start and trace"):
        task.score(idle.x)


def test_a_repair_that_breaks_more_than_it_mends_has_the_loss_of_what_it_broke():
    """A grid with one wrong cell: it is mended, and 8 of the 80 right ones are spoilt."""
    task = task_of(PlantedErrors(wrong=(1, 1)), recipe=TASKS["sudoku9-repair"].recipe)
    start = task.start(1, seed=0)
    x = task.corpus.held_out(1, seed=0)
    spoilt = x.clone()
    right = (start.x == x)[0].nonzero()[:8, 0]
    spoilt[0, right] = (x[0, right] + 1) % 9
    nothing = refine(Blind(), OneWay(), start.x, 1, seed=0)
    trace = replace(nothing, overwritten=(start.x != spoilt).long())
    row = task.score(spoilt, start, trace)
    assert (row["touched"], row["recovered"], row["damaged"], row["quality"], row["loss"]) == (1, 1, 0.1, 0, 1)


def test_another_valid_grid_is_no_repair():
    """The digits 1 and 2 change names: the grid is valid, and wrong in 18 of its cells."""
    task = task_of(PlantedErrors(wrong=(0, 0)), recipe=TASKS["sudoku9-repair"].recipe)
    start = task.start(4, seed=0)
    swapped = torch.where(start.x == 0, 1, torch.where(start.x == 1, 0, start.x))
    trace = refine(Blind(), OneWay(), start.x, 1, seed=0)
    row = task.score(swapped, start, trace)
    assert (row["quality"], row["touched"], row["damaged"]) == (1, 0, pytest.approx(18 / 81))
    assert row["loss"] == row["damaged"]


def test_scores_of_the_law_itself_and_of_a_constant():
    recipe = DenoiserRecipe(corpus="markov", length=4)
    task = Task(name="t", title="t", recipe=recipe, score_by=LawFidelity(counted="a"))
    row = task.score(task.real(500, seed=1))
    assert row["quality"] == 1 and row["loss"] < 0.04
    log_p = task.corpus.law.log_prob(torch.cartesian_prod(*[torch.arange(3)] * 4))
    assert row["nats"] == pytest.approx(-float((log_p.exp() * log_p).sum()) / 4, abs=0.04)
    row = task.score(torch.zeros(500, 4, dtype=torch.long))
    assert row["quality"] == 1 and row["loss"] > 0.5
    assert row["distinct"] == 1 / 500


def test_a_counted_word_can_decide_the_loss():
    """Half of the texts 0000 and half 1111 of even parity: words are right, their number in a text is not."""
    recipe = DenoiserRecipe(corpus="parity", length=4)
    plain, counted = (Task(name="t", title="t", recipe=recipe, score_by=LawFidelity(counted=c)) for c in (None, "1"))
    x = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]] * 100)
    assert counted.score(x)["counts"] == pytest.approx(0.75)  # 0, 2, 4 ones: 1/2, 0, 1/2 for 1/8, 6/8, 1/8
    assert torch.tensor(plain.score(x)["counts"]).isnan()
    assert counted.score(x)["quality"] == plain.score(x)["quality"] == 1


def test_outcomes_are_packed_one_bit_a_text():
    assert packed(torch.tensor([True, False, True, True, False, True])) == "2d"
    assert packed(torch.tensor([False] * 8)) == "00"


def test_what_decides_a_task_is_in_its_data_and_its_title_is_not():
    task = TASKS["agreement"]
    others = [
        replace(task, score_by=LawFidelity()),
        replace(task, score_by=LawFidelity(counted="a")),
        replace(task, score_by=Validity()),
        replace(task, start_from=Infill(clues=(1, 2))),
        replace(task, start_from=Infill(clues=(1, 3))),
        replace(task, start_from=PlantedErrors(wrong=(1, 2))),
        replace(task, name="other"),
        replace(task, recipe=replace(task.recipe, length=16)),
    ]
    assert len({json.dumps(one.data) for one in (task, *others)}) == 1 + len(others)
    assert replace(task, title="another").data == task.data


def test_bad_tasks_are_named():
    grid = TASKS["sudoku9-infill"].recipe
    for make, why in (
        (
            lambda: Task(name="t", title="t", recipe=grid, score_by=LawFidelity()),
            "does not score sudoku9",
        ),
        (lambda: Task(name="t", title="t", recipe=TASKS["text8"].recipe, score_by=Validity()), "Validity does not score text8"),
        (lambda: Task(name="t", title="t", recipe=LAW, score_by=TextQuality()), "TextQuality does not score parity"),
        (lambda: Task(name="t", title="t", recipe=LAW, score_by=Repair(), start_from=OwnErrors()), "causal=False"),
        (lambda: Task(name="t", title="t", recipe=DenoiserRecipe(corpus="chess"), score_by=Validity()), "chess"),
        (lambda: Infill(clues=(5, 4)), r"clues=\(5, 4\)"),
        (lambda: PlantedErrors(wrong=(-1, 4)), r"wrong=\(-1, 4\)"),
        (lambda: OwnErrors(hidden=0.0), "hidden=0"),
        (lambda: task_of(PlantedErrors(wrong=(1, 7))).start(2, seed=0), "7 positions of a text of 6"),
        (lambda: world_of("chess", 8), "chess"),
        (lambda: TextWorld("text8", 64).right(torch.zeros(1, 64, dtype=torch.long)), "no text is right or wrong"),
    ):
        with pytest.raises(InputError, match=why):
            make()


def test_starts_real_texts_floors_and_training_draw_from_streams_that_never_meet():
    """Texts of 32 tokens of the agreement grammar hardly ever repeat, so that one text in two places would be one stream."""
    task, seeds = TASKS["agreement"], range(4)
    law = task.corpus.law
    places = {
        "starts": [task.corpus.held_out(50, seed=s) for s in seeds],
        "real": [task.real(50, seed=s) for s in seeds],
        "floors": [law.sample(50, seed=s, stream="floor") for s in seeds],
        "training": [task.corpus.batch(50, generator(s, "data")) for s in seeds],
    }
    texts = [tuple(row) for several in places.values() for x in several for row in x.tolist()]
    assert len(set(texts)) > 0.97 * len(texts) == 0.97 * 800
    for several in places.values():
        assert len({tuple(x[0].tolist()) for x in several}) == len(seeds)


@TEXT
def test_real_text_is_of_the_part_that_neither_denoiser_nor_judge_has_seen():
    task = TASKS["text8"]
    x = task.real(30, seed=0)
    known = task.corpus.train.tolist() + task.corpus.validation[: int(0.8 * len(task.corpus.validation))].tolist()
    decoded = "".join(map(chr, known))
    assert not any("".join(map(chr, row)) in decoded for row in x.tolist())
    assert not torch.equal(x, task.real(30, seed=1))
    row = task.score(x)
    assert row["quality"] > 0.9 and row["loss"] < 0.1 and "outcomes" not in row


def test_a_start_from_nothing_is_masks():
    start = Task(name="t", title="t", recipe=LAW, score_by=LawFidelity(), start_from=Blank()).start(3, seed=0)
    assert (start.x == 2).all() and not start.fixed.any()
