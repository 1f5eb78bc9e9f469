"""The loop's invariants for every rule, its random numbers, and its accounting by recount."""

from functools import partial

import pytest
import torch
from no_float64 import without_float64

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.draw import Draw
from ardm.method.gate import LearnedHead, LinearHead, OverwriteGate
from ardm.method.rules.controls import RandomGate, Shuffled
from ardm.method.rules.ddpd import DDPD
from ardm.method.rules.entropy_bounded import EntropyBounded
from ardm.method.rules.fixed_schedule import FixedSchedule
from ardm.method.rules.hide import HideThenRefill
from ardm.method.rules.informed_corrector import InformedCorrector
from ardm.method.rules.left_to_right import LeftToRight
from ardm.method.rules.mask_predict import MaskPredict
from ardm.method.rules.most_confident import MostConfidentFirst
from ardm.method.rules.one_way import OneWay
from ardm.method.rules.oracle import OracleGate
from ardm.method.rules.overwrite import Overwrite
from ardm.method.rules.path_planning import PathPlanning
from ardm.method.rules.remdm import ReMDM
from ardm.method.rules.token_to_mask import TokenToMask
from ardm.method.rules.token_to_token import TokenToToken
from ardm.method.rules.uniform import UniformRefinement
from ardm.method.sampling import EVENTS, blank, noise, observe, refine
from ardm.method.selection import Selection
from ardm.method.signals import confidence_change, entropy, margin
from ardm.method.types import Action, Prediction
from ardm.worlds.laws import Oracle, agreement, dyck, parity

V, L, B, D = 6, 7, 5, 3


class Random:
    """A denoiser with fixed random logits that depend on the sequence; notes the times and the sizes of its calls."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.table = torch.randn(V + 1, V, generator=g)
        self.mix = torch.randn(L, L, generator=g)
        self.times, self.sizes = [], []

    def __call__(self, x, time):
        self.times.append(time)
        self.sizes.append(len(x))
        logits = torch.einsum("ij,bjv->biv", self.mix, self.table[x])
        return Prediction(logits, logits[..., :D])


class Flat:
    """A denoiser that says the same of every text: logits ``[L, V]``."""

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, x, time):
        logits = self.logits.expand(len(x), -1, -1)
        return Prediction(logits, logits[..., :D])


class Spy:
    """A rule that notes the steps it meets."""

    def __init__(self, rule):
        self.rule, self.steps = rule, []

    def __call__(self, step, chance):
        self.steps.append(step)
        return self.rule(step, chance)


def odd(x):
    return (x < V) & (x % 2 == 1)


RULES = {
    "one-way": OneWay(),
    "left-to-right": LeftToRight(),
    "uniform": UniformRefinement(0.3),
    "fixed schedule": FixedSchedule(),
    "linear, Bernoulli": Overwrite(OverwriteGate(LinearHead()).eval()),
    "linear, threshold": Overwrite(OverwriteGate(LinearHead()).eval(), Selection("threshold", 0.7)),
    "linear, budget": Overwrite(OverwriteGate(LinearHead()).eval(), Selection(budget=3, last_budget=1, per_position=2)),
    "linear, acceptance test": Overwrite(OverwriteGate(LinearHead()).eval(), accept="better"),
    "learned": Overwrite(OverwriteGate(LearnedHead(D)).eval()),
    "max-prob": MostConfidentFirst(),
    "margin": MostConfidentFirst("margin"),
    "entropy-bounded": EntropyBounded(1.0),
    "Mask-Predict": MaskPredict(),
    "P2": PathPlanning(2.0),
    "ReMDM cap": ReMDM("cap", 0.3),
    "ReMDM rescale, confidence": ReMDM("rescale", 0.8, by_confidence=True),
    "ReMDM loop": ReMDM("cap", 0.2, loop=True),
    "token to token": TokenToToken(0.3),
    "token to mask, low": TokenToMask(),
    "token to mask, fallen": TokenToMask("logit_diff", 0.05),
    "informed corrector": InformedCorrector(3),
    "DDPD": DDPD(OverwriteGate(LinearHead()).eval(), 2),
    "shuffled": Shuffled(Overwrite(OverwriteGate(LinearHead()).eval())),
    "random gate": RandomGate(2),
    "oracle gate": OracleGate(odd),
    "oracle gate, in place": OracleGate(odd, in_place=True),
    "hide then refill": HideThenRefill(OverwriteGate(LinearHead(), combine="gate_only").eval(), Selection("threshold", 0.1)),
}


def starts():
    g = torch.Generator().manual_seed(5)
    draft = torch.randint(V, (B, L), generator=g)
    prompt = torch.zeros(B, L, dtype=torch.bool)
    prompt[:, :3] = True
    holes = torch.rand(B, L, generator=g) < 0.5
    nothing = torch.zeros(B, L, dtype=torch.bool)
    return {
        "masks": (blank(B, L, V), nothing),
        "noise": (noise(B, L, V, seed=3), nothing),
        "draft": (draft, nothing),
        "prompt": (torch.where(prompt, draft, V), prompt),
        "holes": (torch.where(holes, V, draft), ~holes),
        "all fixed": (draft, ~nothing),
    }


@pytest.mark.parametrize("steps", [1, 2, L, 2 * L + 1])
@pytest.mark.parametrize("start", starts())
@pytest.mark.parametrize("rule", RULES)
def test_invariants(rule, start, steps):
    x, fixed = starts()[start]
    denoiser = Random()
    trace = refine(denoiser, RULES[rule], x, steps, seed=1, fixed=fixed, record=True)
    assert ((trace.x >= 0) & (trace.x < V)).all()  # no mask leaves the loop
    assert torch.equal(trace.x[fixed], x[fixed])  # a prompt is never touched
    assert trace.calls.tolist() == [len(denoiser.times)] * B == [steps] * B
    states = [x, *(frame.x for frame in trace.frames)]
    writes = rewrites = changes = remasks = 0
    for before, after, frame in zip(states, states[1:], trace.frames, strict=False):
        assert torch.equal(before[~frame.write & ~frame.remask], after[~frame.write & ~frame.remask])  # kept is kept
        assert (after[frame.remask] == V).all()
        writes = writes + frame.write.sum(1)
        rewrites = rewrites + (frame.write & (before != V)).sum(1)
        changes = changes + ((before != V) & (after != V) & (before != after)).sum(1)
        remasks = remasks + ((before != V) & (after == V)).sum(1)
    for counted, recount in zip(
        (trace.writes, trace.rewrites, trace.changes, trace.remasks), (writes, rewrites, changes, remasks), strict=True
    ):
        assert torch.equal(counted, recount)
    assert torch.equal(trace.overwrites, rewrites + remasks)


def test_rules_do_revise_where_they_should():
    for name in ("uniform", "fixed schedule", "linear, Bernoulli", "learned", "hide then refill"):
        assert refine(Random(), RULES[name], blank(B, L, V), 12, seed=0).overwrites.sum() > 0, name
    for name in ("one-way", "left-to-right"):
        assert refine(Random(), RULES[name], blank(B, L, V), 12, seed=0).overwrites.sum() == 0, name


def test_times_run_from_one_down_and_every_call_counts():
    denoiser = Random()
    refine(denoiser, OneWay(), blank(B, L, V), 4, seed=0)
    assert denoiser.times == [1.0, 0.75, 0.5, 0.25]


def test_proposals_are_common_to_all_rules_at_every_step():
    """With a denoiser that says the same of every text, every rule meets the same proposals, whatever it does with them."""
    denoiser = Flat(torch.randn(L, V, generator=torch.Generator().manual_seed(2)))
    seen = []
    for rule in RULES.values():
        spy = Spy(rule)
        refine(denoiser, spy, blank(B, L, V), 3, seed=9)
        seen.append(torch.stack([step.proposal for step in spy.steps]))
    assert all(torch.equal(proposals, seen[0]) for proposals in seen)
    assert not torch.equal(seen[0][0], seen[0][1])


@pytest.mark.parametrize("rule", RULES)
def test_a_proposal_is_a_function_of_q_and_of_one_number_that_no_rule_can_change(rule):
    spy = Spy(RULES[rule])
    refine(Random(), spy, blank(B, L, V), 4, seed=9, first_row=2)
    numbers = Chance(9, "proposals", torch.arange(2, 2 + B))
    for step in spy.steps:
        right = step.log_q.double().exp().cumsum(-1)
        uniform = numbers.at(step.t).uniform(L).unsqueeze(-1)
        assert torch.equal(step.proposal, (uniform > right[..., :-1]).sum(-1))


def test_a_rule_meets_numbers_of_the_step_however_many_it_used_before():
    class Greedy:
        """Uses up as many numbers as the step has."""

        def __call__(self, step, chance):
            drawn.append([chance.uniform(L) for _ in range(step.t)])
            return OneWay()(step, chance)

    drawn, numbers = [], Chance(6, "choices", torch.arange(3, 3 + B))
    refine(Random(), Greedy(), blank(B, L, V), 3, seed=6, first_row=3)
    for t, used in enumerate(drawn, start=1):
        again = numbers.at(t)
        assert all(torch.equal(number, again.uniform(L)) for number in used)
    assert not torch.equal(drawn[0][0], drawn[1][0])


def test_the_settings_of_the_draw_change_no_random_number():
    def run(draw):
        spy = Spy(UniformRefinement(0.3))
        return spy, refine(Flat(torch.zeros(L, V)), spy, blank(B, L, V), 5, seed=4, draw=draw, record=True)

    plain, trace = run(Draw())
    for draw in (Draw(0.0), Draw(0.5, top_k=2), Draw(top_p=0.5)):
        spy, other = run(draw)
        for frame, same in zip(trace.frames, other.frames, strict=True):
            assert torch.equal(frame.write, same.write)
        for step in spy.steps:
            uniform = Chance(4, "proposals", torch.arange(B)).at(step.t).uniform(L)
            assert torch.equal(step.proposal, draw(step.log_q, uniform))
    assert not torch.equal(plain.steps[0].proposal, spy.steps[0].proposal)


def same_row(whole, k, alone):
    """Text k of a batch and the same text alone: tokens, counters and every recorded score."""
    counted = ("start", "x", "calls", "writes", "rewrites", "changes", "remasks", "wasted", "settled", "overwritten")
    for name in counted:
        assert torch.equal(getattr(whole, name)[k], getattr(alone, name)[0]), name
    for frame, single in zip(whole.frames, alone.frames, strict=False):  # the batch goes on until its last text is finished
        for name in ("x", "write", "remask", "changed"):
            assert torch.equal(getattr(frame, name)[k], getattr(single, name)[0]), name
        for name in single.scores:
            assert torch.allclose(frame.scores[name][k], single.scores[name][0], atol=1e-5), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("start", ["masks", "draft", "prompt"])
def test_a_text_alone_is_the_same_text_in_any_batch(rule, start):
    x, fixed = starts()[start]
    whole = refine(Random(), RULES[rule], x, 6, seed=1, fixed=fixed, record=True)
    for k in range(B):
        part = slice(k, k + 1)
        alone = refine(Random(), RULES[rule], x[part], 6, seed=1, fixed=fixed[part], record=True, first_row=k)
        same_row(whole, k, alone)


@pytest.mark.parametrize("law", [agreement(10), parity(8), dyck(8)], ids=lambda law: law.name)
@pytest.mark.parametrize("draw", [Draw(), Draw(0.7, top_k=3), Draw(0.0), Draw(top_p=0.9)], ids=str)
def test_with_an_exact_denoiser_too_and_when_some_finish_early(law, draw):
    x, denoiser = blank(8, law.length, law.vocab_size), Oracle(law)
    settings = {"seed": 5, "draw": draw, "patience": 2, "record": True}
    whole = refine(denoiser, UniformRefinement(0.1), x, 10, **settings)
    for k in range(8):
        same_row(whole, k, refine(denoiser, UniformRefinement(0.1), x[k : k + 1], 10, first_row=k, **settings))
    assert len({tuple(row) for row in whole.x.tolist()}) > 1 or draw.temperature == 0


def test_same_seed_same_text_other_seed_other_text():
    texts = [refine(Random(), OneWay(), blank(B, L, V), 5, seed=seed).x for seed in (3, 3, 4)]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])


def test_a_run_leaves_its_start_as_it_was():
    for start in starts().values():
        x, fixed = start
        before = x.clone()
        trace = refine(Random(), RULES["hide then refill"], x, 5, seed=0, fixed=fixed)
        assert torch.equal(x, before) and trace.start is x


def test_log_q_when_written_is_that_of_the_writing_step():
    spy = Spy(LeftToRight())
    refine(Random(), spy, blank(B, L, V), L, seed=0)
    first, last = spy.steps[0], spy.steps[-1]
    written = first.log_q[:, 0].gather(-1, first.proposal[:, :1]).squeeze(-1)
    assert torch.allclose(last.log_q_written[:, 0], written)
    assert (last.log_q_written[:, -1] == 0).all()  # not written yet


@pytest.mark.parametrize(
    ("write", "remask", "word"),
    [("visible", "visible", "same token"), ("fixed", "none", "fixed token"), ("none", "masks", "is hidden already")],
)
def test_a_rule_that_breaks_the_contract_is_caught(write, remask, word):
    x = torch.tensor([[0, 1, V]])
    masks = {
        "visible": torch.tensor([[True, False, False]]),
        "fixed": torch.tensor([[False, True, False]]),
        "masks": x == V,
        "none": torch.zeros(1, 3, dtype=torch.bool),
    }

    class Bad:
        def __call__(self, step, chance):
            return Action(write=masks[write], remask=masks[remask])

    with pytest.raises(ValueError, match=f"^Bad (writes|touches|hides) .*{word}$"):
        refine(Flat(torch.zeros(3, V)), Bad(), x, 2, seed=0, fixed=masks["fixed"])


def test_rows_may_have_numbers_of_their_own():
    """Rows 7 and 2 of a batch are the texts 7 and 2, wherever they stand."""
    x, rows = blank(9, L, V), torch.tensor([7, 2])
    whole = refine(Random(), UniformRefinement(0.4), x, 4, seed=3)
    assert torch.equal(refine(Random(), UniformRefinement(0.4), x[:2], 4, seed=3, first_row=rows).x, whole.x[rows])
    assert torch.equal(refine(Random(), UniformRefinement(0.4), x, 4, seed=3, first_row=0).x, whole.x)
    refine(Random(), OneWay(), x[:1], 1, seed=3, first_row=2**32)
    with pytest.raises(InputError, match=r"^first_row=4294967297: it is at most 4294967296$"):
        refine(Random(), OneWay(), x[:1], 1, seed=3, first_row=2**32 + 1)


def test_numbers_of_rows_go_where_the_texts_are():
    with without_float64() as device:
        flat, x = Flat(torch.zeros(L, V, device=device)), blank(2, L, V, device)
        assert refine(flat, OneWay(), x, 3, seed=1, first_row=torch.tensor([7, 2])).x.device == device


def test_a_step_alone_asks_whether_there_is_a_distribution():
    uniform = torch.zeros(2, L, dtype=torch.float64)
    with pytest.raises(InputError, match="no distribution"):
        observe(Flat(torch.full((L, V), torch.nan)), blank(2, L, V), t=1, T=2, uniform=uniform)


def test_what_a_denoiser_says_in_float64_is_kept_in_float32():
    spy = Spy(LeftToRight())
    refine(Flat(torch.zeros(L, V, dtype=torch.float64)), spy, blank(2, L, V), 3, seed=0)
    assert [step.log_q_written.dtype for step in spy.steps] == [torch.float32] * 3


def test_a_vocabulary_that_is_no_number_is_not_asked():
    denoiser = Flat(torch.zeros(L, V))
    denoiser.vocab_size = "six words"
    assert (refine(denoiser, OneWay(), blank(2, L, V), 2, seed=0).x < V).all()


def test_what_is_finished_moves_no_more():
    """A denoiser that grows surer with time: the text that rests is left with no change in confidence."""

    class Cooling:
        def __call__(self, x, time):
            logits = torch.arange(float(V)).expand(*x.shape, V) * (2 - time)
            return Prediction(logits, logits[..., :D])

    draft = torch.tensor([[V - 1] * L, [0] * L])
    trace = refine(Cooling(), UntilQuiet(), draft, 4, seed=1, patience=2, record=True)
    change = trace.score("confidence_change")
    assert trace.calls[0] == 2 and (change[1, 0] > 0).all() and (change[2:, 0] == 0).all()


def test_a_score_that_is_reported_late_is_0_for_what_was_finished_before():
    class Late:
        """Row 0 rests at once, and only from step 2 on is there something to report."""

        def __call__(self, step, chance):
            write = (step.proposal != step.x) & (chance.rows > 0).unsqueeze(-1)
            scores = {"late": torch.full(step.x.shape, float(step.t))} if step.t > 1 else {}
            return Action(write=write, remask=torch.zeros_like(write), scores=scores)

    draft = starts()["draft"][0][:2]
    frames = refine(Random(), Late(), draft, 3, seed=2, patience=1, record=True).frames
    assert "late" not in frames[0].scores
    assert [frame.scores["late"][:, 0].tolist() for frame in frames[1:]] == [[0, 2], [0, 3]]


def test_bad_starts_are_refused():
    with pytest.raises(InputError, match="steps=0"):
        refine(Random(), OneWay(), blank(B, L, V), 0, seed=0)
    with pytest.raises(InputError, match=r"^x holds id 7: "):
        refine(Flat(torch.zeros(L, V)), OneWay(), blank(B, L, V + 1), 1, seed=0)
    said = "^a fixed position holds a mask: it could never be written; leave it open or give its token$"
    with pytest.raises(InputError, match=said):
        refine(Random(), OneWay(), blank(B, L, V), 1, seed=0, fixed=torch.ones(B, L, dtype=torch.bool))


@pytest.mark.parametrize("name", ["count", "length", "vocab_size"])
@pytest.mark.parametrize("start", [blank, partial(noise, seed=0)], ids=["blank", "noise"])
def test_sizes_of_a_start_end_at_two_to_the_31(start, name):
    sizes = {"count": 1, "length": 1, "vocab_size": 1}
    with pytest.raises(InputError, match=f"^{name}=2147483649: it is at most 2147483648$"):
        start(**{**sizes, name: 2**31 + 1}, device="meta")


def test_the_start_from_noise_is_uniform_and_depends_on_the_seed():
    x = noise(2000, 10, V, seed=1)
    shares = torch.bincount(x.flatten(), minlength=V) / x.numel()
    assert len(shares) == V and torch.allclose(shares, torch.full((V,), 1 / V), atol=0.011)  # 4 standard errors
    assert torch.equal(x, noise(2000, 10, V, seed=1)) and not torch.equal(x, noise(2000, 10, V, seed=2))
    numbers = Chance(1, "noise", torch.arange(2000)).uniform(10)
    assert torch.equal(x, (numbers * V).long()) and torch.equal(x, noise(2000, 10, V, seed=1, first_row=0))
    assert torch.equal(x[:3], noise(3, 10, V, seed=1)) and torch.equal(x[5:6], noise(1, 10, V, seed=1, first_row=5))


def test_bad_patience_is_named_before_the_first_call():
    denoiser = Random()
    with pytest.raises(InputError, match="patience=0"):
        refine(denoiser, OneWay(), blank(B, L, V), 2, seed=0, patience=0)
    assert denoiser.times == []


class UntilQuiet:
    """Rewrites row b at steps 1 .. b alone, always to another token; ``backwards`` row b at 1 .. 3 - b."""

    def __init__(self, backwards=False):
        self.backwards = backwards

    def __call__(self, step, chance):
        row = 3 - chance.rows if self.backwards else chance.rows
        rows = row[:, None] >= step.t
        differs = step.proposal != step.x
        return Action(write=rows & differs, remask=torch.zeros_like(differs))


@pytest.mark.parametrize("backwards", [False, True])
def test_patience_stops_each_sequence_after_that_many_quiet_steps_and_saves_its_calls(backwards):
    start = torch.randint(V, (4, L), generator=torch.Generator().manual_seed(8))
    denoiser = Random()
    trace = refine(denoiser, UntilQuiet(backwards), start, 20, seed=0, patience=2, record=True)
    calls = [2, 3, 4, 5]  # row b is quiet from step b + 1 on
    assert trace.calls.tolist() == (calls[::-1] if backwards else calls)
    assert sum(denoiser.sizes) == sum(trace.calls.tolist())
    whole = refine(Random(), UntilQuiet(backwards), start, 20, seed=0, record=True)
    for name in ("x", "writes", "rewrites", "changes", "wasted", "settled", "overwritten"):
        assert torch.equal(getattr(trace, name), getattr(whole, name)), name
    for frame, other in zip(trace.frames, whole.frames, strict=False):
        assert torch.equal(frame.x, other.x) and torch.equal(frame.write, other.write)


def test_a_sequence_with_a_mask_is_never_finished():
    class Nothing:
        def __call__(self, step, chance):
            return Action(write=torch.zeros_like(step.is_mask), remask=torch.zeros_like(step.is_mask))

    trace = refine(Random(), Nothing(), blank(B, L, V), 6, seed=0, patience=1)
    assert trace.calls.tolist() == [6] * B and (trace.x < V).all()


class HidesAll:
    """Hides whatever is visible at every step, and writes no mask."""

    def __call__(self, step, chance):
        return Action(write=torch.zeros_like(step.is_mask), remask=~step.is_mask & ~step.is_fixed)


class WritesThenHides:
    """Rewrites all at step 1, hides all from step 2 on."""

    def __call__(self, step, chance):
        if step.t > 1:
            return HidesAll()(step, chance)
        return Action(write=torch.ones_like(step.is_mask), remask=torch.zeros_like(step.is_mask))


def test_the_last_step_hides_nothing_and_a_hidden_token_has_no_log_q_any_more():
    draft = starts()["draft"][0]
    once = refine(Random(), HidesAll(), draft, 1, seed=0)
    assert torch.equal(once.x, draft) and once.remasks.sum() == 0
    spy = Spy(WritesThenHides())
    trace = refine(Random(), spy, draft, 3, seed=0)
    assert (spy.steps[1].log_q_written < 0).all() and (spy.steps[2].log_q_written == 0).all()
    assert (trace.x < V).all() and trace.remasks.tolist() == [L] * B


def test_a_finished_sequence_leaves_the_batch_and_keeps_what_was_last_said_of_it():
    class Late:
        """Row 0 rests at step 1 and would be rewritten ever after; row 1 changes at every step."""

        def __call__(self, step, chance):
            asked.append(chance.rows.tolist())
            write = (step.proposal != step.x) | (step.t > 1)
            write &= (chance.rows > 0).unsqueeze(-1) | (step.t > 1)
            return Action(write=write, remask=torch.zeros_like(write))

    asked, spy = [], Spy(Late())
    draft = starts()["draft"][0][:2]
    trace = refine(Random(), spy, draft, 4, seed=2, patience=1, record=True)
    assert trace.calls.tolist() == [1, 4] and asked == [[0, 1], [1], [1], [1]]
    assert torch.equal(trace.x[0], draft[0]) and trace.writes[0] == 0
    first, *others = trace.frames
    for frame in others:
        assert torch.equal(frame.x[0], draft[0]) and not (frame.write | frame.remask | frame.changed)[0].any()
        assert torch.equal(frame.scores["entropy"][0], first.scores["entropy"][0])
        assert (frame.scores["confidence_change"][0] == 0).all()
    assert not torch.equal(others[-1].scores["entropy"][1], first.scores["entropy"][1])
    assert torch.equal(spy.steps[1].before.log_q, spy.steps[0].log_q[1:])


def test_scores_are_recorded_for_every_rule_and_a_gates_on_top():
    spy = Spy(RULES["linear, Bernoulli"])
    trace = refine(Random(), spy, blank(B, L, V), 3, seed=0, record=True)
    for t, step in enumerate(spy.steps):
        assert torch.equal(trace.score("entropy")[t], entropy(step.log_q))
        assert torch.equal(trace.score("margin")[t], margin(step.log_q))
        assert torch.equal(trace.score("confidence_change")[t], confidence_change(step.log_q, step.log_q_before))
    u, r = trace.score("u"), trace.score("r")
    assert torch.allclose(trace.score("p"), 1 - (1 - u) * (1 - r), atol=1e-6)
    once = refine(Random(), RULES["linear, Bernoulli"], blank(B, L, V), 1, seed=0, record=True)
    assert torch.equal(once.score("entropy")[0], trace.score("entropy")[0])
    with pytest.raises(InputError, match=r"^no score 'doubt': recorded are entropy, margin, confidence_change, p, u, r$"):
        once.score("doubt")
    with pytest.raises(InputError, match=r"^no step was recorded: sample with record=True$"):
        refine(Random(), OneWay(), blank(B, L, V), 2, seed=0).score("p")


def test_the_history_of_a_text_by_hand():
    """Six places, two steps: every event there is."""
    actions = [
        Action(
            write=torch.tensor([[True, False, True, True, False, False]]), remask=torch.tensor([[False] * 4 + [True, False]])
        ),
        Action(write=torch.zeros(1, 6, dtype=torch.bool), remask=torch.zeros(1, 6, dtype=torch.bool)),
    ]

    class Given:
        def __call__(self, step, chance):
            return actions[step.t - 1]

    sure = torch.full((6, V), -torch.inf)
    sure[:, 4] = 0.0  # every proposal is token 4
    trace = refine(Flat(sure), Given(), torch.tensor([[V, V, 4, 1, 2, 3]]), 2, seed=0, record=True)
    assert trace.history(0, V) == [
        [(V, "hidden"), (V, "hidden"), (4, "given"), (1, "given"), (2, "given"), (3, "given")],
        [(4, "written"), (V, "hidden"), (4, "rewritten, unchanged"), (4, "changed"), (V, "hidden again"), (3, "kept")],
        [(4, "kept"), (4, "written"), (4, "kept"), (4, "kept"), (4, "written"), (3, "kept")],
    ]
    assert {event for step in trace.history(0, V) for _, event in step} == set(EVENTS)
    assert (trace.writes.item(), trace.rewrites.item(), trace.changes.item(), trace.remasks.item()) == (5, 2, 1, 1)
    assert (trace.wasted.item(), trace.settled.item(), trace.calls.item(), trace.overwrites.item()) == (1, 2, 2, 3)


def test_overwrites_of_each_position_are_counted_for_the_rule():
    spy = Spy(RULES["hide then refill"])
    trace = refine(Random(), spy, blank(B, L, V), 9, seed=0, record=True)
    recount = torch.zeros(B, L, dtype=torch.long)
    before = trace.start
    for step, frame in zip(spy.steps, trace.frames, strict=True):
        assert torch.equal(step.overwrites, recount)
        recount = recount + ((before != V) & (frame.write | frame.remask))
        before = frame.x
    assert recount.sum() > 0
    limited = HideThenRefill(
        OverwriteGate(LinearHead(), combine="gate_only").eval(), Selection("threshold", 0.0, per_position=1)
    )
    hidden = sum(frame.remask.long() for frame in refine(Random(), limited, blank(B, L, V), 15, seed=0, record=True).frames)
    assert hidden.max() == 1


def test_observe_is_the_step_that_a_rule_meets():
    denoiser, spy = Random(), Spy(UniformRefinement(0.5))
    refine(denoiser, spy, blank(B, L, V), 4, seed=3)
    met = spy.steps
    uniform = torch.full((B, L), 0.5, dtype=torch.float64)
    alone = observe(denoiser, met[1].x, t=2, T=4, uniform=uniform, before=met[0].now)
    assert denoiser.times[-1] == denoiser.times[1] == 0.75
    for name in ("x", "log_q", "log_q_before", "hidden", "is_mask", "is_fixed"):
        assert torch.equal(getattr(alone, name), getattr(met[1], name)), name
    assert (alone.t, alone.T, alone.overwrites.sum()) == (2, 4, 0)
    drawn = [observe(denoiser, met[1].x, t=2, T=4, uniform=uniform + (k - 199.5) / 400).proposal for k in range(400)]
    share = torch.nn.functional.one_hot(torch.stack(drawn), V).double().mean(0)
    assert (share - alone.log_q.exp()).abs().max() < 1 / 400  # one number in each 400th of [0, 1)


def test_wasted_overwrites_and_the_last_change_by_recount():
    """An overwrite is wasted when the token put back is the one that stood there: at once, or when it was hidden before."""
    wasted_somewhere = False
    for name in ("uniform", "hide then refill", "Mask-Predict", "learned"):
        trace = refine(Random(), RULES[name], blank(B, L, V), 9, seed=1, record=True)
        wasted, settled, lost = torch.zeros(B), torch.zeros(B), torch.zeros(B, L, dtype=torch.long)
        stood = [[None] * L for _ in range(B)]
        x = trace.start
        for t, frame in enumerate(trace.frames, start=1):
            for b in range(B):
                for i in range(L):
                    old, new = x[b, i].item(), frame.x[b, i].item()
                    if frame.write[b, i]:
                        wasted[b] += new == (stood[b][i] if old == V else old)
                        lost[b, i] += old != V
                    if frame.remask[b, i]:
                        stood[b][i] = old
                        lost[b, i] += 1
                if not torch.equal(x[b], frame.x[b]):
                    settled[b] = t
            x = frame.x
        assert trace.wasted.tolist() == wasted.tolist(), name
        assert trace.settled.tolist() == settled.tolist(), name
        assert torch.equal(trace.overwritten, lost), name
        assert torch.equal(trace.overwritten.sum(-1), trace.overwrites), name
        wasted_somewhere |= bool(wasted.any())
    assert wasted_somewhere
