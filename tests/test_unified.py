"""The unified gate: one p for tokens and proposals, what is done by it, and how it is learnt."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from steps import V, places, rng, seen, step

import ardm.method.train_unified as train_unified_module
from ardm.base.errors import InputError
from ardm.base.processes import Alone
from ardm.base.streams import Lots
from ardm.experiments.cells import CHALLENGERS, Settings
from ardm.experiments.profiles import PROFILES
from ardm.experiments.store import Store, gate_made
from ardm.experiments.tasks import TASKS
from ardm.method.gate import GateOutput, LinearHead, OverwriteGate
from ardm.method.own_runs import OWN_RUNS, RATIO, SLOW
from ardm.method.rules import WriteAndHide, choose
from ardm.method.sampling import observe, refine
from ardm.method.schedule import Schedule
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.train_unified import (
    UnifiedGate,
    _UnifiedTraining,
    new_unified_gate,
    train_unified,
    unified_states,
    with_proposals,
)
from ardm.method.unified import UNIFIED, WAYS, Unified
from ardm.worlds.laws import Oracle
from ardm.worlds.repairs import minimal_repair
from ardm.worlds.world import world_of

CPU = torch.device("cpu")
PAIR = world_of("parity", 2)  # two tokens, 0 0 or 1 1
ORACLE = Oracle(PAIR.law, error_rate=0.1)
SMALL = Unified(blocks=1, width=16, steps=3, batch=4, calls=4)


class Says(OverwriteGate):
    """A gate that gives each place of every text the p that it was told."""

    def __init__(self, p):
        super().__init__(LinearHead())
        self.logit = torch.tensor(p).logit()

    def forward(self, step, signals=None):
        logit = self.logit.expand(step.x.shape)
        return GateOutput(logit, logit, logit)


# A step by hand: tokens at 0, 2, 5 and 6, where the last is given; masks at 1, 3, 4 and 7. The schedule writes three from the left,
# and half of the masks are due.
P = [0.9, 0.1, 0.2, 0.6, 0.35, 0.5, 0.99, 0.05]
BY_HAND = {
    ("schedule", 0.3): [1, 3, 4],
    ("fit", 0.3): [1, 4, 7],
    ("threshold", 0.3): [1, 7],
    ("both", 0.3): [1, 7],
    ("threshold", 0.4): [1, 4, 7],
    ("threshold", 0.01): [1, 7],  # none fits, two are due
    ("both", 0.01): [1, 7],
    ("threshold", 0.95): [1, 3, 4, 7],
    ("both", 0.95): [1, 4, 7],  # all fit, three may be written
}


def by_hand(t=3, T=4, **how):
    s = step([[0, V, 1, V, V, 2, 3, V]], t, T, [[place == 6 for place in range(8)]])
    return WriteAndHide(Says(P), schedule=Schedule("left", 1.0), **how)(s, rng())


@pytest.mark.parametrize(("way", "threshold"), BY_HAND)
def test_what_is_written_by_hand(way, threshold):
    assert places(by_hand(write=way, threshold=threshold).write) == BY_HAND[way, threshold]


def test_what_is_hidden_by_hand():
    assert places(by_hand().remask) == [0, 5]
    assert places(by_hand(budget=1).remask) == [0]
    assert places(by_hand(threshold=0.1).remask) == [0, 2, 5]
    assert places(by_hand(threshold=0.9).remask) == []
    last = by_hand(t=4, write="both")
    assert places(last.remask) == [] and {0, 5} <= set(places(last.write)) and 6 not in places(last.write)


@pytest.mark.parametrize(("way", "lot", "spacing"), list(product(WAYS, (False, True), (0, 1))))
def test_no_given_place_is_touched_and_it_counts_for_nothing(way, lot, spacing):
    p = [0.99, 0.4, 0.99, 0.4, 0.01, 0.01]
    for t in (1, 2, 3):
        s = step([[0, 1, 2, 3, V, V]] * 50, t, 3, [[True, False, True, False, False, False]] * 50)
        action = WriteAndHide(Says(p), way, 0.3, lot=lot, spacing=spacing)(s, rng(50).at(t))
        touched = action.write | action.remask
        assert not touched[:, [0, 2]].any()
        if t < 3:
            assert set(touched[:, [1, 3]].sum(-1).tolist()) == {1 if lot else 2}  # .4 + .4 are one change


def test_of_two_tokens_in_conflict_one_goes():
    texts = step([[0, 1, 2, 0]] * 2000, 1, 8)
    rule = WriteAndHide(Says([0.5, 0.02, 0.02, 0.5]), budget=4)
    assert rule(texts, rng(2000)).remask.sum(-1).unique().tolist() == [2]
    hidden = replace(rule, lot=True)(texts, rng(2000)).remask
    assert hidden.sum(-1).unique().tolist() == [1]
    assert 0.45 < hidden[:, 0].double().mean() < 0.55
    assert places(replace(rule, spacing=3)(texts, rng(2000)).remask) == [0]
    assert places(replace(rule, spacing=2)(texts, rng(2000)).remask) == [0, 3]


def test_of_a_token_and_a_proposal_in_conflict_one_goes():
    texts = step([[0, V, V, V, V]] * 2000, 1, 8)
    p = [0.5, 0.5, 0.02, 0.02, 0.02]
    both = WriteAndHide(Says(p), "threshold")(texts, rng(2000))
    assert both.remask[:, 0].all() and not both.write[:, 1].any()
    one = WriteAndHide(Says(p), "threshold", lot=True)(texts, rng(2000))
    assert torch.equal(one.remask[:, 0], one.write[:, 1])  # the token goes and the proposal is written, or neither
    assert 0.45 < one.remask[:, 0].double().mean() < 0.55
    assert one.write[:, 2:].all()


def test_who_goes_is_drawn_in_proportion_to_p():
    texts = step([[0, 1, 2]] * 6000, 1, 8)
    hidden = WriteAndHide(Says([0.8, 0.4, 0.1]), lot=True)(texts, rng(6000)).remask.double().mean(0)
    torch.testing.assert_close(hidden, torch.tensor([2 / 3, 1 / 3, 0.0]).double(), atol=0.025, rtol=0)  # 1.2 are one change


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"write": "all"}, "write='all': choose schedule or fit or threshold or both"),
        ({"threshold": 1.5}, "threshold=1.5: it is a probability"),
        ({"budget": -1}, "budget=-1: it is at least 0"),
        ({"spacing": -1}, "spacing=-1: it is at least 0"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        WriteAndHide(Says(P), **wrong)


# ------------------------------------------------------------------------------------------------------------------ the gate


def of_proposals(tokens):
    """A text of two tokens and two masks, where these are proposed."""
    q = [[0.4, 0.3, 0.2, 0.1]] * 4
    return seen([0, V, 1, V], q, 2, 8, proposal=tokens)


def test_the_gate_reads_proposals_at_masks_and_what_stands_elsewhere():
    gate = new_unified_gate(replace(SMALL, signals=("entropy",)), 0, V).eval()  # which is the same whatever is proposed
    assert with_proposals(of_proposals([3, 2, 3, 0])).x.tolist() == [[0, 2, 1, 0]]
    p = gate(of_proposals([3, 2, 3, 0])).logit_p
    assert torch.equal(p, gate(of_proposals([2, 2, 2, 0])).logit_p)
    for others in ([3, 3, 3, 0], [3, 2, 3, 1]):
        assert not torch.isclose(p, gate(of_proposals(others)).logit_p).all()


def test_signals_of_both_kinds_lie_apart_with_the_kind():
    recipe = replace(SMALL, signals=("placed_log_prob", "entropy"))
    gate = new_unified_gate(recipe, 0, V).eval()
    s = of_proposals([3, 2, 3, 0])
    found = gate.features(s, torch.zeros(1, 4)).signals[0]
    entropy, log_q = s.now.entropy[0, 0], torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    stands, proposed = [[log_q[i], entropy, 0, 0, 0] for i in (0, 1)], [[0, 0, log_q[i], entropy, 1] for i in (2, 0)]
    torch.testing.assert_close(found, torch.tensor([stands[0], proposed[0], stands[1], proposed[1]]))


def test_a_token_that_stands_is_told_from_the_same_one_proposed():
    gate, s = new_unified_gate(SMALL, 0, V).eval(), of_proposals([3, 2, 3, 0])
    stands = replace(s, x=with_proposals(s).x, is_mask=torch.zeros_like(s.is_mask))
    assert not torch.isclose(gate(s).logit_p, gate(stands).logit_p).any()


def test_combined_with_a_prior_it_still_reads_proposals():
    gate = new_unified_gate(SMALL, 0, V).eval()
    either = gate.combined("noisy_or")
    out = either(of_proposals([3, 2, 3, 0]))
    u, r = out.logit_u.sigmoid(), out.logit_r.sigmoid()
    torch.testing.assert_close(out.logit_p.sigmoid(), 1 - (1 - u) * (1 - r))
    assert isinstance(either, UnifiedGate) and torch.equal(out.logit_u, gate(of_proposals([3, 2, 3, 0])).logit_p)


# -------------------------------------------------------------------------------------------------------------- the training


def pair(x, proposal):
    """The first of two steps of a text of two tokens."""
    x = torch.tensor([x])
    s = observe(ORACLE, x, t=1, T=2, uniform=torch.full(x.shape, 0.5, dtype=torch.float64))
    return replace(s, proposal=torch.tensor([proposal]))


def test_it_learns_that_two_in_conflict_are_half_wrong_be_they_proposed_or_there():
    recipe = Unified(blocks=1, width=16, steps=150, batch=64, calls=2, rate=5e-3)
    gate, losses = train_unified(ORACLE, PAIR.corpus, recipe, repaired=minimal_repair(PAIR), device=CPU, progress=False)
    assert len(losses) == 150 and not gate.training
    mask = 2
    for x, proposal in (([0, mask], [0, 1]), ([mask, 1], [0, 1]), ([mask, mask], [1, 0]), ([0, 1], [0, 1])):
        assert (gate(pair(x, proposal)).logit_p.sigmoid() - 0.5).abs().max() < 0.15
    for x, proposal in (([0, mask], [1, 0]), ([mask, 1], [1, 0]), ([mask, mask], [1, 1]), ([1, 1], [0, 0])):
        assert gate(pair(x, proposal)).logit_p.sigmoid().max() < 0.1
    rule = WriteAndHide(gate, "threshold", schedule=Schedule("surest"))
    drawn = refine(ORACLE, rule, torch.full((500, 2), mask), 4, seed=3).x
    assert PAIR.law.is_valid(drawn).double().mean() > 0.95  # drawn apart, one half would be
    assert 0.4 < drawn[:, 0].double().mean() < 0.6


def test_the_label_is_that_of_the_text_with_all_proposals():
    repaired = minimal_repair(PAIR)
    training = _UnifiedTraining(ORACLE, PAIR.corpus, replace(SMALL, batch=50), repaired, CPU)
    drawn = training.draw(0, Lots(torch.Generator().manual_seed(1)), Alone())
    assert [lesson.step.t for lesson in drawn] == [1, 2, 3, 4]
    for lesson in drawn:
        assert lesson.label.where.all() and lesson.told == 100
        torch.testing.assert_close(lesson.label.value, repaired(with_proposals(lesson.step).x, lesson.step.x).float())
    assert any((lesson.label.value[lesson.step.is_mask] > 0).any() for lesson in drawn)


def test_runs_write_in_each_way_in_turn(monkeypatch):
    asked = []

    def watched(*args):
        asked.append(args[4])
        return unified_states(*args)

    monkeypatch.setattr(train_unified_module, "unified_states", watched)
    train_unified(ORACLE, PAIR.corpus, replace(SMALL, steps=5), repaired=minimal_repair(PAIR), device=CPU, progress=False)
    assert asked == [*WAYS, WAYS[0]]
    recipe, world = replace(SMALL, batch=50, threshold=0.5, calls=8), world_of("sudoku", 16)
    lots = [Lots(torch.Generator().manual_seed(1)) for _ in WAYS]
    gate, oracle = new_unified_gate(recipe, 0, 4).eval(), Oracle(world.law, error_rate=0.05)
    runs = [unified_states(oracle, gate, world.corpus, recipe, way, own, CPU) for way, own in zip(WAYS, lots, strict=True)]
    assert len({tuple(run.steps[3].x.flatten().tolist()) for run in runs}) == len(WAYS)
    assert all(torch.equal(run.steps[0].x, runs[0].steps[0].x) for run in runs)


def test_the_recipe_decides_the_gate():
    how = {"repaired": minimal_repair(PAIR), "device": CPU, "progress": False}
    one, two, other = (train_unified(ORACLE, PAIR.corpus, replace(SMALL, seed=seed), **how)[1] for seed in (0, 0, 1))
    assert one == two != other
    with pytest.raises(InputError, match="label='minimal repair' needs somebody who knows"):
        train_unified(ORACLE, PAIR.corpus, SMALL, device=CPU, progress=False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": RATIO}, "label='likelihood ratio' says nothing of proposals"),
        ({"ways": ()}, "name at least one of schedule, fit, threshold, both"),
        ({"ways": ("schedule", "left")}, "ways='left': choose schedule or fit"),
        ({"blank": 1.5}, "blank=1.5: it is a share"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Unified(**wrong)


def test_the_store_gives_back_the_gate_that_was_trained_by_its_recipe(tmp_path):
    of = DenoiserRecipe(corpus="sudoku", length=16, width=16, depth=1, heads=2, steps=2, batch=4)
    for recipe in (SMALL, replace(SMALL, label=SLOW, steps=1, batch=2, calls=2)):
        made, again = (Store(tmp_path, CPU).gate(recipe, of) for _ in range(2))
        a, b = made.state_dict(), again.state_dict()
        assert isinstance(again, UnifiedGate) and again.head.token.num_embeddings == 5
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    others = [replace(SMALL, ways=("fit",)), replace(SMALL, seed=1), OWN_RUNS["repair"]]
    assert len({gate_made(recipe, of).key for recipe in (SMALL, *others)}) == 4


def test_it_is_a_challenger_and_plays_where_somebody_knows_what_is_wrong():
    (entry,) = choose(["unified gate"])
    assert entry.name in CHALLENGERS and entry.name in PROFILES["final"].rules
    assert entry.name not in {rule.name for _, rule, _ in Settings().matches()}
    played = {task.name for task, *_ in replace(PROFILES["final"], rules=(entry.name,)).matches()}
    assert played == {"agreement", "sudoku", "sudoku9-repair"}
    grid = Settings().training(TASKS["sudoku9-repair"], entry, 0).gate
    assert (grid.blank, grid.most_hidden, grid.ways) == (0.0, 0.6, WAYS)
    assert Settings().training(TASKS["sudoku"], entry, 3).gate == replace(UNIFIED, seed=3)
