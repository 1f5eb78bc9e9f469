"""Whatever is given: a result that a simple check finds right, or one line that names what is wrong.

The checks of shapes that tests add are off here, so that what speaks are the package's own.
"""

import math
from functools import partial
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ardm.base.errors import InputError
from ardm.base.streams import Chance, generator
from ardm.method.corruption import corrupt, mask_more, wrong_tokens
from ardm.method.denoiser import Shape, Transformer
from ardm.method.draw import Draw
from ardm.method.gate import COMBINE, FOUR, SIGNALS, AttentiveHead, LearnedHead, LinearHead, OverwriteGate
from ardm.method.prior import PositionalPrior, forced_overwrites, maturity, prior_logit
from ardm.method.rules import (
    HideThenRefill,
    InformedCorrector,
    LeftToRight,
    OneWay,
    Overwrite,
    PathPlanning,
    TokenToMask,
    WideInNarrowOut,
)
from ardm.method.sampling import blank, noise, observe, refine
from ardm.method.selection import Selection
from ardm.method.types import Head, Prediction
from ardm.worlds.laws import Oracle, parity

WIDTH = 8


@pytest.fixture(autouse=True, scope="module")
def as_without_tests():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def examples(share):
    """So many examples of the profile's number."""
    return settings(max_examples=math.ceil(share * settings.default.max_examples))


class Table:
    """A denoiser whose logits depend on the text around a position; ``change`` spoils what it says."""

    def __init__(self, vocab_size, length, *, scale=1.0, form="logits", dtype=torch.float32, change=None):
        rng = torch.Generator().manual_seed(vocab_size + 100 * length)
        self.token = torch.randn(vocab_size + 1, WIDTH, generator=rng)
        self.mix = torch.randn(length, length, generator=rng)
        self.readout = scale * torch.randn(vocab_size, WIDTH, generator=rng)
        self.form, self.dtype, self.change, self.calls = form, dtype, change, 0

    def __call__(self, x, time):
        self.calls += 1
        hidden = torch.einsum("ij,bjd->bid", self.mix, self.token[x])
        if self.form == "head":
            return Prediction(hidden=hidden, head=Head(self.readout))
        logits = (hidden @ self.readout.T).to(self.dtype)
        return Prediction(logits, hidden) if self.change is None else self.change(logits, hidden, self.calls)


RULES = {
    "one-way": OneWay(),
    "left to right": LeftToRight(),
    "token to mask": TokenToMask(threshold=0.6),
    "informed corrector": InformedCorrector(3),
    "path planning": PathPlanning(2.0),
    "wide in, narrow out": WideInNarrowOut(),
    "document": Overwrite(OverwriteGate(LinearHead()).eval()),
    "hide": HideThenRefill(OverwriteGate(AttentiveHead(WIDTH, 4, 8), signals=FOUR).eval(), Selection("threshold", 0.4)),
}

NO_COUNT = ["a", 1.5, True, -1, float("nan"), [1], torch.tensor(1.5)]
JUNK = [None, *NO_COUNT, 2**70]


sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.sampled_from([1, 2, 3, 7]))


@st.composite
def texts(draw, B, L, V):
    """Legal ids ``[B, L]`` in any layout and whole type, and which of them are fixed."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    ids = torch.randint(V + 1, (B, L), generator=rng)
    layout = draw(st.sampled_from(["plain", "int32", "uint8", "expanded", "transposed", "sliced", "no mask"]))
    if layout == "no mask":
        ids = ids.clamp(max=V - 1)
    elif layout == "expanded":
        ids = ids[:1].expand(B, L)
    elif layout == "transposed":
        ids = ids.t().contiguous().t()
    elif layout == "sliced":
        ids = torch.stack([ids, ids], dim=-1)[..., 0]
    elif layout != "plain":
        ids = ids.to(getattr(torch, layout))
    chosen = torch.rand(B, L, generator=rng) < 0.4
    return ids, draw(st.sampled_from([None, chosen & (ids != V), torch.zeros(1, 1, dtype=torch.bool).expand(B, L)]))


@st.composite
def runs(draw):
    """A legal call of ``refine``: its keywords and V."""
    B, L, V = draw(sizes)
    x, fixed = draw(texts(B, L, V))
    how = draw(st.sampled_from(["plain", "head", "half", "huge", "forbidding"]))
    dtype = draw(st.sampled_from([torch.float16, torch.bfloat16])) if how == "half" else torch.float32
    form = "head" if how == "head" else "logits"

    def forbid(logits, hidden, calls):
        return Prediction(logits.masked_fill(torch.arange(V) > 0, -torch.inf), hidden)

    make = partial(
        Table, V, L, form=form, dtype=dtype, scale=1e6 if how == "huge" else 1.0, change=forbid if how == "forbidding" else None
    )
    given = {
        "denoiser": make,
        "rule": RULES[draw(st.sampled_from(sorted(RULES)))],
        "x": x,
        "steps": draw(st.sampled_from([1, 2, 5, np.int64(3)])),
        "seed": draw(st.sampled_from([0, 1, 2**64 - 1, np.int64(7)])),
        "fixed": fixed,
        "draw": draw(st.sampled_from([Draw(), Draw(0.0), Draw(0.5, top_k=2), Draw(top_p=0.5), Draw(3.0)])),
        "patience": draw(st.sampled_from([None, 1, 3])),
        "record": draw(st.booleans()),
        "first_row": draw(st.sampled_from([0, 5])),
    }
    if given["patience"] and draw(st.booleans()):
        given["steps"] = 20  # ended by patience alone
    return given, V


@examples(1.2)
@given(runs())
def test_what_is_legal_gives_texts(case):
    how, V = case
    make, x, fixed = how.pop("denoiser"), how["x"], how["fixed"]
    before = x.clone()
    trace = refine(make(), **how)
    assert torch.equal(x, before) and trace.x.shape == x.shape and trace.x.dtype == torch.int64
    assert ((trace.x >= 0) & (trace.x < V)).all()
    if fixed is not None:
        assert torch.equal(trace.x[fixed], x.long()[fixed])
    assert ((trace.calls >= 1) & (trace.calls <= how["steps"])).all()
    assert len(trace.frames) == (int(trace.calls.max()) if how["record"] else 0)
    unchecked = refine(make(), **how, check=False)
    assert torch.equal(unchecked.x, trace.x)


@examples(0.5)
@given(runs(), st.integers(0, 3))
def test_a_text_alone_is_that_text_in_the_batch(case, row):
    """Float64 logits, so that a batch of another size rounds no token the other way."""
    how, V = case
    how.pop("denoiser")
    row %= len(how["x"])
    make = partial(Table, V, how["x"].shape[1], change=lambda logits, hidden, calls: Prediction(logits.double(), hidden))
    whole = refine(make(), **how)
    part = slice(row, row + 1)
    fixed = None if how["fixed"] is None else how["fixed"][part]
    alone = refine(make(), **{**how, "x": how["x"][part], "fixed": fixed, "first_row": how["first_row"] + row})
    for name in ("x", "calls", "writes", "rewrites", "changes", "remasks", "wasted", "settled", "overwritten"):
        assert torch.equal(getattr(whole, name)[part], getattr(alone, name)), name


@examples(0.3)
@given(runs())
def test_no_text_gives_no_text(case):
    how, _ = case
    denoiser = how.pop("denoiser")()
    how["x"], how["fixed"] = torch.zeros(0, how["x"].shape[1], dtype=torch.long), None
    trace = refine(denoiser, **how)
    assert trace.x.shape == how["x"].shape and trace.calls.shape == (0,) and denoiser.calls == 0


def spoilt(V):
    """By argument, what makes it from a legal one, and what the line must name."""
    return {
        "x": [
            lambda x: x.float(),
            lambda x: x > 0,
            lambda x: x.tolist(),
            lambda x: x.numpy(),
            lambda x: None,
            lambda x: x[0],
            lambda x: x[None],
            lambda x: x[:, :0],
            lambda x: torch.full(x.shape, -1),
            lambda x: torch.full(x.shape, V + 1),
            lambda x: torch.full(x.shape, 10**12),
        ],
        "steps": [lambda _, value=value: value for value in (0, None, *NO_COUNT)],
        "seed": [lambda _, value=value: value for value in (2**64, *JUNK)],
        "patience": [lambda _, value=value: value for value in (0, *NO_COUNT)],
        "first_row": [lambda _, value=value: value for value in (2**33, *JUNK)],
        "draw": [lambda _, value=value: value for value in (None, "greedy", 0.7, Draw)],
        "rule": [lambda _, value=value: value for value in (None, "one-way", 3)],
        "denoiser": [lambda _, value=value: value for value in (None, "model")],
        "fixed": [
            lambda x: torch.zeros(x.shape),
            lambda x: torch.zeros(x.shape, dtype=torch.long),
            lambda x: torch.zeros(len(x), x.shape[1] + 1, dtype=torch.bool),
            lambda x: torch.zeros(x.shape[1], dtype=torch.bool),
            lambda x: torch.zeros(x.shape, dtype=torch.bool, device="meta"),
            lambda x: [[False]],
            lambda x: True,
        ],
    }


@examples(2)
@given(runs(), st.data())
def test_what_is_not_legal_is_named(case, data):
    how, V = case
    name = data.draw(st.sampled_from(sorted(spoilt(V))))
    spoil = data.draw(st.sampled_from(spoilt(V)[name]))
    denoiser = how.pop("denoiser")()
    if name in ("x", "fixed"):
        how[name] = spoil(how["x"].long())
    elif name == "denoiser":
        denoiser = spoil(None)
    else:
        how[name] = spoil(None)
    with pytest.raises(InputError, match=rf"\b{name}\b"):
        refine(denoiser, **how)
    assert getattr(denoiser, "calls", 0) <= 1  # before any work is lost


def test_a_fixed_mask_is_named():
    with pytest.raises(InputError, match="fixed position holds a mask"):
        refine(Table(3, 2), OneWay(), torch.tensor([[3, 1]]), 2, seed=0, fixed=torch.ones(1, 2, dtype=torch.bool))


def test_a_denoiser_that_knows_fewer_words_is_asked_nothing():
    denoiser = Transformer(Shape(vocab_size=3, length=4, width=8, depth=1, heads=2)).eval()
    x = torch.tensor([[0, 4, 1, 2]])
    for call in (
        lambda: refine(denoiser, OneWay(), x, 2, seed=0),
        lambda: observe(denoiser, x, t=1, T=2, uniform=torch.zeros(1, 4, dtype=torch.float64)),
    ):
        with pytest.raises(InputError, match=r"x holds id 4: ids are 0 \.\. 3"):
            call()


SPOILT = {
    "a tuple": (lambda logits, hidden, _: (logits, hidden), "denoiser"),
    "nothing": (lambda logits, hidden, _: None, "denoiser"),
    "another B": (lambda logits, hidden, _: Prediction(logits[:0], hidden), "logits"),
    "another L": (lambda logits, hidden, _: Prediction(logits[:, :0], hidden), "logits"),
    "no words": (lambda logits, hidden, _: Prediction(logits[..., :0], hidden), "logits"),
    "no dimension of words": (lambda logits, hidden, _: Prediction(logits[..., 0], hidden), "logits"),
    "whole numbers": (lambda logits, hidden, _: Prediction(logits.long(), hidden), "logits"),
    "another hidden B": (lambda logits, hidden, _: Prediction(logits, hidden[:0]), "hidden"),
    "hidden states without D": (lambda logits, hidden, _: Prediction(logits, hidden[..., 0]), "hidden"),
    "NaN": (lambda logits, hidden, _: Prediction(logits * torch.nan, hidden), "log_q|logits"),
    "+inf": (lambda logits, hidden, _: Prediction(logits + torch.inf, hidden), "log_q|logits"),
    "a row of -inf": (lambda logits, hidden, _: Prediction(logits - torch.inf, hidden), "log_q|logits"),
    "more words later": (lambda z, h, calls: Prediction(torch.cat([z] * calls, dim=-1), h), "logits of .* words"),
    "a head of another width": (lambda z, h, _: Prediction(hidden=h, head=Head(torch.zeros(3, WIDTH + 1))), "width"),
    "a state of another B": (lambda z, h, _: Prediction(hidden=h, head=Head(torch.zeros(3, WIDTH)), state=h[:0]), "state"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_denoiser_that_breaks_its_contract_is_named(what):
    change, named = SPOILT[what]
    for steps, rule in ((3, OneWay()), (2, RULES["hide"])):
        with pytest.raises(InputError, match=named):
            refine(Table(3, 4, change=change), rule, blank(2, 4, 3), steps, seed=0)


@pytest.mark.parametrize("answer", [None, (1, 2), torch.zeros(2, 4)])
def test_a_rule_that_gives_no_action_is_named(answer):
    def silent(step, chance):
        return answer

    with pytest.raises(InputError, match="function gives no write"):
        refine(Table(3, 4), silent, blank(2, 4, 3), 2, seed=0)


@pytest.mark.parametrize("make", [LearnedHead, AttentiveHead])
def test_a_gate_for_another_denoiser_is_named(make):
    gate = OverwriteGate(make(WIDTH + 4), combine="gate_only").eval()
    with pytest.raises(InputError, match=f"hidden states of width {WIDTH}: this gate is for {WIDTH + 4}"):
        refine(Table(3, 4), Overwrite(gate), blank(2, 4, 3), 2, seed=0)
    with pytest.raises(InputError, match="beta has 2 weights for 3 signals"):
        refine(Table(3, 4), Overwrite(OverwriteGate(LinearHead([1.0, 2.0])).eval()), blank(2, 4, 3), 2, seed=0)


def refused_or(call, named, legal):
    """The result of a legal call; of any other one an ``InputError`` that names the arguments that are not."""
    if legal:
        return call()
    with pytest.raises(InputError, match="|".join(rf"\b{name}\b" for name in named)):
        call()
    return None


def is_whole(value, least, most=2**63):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value, low, high, *, above=False):
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low < value <= high if above else low <= value <= high


numbers = st.one_of(st.sampled_from([*JUNK, 0, 1, 0.0, 0.5, 1.0, -0.5, math.inf]), st.floats(0, 2))
wholes = st.one_of(st.sampled_from([*JUNK, 0]), st.integers(1, 6))


@examples(1)
@given(numbers, wholes, numbers, st.integers(1, 6), st.integers(0, 3))
def test_draws(temperature, top_k, top_p, V, seed):
    bad = {
        "temperature": not (is_number(temperature, 0, 1e308)),
        "top_k": not (top_k is None or is_whole(top_k, 1, math.inf)),
        "top_p": not (top_p is None or is_number(top_p, 0, 1, above=True)),
    }
    named = [name for name in bad if bad[name]]
    draw = refused_or(lambda: Draw(temperature, top_k, top_p), named, not named)
    if draw is not None:
        log_q = torch.randn(2, 3, V, generator=torch.Generator().manual_seed(seed))
        log_q[..., 0] = log_q.amax() + 1  # the likeliest, always allowed
        log_q[:, 1, 1:] = -torch.inf
        tokens = draw(log_q, Chance(seed, "draws", torch.arange(2)).uniform(3))
        assert tokens.shape == (2, 3) and ((tokens >= 0) & (tokens < V)).all() and (tokens[:, 1] == 0).all()
        if temperature == 0 or top_k == 1:
            assert (tokens == 0).all()


@examples(0.6)
@given(wholes, wholes, wholes, st.sampled_from(["blank", "noise"]), st.sampled_from([0, 3, 2**64 - 1, *JUNK]))
def test_where_sampling_starts(count, length, vocab_size, which, seed):
    bad = {
        "count": not is_whole(count, 0),
        "length": not is_whole(length, 1),
        "vocab_size": not is_whole(vocab_size, 1),
        "seed": which == "noise" and not is_whole(seed, 0, 2**64 - 1),
    }
    named = [name for name in bad if bad[name]]
    made = refused_or(
        (lambda: blank(count, length, vocab_size))
        if which == "blank"
        else (lambda: noise(count, length, vocab_size, seed=seed)),
        named,
        not named and all(value < 100 for value in (count, length, vocab_size)),
    )
    if made is not None:
        assert made.shape == (count, length)
        assert (made == vocab_size).all() if which == "blank" else ((made >= 0) & (made < vocab_size)).all()


@examples(0.6)
@given(
    st.sampled_from(["bernoulli", "threshold", "topk", None, 3, ["bernoulli"]]),
    numbers,
    st.one_of(st.none(), wholes),
    st.one_of(st.none(), wholes),
    st.one_of(st.none(), wholes),
)
def test_selections(how, threshold, budget, last_budget, per_position):
    limits = {"budget": budget, "last_budget": last_budget, "per_position": per_position}
    bad = {
        "how": how not in ("bernoulli", "threshold"),
        "threshold": not is_number(threshold, 0, 1),
        **{name: value is not None and not is_whole(value, 0, 2**31) for name, value in limits.items()},
    }
    bad["last_budget"] |= last_budget is not None and budget is None
    named = [name for name in bad if bad[name]]
    selection = refused_or(lambda: Selection(how, threshold, budget, last_budget, per_position), named, not named)
    if selection is not None:
        trace = refine(Table(3, 4), Overwrite(OverwriteGate(LinearHead()).eval(), selection), blank(2, 4, 3), 3, seed=0)
        assert (trace.x < 3).all()
        if per_position == 0:
            assert trace.overwrites.sum() == 0


@examples(0.4)
@given(
    st.sampled_from([*COMBINE, "and", None, ["noisy_or"], 3]),
    st.one_of(st.lists(st.sampled_from([*SIGNALS, "mood", 3]), max_size=4, unique=True), st.sampled_from(["entropy", None, 5])),
)
def test_gates(combine, signals):
    bad = {
        "combine": combine not in tuple(COMBINE),
        "signals": not isinstance(signals, list) or any(name not in SIGNALS for name in signals),
    }
    named = [name for name in bad if bad[name]]

    def make():
        return OverwriteGate(LinearHead([1.0] * len(signals) if isinstance(signals, list) else [1.0]), None, combine, signals)

    gate = refused_or(make, named, not named)
    if gate is not None:
        trace = refine(Table(3, 4), Overwrite(gate.eval()), blank(2, 4, 3), 3, seed=0, record=True)
        assert ((trace.score("p") >= 0) & (trace.score("p") <= 1)).all()


@examples(0.3)
@given(wholes, wholes, wholes, st.sampled_from([LearnedHead, AttentiveHead]))
def test_heads(hidden, signals, width, make):
    bad = {"hidden": not is_whole(hidden, 0, 99), "signals": not is_whole(signals, 0, 99), "width": not is_whole(width, 1, 99)}
    bad["width"] |= make is AttentiveHead and is_whole(width, 1, 99) and width % 4 > 0
    named = [name for name in bad if bad[name]]
    if not any(is_whole(value, 99) for value in (hidden, signals, width)):  # nobody means 2^70 units
        refused_or(lambda: make(hidden, signals, width), named, not named)


@examples(0.5)
@given(wholes, wholes, numbers, numbers)
def test_priors(n, T, alpha, delta):
    bad = {
        "n": not is_whole(n, 1, math.inf),
        "T": not is_whole(T, 1, math.inf),
        "alpha": not is_number(alpha, 1e-6, 1e6) and not isinstance(alpha, torch.Tensor),
        "delta": not is_number(delta, -1e6, 1e6) and not isinstance(delta, torch.Tensor),
    }
    small = all(is_whole(value, 1, 99) for value in (n, T))
    named = [name for name in bad if bad[name]]
    if named or small:
        r = refused_or(lambda: prior_logit(n, 1, T, alpha, delta), named, not named)
        assert r is None or (r.shape == (n,) and r.isfinite().all())
    learnt = {"alpha": alpha, "delta": delta}
    wrong = [name for name, value in learnt.items() if bad[name] or isinstance(value, torch.Tensor)]
    prior = refused_or(lambda: PositionalPrior(alpha, delta), wrong, not wrong)
    assert prior is None or 0 < prior.alpha.item() < math.inf
    for call in (maturity, forced_overwrites):
        if (bad["n"] or bad["T"]) or small:
            refused_or(lambda call=call: call(n, T), ("n", "T"), not (bad["n"] or bad["T"]))


@examples(0.6)
@given(sizes, numbers, numbers, st.sampled_from(["corrupt", "mask_more", "wrong_tokens"]), st.data())
def test_corruption(size, mask_rate, error_rate, which, data):
    B, L, V = size
    x0 = torch.randint(V, (B, L), generator=torch.Generator().manual_seed(0))
    spoil = data.draw(st.sampled_from([None, None, *spoilt(V)["x"]]))
    rng = generator(0, "test")
    given_x = x0 if spoil is None else spoil(x0)
    if which == "mask_more":
        out_of_range = isinstance(given_x, torch.Tensor) and given_x.dtype == torch.int64 and given_x.shape == x0.shape
        bad = {"x": spoil is not None and not out_of_range, "rate": not is_number(mask_rate, 0, 1)}
        named = [name for name in bad if bad[name]]
        x = refused_or(lambda: mask_more(given_x, V, rate=mask_rate, generator=rng), named, not named)
        assert x is None or ((x == given_x) | (x == V)).all()
    elif which == "wrong_tokens":
        x = refused_or(lambda: wrong_tokens(x0, V, generator=rng), ["vocab_size"], V > 1)
        assert x is None or ((x != x0) & (x >= 0) & (x < V)).all()
    else:
        bad = {
            "x0": spoil is not None,
            "error_rate": not is_number(error_rate, 0, 0.9999999),
            "mask_rate": not is_number(mask_rate, 0, 1) and not isinstance(mask_rate, torch.Tensor),
            "vocab_size": V == 1,
        }
        bad["mask_rate"] |= isinstance(mask_rate, torch.Tensor)  # 1.5
        named = [name for name in bad if bad[name]]
        made = refused_or(
            lambda: corrupt(given_x, V, mask_rate=mask_rate, error_rate=error_rate, generator=rng), named, not named
        )
        assert made is None or torch.equal(made.x == V, made.is_mask)


def test_rates_that_fit_no_text_are_named():
    with pytest.raises(InputError, match=r"mask_rate of shape \(3,\)"):
        corrupt(
            torch.zeros(2, 4, dtype=torch.long), 3, mask_rate=torch.zeros(3), error_rate=0.0, generator=generator(0, "test")
        )


LAW = parity(4)


@examples(0.6)
@given(st.sampled_from(["posterior", "log_prob", "nearest", "is_valid", "oracle"]), numbers, st.data())
def test_laws(which, error_rate, data):
    V = LAW.vocab_size
    x = LAW.sample(3, seed=0)
    spoil = data.draw(st.sampled_from([None, None, *spoilt(V)["x"], lambda x: x[:, :3]]))
    given_x = x if spoil is None else spoil(x)
    ids = isinstance(given_x, torch.Tensor) and given_x.dtype == torch.int64 and given_x.shape == x.shape
    bad = {"x": spoil is not None, "error_rate": False}
    if which in ("log_prob", "is_valid"):
        bad["x"] = spoil is not None and not ids  # an id that is no word is forbidden
    if which in ("posterior", "oracle"):
        bad["error_rate"] = not is_number(error_rate, 0, 0.9999999)
    calls = {
        "posterior": lambda: LAW.posterior(given_x, error_rate=error_rate),
        "oracle": lambda: refine(Oracle(LAW, error_rate), OneWay(), given_x, 2, seed=0).x,
        "nearest": lambda: LAW.nearest(given_x),
        "log_prob": lambda: LAW.log_prob(given_x),
        "is_valid": lambda: LAW.is_valid(given_x),
    }
    named = [name for name in bad if bad[name]]
    made = refused_or(calls[which], named, not named)
    if made is not None and which == "posterior":
        assert torch.allclose(made.sum(-1), torch.ones(made.shape[:2], dtype=made.dtype))


@examples(0.5)
@given(wholes, wholes, st.data())
def test_observed_steps(t, T, data):
    x = torch.tensor([[0, 3, 1, 2], [3, 3, 3, 3]])
    uniform = data.draw(
        st.sampled_from(
            [torch.zeros(2, 4, dtype=torch.float64)] * 2
            + [torch.zeros(2, 4), torch.zeros(2, 3, dtype=torch.float64), None, 0.5, torch.zeros(8, dtype=torch.float64)]
        )
    )
    before = data.draw(st.sampled_from([None, torch.zeros(2, 4, 3), torch.zeros(2, 4), torch.zeros(2, 4, 5), "table"]))
    bad = {
        "T": not is_whole(T, 1, math.inf),
        "t": not is_whole(t, 1, T if is_whole(T, 1, math.inf) else math.inf),
        "uniform": not isinstance(uniform, torch.Tensor) or uniform.dtype != torch.float64 or uniform.shape != x.shape,
        "before": before is not None and (isinstance(before, str) or before.shape != (2, 4, 3)),
    }
    named = [name for name in bad if bad[name]]
    step = refused_or(lambda: observe(Table(3, 4), x, t=t, T=T, uniform=uniform, before=before), named, not named)
    assert step is None or (step.proposal < 3).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"denoiser": 3}, "denoiser=3: give something that can be called"),
        ({"x": torch.zeros(2, 3)}, "x holds torch.float32: ids are whole numbers, give x.long()"),
        ({"x": torch.zeros(0, 3, dtype=torch.long)}, "x of shape (0, 3): there is nothing to read, give at least 1 token"),
        ({"x": torch.tensor([[0, -1, 1]])}, "x holds id -1: ids are 0 .. V, the last the mask"),
        ({"T": 0}, "T=0: it is at least 1"),
        ({"t": 0}, "t=0: it is at least 1"),
        ({"t": 5}, "t=5: it is at most 4"),
        ({"uniform": torch.zeros(1, 3)}, "uniform numbers of torch.float32: torch.float64 reaches the rare tokens"),
        ({"before": torch.zeros(1, 3)}, "before is torch.float32 (1, 3): give floating-point numbers [B, L, V]"),
        ({"before": torch.zeros(1, 2, 3)}, "before of shape (1, 2, 3): x has (1, 3), one row of words for each id"),
    ],
)
def test_what_a_step_alone_refuses_word_for_word(wrong, said):
    step = {"x": torch.tensor([[0, 3, 1]]), "t": 2, "T": 4, "uniform": torch.zeros(1, 3, dtype=torch.float64)}
    how = {"denoiser": Table(3, 3), **step, **wrong}
    with pytest.raises(InputError) as told:
        observe(how.pop("denoiser"), how.pop("x"), **how)
    assert str(told.value) == said


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("write", torch.zeros(1, 3)),
        ("write", torch.zeros(1, 2, dtype=torch.bool)),
        ("remask", torch.zeros(1, 3, dtype=torch.long)),
        ("remask", torch.zeros(3, dtype=torch.bool)),
        ("remask", None),
    ],
)
def test_a_rule_that_gives_no_masks_is_told_what_is_asked_for(name, wrong):
    right = dict.fromkeys(("write", "remask"), torch.zeros(1, 3, dtype=torch.bool))

    class Given:
        def __call__(self, step, chance):
            return SimpleNamespace(**{**right, name: wrong}, scores={})

    with pytest.raises(InputError) as told:
        refine(Table(3, 3), Given(), torch.tensor([[0, 1, 3]]), 2, seed=0)
    assert str(told.value) == f"Given gives no {name} of True and False, (1, 3): look at Action"


def test_numbers_of_rows_that_are_not_one_each_are_refused():
    for wrong, kind in ((torch.tensor([7]), "torch.int64, (1,)"), (torch.tensor([7.0, 2.0]), "torch.float32, (2,)")):
        with pytest.raises(InputError) as told:
            refine(Table(3, 4), OneWay(), blank(2, 4, 3), 2, seed=0, first_row=wrong)
        assert str(told.value) == f"first_row of {kind}: give one whole number, or 2 of them"


def test_a_law_of_one_word_and_texts_of_one_token():
    law = parity(1)
    trace = refine(Oracle(law), OneWay(), blank(2, 1, law.vocab_size), 1, seed=0)
    assert law.is_valid(trace.x).all()
    assert (refine(Table(1, 1), OneWay(), blank(3, 1, 1), 1, seed=0).x == 0).all()
