"""The loop's invariants for every rule, its random numbers, and its accounting by recount."""

import pytest
import torch

from ardm.method.gate import LearnedHead, LinearHead, OverwriteGate
from ardm.method.rivals import DDPD, EntropyBounded, InformedCorrector, MaskPredict, MostConfidentFirst, PathPlanning, ReMDM, TokenToMask, TokenToToken
from ardm.method.rules import FixedSchedule, HideThenRefill, LeftToRight, OneWay, OracleGate, Overwrite, RandomGate, Shuffled, UniformRefinement
from ardm.method.sampling import blank, draw, noise, observe, refine
from ardm.method.selection import Selection
from ardm.method.types import Action, Prediction
from ardm.base.errors import InputError

V, L, B, D = 6, 7, 5, 3


class Random:
    """A denoiser with fixed random logits that depend on the sequence; counts its calls and notes the times."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.table = torch.randn(V + 1, V, generator=g)
        self.mix = torch.randn(L, L, generator=g)
        self.times = []

    def __call__(self, x, time):
        self.times.append(time)
        logits = torch.einsum("ij,bjv->biv", self.mix, self.table[x])
        return Prediction(logits, logits[..., :D])


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
    "oracle gate": OracleGate(lambda x: (x < V) & (x % 2 == 1)),
    "oracle gate, in place": OracleGate(lambda x: (x < V) & (x % 2 == 1), in_place=True),
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
    logits = torch.randn(1, L, V, generator=torch.Generator().manual_seed(2)).expand(B, L, V)
    seen = []

    class Spy:
        def __init__(self, rule):
            self.rule = rule

        def __call__(self, step, generator):
            seen.append(step.proposal)
            return self.rule(step, generator)

    for rule in RULES.values():
        refine(lambda x, time: Prediction(logits, logits[..., :D]), Spy(rule), blank(B, L, V), 3, seed=9)
    assert len(seen) == 3 * len(RULES)
    assert all(torch.equal(proposal, seen[i % 3]) for i, proposal in enumerate(seen))
    assert not torch.equal(seen[0], seen[1])


def test_same_seed_same_text_other_seed_other_text():
    run = lambda seed: refine(Random(), OneWay(), blank(B, L, V), 5, seed=seed).x  # noqa: E731
    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_draw_follows_q_and_its_temperature():
    q = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    log_q = q.log().expand(1, 60_000, 3)
    for temperature in (1.0, 0.5):
        expected = q ** (1 / temperature) / (q ** (1 / temperature)).sum()
        drawn = draw(log_q, torch.Generator().manual_seed(0), temperature=temperature)
        seen = torch.bincount(drawn[0], minlength=3).double() / 60_000
        assert torch.allclose(seen, expected, atol=0.008)  # 4 standard errors
    assert (draw(log_q, torch.Generator(), temperature=0.0) == 0).all()


def test_forbidden_tokens_are_never_drawn():
    log_q = torch.tensor([0.0, -torch.inf, 0.0]).log_softmax(-1).expand(1, 5000, 3)
    assert set(draw(log_q, torch.Generator().manual_seed(0))[0].tolist()) == {0, 2}


def test_log_q_when_written_is_that_of_the_writing_step():
    noted = []

    class Spy:
        def __call__(self, step, generator):
            noted.append(step)
            return LeftToRight()(step, generator)

    refine(Random(), Spy(), blank(B, L, V), L, seed=0)
    first, last = noted[0], noted[-1]
    written = first.log_q[:, 0].gather(-1, first.proposal[:, :1]).squeeze(-1)
    assert torch.allclose(last.log_q_written[:, 0], written)
    assert (last.log_q_written[:, -1] == 0).all()  # not written yet


@pytest.mark.parametrize(
    ("write", "remask", "word"),
    [("visible", "visible", "same token"), ("fixed", "none", "fixed token"), ("none", "masks", "hidden already")],
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
        def __call__(self, step, generator):
            return Action(write=masks[write], remask=masks[remask])

    flat = lambda x, time: Prediction(torch.zeros(1, 3, V), torch.zeros(1, 3, 0))  # noqa: E731
    with pytest.raises(ValueError, match=word):
        refine(flat, Bad(), x, 2, seed=0, fixed=masks["fixed"])


def test_bad_starts_are_refused():
    with pytest.raises(InputError, match="steps=0"):
        refine(Random(), OneWay(), blank(B, L, V), 0, seed=0)
    flat = lambda x, time: Prediction(torch.zeros(B, L, V), torch.zeros(B, L, 0))  # noqa: E731
    with pytest.raises(InputError, match="id 7"):
        refine(flat, OneWay(), blank(B, L, V + 1), 1, seed=0)
    with pytest.raises(InputError, match="fixed position holds a mask"):
        refine(Random(), OneWay(), blank(B, L, V), 1, seed=0, fixed=torch.ones(B, L, dtype=torch.bool))
    with pytest.raises(InputError, match="temperature=-1"):
        refine(Random(), OneWay(), blank(B, L, V), 1, seed=0, temperature=-1.0)


def test_the_start_from_noise_is_uniform_and_depends_on_the_seed():
    x = noise(2000, 10, V, seed=1)
    shares = torch.bincount(x.flatten(), minlength=V) / x.numel()
    assert len(shares) == V and torch.allclose(shares, torch.full((V,), 1 / V), atol=0.011)  # 4 standard errors
    assert torch.equal(x, noise(2000, 10, V, seed=1)) and not torch.equal(x, noise(2000, 10, V, seed=2))


def kept_by_hand(q: list[float], top_k: int | None, top_p: float | None) -> list[float]:
    """What is left of q: sort, keep the first k, then the fewest whose renormalised sum reaches p."""
    order = sorted(range(len(q)), key=lambda v: -q[v])[:top_k]
    total, kept = sum(q[v] for v in order), []
    for v in order:
        kept.append(v)
        if top_p is not None and sum(q[u] for u in kept) / total >= top_p:
            break
    return [q[v] / sum(q[u] for u in kept) if v in kept else 0.0 for v in range(len(q))]


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(2, None), (None, 0.6), (None, 0.45), (3, 0.7), (10, 1.0), (1, None), (None, 0.01)]
)
def test_top_k_and_top_p_by_hand(top_k, top_p):
    q = [0.05, 0.4, 0.1, 0.25, 0.2]
    log_q = torch.tensor(q, dtype=torch.float64).log().expand(1, 60_000, 5)
    drawn = draw(log_q, torch.Generator().manual_seed(0), top_k=top_k, top_p=top_p)
    seen = torch.bincount(drawn[0], minlength=5).double() / 60_000
    expected = torch.tensor(kept_by_hand(q, top_k, top_p), dtype=torch.float64)
    assert torch.allclose(seen, expected, atol=0.009)  # 4 standard errors
    assert ((seen > 0) == (expected > 0)).all()


def test_a_draw_uses_up_the_same_random_numbers_whatever_its_settings():
    log_q = torch.randn(2, 3, 5).log_softmax(-1)
    after = []
    for settings in ({}, {"temperature": 0.0}, {"temperature": 0.5, "top_k": 2}, {"top_p": 0.5}):
        rng = torch.Generator().manual_seed(3)
        draw(log_q, rng, **settings)
        after.append(torch.rand(1, generator=rng).item())
    assert len(set(after)) == 1


@pytest.mark.parametrize("bad", [{"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}, {"patience": 0}])
def test_bad_settings_are_named_before_the_first_call(bad):
    denoiser = Random()
    name, value = next(iter(bad.items()))
    with pytest.raises(InputError, match=f"{name}={value}"):
        refine(denoiser, OneWay(), blank(B, L, V), 2, seed=0, **bad)
    assert denoiser.times == []


class UntilQuiet:
    """Rewrites row b at steps 1 .. b alone, always to another token."""

    def __call__(self, step, generator):
        rows = torch.arange(len(step.x))[:, None] >= step.t
        differs = step.proposal != step.x
        return Action(write=rows & differs, remask=torch.zeros_like(differs))


def test_patience_stops_each_sequence_after_that_many_quiet_steps_and_saves_its_calls():
    rows = []

    class Counting(Random):
        def __call__(self, x, time):
            rows.append(len(x))
            return super().__call__(x, time)

    g = torch.Generator().manual_seed(8)
    start = torch.randint(V, (4, L), generator=g)
    trace = refine(Counting(), UntilQuiet(), start, 20, seed=0, patience=2)
    assert trace.calls.tolist() == [2, 3, 4, 5]  # row b is quiet from step b + 1 on
    assert sum(rows) == sum(trace.calls.tolist())
    whole = refine(Random(), UntilQuiet(), start, 20, seed=0)
    assert torch.equal(trace.x, whole.x)


def test_a_sequence_with_a_mask_is_never_finished():
    class Nothing:
        def __call__(self, step, generator):
            return Action(write=torch.zeros_like(step.is_mask), remask=torch.zeros_like(step.is_mask))

    trace = refine(Random(), Nothing(), blank(B, L, V), 6, seed=0, patience=1)
    assert trace.calls.tolist() == [6] * B and (trace.x < V).all()


def test_scores_are_recorded_for_every_rule_and_a_gates_on_top():
    from ardm.method.signals import confidence_change, entropy, margin

    noted = []

    class Spy:
        def __call__(self, step, generator):
            noted.append(step)
            return RULES["linear, Bernoulli"](step, generator)

    trace = refine(Random(), Spy(), blank(B, L, V), 3, seed=0, record=True)
    for t, step in enumerate(noted):
        assert torch.equal(trace.score("entropy")[t], entropy(step.log_q))
        assert torch.equal(trace.score("margin")[t], margin(step.log_q))
        assert torch.equal(trace.score("confidence_change")[t], confidence_change(step.log_q, step.log_q_before))
    u, r = trace.score("u"), trace.score("r")
    assert torch.allclose(trace.score("p"), 1 - (1 - u) * (1 - r), atol=1e-6)
    with pytest.raises(InputError, match="'doubt'"):
        trace.score("doubt")
    with pytest.raises(InputError, match="record=True"):
        refine(Random(), OneWay(), blank(B, L, V), 2, seed=0).score("p")


def test_overwrites_of_each_position_are_counted_for_the_rule():
    seen = []

    class Spy:
        def __call__(self, step, generator):
            seen.append(step.overwrites.clone())
            return RULES["hide then refill"](step, generator)

    trace = refine(Random(), Spy(), blank(B, L, V), 9, seed=0, record=True)
    recount = torch.zeros(B, L, dtype=torch.long)
    before = trace.start
    for counted, frame in zip(seen, trace.frames, strict=True):
        assert torch.equal(counted, recount)
        recount = recount + ((before != V) & (frame.write | frame.remask))
        before = frame.x
    assert recount.sum() > 0
    limited = HideThenRefill(
        OverwriteGate(LinearHead(), combine="gate_only").eval(), Selection("threshold", 0.0, per_position=1)
    )
    hidden = sum(frame.remask.long() for frame in refine(Random(), limited, blank(B, L, V), 15, seed=0, record=True).frames)
    assert hidden.max() == 1


def test_observe_is_the_step_that_a_rule_meets():
    met = []

    class Watching:
        def __call__(self, step, generator):
            met.append(step)
            return UniformRefinement(0.5)(step, generator)

    denoiser = Random()
    refine(denoiser, Watching(), blank(B, L, V), 4, seed=3)
    rng = torch.Generator().manual_seed(0)
    alone = observe(denoiser, met[1].x, t=2, T=4, generator=rng, log_q_before=met[0].log_q)
    assert denoiser.times[-1] == denoiser.times[1] == 0.75
    for name in ("x", "log_q", "log_q_before", "hidden", "is_mask", "is_fixed"):
        assert torch.equal(getattr(alone, name), getattr(met[1], name)), name
    assert (alone.t, alone.T, alone.overwrites.sum()) == (2, 4, 0)
    drawn = torch.stack([observe(denoiser, met[1].x, t=2, T=4, generator=rng).proposal for _ in range(4000)])
    share = torch.nn.functional.one_hot(drawn, V).double().mean(0)
    assert (share - alone.log_q.exp()).abs().max() < 5 * 0.5 / 4000**0.5  # five standard errors of a share


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
