"""Each rule on a hand-worked step, and the rates of the random ones."""

from dataclasses import replace

import pytest
import torch

from ardm.gate import LinearHead, OverwriteGate
from ardm.laws import Oracle, agreement
from ardm.prior import prior_logit
from ardm.rules import (
    DDPD,
    EntropyBounded,
    FixedSchedule,
    HideThenRefill,
    InformedCorrector,
    LeftToRight,
    MaskPredict,
    MostConfidentFirst,
    OneWay,
    Overwrite,
    PathPlanning,
    ReMDM,
    Shuffled,
    TokenToMask,
    TokenToToken,
    UniformRefinement,
)
from ardm.sampling import blank, refine
from ardm.selection import Selection
from ardm.types import Action, InputError, Step

V = 4


def step(x, t, T, fixed=None):
    x = torch.as_tensor(x)
    log_q = torch.zeros(*x.shape, V).log_softmax(-1)
    fixed = torch.zeros_like(x, dtype=torch.bool) if fixed is None else torch.as_tensor(fixed)
    zero = torch.zeros_like(x)
    hidden = torch.zeros(*x.shape, 0)
    return Step(t, T, x, x.clamp(max=V - 1), log_q, None, zero.float(), hidden, x == V, fixed, zero)


def rng():
    return torch.Generator().manual_seed(0)


def test_left_to_right_by_hand():
    s = step([[0, V, V, 1, V, V]], t=2, T=4)  # 4 masks, 3 steps left: 2 now
    assert LeftToRight()(s, rng()).write.tolist() == [[False, True, True, False, False, False]]
    assert LeftToRight()(step([[V] * 6], t=1, T=6), rng()).write.sum() == 1


@pytest.mark.parametrize(("t", "T"), [(1, 4), (3, 4), (4, 4)])
def test_one_way_writes_masks_at_the_linear_rate(t, T):
    x = torch.full((500, 40), V)
    x[:, ::2] = 0
    write = OneWay()(step(x, t, T), rng()).write
    assert write[:, ::2].sum() == 0
    assert write[:, 1::2].float().mean().item() == pytest.approx(1 / (T - t + 1), abs=0.02)


def test_one_way_with_one_call_a_token_draws_the_law_itself():
    """With the exact posterior and far more calls than tokens, one-way sampling is ancestral sampling: all texts are valid."""
    law = agreement(9)
    trace = refine(Oracle(law, error_rate=0.0), LeftToRight(), blank(300, 9, law.vocab_size), 9, seed=0)
    assert law.is_valid(trace.x).all()


def test_uniform_refinement_rate():
    write = UniformRefinement(0.3)(step(torch.zeros(500, 40, dtype=torch.long), 1, 4), rng()).write
    assert write.float().mean().item() == pytest.approx(0.3, abs=0.013)
    with pytest.raises(InputError, match="rate=0"):
        UniformRefinement(0)


def test_fixed_schedule_overwrites_with_the_prior_and_is_the_gate_with_u_zero():
    s = step(torch.zeros(4000, 8, dtype=torch.long), 3, 8)
    write = FixedSchedule()(s, rng()).write
    expected = prior_logit(8, 3, 8).sigmoid()
    assert torch.allclose(write.float().mean(0), expected, atol=0.032)  # 4 standard errors
    u_is_zero = OverwriteGate(LinearHead((0, 0, 0), beta_0=-1e9)).eval()
    assert torch.equal(Overwrite(u_is_zero)(s, rng()).write, write)


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
    s = Step(**{**s.__dict__, "log_q": log_q, "proposal": torch.ones_like(s.x)})
    gate = OverwriteGate(LinearHead((0, 0, 0), beta_0=50.0), combine="gate_only").eval()
    assert Overwrite(gate)(s, rng()).write.tolist() == [[True] * 4]
    assert Overwrite(gate, accept="better")(s, rng()).write.tolist() == [[True, True, False, False]]
    with pytest.raises(InputError, match="accept='maybe'"):
        Overwrite(gate, accept="maybe")
    with pytest.raises(InputError, match="written_by=0"):
        HideThenRefill(gate, written_by=0)


def seen(x, q, t, T, *, proposal=None, written=None, before=None, overwrites=None):
    """A step of one text with the given probabilities of the four words at each position."""
    s = step([x], t, T)
    q = torch.tensor([q])
    given = {"log_q": q.log()}
    if proposal is not None:
        given["proposal"] = torch.tensor([proposal])
    if written is not None:
        given["log_q_written"] = torch.tensor([written]).log()
    if before is not None:
        given["log_q_before"] = torch.tensor([before]).log()
    if overwrites is not None:
        given["overwrites"] = torch.tensor([overwrites])
    return replace(s, **given)


SURE, TIE, DOUBT = [0.97, 0.01, 0.01, 0.01], [0.5, 0.48, 0.01, 0.01], [0.4, 0.2, 0.2, 0.2]


def places(mask):
    return mask[0].nonzero().flatten().tolist()


def test_most_confident_first_by_hand():
    x, q = [V, V, 0, V, V], [DOUBT, TIE, SURE, SURE, TIE]  # 4 masks, 2 steps left: 2 now
    s = seen(x, q, 3, 4)
    assert places(MostConfidentFirst()(s, rng()).write) == [1, 3]  # .97, then the first of the two .5
    assert places(MostConfidentFirst("margin")(s, rng()).write) == [0, 3]  # log 97, then log 2; log(.5/.48) last
    assert not MostConfidentFirst()(s, rng()).remask.any()
    with pytest.raises(InputError, match="by='entropy'"):
        MostConfidentFirst("entropy")


def test_entropy_bounded_by_hand():
    """Entropies in nats: sure .168, tie .791, doubt 1.332. Ascending over the masks: .168, .168, .791, 1.332."""
    x, q = [V, V, 0, V, V], [DOUBT, SURE, SURE, SURE, TIE]
    s = seen(x, q, 1, 9)
    for gamma, expected in ((0.0, [1]), (0.167, [1]), (0.17, [1, 3]), (0.34, [1, 3, 4]), (1.2, [0, 1, 3, 4])):
        assert places(EntropyBounded(gamma)(s, rng()).write) == expected, gamma
    with pytest.raises(InputError, match="gamma=-1"):
        EntropyBounded(-1)


def test_mask_predict_goes_by_the_probability_when_written_and_path_planning_by_that_of_now():
    x = [0, 0, V, V, 0, V]
    q = [SURE, DOUBT, SURE, DOUBT, TIE, TIE]
    s = seen(x, q, 2, 4, proposal=[0, 0, 0, 1, 0, 0], written=[0.1, 0.9, 1, 1, 0.45, 1])
    # 3 of 6 stay hidden. Stored: .1 and .45 of the visible, .97, .2 and .5 of the proposals
    action = MaskPredict()(s, rng())
    assert (places(action.write), places(action.remask)) == ([2, 5], [0, 4])
    # now: .97, .4, .5 of the visible: the lowest are .2 (a mask), .4 and then the first .5
    action = PathPlanning()(s, rng())
    assert (places(action.write), places(action.remask)) == ([2, 5], [1, 4])
    assert not PathPlanning(0.0)(s, rng()).remask.any()
    assert places(PathPlanning(60.0)(s, rng()).remask) == [0, 1, 4]  # .97^60 = .161 is below .2
    end = replace(s, t=4)
    assert places(MaskPredict()(end, rng()).write) == [2, 3, 5]
    assert not MaskPredict()(end, rng()).remask.any()


@pytest.mark.parametrize(
    ("rule", "t", "sigma"),
    [
        (ReMDM("cap", 0.2), 4, 0.2),
        (ReMDM("cap", 0.9), 8, 2 / 7),  # a = .7, b = .8: no more than (1 - b) / a
        (ReMDM("rescale", 0.5), 4, 0.5),  # a = .3, b = .4: the limit is 1
        (ReMDM("rescale", 0.5), 8, 1 / 7),
        (ReMDM(), 4, 0.008),
        (ReMDM("rescale"), 4, 0.015),
    ],
)
def test_remdm_keeps_the_share_of_the_schedule(rule, t, sigma):
    """Of a text in which a share a is visible, sigma is hidden and in expectation a share b is visible afterwards."""
    T, a, b = 10, (t - 1) / 10, t / 10
    x = torch.full((4000, 20), V)
    x[:, : round(20 * a)] = 0
    action = rule(step(x, t, T), rng())
    hidden = action.remask[:, : round(20 * a)].float().mean().item()
    assert hidden == pytest.approx(sigma, abs=5 * (sigma * (1 - sigma) / (4000 * 20 * a)) ** 0.5)
    visible = (round(20 * a) - action.remask.sum(-1) + action.write.sum(-1)).float().mean() / 20
    assert visible.item() == pytest.approx(b, abs=0.008)


def test_remdm_by_confidence_shares_sigma_out_by_hand():
    """exp(-.2), exp(-.9) and nothing for the mask: two thirds of sigma to the doubtful token."""
    x = torch.tensor([[0, 0, V]]).repeat(20000, 1)
    s = replace(step(x, 2, 4), log_q_written=torch.tensor([[0.2, 0.9, 1.0]]).log().expand(20000, 3))
    hidden = ReMDM("cap", 0.6, by_confidence=True)(s, rng()).remask.float().mean(0)
    weight = torch.tensor([-0.2, -0.9]).softmax(0)
    assert torch.allclose(hidden, torch.tensor([0.6 * weight[0], 0.6 * weight[1], 0.0]), atol=0.012)


def test_remdm_loop_writes_nine_tenths_then_stands_still_then_finishes():
    rule = ReMDM("cap", 0.1, loop=True)
    assert [round(rule.kept(time), 4) for time in (1.0, 0.775, 0.55, 0.3, 0.05, 0.025, 0.0)] == [
        0,
        0.45,
        0.9,
        0.9,
        0.9,
        0.95,
        1,
    ]
    x = torch.full((4000, 20), V)
    x[:, :18] = 0  # nine tenths
    for t, hides in ((3, False), (30, True), (60, True), (98, False)):  # T = 100: times .98, .71, .41, .03
        action = rule(step(x, t, 100), rng())
        assert action.remask.any().item() is (hides and t == 60), t
    action = rule(step(x, 60, 100), rng())
    assert action.remask[:, :18].float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert action.write[:, 18:].float().mean().item() == pytest.approx(0.1 * 0.9 / 0.1, abs=0.015)
    assert ReMDM(loop=True)(step(x, 60, 100), rng()).remask[:, :18].float().mean().item() == pytest.approx(0.02, abs=0.003)


def test_remdm_at_its_last_step_hides_nothing_and_writes_all():
    x = torch.full((50, 20), V)
    x[:, ::2] = 0
    for rule in (ReMDM("cap", 1.0), ReMDM("rescale", 1.0), ReMDM(loop=True)):
        action = rule(step(x, 10, 10), rng())
        assert not action.remask.any()
        assert action.write[:, 1::2].all()
    with pytest.raises(InputError, match="how='conf'"):
        ReMDM("conf")


def test_token_to_token_by_hand():
    x, q = [1, 1, 1, 0, V], [SURE, TIE, DOUBT, SURE, SURE]
    s = seen(x, q, 1, 9, proposal=[0, 0, 0, 0, 0])
    chosen = TokenToToken(0.45, written_by=1.0)(s, rng())
    assert places(chosen.write & (s.x < V)) == [0, 1]  # .97 and .5 are above, .4 is not; position 3 has its word already
    assert places(TokenToToken(0.5, written_by=1.0)(s, rng()).write & (s.x < V)) == [0]
    assert not chosen.remask.any()
    masks = step([[V] * 10], 3, 10)  # all written by step 5 of 10: 4 stay after step 3
    assert TokenToToken(written_by=0.5)(masks, rng()).write.sum() == 6


def test_token_to_mask_by_hand():
    x, q = [1, 1, 1, 0, 1, 1, 1, V], [SURE, TIE, DOUBT, SURE, DOUBT, SURE, SURE, SURE]  # q(x): .01 .48 .2 .97 .2 .01 .01 -
    s = seen(x, q, 6, 9, overwrites=[0, 0, 0, 0, 0, 3, 0, 0], before=[TIE, TIE, TIE, SURE, TIE, TIE, SURE, SURE])
    assert places(TokenToMask()(s, rng()).remask) == [0, 6]  # two at most, a quarter of eight; position 5 had its three
    assert places(TokenToMask(share=1.0)(s, rng()).remask) == [0, 2, 4, 6]
    assert places(TokenToMask(threshold=0.1, share=1.0, per_position=9)(s, rng()).remask) == [0, 5, 6]
    # fallen by .47, 0, .28, 0, .28, .47, 0: above .3 are the first and the sixth
    assert places(TokenToMask("logit_diff", per_position=9)(s, rng()).remask) == [0, 5]
    assert not TokenToMask("logit_diff")(replace(s, log_q_before=None), rng()).remask.any()


def test_informed_corrector_by_hand():
    """Margins of the placed word 0: log 97, log(.5/.48), log 2; of the word 1 at the last place -log 97."""
    x, q = [0, 0, 0, 1, V], [SURE, TIE, DOUBT, SURE, SURE]
    s = seen(x, q, 1, 9)
    for k, expected in ((1, [3]), (2, [1, 3]), (3, [1, 2, 3])):
        write = InformedCorrector(k, noise=0.0, written_by=1.0)(s, rng()).write
        assert places(write & (s.x < V)) == expected
    many = replace(
        step(torch.zeros(4000, 4, dtype=torch.long), 1, 9),
        log_q=torch.tensor([SURE, TIE, DOUBT, SURE]).log().expand(4000, 4, 4),
    )
    first = InformedCorrector(1, noise=1.0)(many, rng()).write.float().mean(0)
    c = torch.tensor([0.97 / 0.01, 0.5 / 0.48, 0.4 / 0.2, 0.97 / 0.01]).log()
    assert torch.allclose(first, (-c).softmax(0), atol=0.03)  # the Gumbel-max trick


def test_ddpd_hides_what_the_gate_doubts_and_writes_it_at_the_next_call():
    gate = OverwriteGate(LinearHead((1.0,)), combine="gate_only", signals=("entropy",)).eval()
    s = seen([0, 0, 0, 0], [SURE, TIE, DOUBT, SURE], 3, 9)
    action = DDPD(gate, 2)(s, rng())
    assert (places(action.write), places(action.remask)) == ([], [1, 2])
    action = DDPD(gate, 2)(seen([0, V, V, 0], [SURE, TIE, DOUBT, SURE], 4, 9), rng())
    assert (places(action.write), places(action.remask)) == ([1, 2], [])


def test_shuffled_keeps_the_amount_and_loses_the_place():
    class Half:
        def __call__(self, s, generator):
            even = torch.arange(s.x.shape[1]) % 2 == 0
            visible = ~s.is_mask & ~s.is_fixed
            return Action(write=s.is_mask | (visible & even & (s.x == 0)), remask=visible & even & (s.x == 1))

    g = torch.Generator().manual_seed(2)
    x = torch.randint(5, (3000, 12), generator=g).clamp(max=V)
    s = step(x, 2, 9, fixed=(torch.arange(12) == 5).expand(3000, 12) & (x < V))
    plain, mixed = Half()(s, rng()), Shuffled(Half())(s, rng())
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
