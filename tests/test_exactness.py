"""What sampling with the exact posterior draws: the law where a call writes one token, a known mixture where it writes more."""

from dataclasses import dataclass
from itertools import product

import pytest
import scipy.stats
import torch

from ardm.method.rules.left_to_right import LeftToRight
from ardm.method.rules.one_way import OneWay
from ardm.method.rules.scheduled import ScheduledRule
from ardm.method.sampling import blank, refine
from ardm.method.schedule import Schedule, nothing
from ardm.method.types import Action
from ardm.worlds.laws import Oracle, dyck, markov, parity

COUNT = 4000


@dataclass(frozen=True)
class WriteOnly(ScheduledRule):
    """Masks are written on the schedule; what is visible stays."""

    def revise(self, step, chance):
        return Action(write=nothing(step), remask=nothing(step))


def by_schedule(order):
    return WriteOnly(schedule=Schedule(order, written_by=1.0))


def every(law):
    return torch.tensor(list(product(range(law.vocab_size), repeat=law.length)))


def p_value(x, texts, p):
    """Of the chi-square test that the sample has the probabilities; 0 for a text that cannot be. Rare texts count together."""
    V = int(texts.max()) + 1
    place = V ** torch.arange(texts.shape[1]).flip(0)
    index = {int(code): i for i, code in enumerate(texts @ place)}
    seen = torch.bincount(torch.tensor([index[int(code)] for code in x @ place]), minlength=len(texts)).double()
    if (seen[p == 0] > 0).any():
        return 0.0
    expected = p * len(x)
    rare = expected < 5
    cells = torch.cat([torch.stack([seen, expected])[:, ~rare], torch.stack([seen, expected])[:, rare].sum(1, keepdim=True)], 1)
    cells = cells[:, cells[1] > 0]
    return scipy.stats.chisquare(cells[0].numpy(), cells[1].numpy()).pvalue


ONE_A_CALL = {
    "left to right": LeftToRight(),
    "by lot": by_schedule("random"),
    "the surest first": by_schedule("surest"),
    "from the left": by_schedule("left"),
}


@pytest.mark.parametrize("law", [parity(4), markov(4), dyck(6)], ids=lambda law: law.name)
@pytest.mark.parametrize("rule", ONE_A_CALL)
def test_one_token_a_call_draws_the_law_itself_in_any_order(rule, law):
    """The chain rule: each token is drawn given all that are there, and which place is next depends on these alone."""
    trace = refine(Oracle(law, error_rate=0.0), ONE_A_CALL[rule], blank(COUNT, law.length, law.vocab_size), law.length, seed=1)
    assert (trace.writes == law.length).all() and (trace.calls == law.length).all()
    texts = every(law)
    assert p_value(trace.x, texts, law.log_prob(texts).exp()) > 1e-3


@pytest.mark.parametrize("rule", ONE_A_CALL)
def test_with_clues_it_draws_the_law_given_the_clues(rule):
    law, clue = markov(4), 2
    x = blank(COUNT, 4, 3)
    x[:, 2] = clue
    trace = refine(Oracle(law, error_rate=0.0), ONE_A_CALL[rule], x, 3, seed=2, fixed=x < 3)
    texts = every(law)
    p = law.log_prob(texts).exp() * (texts[:, 2] == clue)
    assert p_value(trace.x, texts, p / p.sum()) > 1e-3


def mixture(law, steps):
    """What one-way sampling in so many steps draws: each token is written at any step alike, given what was written before it."""
    texts = every(law)
    table = law.log_prob(texts).exp()
    total = torch.zeros(len(texts), dtype=torch.float64)
    for when in product(range(steps), repeat=law.length):
        chance = torch.ones(len(texts), dtype=torch.float64)
        for i in range(law.length):
            before = [j for j in range(law.length) if when[j] < when[i]]
            agree = (texts[:, None, before] == texts[None, :, before]).all(-1).double()  # [text, other text]
            chance *= (agree * (texts[:, None, i] == texts[None, :, i]) @ table) / (agree @ table)
        total += chance
    return total / steps**law.length


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_one_way_draws_the_mixture_over_the_steps_at_which_tokens_are_written(steps):
    law = markov(3)
    x = refine(Oracle(law, error_rate=0.0), OneWay(), blank(COUNT, 3, 3), steps, seed=3).x
    texts, expected = every(law), mixture(law, steps)
    assert expected.sum().item() == pytest.approx(1)
    assert p_value(x, texts, expected) > 1e-3


def test_the_chi_square_test_sees_tokens_that_were_written_together():
    """With fewer calls than tokens one-way sampling misses the law, and this sample size shows it."""
    law = markov(3)
    x = refine(Oracle(law, error_rate=0.0), OneWay(), blank(COUNT, 3, 3), 2, seed=3).x
    texts = every(law)
    assert p_value(x, texts, law.log_prob(texts).exp()) < 1e-9
