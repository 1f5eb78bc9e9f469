"""What a view says of visible tokens, by hand and by Bayes' rule; that masks keep theirs; and that the arena plays through it."""

import itertools
import math
from dataclasses import replace
from functools import partial

import jaxtyping
import pytest
import torch
from small import B, L, V, start, transformer
from steps import rng
from torch.testing import assert_close

from ardm.base.errors import InputError
from ardm.base.fingerprint import modules_of
from ardm.experiments import cells
from ardm.experiments.cells import Loaded, Settings
from ardm.experiments.play import play
from ardm.experiments.store import Store
from ardm.experiments.tasks import TASKS
from ardm.method.belief import believe
from ardm.method.draw import Draw
from ardm.method.labels import leave_one_out
from ardm.method.rules import InformedCorrector, LeaveOneOutCorrector, OneWay, TokenToFirstChoice, entries
from ardm.method.sampling import blank, observe, refine
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.types import NEVER, Prediction
from ardm.method.views import FirstChoice, LeaveOneOut, View, seen_by
from ardm.worlds.laws import Oracle, markov

VIEWS = {"first choice": FirstChoice, "leave one out": LeaveOneOut}
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
VIEWED = {"T2T argmax": FirstChoice, "leave-one-out corrector": LeaveOneOut, "WINO leave-one-out": LeaveOneOut}


@pytest.fixture
def as_without_tests():
    """The checks of shapes that tests add are off: what speaks are the package's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


class Says:
    """A denoiser of one text that says the given probabilities whatever it reads; it counts its calls."""

    def __init__(self, *q, hidden=0, dtype=torch.float64):
        self.logits = torch.tensor([q], dtype=torch.float64).log().to(dtype)
        self.hidden = torch.full((1, len(q), hidden), 7.0, dtype=dtype)
        self.calls = 0

    def __call__(self, x, time=1.0):
        self.calls += 1
        copies = (len(x), -1, -1)
        return Prediction(self.logits.expand(copies), self.hidden.expand(copies))


def step_of(denoiser, x, uniform=0.5):
    x = torch.tensor([x])
    return observe(denoiser, x, t=1, T=2, uniform=torch.full(x.shape, uniform, dtype=torch.float64))


# The first choice --------------------------------------------------------------------------------------------------------


def test_the_first_choice_of_a_visible_token_by_hand():
    """Three words and the mask 3. The second place, a mask, draws: its edges are .2 and .7."""
    denoiser = Says([0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.8, 0.1, 0.1], hidden=2)
    for uniform, drawn in ((0.0, 0), (0.3, 1), (0.99, 2)):
        s = step_of(FirstChoice(denoiser), [2, 3, 0], uniform)
        assert s.proposal.tolist() == [[1, drawn, 0]]
        assert_close(s.hidden, torch.tensor([[[7, 7, math.log(0.6)], [7, 7, math.log(0.5)], [7, 7, math.log(0.8)]]]).double())
    assert_close(s.log_q.exp(), torch.tensor([[[0, 1, 0], [0.2, 0.5, 0.3], [1, 0, 0]]]).double())
    assert_close(FirstChoice.log_q(s).exp(), torch.tensor([[0.6, 0.5, 0.8]]).double())


def test_of_equal_words_the_first_is_certain():
    assert step_of(FirstChoice(Says([0.1, 0.45, 0.45])), [0], 0.99).proposal.tolist() == [[1]]


@pytest.mark.parametrize("temperature", [0.0, 0.1, 1.0, 50.0])
def test_no_temperature_draws_another_than_the_first_choice(temperature):
    denoiser, x = transformer(), start()[0]
    full = torch.where(x == V, 1, x)
    first = denoiser(full).logits.argmax(-1)
    trace = refine(FirstChoice(denoiser), TokenToFirstChoice(0.0), full, 1, seed=0, draw=Draw(temperature))
    assert torch.equal(trace.x, first)


@pytest.mark.parametrize("hidden", [0, 2])
def test_without_the_view_the_denoiser_itself_says_how_sure_it_is(hidden):
    s = step_of(Says([0.1, 0.6, 0.3], [0.2, 0.5, 0.3], hidden=hidden), [2, 3])
    assert_close(FirstChoice.log_q(s).exp(), torch.tensor([[0.6, 0.5]]).double())


# Leave one out -----------------------------------------------------------------------------------------------------------


def test_leave_one_out_by_hand():
    """Three words, one visible token in ten wrong: x_i is 9 x 2 = 18 times as likely under itself as under another word."""
    denoiser = Says([0.9, 0.06, 0.04], [0.3, 0.3, 0.4], [0.02, 0.9, 0.08], hidden=2)
    s = step_of(LeaveOneOut(denoiser, 0.1), [0, 3, 2])
    left_out = [[0.05, 0.06, 0.04], [0.3, 0.3, 0.4], [0.02, 0.9, 0.08 / 18]]
    expected = torch.tensor([[[w / sum(row) for w in row] for row in left_out]]).double()
    assert_close(s.log_q.exp(), expected)
    assert_close(s.now.placed_margin(s.x), torch.tensor([[5 / 6, 1, 0.08 / 18 / 0.9]]).double().log())  # a mask has none
    assert torch.equal(s.hidden, denoiser.hidden)
    assert LeaveOneOut(denoiser).error_rate == 0.1


def test_leave_one_out_is_bayes_rule_on_any_joint_distribution():
    """Three places, three words, a random law; every text that can be seen, summed over all that can be true.

    Only an exact denoiser of the same error rate is set right by it.
    """
    words, e = 3, 0.3
    truth = torch.tensor(list(itertools.product(range(words), repeat=3)))
    law = torch.rand(len(truth), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.tensor(list(itertools.product(range(words + 1), repeat=3)))

    seen = x[:, None] == truth[None]
    wrong = torch.full(seen.shape, e / (words - 1), dtype=torch.float64)
    evidence = torch.where(seen, 1 - e, wrong).masked_fill((x == words)[:, None], 0.25)  # whatever the share of masks

    def posterior(leave_out):
        """P(x0_i = v | x), of all tokens of x or without x_i."""
        out = torch.zeros(*x.shape, words, dtype=torch.float64)
        for i in range(3):
            used = [j for j in range(3) if not (leave_out and i == j)]
            weight = law * evidence[..., used].prod(-1)
            for v in range(words):
                out[:, i, v] = weight[:, truth[:, i] == v].sum(-1)
        return out / out.sum(-1, keepdim=True)

    def exact(x, time):
        log_q = posterior(leave_out=False).log()
        return Prediction(log_q, log_q[..., :0])

    found = LeaveOneOut(exact, e)(x).logits.softmax(-1)
    assert_close(found, posterior(leave_out=True))
    assert (LeaveOneOut(exact, 0.2)(x).logits.softmax(-1) - found).abs().amax() > 0.05
    assert (posterior(leave_out=False) - found)[x < words].abs().amax() > 0.3


def test_an_exact_denoiser_is_asked_once_in_place_of_once_a_token():
    oracle, x = Oracle(markov(4), 0.1), torch.tensor([[0, 3, 1, 3], [2, 2, 0, 1]])
    once = LeaveOneOut(oracle, 0.1)(x).logits.log_softmax(-1)
    assert_close(once, leave_one_out(oracle, x, 3))


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_uniform_diffusion_is_the_same_rule(kept):
    """A token that is kept with probability a, else drawn among all: 1 + V a / (1 - a) is what its logit falls by."""
    words = 4
    denoiser = Says([0.4, 0.3, 0.2, 0.1])
    left_out = LeaveOneOut(denoiser, (1 - kept) * (words - 1) / words)(torch.tensor([[1]])).logits
    fall = denoiser.logits[0, 0, 1] - left_out[0, 0, 1]
    assert fall.item() == pytest.approx(math.log(1 + words * kept / (1 - kept)))


def test_the_error_rate_is_that_of_the_denoisers():
    assert (
        {task.recipe.error_rate for task in TASKS.values()}
        == {DenoiserRecipe().error_rate}
        == {LeaveOneOut(Says([1])).error_rate}
    )


# Every view --------------------------------------------------------------------------------------------------------------


@every_view
@pytest.mark.parametrize("form", ["logits", "head"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_masks_keep_their_q_and_their_draw(view, form, dtype):
    model, (x, _) = transformer(dtype=dtype), start()
    denoiser = model if form == "logits" else model.by_head
    plain, seen = (believe(Prediction(said.logits, said.hidden)) for said in (denoiser(x, 1.0), view(denoiser)(x)))
    is_mask = x == V
    assert torch.equal(seen.log_q[is_mask], plain.log_q[is_mask])
    assert not torch.isclose(seen.log_q[~is_mask], plain.log_q[~is_mask]).all(-1).any()
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = [one.drawn(Draw(), uniform)[is_mask] for one in (seen, plain)]
    assert torch.equal(*drawn)


@every_view
def test_a_view_costs_one_call_and_says_how_many_words_there_are(view):
    denoiser = Says([0.5, 0.3, 0.2])
    view(denoiser)(torch.tensor([[0]]))
    assert denoiser.calls == 1
    assert view(transformer()).vocab_size == V and view(denoiser).vocab_size is None
    trace = refine(view(transformer()), OneWay(), blank(B, L, V), 3, seed=0)
    assert (trace.calls == 3).all()
    assert torch.equal(
        trace.x, refine(transformer(), OneWay(), blank(B, L, V), 3, seed=0).x
    )  # who revises nothing sees no difference
    with pytest.raises(InputError, match="x holds id 40"):
        refine(view(transformer()), OneWay(), torch.full((1, L), 40), 3, seed=0)


@every_view
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_distribution_stays_none(view, bad):
    denoiser = Says([0.5, 0.5], [0.5, 0.5])
    denoiser.logits[0, 0, 1] = bad
    with pytest.raises(InputError, match="no distribution"):
        refine(view(denoiser), OneWay(), torch.tensor([[0, 2]]), 1, seed=0)


@every_view
def test_a_word_that_is_never_proposed_is_not(view):
    denoiser = Says([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])
    denoiser.logits[..., 1] = NEVER
    for uniform in (0.0, 0.5, 0.999):
        assert not (step_of(view(denoiser), [1, 3], uniform).proposal == 1).any()


@every_view
@pytest.mark.usefixtures("as_without_tests")
def test_what_is_no_denoiser_is_named(view):
    with pytest.raises(InputError, match="denoiser='model': give something that can be called"):
        view("model")
    with pytest.raises(InputError, match=r"the denoiser gave a Tensor: it gives a Prediction"):
        view(lambda x, time: x)(torch.tensor([[0]]))
    with pytest.raises(InputError, match=r"logits of shape \(1, 2, 3\): x has \(1, 1\)"):
        view(Says([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]))(torch.tensor([[0]]))


@pytest.mark.usefixtures("as_without_tests")
@pytest.mark.parametrize("error_rate", [0, 1, -0.1, math.nan, True, "a tenth"])
def test_an_error_rate_is_a_share(error_rate):
    with pytest.raises(InputError, match="error_rate="):
        LeaveOneOut(Says([1]), error_rate)


def test_with_one_word_there_is_nothing_to_leave_out():
    with pytest.raises(InputError, match="logits of 1 word"):
        LeaveOneOut(Says([1.0]))(torch.tensor([[0]]))


# Rules and the arena -----------------------------------------------------------------------------------------------------


def test_a_rule_is_played_through_the_view_of_its_class_and_no_other_is():
    denoiser = Says([1.0])
    for name, entry in entries().items():
        seen = seen_by(entry.rule, denoiser)
        if name in VIEWED:
            assert type(seen) is VIEWED[name] and seen.denoiser is denoiser
        else:
            assert seen is denoiser, name
    assert isinstance(seen_by(partial(partial(TokenToFirstChoice, 0.5), threshold=0.3), denoiser), FirstChoice)
    assert isinstance(seen_by(LeaveOneOutCorrector(), denoiser), LeaveOneOut)
    assert LeaveOneOutCorrector().view(denoiser) == LeaveOneOut(denoiser)


def test_the_code_of_a_view_is_in_the_key_of_what_it_plays():
    for name in VIEWED:
        assert View.__module__ in modules_of(entries()[name].module)
    for name in ("T2T threshold", "informed corrector", "one-way"):
        assert View.__module__ not in modules_of(entries()[name].module)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Loaded(Store(tmp_path_factory.mktemp("models")))


TINY = Settings(seeds=1, count=24, tuning=6, denoiser_steps=20)
HARDLY = {"WINO leave-one-out": {"write_above": 1e-3, "hide_below": 1e-3}}
"""Knobs at which a denoiser of 20 steps, to which all words are near alike, writes several at a time and hides in one q alone."""


@pytest.mark.parametrize("name", VIEWED)
@pytest.mark.parametrize("of", ["agreement", "agreement-own"])
def test_a_cell_is_played_through_the_view_from_the_start_of_all_others(models, name, of):
    """``agreement-own`` starts from texts that the denoiser filled: the view is asked about masks, and says the same."""
    task, entry = TASKS[of], entries()[name]
    knobs = HARDLY.get(name, entry.knobs[1])
    cell = TINY.cell(task, entry, nfe=4, seed=0, knobs=knobs)
    plain = cell.training.parts(models)
    assert plain.denoiser is models.denoiser(cell.training.denoiser)
    seen = replace(plain, denoiser=VIEWED[name](plain.denoiser))
    through, without = (
        {**play(task, entry, parts, knobs, nfe=4, seed=cell.texts, count=cell.count), "seconds": 0} for parts in (seen, plain)
    )
    row = {**cell.run(models), "seconds": 0}
    moves = name not in HARDLY or of == "agreement"  # WINO hides fewer than it writes: of a full text nothing
    assert row == through and (through != without) == moves
    assert (row["start"], row["calls"]) == (without["start"], 4)


@pytest.mark.parametrize("name", [*VIEWED, "T2T threshold"])
def test_a_search_tries_every_setting_through_the_view(models, name, monkeypatch):
    task, entry, played = TASKS["parity"], entries()[name], []
    wanted = replace(TINY, closer=4).search(task, entry, 4)
    monkeypatch.setattr(
        cells, "search", lambda task, entry, tuners, *, nfe, closer: played.extend([*tuners, *closer]) or {"best": {}}
    )
    wanted.run(models)
    denoiser = models.denoiser(wanted.needs[0].denoiser)
    expected = VIEWED[name](denoiser) if name in VIEWED else denoiser
    assert len(played) == 2 and all(tuner.parts.denoiser == expected for tuner in played)


def test_token_to_first_choice_by_hand():
    """First choices .6, .6, .45 and .9; the second place holds its own, the last is a mask."""
    q = [0.1, 0.6, 0.3], [0.1, 0.6, 0.3], [0.45, 0.35, 0.2], [0.9, 0.05, 0.05]
    x = [0, 1, 2, 3]
    for uniform in (0.0, 0.5, 0.99):  # whatever is drawn
        s = step_of(FirstChoice(Says(*q)), x, uniform)
        for threshold, edited in ((0.0, [0, 2]), (0.4, [0, 2]), (0.5, [0]), (0.6, []), (0.7, [])):
            action = TokenToFirstChoice(threshold)(s, rng())
            assert (action.write & ~s.is_mask)[0].nonzero().flatten().tolist() == edited, threshold
            assert not action.remask.any()
        assert s.proposal[0, :3].tolist() == [1, 1, 0]
    lucky, other = (step_of(Says(*q), x, uniform) for uniform in (0.3, 0.99))  # no view: draws 1, 1, 0, and 2, 2, 2
    assert TokenToFirstChoice(0.5)(lucky, rng()).write[0, :3].tolist() == [True, False, False]
    assert TokenToFirstChoice(0.4)(lucky, rng()).write[0, :3].tolist() == [True, False, True]
    assert not TokenToFirstChoice(0.0)(other, rng()).write[0, :3].any()
    with pytest.raises(InputError, match="threshold=1"):
        TokenToFirstChoice(1)


def test_leave_one_out_corrector_by_hand():
    """Placed margins log 15, log 3, -log 2; without the tokens' own evidence, a factor 18, log 5/6, -log 6 and -log 36.

    By q itself a token that the denoiser took over from the text looks sure; by what is left it trails.
    """
    q = [0.9, 0.06, 0.04], [0.25, 0.15, 0.6], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]
    x = [0, 2, 2, 3]
    s = step_of(LeaveOneOut(Says([0.9, 0.06, 0.04], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2], q[3])), x, 0.5)
    assert_close(s.now.placed_margin(s.x).exp(), torch.tensor([[5 / 6, 1 / 6, 1 / 36, 1]]).double())
    for k, redrawn in ((0, []), (1, [2]), (2, [1, 2]), (4, [0, 1, 2])):
        write = LeaveOneOutCorrector(k, noise=0.0)(s, rng()).write
        assert (write & ~s.is_mask)[0].nonzero().flatten().tolist() == redrawn
    assert s.proposal.tolist() == [[1, 1, 1, 2]]  # q_loo: .33 .4 .27; .46 .46 .08; .49 .49 .01; and the mask's own
    assert LeaveOneOutCorrector().k == 1
    plain = step_of(Says(*q), x, 0.5)
    one, other = (rule(4, noise=1.0)(plain, rng()) for rule in (LeaveOneOutCorrector, InformedCorrector))
    assert torch.equal(one.write, other.write)  # through no view it is the informed corrector
