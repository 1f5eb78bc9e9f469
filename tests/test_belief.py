"""A table of log q and a head with what it reads say the same, and the second never makes the table."""

import copy

import pytest
import torch
from small import B, D, L, V, gate_of, rule_of, start, transformer
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from ardm.base.errors import InputError
from ardm.method import head as heads
from ardm.method import signals
from ardm.method.belief import Streamed, Table, believe
from ardm.method.draw import Draw
from ardm.method.gate import FOUR, SIGNALS, AttentiveHead, OverwriteGate
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.rules import HideThenRefill, OneWay, entries
from ardm.method.sampling import blank, observe, refine
from ardm.method.selection import Selection
from ardm.method.signals import Standardiser, entropy
from ardm.method.types import NEVER, Action, Head, Prediction

WHOLE = ("KLASS",)
"""Rules that need the whole distribution: they ask for the table."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several tiles of positions and of words, as a large vocabulary has them."""
    monkeypatch.setattr(heads, "TILE", {"cpu": (8, 16)})


@pytest.fixture
def larger_tiles(monkeypatch):
    """Still far from the whole of :data:`LARGE` words."""
    monkeypatch.setattr(heads, "TILE", {"cpu": (8, 512)})


@pytest.mark.parametrize("name", entries())
def test_both_forms_give_every_rule_the_same_tokens(name):
    denoiser, (x, fixed) = transformer(), start()
    rule = rule_of(name, denoiser)
    for draw in (Draw(), Draw(0.7, top_k=5)):
        runs = [refine(one, rule, x, 5, seed=1, fixed=fixed, draw=draw, record=True) for one in (denoiser, denoiser.by_head)]
        assert torch.equal(runs[0].x, runs[1].x)
        for plain, streamed in zip(runs[0].frames, runs[1].frames, strict=True):
            assert torch.equal(plain.x, streamed.x)
            for score in plain.scores:
                close = 1e-10 if score in ("entropy", "margin", "confidence_change") else 1e-5  # a gate computes in float32
                assert_close(plain.scores[score], streamed.scores[score], rtol=close, atol=close)


SAID = {
    "entropy": lambda z, before, x: signals.entropy(z),
    "margin": lambda z, before, x: signals.margin(z),
    "confidence_change": lambda z, before, x: signals.confidence_change(z, before),
    "placed_log_prob": lambda z, before, x: signals.log_prob_of(z, x),
    "placed_margin": lambda z, before, x: signals.placed_margin(z, x),
    "placed_change": signals.confidence_change,
    "top_mass": lambda z, before, x: signals.top_mass(z),
    "divergence": lambda z, before, x: signals.divergence(z, before),
}
"""Every signal by its function, from the logits of now and of one step before."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_is_the_same_in_both_forms(signal, dtype):
    denoiser, (x, _) = transformer(dtype=dtype), start()
    uniform, steps = torch.full((B, L), 0.5, dtype=torch.float64), []
    for one in (denoiser, denoiser.by_head):
        before = observe(one, torch.full_like(x, V), t=1, T=2, uniform=uniform).now
        steps.append(observe(one, x, t=2, T=2, uniform=uniform, before=before))
    close = 1e-10 if dtype == torch.float64 else 1e-5
    plain, streamed = (SIGNALS[signal](step) for step in steps)
    z, z_before = denoiser(x).logits, denoiser(torch.full_like(x, V)).logits
    assert_close(plain, SAID[signal](z, z_before, x), rtol=close, atol=close)
    assert plain.dtype == streamed.dtype == dtype
    assert plain.abs().max() > 0.01
    assert_close(streamed, plain, rtol=close, atol=close)


def test_what_a_belief_says_by_hand():
    """Two positions of three words; the second has a forbidden word."""
    q = torch.tensor([[[0.5, 0.3, 0.2], [0.75, 0.25, 0.0]]], dtype=torch.float64)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    bias = torch.zeros(3, dtype=torch.float64)
    state = (q[..., :2] / torch.tensor([0.2, 1.0], dtype=torch.float64).view(1, 2, 1)).log()
    table = Table(q.log())
    streamed = Streamed(state[:, :1], Head(weight, bias))
    forbidding = Streamed(state[:, 1:], Head(weight, torch.tensor([0, 0, -torch.inf], dtype=torch.float64)))
    tokens = torch.tensor([[1, 3]])
    expected = {
        "entropy": [-(0.5 * torch.tensor(0.5).log() + 0.3 * torch.tensor(0.3).log() + 0.2 * torch.tensor(0.2).log()), 0.562335],
        "margin": [torch.tensor(0.5 / 0.3).log(), torch.tensor(3.0).log()],
        "top": [torch.tensor(0.5).log(), torch.tensor(0.75).log()],
        "best": [0, 0],
    }
    for name, values in expected.items():
        value = torch.as_tensor([values], dtype=torch.float64)
        assert_close(getattr(table, name).double(), value, atol=1e-6, rtol=0)
        for column, one in enumerate((streamed, forbidding)):
            assert_close(getattr(one, name).double(), value[:, column : column + 1], atol=1e-6, rtol=0)
    assert_close(table.log_prob(tokens), torch.tensor([[0.3, 1.0]], dtype=torch.float64).log())
    assert_close(table.placed_margin(tokens)[0, 0].exp(), torch.tensor(0.6, dtype=torch.float64))
    assert_close(streamed.placed_margin(tokens[:, :1])[0, 0].exp(), torch.tensor(0.6, dtype=torch.float64))
    assert_close(streamed.placed_margin(tokens[:, :1] - 1)[0, 0].exp(), torch.tensor(5 / 3, dtype=torch.float64))
    assert (
        forbidding.placed_margin(torch.tensor([[2]])).item() == table.placed_margin(torch.tensor([[0, 2]]))[0, 1] == -torch.inf
    )
    assert table.vocab_size == streamed.vocab_size == 3
    assert_close(streamed.log_q, table.log_q[:, :1])


class Refuses(TorchDispatchMode):
    """Fails where a tensor of ``most`` numbers or more is made."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor) and x.numel() >= self.most:
                raise AssertionError(f"{func} makes {tuple(x.shape)}")
        return out


LARGE = 2048


@pytest.mark.parametrize("name", sorted(set(entries()) - set(WHOLE)))
def test_no_rule_but_those_named_makes_a_table_of_all_words(name, larger_tiles):
    denoiser, (x, fixed) = transformer(LARGE, torch.float32), start(LARGE)
    rule = rule_of(name, denoiser)
    with Refuses(B * L * LARGE):
        trace = refine(denoiser.by_head, rule, x, 3, seed=0, fixed=fixed, record=True, patience=2)
    assert (trace.x < LARGE).all()


def test_the_recommended_gate_makes_no_table(larger_tiles):
    denoiser = transformer(LARGE, torch.float32)
    rule = HideThenRefill(gate_of(RECOMMENDED, denoiser), Selection("threshold", 0.5, budget=2))
    with Refuses(B * L * LARGE):
        trace = refine(denoiser.by_head, rule, blank(B, L, LARGE), 4, seed=0)
    assert trace.remasks.sum() > 0


@pytest.mark.parametrize("name", WHOLE)
def test_the_rules_named_do_make_one(name, larger_tiles):
    denoiser, (x, _) = transformer(LARGE, torch.float32), start(LARGE)
    with Refuses(B * L * LARGE), pytest.raises(AssertionError, match="makes"):
        refine(denoiser.by_head, rule_of(name, denoiser), x, 3, seed=0)


def test_logits_are_made_when_they_are_asked_for_and_once():
    denoiser, (x, _) = transformer(), start()
    said = denoiser.by_head(x)
    assert_close(said.logits, denoiser(x).logits)
    assert said.logits is said.logits
    assert isinstance(believe(said), Streamed) and isinstance(believe(denoiser(x)), Table)


def test_what_the_head_reads_may_be_another_than_the_hidden_states():
    denoiser, (x, _) = transformer(), start()
    plain = denoiser(x)

    def by_state(x, time):
        said = denoiser.by_head(x)
        return Prediction(hidden=said.hidden[..., :3], head=said.head, state=said.state)

    step = observe(by_state, x, t=1, T=2, uniform=torch.full((B, L), 0.5, dtype=torch.float64))
    assert step.hidden.shape == (B, L, 3)
    assert_close(step.now.entropy, entropy(plain.logits))


def test_a_word_that_is_never_proposed_has_one_logit():
    denoiser, (x, _) = transformer(), start()
    never = torch.zeros(V, dtype=torch.bool)
    never[[0, 5, 36]] = True
    said = denoiser.by_head(x)
    forbidding = Prediction(hidden=said.hidden, head=said.head._replace(never=never))
    logits = denoiser(x).logits.masked_fill(never, NEVER)
    assert torch.equal(forbidding.logits, logits)
    belief, table = believe(forbidding), Table(logits.log_softmax(-1))
    for tokens in (x, torch.full_like(x, 5)):
        assert_close(belief.log_prob(tokens), table.log_prob(tokens))
    assert_close(belief.entropy, table.entropy)
    assert not never[belief.best].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened(dtype):
    """A head in half precision says what its logits in half precision say, in float32."""
    denoiser, (x, _) = transformer(dtype=torch.float32), start()
    said = denoiser.by_head(x)
    small = Head(said.head.weight.to(dtype), said.head.bias.to(dtype))
    belief = believe(Prediction(hidden=said.hidden, head=small, state=said.hidden.to(dtype)))
    logits = torch.nn.functional.linear(said.hidden.to(dtype), small.weight, small.bias)
    table = believe(Prediction(logits, said.hidden))
    for name in ("entropy", "margin", "top"):
        assert getattr(belief, name).dtype == getattr(table, name).dtype == torch.float32
        assert_close(getattr(belief, name), getattr(table, name), rtol=1e-5, atol=1e-5)
    ulp = 2 * torch.finfo(dtype).eps * logits.abs().max().item()
    assert_close(belief.log_prob(x), table.log_prob(x), rtol=0, atol=ulp)


@pytest.mark.parametrize("form", ["logits", "head"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_no_distribution_is_named_in_both_forms(form, bad):
    denoiser = copy.deepcopy(transformer())
    denoiser.readout.bias[3] = bad
    with pytest.raises(InputError, match="no distribution"):
        refine(denoiser.by_head if form == "head" else denoiser, OneWay(), blank(B, L, V), 2, seed=0)


def test_a_prediction_has_one_of_two_forms():
    x = torch.zeros(1, 2, 3)
    with pytest.raises(InputError, match="from logits or from a head"):
        Prediction(x, x, head=Head(x[0]))
    with pytest.raises(InputError, match="from logits or from a head"):
        Prediction(hidden=x)
    with pytest.raises(InputError, match="without hidden"):
        Prediction(x)


class Waits(TorchDispatchMode):
    """Notes where the host would wait for a device: numbers read from tensors, sizes that depend on them."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal", "bincount")

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        by_mask = name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1])
        if name in self.WAITING or by_mask:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", entries())
def test_without_checks_nothing_in_a_step_waits_for_the_device(name, monkeypatch):
    """The standardisers are left out: their three numbers lie on the CPU, whatever the device."""
    monkeypatch.setattr(Standardiser, "scaled", lambda self, values: values)
    denoiser, (x, fixed) = transformer(dtype=torch.float32), start()
    rule = rule_of(name, denoiser)
    waits = {}
    for check in (True, False):
        for steps in (2, 5):
            with Waits() as watch:
                refine(denoiser, rule, x, steps, seed=0, fixed=fixed, check=check)
            waits[check, steps] = len(watch.waits)
    assert waits[False, 5] == waits[False, 2]  # what is left is the look at the start, once
    assert waits[True, 5] > waits[True, 2]


def test_without_checks_a_run_is_the_same_and_a_breach_is_not_seen():
    denoiser = transformer()
    rule = HideThenRefill(OverwriteGate(AttentiveHead(D, len(FOUR)), signals=FOUR).eval())
    checked, unchecked = (refine(denoiser, rule, blank(B, L, V), 5, seed=0, check=check) for check in (True, False))
    assert torch.equal(checked.x, unchecked.x)

    class Both:
        def __call__(self, step, chance):
            return Action(write=step.is_mask, remask=step.is_mask)

    with pytest.raises(ValueError, match="same token"):
        refine(denoiser, Both(), blank(B, L, V), 2, seed=0)
    assert (refine(denoiser, Both(), blank(B, L, V), 2, seed=0, check=False).x < V).all()
