"""Labels against the exact posterior and by hand."""

import itertools

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.belief import Table
from ardm.method.labels import LABELS, Situation, leave_one_out, likelihood_ratio
from ardm.method.types import Prediction, Step
from ardm.worlds.laws import Oracle, agreement, markov


def situation(x, x0, denoiser, V, *, final=None, share=1.0) -> Situation:
    no = torch.zeros_like(x, dtype=torch.bool)
    flat = torch.zeros(*x.shape, V).log_softmax(-1)
    step = Step(
        t=2,
        T=4,
        x=x,
        proposal=x0,
        now=Table(flat),
        before=None,
        log_q_written=torch.zeros(x.shape),
        hidden=flat[..., :0],
        is_mask=x == V,
        is_fixed=no,
        overwrites=torch.zeros_like(x),
    )
    return Situation(step=step, x0=x0, final=final, denoiser=denoiser, hidden_share=share)


def test_likelihood_ratio_by_hand():
    log_q = torch.tensor([[[0.6, 0.3, 0.1]] * 4]).log()
    assert likelihood_ratio(log_q, torch.tensor([[0, 1, 2, 3]]))[0].tolist() == pytest.approx([0, 0.5, 1 - 1 / 6, 1])


def blind(x, time):
    return Prediction(torch.zeros(*x.shape, 3), torch.zeros(*x.shape, 0))


def test_mismatch_and_final_compare_token_by_token():
    x, x0 = torch.tensor([[0, 1, 3]]), torch.tensor([[0, 2, 1]])
    it = situation(x, x0, blind, 3, final=torch.tensor([[1, 1, 2]]))
    label = LABELS["mismatch"](it, generator(0, "x"))
    assert label.value.tolist() == [[0, 1, 1]] and label.where.all()
    assert LABELS["final"](it, generator(0, "x")).value.tolist() == [[1, 0, 1]]
    with pytest.raises(InputError, match="rollout"):
        LABELS["final"](situation(x, x0, blind, 3), generator(0, "x"))


def test_final_needs_a_run_and_says_so():
    x = torch.tensor([[0, 1, 3]])
    label = LABELS["final"](situation(x, x, blind, 3, final=x), generator(0, "x"))
    assert label.where.tolist() == [[True] * 3]
    with pytest.raises(
        InputError, match=r"^label 'final' compares with the end of a run: train on rollouts \(states=Rollout\(\)\)$"
    ):
        LABELS["final"](situation(x, x, blind, 3), generator(0, "x"))


def test_the_denoiser_is_asked_at_the_time_of_the_step():
    """Step 2 of 4: three quarters are left. Leaving one out asks at time 1, or when it is told."""
    asked = []

    def listening(x, time):
        asked.append((x.tolist(), time))
        return blind(x, time)

    x = torch.tensor([[0, 3]])
    label = LABELS["likelihood_ratio"](situation(x, x, listening, 3, share=1.0), generator(0, "x"))
    assert label.where.tolist() == [[True, False]] and label.value.tolist() == [[0.0, 0.0]]
    leave_one_out(listening, x, 3)
    leave_one_out(listening, x, 3, time=0.5)
    once, each = [([[3, 3]], 0.75)], [[[3, 3]], [[0, 3]]]
    assert asked == [*once, *((text, 1.0) for text in each), *((text, 0.5) for text in each)]


def test_leave_one_out_hides_one_position_at_a_time():
    """Against the law's posterior written out: the oracle of clean texts, given all tokens but one."""
    law = agreement(5)
    x = law.sample(3, seed=2)
    found = leave_one_out(Oracle(law, error_rate=0.0), x, law.vocab_size)
    for i in range(5):
        hidden = x.clone()
        hidden[:, i] = law.vocab_size
        assert torch.allclose(found[:, i].double(), law.posterior(hidden)[:, i].log(), atol=1e-5)


def test_interchangeable_words_are_spared_and_contradictions_are_not():
    """The point of the label: mismatch blames both words, the likelihood ratio the contradiction alone."""
    law = agreement(5)
    words = {w: i for i, w in enumerate(law.words)}
    x0 = law.sample(1, seed=0)
    noun, verb = int(x0[0, 1]), int(x0[0, 2])
    kinds = law.posterior(torch.where(torch.arange(5) == 1, law.vocab_size, x0))[0, 1]
    other = next(v for v in range(law.vocab_size) if kinds[v] > 0 and v != noun)  # another noun that fits as well
    wrong = next(v for v in range(law.vocab_size) if kinds[v] == 0 and law.words[v] in words and v not in (noun, verb))
    oracle = Oracle(law, error_rate=1e-6)
    for token, expected in ((other, 0.0), (wrong, 1.0)):
        x = x0.clone()
        x[0, 1] = token
        ratio = likelihood_ratio(leave_one_out(oracle, x, law.vocab_size), x)[0, 1].item()
        assert ratio == pytest.approx(expected, abs=1e-3)
        mismatch = LABELS["mismatch"](situation(x, x0, oracle, law.vocab_size), generator(0, "x"))
        assert mismatch.value[0, 1] == 1


def test_the_label_from_one_call_speaks_of_the_hidden_share_of_visible_tokens_only():
    law = agreement(9)
    x = law.sample(400, seed=0)
    x[:, 0] = law.vocab_size
    oracle = Oracle(law, error_rate=0.01)
    label = LABELS["likelihood_ratio"](situation(x, x, oracle, law.vocab_size, share=0.12), generator(0, "x"))
    assert not label.where[:, 0].any()
    assert label.where[:, 1:].float().mean().item() == pytest.approx(0.12, abs=0.023)  # 4 standard errors
    hidden = torch.where(label.where, law.vocab_size, x)
    expected = likelihood_ratio(oracle(hidden, 1.0).logits.log_softmax(-1), x)
    assert torch.allclose(label.value[label.where], expected[label.where], atol=1e-6)


def test_where_one_token_was_hidden_the_label_is_its_exact_leave_one_out_value():
    """All 81 texts of three letters, weighed by the chain and by their distance from the three tokens that were seen."""
    error, next_letter = 0.2, (0.7, 0.2, 0.1)  # of the same letter, the one after it, the other

    def weight(text: tuple[int, ...]) -> float:
        p = 1 / 3
        for a, b in itertools.pairwise(text):
            p *= next_letter[(b - a) % 3]
        return p

    def chances(x: list[int], i: int) -> list[float]:
        total = [0.0] * 3
        for text in itertools.product(range(3), repeat=4):
            seen = [(1 - error) if text[j] == x[j] else error / 2 for j in range(4) if j != i]
            total[text[i]] += weight(text) * seen[0] * seen[1] * seen[2]
        return total

    x = torch.tensor(list(itertools.product(range(3), repeat=4)) * 3)
    it = situation(x, x, Oracle(markov(4), error), 3, share=0.25)
    label = LABELS["likelihood_ratio"](it, generator(0, "x"))
    alone = label.where & (label.where.sum(1, keepdim=True) == 1)
    assert alone.sum() > 80
    for row, i in alone.nonzero().tolist():
        q = chances(x[row].tolist(), i)
        assert label.value[row, i].item() == pytest.approx(1 - q[x[row, i]] / max(q), abs=1e-6)
    assert (label.value[~label.where] == 0).all()
