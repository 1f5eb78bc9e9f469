"""Each rival of the field on a hand-worked step, and the rates of the random ones."""

from dataclasses import replace

import pytest
import torch
from small import D, L, gate_of, transformer
from small import V as WORDS
from steps import DOUBT, SURE, TIE, V, places, rng, seen, step

from ardm.base.errors import InputError
from ardm.method.belief import Table
from ardm.method.gate import AttentiveHead, LinearHead, OverwriteGate
from ardm.method.gate_recipe import GATES
from ardm.method.rules import (
    DDPD,
    AcceptAndHide,
    ConfidenceThreshold,
    ContextProbe,
    EntropyBounded,
    InformedCorrector,
    MaskPredict,
    MostConfidentFirst,
    Overwrite,
    PathPlanning,
    RandomGate,
    ReMDM,
    Saber,
    Settled,
    TokenToMask,
    TokenToToken,
    Tolerator,
    UniformRefinement,
    WideInNarrowOut,
    WideInNarrowOutUnseen,
    entries,
)
from ardm.method.rules.backplay import BACKPLAY
from ardm.method.sampling import observe
from ardm.method.schedule import Schedule
from ardm.method.states import corrupted_states, rollout_states
from ardm.method.types import Prediction

GATE = OverwriteGate(LinearHead()).eval()


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
    action = rule(step(x, t, T), rng(4000))
    hidden = action.remask[:, : round(20 * a)].float().mean().item()
    assert hidden == pytest.approx(sigma, abs=5 * (sigma * (1 - sigma) / (4000 * 20 * a)) ** 0.5)
    visible = (round(20 * a) - action.remask.sum(-1) + action.write.sum(-1)).float().mean() / 20
    assert visible.item() == pytest.approx(b, abs=0.008)


def test_remdm_by_confidence_shares_sigma_out_by_hand():
    """exp(-.2), exp(-.9) and nothing for the mask: two thirds of sigma to the doubtful token."""
    x = torch.tensor([[0, 0, V]]).repeat(20000, 1)
    s = replace(step(x, 2, 4), log_q_written=torch.tensor([[0.2, 0.9, 1.0]]).log().expand(20000, 3))
    hidden = ReMDM("cap", 0.6, by_confidence=True)(s, rng(20000)).remask.float().mean(0)
    weight = torch.tensor([-0.2, -0.9]).softmax(0)
    assert torch.allclose(hidden, torch.tensor([0.6 * weight[0], 0.6 * weight[1], 0.0]), atol=0.012)


def test_remdm_by_confidence_writes_as_if_nothing_were_hidden():
    """At t = 4 of 10 a share .3 is visible and .4 has to be: of the others (.4 - .3) / (1 - .3), whatever sigma is."""
    x = torch.full((4000, 20), V)
    x[:, :6] = 0
    write = ReMDM("cap", 0.9, by_confidence=True)(step(x, 4, 10), rng(4000)).write[:, 6:].float().mean().item()
    assert write == pytest.approx(1 / 7, abs=0.006)  # 4 standard errors


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
        action = rule(step(x, t, 100), rng(4000))
        assert action.remask.any().item() is (hides and t == 60), t
    action = rule(step(x, 60, 100), rng(4000))
    assert action.remask[:, :18].float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert action.write[:, 18:].float().mean().item() == pytest.approx(0.1 * 0.9 / 0.1, abs=0.015)
    assert ReMDM(loop=True)(step(x, 60, 100), rng(4000)).remask[:, :18].float().mean().item() == pytest.approx(0.02, abs=0.003)


def test_remdm_at_its_last_step_hides_nothing_and_writes_all():
    x = torch.full((50, 20), V)
    x[:, ::2] = 0
    for rule in (ReMDM("cap", 1.0), ReMDM("rescale", 1.0), ReMDM(loop=True)):
        action = rule(step(x, 10, 10), rng(50))
        assert not action.remask.any()
        assert action.write[:, 1::2].all()
    with pytest.raises(InputError, match="how='conf'"):
        ReMDM("conf")


def test_token_to_token_by_hand():
    x, q = [1, 1, 1, 0, V], [SURE, TIE, DOUBT, SURE, SURE]
    s = seen(x, q, 1, 9, proposal=[0, 0, 0, 0, 0])
    chosen = TokenToToken(0.45, schedule=Schedule(written_by=1.0))(s, rng())
    assert places(chosen.write & (s.x < V)) == [0, 1]  # .97 and .5 are above, .4 is not; position 3 has its word already
    assert places(TokenToToken(0.5, schedule=Schedule(written_by=1.0))(s, rng()).write & (s.x < V)) == [0]
    assert not chosen.remask.any()
    masks = step([[V] * 10], 3, 10)  # all written by step 5 of 10: 4 stay after step 3
    assert TokenToToken(schedule=Schedule(written_by=0.5))(masks, rng()).write.sum() == 6


def test_token_to_mask_by_hand():
    x, q = [1, 1, 1, 0, 1, 1, 1, V], [SURE, TIE, DOUBT, SURE, DOUBT, SURE, SURE, SURE]  # q(x): .01 .48 .2 .97 .2 .01 .01 -
    s = seen(x, q, 6, 9, overwrites=[0, 0, 0, 0, 0, 3, 0, 0], before=[TIE, TIE, TIE, SURE, TIE, TIE, SURE, SURE])
    assert places(TokenToMask()(s, rng()).remask) == [0, 6]  # two at most, a quarter of eight; position 5 had its three
    assert places(TokenToMask(share=1.0)(s, rng()).remask) == [0, 2, 4, 6]
    assert places(TokenToMask(threshold=0.1, share=1.0, per_position=9)(s, rng()).remask) == [0, 5, 6]
    # fallen by .47, 0, .28, 0, .28, .47, 0: above .3 are the first and the sixth
    assert places(TokenToMask("logit_diff", per_position=9)(s, rng()).remask) == [0, 5]
    assert not TokenToMask("logit_diff")(replace(s, before=None), rng()).remask.any()


def test_informed_corrector_by_hand():
    """Margins of the placed word 0: log 97, log(.5/.48), log 2; of the word 1 at the last place -log 97."""
    x, q = [0, 0, 0, 1, V], [SURE, TIE, DOUBT, SURE, SURE]
    s = seen(x, q, 1, 9)
    for k, expected in ((1, [3]), (2, [1, 3]), (3, [1, 2, 3])):
        write = InformedCorrector(k, noise=0.0, schedule=Schedule(written_by=1.0))(s, rng()).write
        assert places(write & (s.x < V)) == expected
    many = replace(
        step(torch.zeros(4000, 4, dtype=torch.long), 1, 9),
        now=Table(torch.tensor([SURE, TIE, DOUBT, SURE]).log().expand(4000, 4, 4)),
    )
    first = InformedCorrector(1, noise=1.0)(many, rng(4000)).write.float().mean(0)
    c = torch.tensor([0.97 / 0.01, 0.5 / 0.48, 0.4 / 0.2, 0.97 / 0.01]).log()
    assert torch.allclose(first, (-c).softmax(0), atol=0.03)  # the Gumbel-max trick


def test_ddpd_hides_what_the_gate_doubts_and_writes_it_at_the_next_call():
    gate = OverwriteGate(LinearHead((1.0,)), combine="gate_only", signals=("entropy",)).eval()
    s = seen([0, 0, 0, 0], [SURE, TIE, DOUBT, SURE], 3, 9)
    action = DDPD(gate, 2)(s, rng())
    assert (places(action.write), places(action.remask)) == ([], [1, 2])
    action = DDPD(gate, 2)(seen([0, V, V, 0], [SURE, TIE, DOUBT, SURE], 4, 9), rng())
    assert (places(action.write), places(action.remask)) == ([1, 2], [])


def test_confidence_threshold_by_hand():
    s = seen([V, V, V, 0], [SURE, TIE, DOUBT, SURE], 2, 8)
    assert places(ConfidenceThreshold(0.9)(s, rng()).write) == [0]
    assert places(ConfidenceThreshold(0.45)(s, rng()).write) == [0, 1]
    assert places(ConfidenceThreshold(0.99)(s, rng()).write) == [0]  # none is sure enough: the surest all the same
    assert not ConfidenceThreshold(0.1)(s, rng()).remask.any()
    with pytest.raises(InputError, match="threshold=0"):
        ConfidenceThreshold(0)


def test_klass_asks_that_a_prediction_has_settled():
    """KL(sure || tie) = .97 log(.97 / .5) + .01 log(.01 / .48) = .604 nats, KL(q || q) = 0."""
    s = seen([V, V, V], [SURE, SURE, TIE], 3, 8, before=[SURE, TIE, TIE])
    assert places(Settled(0.9, 0.6)(s, rng()).write) == [0]
    assert places(Settled(0.9, 0.61)(s, rng()).write) == [0, 1]
    assert places(Settled(0.4, 0.6)(s, rng()).write) == [0, 2]
    assert places(Settled(0.1, 9.0)(replace(s, before=None), rng()).write) == [0]
    with pytest.raises(InputError, match="moved=0"):
        Settled(moved=0)


def test_wino_writes_widely_and_hides_fewer_than_it_writes():
    x, q = [V, V, V, V, 0, 0, 0, 3], [SURE, SURE, TIE, SURE, TIE, DOUBT, SURE, DOUBT]
    s = seen(x, q, 2, 8, proposal=[0] * 8)
    action = WideInNarrowOut(0.6, 0.9)(s, rng())
    assert (places(action.write), places(action.remask)) == ([0, 1, 3], [5, 7])  # .2 and .4 of .5, .4, .97, .2
    assert places(WideInNarrowOut(0.6, 0.3)(s, rng()).remask) == [7]
    one = seen([V, 0, 0], [DOUBT, DOUBT, DOUBT], 2, 8, proposal=[1, 0, 0])
    action = WideInNarrowOut()(one, rng())
    assert (places(action.write), places(action.remask)) == ([0], [])  # one is written, so none is hidden
    many = seen([V] * 40, [SURE] * 40, 1, 8, proposal=[0] * 40)
    assert WideInNarrowOut()(many, rng()).write.sum() == 20


def test_wino_counts_the_masks_of_each_text():
    one = seen([V] * 10, [SURE] * 10, 1, 8, proposal=[0] * 10)
    fields = ("x", "proposal", "log_q_written", "hidden", "is_mask", "is_fixed", "overwrites")
    pair = {name: getattr(one, name).repeat(2, *[1] * (getattr(one, name).dim() - 1)) for name in fields}
    two = replace(one, **pair, now=Table(one.now.log_q.repeat(2, 1, 1)))
    assert WideInNarrowOut()(two, rng(2)).write.sum(-1).tolist() == [7, 7]  # .7 of ten


def test_saber_compares_with_what_was_written():
    """Written so far at .9 and .5, on average .7; the last token was given."""
    x, q = [V, V, V, 0, 0, 0], [SURE, TIE, DOUBT, SURE, DOUBT, DOUBT]
    s = seen(x, q, 3, 8, proposal=[0] * 6, written=[1, 1, 1, 0.9, 0.5, 1])
    action = Saber(2)(s, rng())
    assert (places(action.write), places(action.remask)) == ([0, 1], [4])  # .97 > .7, and .5 to make two; .5 fell to .4
    assert places(Saber(1)(s, rng()).write) == [0]
    assert places(Saber(1)(seen(x, q, 3, 8, proposal=[0] * 6, written=[1, 1, 1, 0.5, 0.3, 1]), rng()).write) == [0, 1]
    full = seen([0, 0], [DOUBT, DOUBT], 3, 8, written=[0.9, 0.9])
    assert not Saber()(full, rng()).remask.any()  # nothing is taken back when nothing is written


def test_saber_of_one_written_token():
    """It alone is the average, .9, above which no mask is; a token whose confidence has not moved stays."""
    s = seen([V, V, 0], [TIE, TIE, TIE], 3, 8, proposal=[0] * 3, written=[1, 1, 0.9])
    action = Saber(1)(s, rng())
    assert (places(action.write), places(action.remask)) == ([0], [2])
    still = replace(s, log_q_written=s.now.log_prob(s.x.clamp(max=V - 1)) * (s.x < V))
    assert not Saber(1)(still, rng()).remask.any()


def test_saber_takes_back_half_of_n():
    """Three masks are written, so that up to two tokens that fell are hidden; an eighth of three would be one."""
    s = seen([V, V, V, 0, 0, 0], [SURE] * 3 + [TIE, DOUBT, DOUBT], 3, 8, proposal=[0] * 6, written=[1, 1, 1, 0.9, 0.9, 0.8])
    assert places(Saber(3)(s, rng()).remask) == [4, 5]  # fallen by log(.9/.4) and log(.8/.4); log(.9/.5) is less


def test_saber_takes_back_an_eighth_of_what_it_writes_rounded_up():
    s = seen([V, V, V, 0, 0], [SURE] * 3 + [DOUBT, DOUBT], 3, 8, proposal=[0] * 5, written=[1, 1, 1, 0.9, 0.8])
    assert places(Saber(1)(s, rng()).remask) == [3]  # three eighths are one


def test_the_loop_of_remdm_hides_between_its_two_times():
    rule = ReMDM(loop=True, eta=0.1)
    assert [rule.remask_prob(time, 0.9, 0.9) for time in (0.5500001, 0.55, 0.3, 0.05)] == [0, 0.1, 0.1, 0]


def test_two_texts_are_judged_each_by_itself():
    """Of different lengths of masks and confidences: what a rule does with both is what it does with each."""
    one = seen([V, V, V, V, 0, 0, 0, 1], [SURE, TIE, DOUBT, SURE, SURE, TIE, DOUBT, DOUBT], 3, 8, proposal=[0] * 8)
    one = replace(
        one, log_q_written=torch.tensor([[1, 1, 1, 1, 0.9, 0.9, 0.9, 0.3]]).log(), before=Table(one.now.log_q.flip(1))
    )
    two = seen([V, 0, 1, 0, 1, 0, 0, V], [TIE, DOUBT, SURE, SURE, DOUBT, TIE, SURE, SURE], 3, 8, proposal=[0] * 8)
    two = replace(
        two, log_q_written=torch.tensor([[1, 0.5, 0.9, 0.9, 0.2, 0.9, 0.9, 1]]).log(), before=Table(two.now.log_q.flip(1))
    )
    names = ("x", "proposal", "log_q_written", "hidden", "is_mask", "is_fixed", "overwrites")
    both = replace(
        one,
        **{name: torch.cat([getattr(one, name), getattr(two, name)]) for name in names},
        now=Table(torch.cat([one.now.log_q, two.now.log_q])),
        before=Table(torch.cat([one.before.log_q, two.before.log_q])),
    )
    for rule in (
        AcceptAndHide(1.0),
        ConfidenceThreshold(0.4),
        DDPD(GATE, 2),
        EntropyBounded(1.0),
        MaskPredict(),
        MostConfidentFirst("margin"),
        PathPlanning(),
        Saber(1),
        Settled(0.4, 1.0),
        TokenToMask(schedule=Schedule("left")),
        WideInNarrowOut(0.45, 0.9),
    ):
        together = rule(both, rng(2))
        for k, alone in enumerate((one, two)):
            action = rule(alone, rng())
            for name in ("write", "remask"):
                assert torch.equal(getattr(together, name)[k], getattr(action, name)[0]), (rule, name, k)


def test_accept_and_hide_by_hand():
    """Entropies as above: sure .168, tie .791, doubt 1.332. The last token is fixed."""
    s = seen([V, V, 0, 0, 0], [SURE, DOUBT, TIE, SURE, SURE], 3, 8)
    s.is_fixed[0, 4] = True
    for gamma, write, remask in ((0.1, [0], [2, 3]), (0.17, [0], [2]), (0.34, [0], []), (1.2, [0, 1], [])):
        action = AcceptAndHide(gamma)(s, rng())
        assert (places(action.write), places(action.remask)) == (write, remask), gamma


def test_tolerator_takes_out_less_and_less_once_all_is_written():
    """Five of eight steps fill; then .9 x 2/3, .9 x 1/3, and nothing at the last."""
    rule, count = Tolerator(0.9, schedule=Schedule("left", 0.6)), 4000
    full = torch.zeros(count, 6, dtype=torch.long)
    for t, p in ((2, 0), (5, 0), (6, 0.6), (7, 0.3), (8, 0)):
        share = rule(step(full, t, 8), rng(count)).remask.double().mean().item()
        assert abs(share - p) <= 4 * (p * (1 - p) / (6 * count)) ** 0.5, t
    first = rule(step(torch.full((1, 4), V), 5, 8), rng())
    assert places(first.write) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AcceptAndHide(-0.1), "gamma=-0.1: a bound in nats, at least 0"),
        (lambda: EntropyBounded(-0.1), "gamma=-0.1: a bound in nats, at least 0"),
        (lambda: PathPlanning(-0.1), "eta=-0.1: it is at least 0"),
        (lambda: InformedCorrector(-1), "k=-1, noise=1.0: both are at least 0"),
        (lambda: InformedCorrector(1, noise=-0.1), "k=1, noise=-0.1: both are at least 0"),
        (lambda: RandomGate(-1), "k=-1: a number of tokens is at least 0"),
        (lambda: DDPD(GATE, 0), "k=0: it is at least 1"),
        (lambda: Saber(0), "n=0: it is at least 1"),
        (lambda: TokenToToken(-0.1), "threshold=-0.1: it is a probability in [0, 1)"),
        (lambda: TokenToToken(1.0), "threshold=1.0: it is a probability in [0, 1)"),
        (lambda: TokenToMask("odd"), "by='odd': choose low_prob or logit_diff"),
        (lambda: TokenToMask(share=1.1), "share=1.1: it is a share in (0, 1]"),
        (lambda: ConfidenceThreshold(1.1), "threshold=1.1: it is a share in (0, 1]"),
        (lambda: Settled(threshold=1.1), "threshold=1.1: it is a share in (0, 1]"),
        (lambda: Settled(moved=0), "moved=0: nats, above 0"),
        (lambda: ReMDM("odd"), "how='odd': choose cap or rescale"),
        (lambda: ReMDM(eta=0.0), "eta=0.0: it is a share in (0, 1]"),
        (lambda: Tolerator(1.1), "share=1.1: it is a share in (0, 1]"),
        (lambda: WideInNarrowOut(write_above=1.1), "write_above=1.1: it is a share in (0, 1]"),
        (lambda: WideInNarrowOut(hide_below=0.0), "hide_below=0.0: it is a share in (0, 1]"),
        (lambda: WideInNarrowOut(most=0.0), "most=0.0: it is a share in (0, 1]"),
        (lambda: UniformRefinement(1.1), "rate=1.1: it is a share in (0, 1]"),
        (lambda: MostConfidentFirst("odd"), "by='odd': choose max_prob or margin"),
        (lambda: Overwrite(GATE, accept="odd"), "accept='odd': choose always or better"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_word_for_word(make, said):
    with pytest.raises(InputError) as told:
        make()
    assert str(told.value) == said


def test_the_least_and_the_most_that_a_setting_can_be():
    s = seen([0, 1, V], [SURE, TIE, DOUBT], 2, 8)
    nothing_to_revise = (RandomGate(0), InformedCorrector(0), InformedCorrector(0, noise=0.0))
    for rule in nothing_to_revise:
        action = rule(s, rng())
        assert not action.remask.any() and not (action.write & ~s.is_mask).any()
    assert places(DDPD(GATE, 1)(seen([0, 1], [SURE, TIE], 2, 8), rng()).remask) in ([0], [1])
    assert places(Saber(1)(s, rng()).write) == [2]
    assert Tolerator(1.0).share == UniformRefinement(1.0).rate == ReMDM(eta=1.0).eta == 1.0
    assert places(TokenToToken(0.0)(replace(s, proposal=torch.tensor([[1, 0, 0]])), rng()).write & ~s.is_mask) == [0, 1]


def test_what_lies_on_a_threshold_is_not_beyond_it():
    """One half is a float of its own, so that equal is equal: four words of 1/2, 1/4, 1/8 and 1/8."""
    half = [0.5, 0.25, 0.125, 0.125]
    masks = seen([V, V], [SURE, half], 2, 8, before=[SURE, half], proposal=[0, 0])
    assert places(ConfidenceThreshold(0.5)(masks, rng()).write) == [0]
    assert places(Settled(0.5, 1.0)(masks, rng()).write) == [0]
    assert places(WideInNarrowOut(write_above=0.5)(masks, rng()).write) == [0]
    moved = seen([V, V], [SURE, SURE], 2, 8, before=[SURE, half])
    now, then = moved.now.log_q, moved.before.log_q
    kl = (now.exp() * (now - then)).sum(-1)[0, 1].item()
    assert places(Settled(0.9, kl)(moved, rng()).write) == [0]
    text = seen([0, V, V, V], [half, SURE, SURE, SURE], 2, 8, proposal=[0] * 4, before=[SURE] * 4, written=[0.5, 1, 1, 1])
    assert not WideInNarrowOut(hide_below=0.5)(text, rng()).remask.any()
    assert not TokenToMask(threshold=0.5, share=1.0)(text, rng()).remask.any()
    fell = (text.before.log_prob(text.x).exp() - text.now.log_prob(text.x).exp())[0, 0].item()
    assert not TokenToMask("logit_diff", threshold=fell, share=1.0)(text, rng()).remask.any()
    assert places(TokenToMask("logit_diff", threshold=fell - 1e-3, share=1.0)(text, rng()).remask) == [0]
    assert not (TokenToToken(0.5)(replace(text, proposal=1 - text.x.clamp(max=1)), rng()).write & ~text.is_mask).any()
    written_at_half = seen([0, V, V], [SURE, half, half], 2, 8, proposal=[0] * 3, written=[0.5, 1, 1])
    assert places(Saber(1)(written_at_half, rng()).write) == [1]


def test_backplay_learns_of_its_own_early_draws_among_masks_and_prism_of_finished_texts():
    """Nothing is planted: what is visible at first is true, and what is wrong later the denoiser drew while more was hidden."""
    x0 = torch.randint(WORDS, (32, L), generator=torch.Generator().manual_seed(0))
    denoiser, how = transformer(dtype=torch.float32), {"device": torch.device("cpu")}
    gate = gate_of(BACKPLAY, denoiser)
    assert isinstance(gate.head, AttentiveHead) and gate.head.hidden == D and list(gate.standard) == []
    rng = torch.Generator().manual_seed(1)
    steps = rollout_states(denoiser, gate, x0, WORDS, BACKPLAY.states, rng, **how).steps
    wrong = [(one.x != x0) & ~one.is_mask for one in steps]
    assert len(steps) == 8 and not wrong[0].any()
    beside_masks = [(bad.any(-1) & one.is_mask.any(-1)).sum() for bad, one in zip(wrong, steps, strict=True)]
    assert sum(beside_masks) > 32
    (one,) = corrupted_states(denoiser, x0, WORDS, GATES["hidden"].states, rng, **how).steps
    assert not one.is_mask.any()
    assert entries()["BackPlay head"].gate is BACKPLAY


def test_a_context_probe_hides_by_lot_and_then_what_had_leaned_on_it():
    """log q of the placed word falls by log(.97 / .5) = .66 at place 1 and log(.97 / .4) = .89 at place 2; place 3 gains."""
    x, was, now = [0, 0, 0, 0, V], [SURE, SURE, SURE, TIE, TIE], [SURE, TIE, DOUBT, SURE, TIE]
    schedule = Schedule(written_by=1.0)
    s = seen(x, now, 2, 8, before=was)
    for fall, most, brittle in ((0.5, 4, [1, 2]), (0.7, 4, [2]), (0.9, 4, []), (0.5, 1, [2])):
        hidden = places(ContextProbe(1, fall, most, schedule=schedule)(s, rng()).remask)
        assert set(brittle) < set(hidden) and len(hidden) == len(brittle) + 1, (fall, most)  # and one probe, of the others
        assert max(hidden) < 4
    first = seen(x, now, 1, 8)  # nothing has been said before: probes alone
    assert len(places(ContextProbe(2, schedule=schedule)(first, rng()).remask)) == 2
    fixed = replace(s, is_fixed=torch.tensor([[False, True, True, True, False]]))
    assert places(ContextProbe(4, schedule=schedule)(fixed, rng()).remask) == [0]
    probed = torch.cat([ContextProbe(1, schedule=schedule)(first, rng(seed=seed)).remask for seed in range(400)])
    assert ((probed[:, :4].double().mean(0) - 0.25).abs() < 0.09).all()  # 4 standard errors of 400 draws
    with pytest.raises(InputError, match="fall=0"):
        ContextProbe(fall=0)
    with pytest.raises(InputError, match="probes"):
        ContextProbe(0)


def test_wino_leave_one_out_hides_what_only_the_token_itself_speaks_for():
    """Four words, one visible token in ten wrong: a word is 27 times as likely under itself. .9 for itself leaves .9 / 27 against
    .1 for the others together, that is .25; .99 leaves .79.
    """
    q = torch.tensor([[[0.9, 0.1, 0, 0], [0.99, 0.01, 0, 0], [0.7, 0.3, 0, 0], [0.7, 0.3, 0, 0]]], dtype=torch.float64)

    def denoiser(x, time):
        return Prediction(q.log().clamp(min=-1e4), q[..., :0])

    rule = WideInNarrowOutUnseen(write_above=0.6, hide_below=0.5)
    x, uniform = torch.tensor([[0, 0, V, V]]), torch.full((1, 4), 0.5, dtype=torch.float64)
    given = {"t": 1, "T": 4, "uniform": uniform}
    unseen, itself = (observe(one, x, **given) for one in (rule.view(denoiser), denoiser))
    assert torch.allclose(unseen.now.log_prob(x.clamp(max=3)).exp()[0, :2], torch.tensor([0.25, 0.7857]).double(), atol=1e-4)
    assert places(rule(unseen, rng()).write) == places(rule(itself, rng()).write) == [2, 3]  # masks keep their q
    assert places(rule(unseen, rng()).remask) == [0]
    assert places(rule(itself, rng()).remask) == []
    assert entries()["WINO leave-one-out"].rule is WideInNarrowOutUnseen
