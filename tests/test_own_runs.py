"""Gates that learn on their own runs: what they are shown, what they become, how they are kept."""

from dataclasses import replace

import pytest
import torch

from ardm.base.errors import InputError
from ardm.experiments.cells import Settings
from ardm.experiments.store import Store, gate_made
from ardm.experiments.tasks import TASKS
from ardm.method.own_runs import OWN_RUNS, RATIO, OwnRuns
from ardm.method.rules import choose
from ardm.method.sampling import observe
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.train_on_own_runs import new_reading_gate, own_states, train_on_own_runs
from ardm.worlds.laws import Oracle
from ardm.worlds.repairs import minimal_repair
from ardm.worlds.world import world_of

CPU = torch.device("cpu")
WORLD = world_of("sudoku", 16)
GRIDS = WORLD.corpus
ORACLE = Oracle(WORLD.law, error_rate=0.05)
SMALL = OwnRuns(blocks=1, reads=True, width=16, steps=3, batch=4, calls=4)


def step_of(x):
    """The first step of texts, as the oracle sees them."""
    return observe(ORACLE, x, t=2, T=8, uniform=torch.full(x.shape, 0.5, dtype=torch.float64))


def test_states_are_every_step_of_runs_from_nothing_and_from_texts_with_errors():
    recipe = replace(SMALL, batch=400, error_rate=0.2, blank=0.25)
    gate = new_reading_gate(recipe, 0, 4).eval()
    states = own_states(ORACLE, gate, GRIDS, recipe, torch.Generator().manual_seed(0), CPU)
    assert [step.t for step in states.steps] == [1, 2, 3, 4] and all(step.T == 4 for step in states.steps)
    first = states.steps[0]
    blank = first.is_mask.all(-1)
    assert 0.25 - 0.09 < blank.float().mean() < 0.25 + 0.11  # four standard errors, and texts of which all happens to be hidden
    seen = ~first.is_mask
    wrong = ((first.x != states.x0) & seen).sum() / seen.sum()
    assert 0.15 < wrong < 0.25
    assert states.final is not None and (states.final < 4).all()


def test_a_gate_taught_by_repair_finds_the_planted_error_and_not_its_neighbours():
    recipe = OwnRuns(blocks=2, reads=True, width=32, steps=60, batch=48, calls=4, blank=0.2)
    gate, losses = train_on_own_runs(ORACLE, GRIDS, recipe, repaired=minimal_repair(WORLD), device=CPU, progress=False)
    assert len(losses) == 60 and not gate.training
    x = WORLD.law.sample(200, seed=5, stream="held out")
    where = torch.arange(200) % 16
    broken = x.clone()
    broken[torch.arange(200), where] = (x[torch.arange(200), where] + 1) % 4
    with torch.no_grad():
        p = gate(step_of(broken)).logit_p
        right = gate(step_of(x)).logit_p.sigmoid()
    assert (p.argmax(-1) == where).double().mean() > 0.9  # of 16 places
    assert right.mean() < 0.1


def test_the_head_reads_the_tokens_only_where_it_is_told_to():
    grid = WORLD.law.sample(1, seed=1)
    other = (grid + 1) % 4
    for reads in (False, True):
        gate = new_reading_gate(replace(SMALL, reads=reads, signals=("entropy",)), 0, 4).eval()
        one, two = step_of(grid), replace(step_of(grid), x=other)  # the same signals, other tokens
        assert torch.equal(gate(one).logit_u, gate(two).logit_u) != reads


def test_p_can_be_combined_with_the_prior_and_weights_are_shared():
    gate = new_reading_gate(SMALL, 0, 4).eval()
    step = step_of(WORLD.law.sample(2, seed=1))
    either = gate.combined("noisy_or")
    out = either(step)
    u, r = out.logit_u.sigmoid(), out.logit_r.sigmoid()
    torch.testing.assert_close(out.logit_p.sigmoid(), 1 - (1 - u) * (1 - r))
    assert torch.equal(gate(step).logit_p, out.logit_u) and either.head is gate.head


def test_the_recipe_decides_the_gate_and_the_ratio_needs_no_law():
    recipe = replace(SMALL, label=RATIO)
    one, two = (train_on_own_runs(ORACLE, GRIDS, recipe, device=CPU, progress=False) for _ in range(2))
    assert one[1] == two[1]
    other = train_on_own_runs(ORACLE, GRIDS, replace(recipe, seed=1), device=CPU, progress=False)
    assert one[1] != other[1]
    with pytest.raises(InputError, match="label='minimal repair' needs somebody who knows"):
        train_on_own_runs(ORACLE, GRIDS, SMALL, device=CPU, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": "mismatch"}, "label='mismatch': choose minimal repair or likelihood ratio"),
        ({"blank": 1.5}, "blank=1.5: it is a share"),
        ({"error_rate": float("nan")}, "error_rate=nan"),
        ({"blocks": 0}, "blocks=0: it is at least 1"),
        ({"width": 30}, "width=30: the head needs a multiple of its 4"),
        ({"rate": 0.0}, "rate=0.0: it is above 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        OwnRuns(**wrong)


def test_the_store_gives_back_the_gate_that_was_trained(tmp_path):
    of = DenoiserRecipe(corpus="sudoku", length=16, width=16, depth=1, heads=2, steps=2, batch=4)
    store = Store(tmp_path, CPU)
    made, again = store.gate(SMALL, of), Store(tmp_path, CPU).gate(SMALL, of)
    a, b = made.state_dict(), again.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert gate_made(SMALL, of).key != gate_made(replace(SMALL, label=RATIO), of).key


def test_each_task_asks_for_what_can_be_known_there():
    settings, (repair, ratio) = Settings(), choose(["repair hide", "own ratio hide"])
    grid = settings.training(TASKS["sudoku9-repair"], repair, 0).gate
    assert (grid.blank, grid.most_hidden, grid.steps, grid.batch) == (0.0, 0.6, 150, 24)
    assert settings.training(TASKS["sudoku"], repair, 3).gate == replace(OWN_RUNS["repair"], seed=3)
    played = {(task.name, entry.name) for task, entry, _ in Settings(rules=("repair hide", "own ratio hide")).matches()}
    assert ("text8", ratio.name) in played and ("text8", repair.name) not in played
    assert not {entry.name for _, entry, _ in settings.matches()} & {repair.name, ratio.name}  # they are named or not played
