"""Each rule on a hand-worked step, and the rates of the random ones."""

from dataclasses import replace

import pytest
import torch
from steps import DOUBT, SURE, V, places, rng, seen, step

from ardm.base.errors import InputError
from ardm.method.belief import Table
from ardm.method.gate import LinearHead, OverwriteGate
from ardm.method.prior import prior_logit
from ardm.method.rules import (
    DDPD,
    FixedSchedule,
    HideThenRefill,
    InformedCorrector,
    InPlace,
    LeftToRight,
    OneWay,
    OracleGate,
    Overwrite,
    RandomGate,
    Shuffled,
    TokenToMask,
    TokenToToken,
    UniformRefinement,
)
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection
from ardm.method.types import Action


def test_left_to_right_by_hand():
    s = step([[0, V, V, 1, V, V]], t=2, T=4)  # 4 masks, 3 steps left: 2 now
    assert LeftToRight()(s, rng()).write.tolist() == [[False, True, True, False, False, False]]
    assert LeftToRight()(step([[V] * 6], t=1, T=6), rng()).write.sum() == 1


@pytest.mark.parametrize(("t", "T"), [(1, 4), (3, 4), (4, 4)])
def test_one_way_writes_masks_at_the_linear_rate(t, T):
    x = torch.full((500, 40), V)
    x[:, ::2] = 0
    write = OneWay()(step(x, t, T), rng(500)).write
    assert write[:, ::2].sum() == 0
    assert write[:, 1::2].float().mean().item() == pytest.approx(1 / (T - t + 1), abs=0.02)


def test_uniform_refinement_rate():
    write = UniformRefinement(0.3)(step(torch.zeros(500, 40, dtype=torch.long), 1, 4), rng(500)).write
    assert write.float().mean().item() == pytest.approx(0.3, abs=0.013)
    with pytest.raises(InputError, match="rate=0"):
        UniformRefinement(0)


def test_fixed_schedule_overwrites_with_the_prior_and_is_the_gate_with_u_zero():
    s = step(torch.zeros(4000, 8, dtype=torch.long), 3, 8)
    write = FixedSchedule()(s, rng(4000)).write
    expected = prior_logit(8, 3, 8).sigmoid()
    assert torch.allclose(write.float().mean(0), expected, atol=0.032)  # 4 standard errors
    u_is_zero = OverwriteGate(LinearHead((0, 0, 0), beta_0=-1e9)).eval()
    assert torch.equal(Overwrite(u_is_zero)(s, rng(4000)).write, write)


def test_hide_then_refill_by_hand():
    """Half way through T = 10 with 0.6: no mask may be wanted after step 6; suspects above the threshold are hidden."""
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=1.0), combine="gate_only").eval()
    rule = HideThenRefill(gate, Selection("threshold", 0.5, budget=2))
    x = [[V, V, V, 0, 1, 2]]
    late = rule(step(x, 6, 10), rng())
    assert late.write.tolist() == [[True, True, True, False, False, False]]
    assert late.remask.sum() == 2 and not late.remask[0, :3].any()
    early = rule(step(x, 3, 10), rng())  # 6 open positions, half of the writing time: 3 masks are wanted, 3 are there
    assert early.write.sum() == 0
    shy = HideThenRefill(gate, Selection("threshold", 0.9))
    assert shy(step(x, 6, 10), rng()).remask.sum() == 0


def test_the_last_step_overwrites_suspects_in_place():
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=1.0), combine="gate_only").eval()
    s = step([[0, V, 1, 2]], 8, 8, fixed=[[True, False, False, False]])
    action = HideThenRefill(gate, Selection("threshold", 0.5, budget=1))(s, rng())
    assert (places(action.write), places(action.remask)) == ([1, 2], [])  # the mask, and one suspect of equals
    action = HideThenRefill(gate, Selection("threshold", 0.5, budget=1), finish=False)(s, rng())
    assert (places(action.write), places(action.remask)) == ([1], [])
    earlier = replace(s, t=7)
    action = HideThenRefill(gate, Selection("threshold", 0.5, budget=1))(earlier, rng())
    assert (places(action.write), places(action.remask)) == ([1], [2])


def test_in_place_overwrites_the_suspects_that_the_other_hides():
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=1.0), combine="gate_only").eval()
    s = step([[0, V, 1, 2, 3]], 3, 8, fixed=[[True, False, False, False, False]])
    settings = {"gate": gate, "selection": Selection("threshold", 0.5, budget=2), "schedule": Schedule("left", 0.25)}
    hiding, here = HideThenRefill(**settings)(s, rng()), InPlace(**settings)(s, rng())
    assert (places(hiding.write), places(hiding.remask)) == ([1], [2, 3])
    assert (places(here.write), places(here.remask)) == ([1, 2, 3], [])
    assert here.scores.keys() == {"p", "u", "r"}
    assert torch.equal(here.scores["p"], hiding.scores["p"])
    last = InPlace(**settings)(replace(s, t=8), rng())
    assert (places(last.write), places(last.remask)) == ([1, 2, 3], [])


@pytest.mark.parametrize("t", [3, 8])
def test_what_rules_report_of_a_step(t):
    """p, u and r of a gate; p of the others that have one. The last step is reported as any other."""
    s = step([[0, V, 1, 2]], t, 8)
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=1.0)).eval()
    u, r = torch.tensor(1.0).sigmoid(), prior_logit(4, t, 8).sigmoid()
    seen = {"p": 1 - (1 - u) * (1 - r), "u": u.expand(4), "r": r}
    wrong = torch.tensor([1.0, 0, 0, 0])  # of the words 0, 1 and 2 the oracle calls 0 wrong
    for rule, scores in (
        (Overwrite(gate), seen),
        (HideThenRefill(gate), seen),
        (HideThenRefill(gate, finish=False), seen),
        (Shuffled(Overwrite(gate)), seen),
        (DDPD(gate), seen),
        (UniformRefinement(0.25), {"p": torch.full((4,), 0.25)}),
        (FixedSchedule(), {"p": r, "r": r}),
        (OracleGate(lambda x: x == 0), {"p": wrong}),
        (OracleGate(lambda x: x == 0, in_place=True), {"p": wrong}),
    ):
        found = rule(s, rng()).scores
        assert found.keys() == scores.keys()
        assert all(torch.allclose(found[name][0], scores[name]) for name in scores)


def test_no_rule_touches_what_is_fixed():
    fixed = [[True, False, True, False]]
    gate = OverwriteGate(LinearHead(beta_0=50.0), combine="gate_only").eval()
    for rule in (UniformRefinement(1.0), Overwrite(gate), HideThenRefill(gate)):
        action = rule(step([[0, 1, 2, 3]], 1, 4, fixed), rng())
        assert (action.write | action.remask).tolist() == [[False, True, False, True]]


def test_the_acceptance_test_writes_only_what_is_likelier():
    """Proposals are token 1 everywhere: over a mask always, over token 0 (less likely) yes, over 1 and 2 (likelier) no."""
    s = step([[V, 0, 1, 2]], 2, 4)
    log_q = torch.tensor([0.1, 0.3, 0.5, 0.1]).log().expand(1, 4, 4)
    s = replace(s, now=Table(log_q), proposal=torch.ones_like(s.x))
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=50.0), combine="gate_only").eval()
    assert Overwrite(gate)(s, rng()).write.tolist() == [[True] * 4]
    assert Overwrite(gate, accept="better")(s, rng()).write.tolist() == [[True, True, False, False]]
    few = Overwrite(gate, Selection("threshold", 0.5, budget=1), accept="better")
    assert places(few(s, rng()).write) == [0]  # of what was selected
    with pytest.raises(InputError, match="accept='maybe'"):
        Overwrite(gate, accept="maybe")


def test_shuffled_keeps_the_amount_and_loses_the_place():
    class Half:
        def __call__(self, s, chance):
            even = torch.arange(s.x.shape[1]) % 2 == 0
            visible = ~s.is_mask & ~s.is_fixed
            return Action(write=s.is_mask | (visible & even & (s.x == 0)), remask=visible & even & (s.x == 1))

    g = torch.Generator().manual_seed(2)
    x = torch.randint(5, (3000, 12), generator=g).clamp(max=V)
    s = step(x, 2, 9, fixed=(torch.arange(12) == 5).expand(3000, 12) & (x < V))
    plain, mixed = Half()(s, rng(3000)), Shuffled(Half())(s, rng(3000))
    visible = ~s.is_mask
    for name in ("write", "remask"):
        a, b = getattr(plain, name), getattr(mixed, name)
        assert torch.equal((a & visible).sum(-1), (b & visible).sum(-1))
        assert torch.equal(a & s.is_mask, b & s.is_mask)
        assert not (b & s.is_fixed).any()
    assert not (mixed.write & mixed.remask).any()
    touched = (mixed.write | mixed.remask) & visible
    open_places = visible & ~s.is_fixed
    rate = touched.sum(0) / open_places.sum(0).clamp(min=1)
    assert rate[[i for i in range(12) if i != 5]].std() < 0.02  # odd places are touched as often as even ones


def test_all_resample_is_uniform_refinement_at_rate_one():
    assert UniformRefinement(1.0)(step([[0, 1, V]], 1, 4), rng()).write.all()


def test_the_random_gate_hides_k_visible_tokens_whatever_they_are():
    s = step([[0, 1, 2, V, 3, 0]], 3, 10, fixed=[[True, False, False, False, False, False]])
    counts = torch.zeros(6)
    chance = rng()
    for _ in range(400):
        action = RandomGate(2)(s, chance)
        assert action.remask.sum() == 2
        counts += action.remask[0]
    assert counts[0] == counts[3] == 0
    assert torch.allclose(counts[[1, 2, 4, 5]] / 400, torch.tensor(0.5), atol=0.12)
    with pytest.raises(InputError, match="k=-1"):
        RandomGate(-1)


def test_the_oracle_gate_revises_what_is_wrong_and_nothing_else():
    s = step([[0, 1, 2, V, 3]], 10, 10, fixed=[[False, True, False, False, False]])
    truth = torch.tensor([[1, 2, 2, 0, 0]])  # wrong: 0, 1 (fixed), 4
    rule = OracleGate(lambda x: (x < V) & (x != truth))
    action = rule(s, rng())
    assert (places(action.remask), places(action.write)) == ([0, 4], [3])
    action = replace(rule, in_place=True)(s, rng())
    assert (places(action.remask), places(action.write)) == ([], [0, 3, 4])


def test_rules_of_one_schedule_write_the_same_masks_whatever_they_revise():
    """A schedule draws before the rule revises, so what is written by lot does not hang on what is revised."""
    s = seen([V, V, 0, V, V, 1, V, V], [DOUBT, SURE] * 4, 2, 8)
    gate = OverwriteGate(LinearHead()).eval()
    by_left = Schedule("left", written_by=0.5)
    for schedule in (Schedule(), by_left):
        rules = (
            HideThenRefill(gate, schedule=schedule),
            RandomGate(2, schedule=schedule),
            OracleGate(lambda x: x == 1, in_place=True, schedule=schedule),
            TokenToToken(0.3, schedule=schedule),
            TokenToMask("low_prob", schedule=schedule),
            InformedCorrector(1, schedule=schedule),
        )
        written = [places(rule(s, rng(seed=5)).write & s.is_mask) for rule in rules]
        assert written == [written[0]] * 6 and written[0]
    assert written[0] == [0, 1]  # 8 open positions, none masked after step 4 of 8: 4 may be left after step 2, of 6
