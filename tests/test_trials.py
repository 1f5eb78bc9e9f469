"""Trials against one run done by hand, planted errors against what was asked for, intervals by hand."""

import pandas as pd
import pytest
import torch

from ardm.base.errors import InputError
from ardm.experiments.trials import over_seeds, planted_errors, trials
from ardm.method.rules import LeftToRight, UniformRefinement
from ardm.method.sampling import blank, refine
from ardm.worlds.corpora import open_corpus
from ardm.worlds.laws import Oracle

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus():
    return open_corpus("agreement", 9)


def test_each_rule_is_played_with_all_calls_and_seeds(corpus):
    law, oracle = corpus.law, Oracle(corpus.law, 1e-9)
    rules = {"left": LeftToRight(), "all": UniformRefinement(0.5)}
    runs = trials(oracle, rules, law, calls=(2, 9), samples=20, seeds=iter(range(3)), device=CPU)
    assert len(runs) == 2 * 2 * 3
    at = runs.set_index(["rule", "calls", "seed"]).sort_index()
    assert (at.loc[("left", 9), "valid"] == 100).all()  # one token a call from an exact denoiser
    assert (at.loc["left", "overwrites"] == 0).all()
    trace = refine(oracle, rules["all"], blank(20, 9, law.vocab_size), 2, seed=1)
    assert at.loc[("all", 2, 1), "overwrites"] == pytest.approx(trace.overwrites.float().mean().item())
    assert at.loc[("all", 2, 1), "valid"] == pytest.approx(100 * law.is_valid(trace.x).float().mean().item())


def test_planted_errors_are_those_asked_for(corpus):
    how = {"count": 400, "hidden_rate": 0.3, "error_rate": 0.2, "seed": 1, "device": CPU}
    oracle, law = Oracle(corpus.law, 0.2), corpus.law
    it = planted_errors(oracle, corpus, **how)
    assert it.before is None
    hidden = it.step.x == law.vocab_size
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.03)
    wrong = (it.step.x != it.x0) & ~hidden
    assert (wrong == it.state.is_error).all()
    assert wrong[it.visible].float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert law.is_valid(it.x0).all()
    with pytest.raises(InputError, match="news"):
        _ = it.stood

    again = planted_errors(oracle, corpus, **how, news=0.5)
    assert (again.step.x == it.step.x).all()  # the same errors with and without a step before
    assert again.stood.sum().item() == pytest.approx(0.5 * it.visible.sum().item(), rel=0.1)
    assert (again.before.x[again.stood] == again.step.x[again.stood]).all()


def test_the_interval_over_seeds_is_students():
    runs = pd.DataFrame({"rule": ["b"] * 3 + ["a"] * 3, "valid": [1.0, 2.0, 3.0, 5.0, 5.0, 5.0]})
    found = over_seeds(runs, "rule", "valid")
    assert list(found.index) == ["b", "a"]
    half = 4.302653 / 3**0.5  # t(0.975, 2) times the standard error of 1, 2, 3
    assert found.loc["b"].tolist() == pytest.approx([2.0, 2.0 - half, 2.0 + half])
    assert found.loc["a"].tolist() == [5.0, 5.0, 5.0]
    both = over_seeds(runs.assign(use="x"), ["use", "rule"], "valid")
    assert both.loc[("x", "b"), "value"] == 2.0
    with pytest.raises(InputError, match="at least 2"):
        over_seeds(runs.head(1), "rule", "valid")
