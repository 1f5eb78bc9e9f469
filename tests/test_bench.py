"""The benchmark: its ways say the same, its rounds are fair, its figures are those of the times."""

from __future__ import annotations

import json

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from ardm.base.errors import InputError
from ardm.cli import main
from ardm.experiments import bench
from ardm.experiments.bench import BOOK, WAYS, Given, Size, memory, parts_of_a_step, ratios, rounds
from ardm.method.denoiser import Transformer
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.worlds.corpora import open_corpus

SMALL = Size(positions=24, words=500, width=16)


def test_all_ways_give_the_same_signals_and_the_same_tokens():
    given = Given.of(SMALL)
    found = {name: way(given, bench._kept(name, given)) for name, way in WAYS.items()}
    for name, (*signals, _) in found.items():
        for one, other in zip(signals, found["plain"], strict=False):
            assert_close(one, other, rtol=1e-4, atol=1e-4, msg=f"{name} is another signal than plain")
    drawn = [found[name][-1] for name in ("streamed", "some positions at a time", "plain")]
    assert all((tokens == drawn[-1]).all() for tokens in drawn)


def test_every_round_calls_each_once_and_none_is_always_first():
    seen = []
    seconds = rounds({name: lambda name=name: seen.append(name) for name in "abc"}, 3)
    assert [sorted(seen[k : k + 3]) for k in range(0, 12, 3)] == [["a", "b", "c"]] * 4  # one round to warm up
    assert seen[3::3] == ["a", "b", "c"]
    assert {name: len(times) for name, times in seconds.items()} == dict.fromkeys("abc", 3)


def test_ratios_are_taken_within_a_round():
    found = ratios({"base": [1.0, 10.0, 2.0], "one": [2.0, 30.0, 4.0]}, "base")
    assert found["one"] == {"seconds": 4.0, "ratio": 2.0, "low": 2.0, "high": 2.5}
    assert found["base"]["ratio"] == 1


def test_memory_is_what_tensors_take_at_the_peak():
    x = torch.zeros(1000, 100)

    def call():
        twice = x + x  # 400,000 bytes
        return (twice + 1).sum()  # as many again, then both are gone

    assert 800_000 <= memory(call) <= 801_000
    assert memory(lambda: None) == 0


def test_the_streamed_step_decides_as_the_plain_one(monkeypatch):
    """Both steps hand the gate's head the same features, up to rounding."""
    features = []

    class Head(bench.AttentiveHead):
        def forward(self, f):
            features.append(f.signals)
            return super().forward(f)

    monkeypatch.setattr(bench, "AttentiveHead", Head)
    parts_of_a_step(BOOK, 2, 1)
    by_turn = sorted({tuple(f.flatten()[:4].tolist()): f for f in features}.values(), key=lambda f: f.sum().item())
    assert_close(by_turn[0], by_turn[-1], rtol=1e-3, atol=1e-3)


def test_the_command_writes_what_it_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "LARGE", BOOK)
    out = tmp_path / "bench.json"
    assert main(["bench", "--positions", "8", "--words", "64", "--width", "8", "--repeats", "1", "--out", str(out)]) == 0
    told = json.loads(out.read_text())
    assert told["size"] == {"positions": 8, "words": 64, "width": 8}
    assert set(told["ways"]) == {"head matmul", *WAYS} and told["ways"]["head matmul"]["ratio"] == 1
    assert "streamed" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--positions", "--words", "--width", "--repeats"])
def test_sizes_are_at_least_one(option, capsys):
    assert main(["bench", option, "0"]) == 2
    assert "at least" in capsys.readouterr().err


def test_no_round_is_refused():
    with pytest.raises(InputError, match="repeats=0"):
        rounds({"a": lambda: None}, 0)


def test_the_floor_is_what_the_sizes_cost_at_the_machines_limits():
    """2 x 4 x 10 x 3 operations; 10 x 3 and 4 x 3 numbers of four bytes are read once."""
    found = bench.floor(Size(positions=4, words=10, width=3), {"operations a second": 120.0, "bytes a second": 84.0})
    assert found == {"operations": 2.0, "bytes": 2.0}


def test_the_bare_loop_trains_a_causal_model_of_the_denoisers_size():
    """It learns, a token never hears of those behind it, and it has as many parameters as the denoiser to a tenth."""
    torch.manual_seed(0)
    recipe = DenoiserRecipe(length=16, width=32, depth=2, steps=60)
    corpus = open_corpus(recipe.corpus, recipe.length)
    model = bench._train_bare(recipe, corpus, "cpu").eval()
    x = corpus.held_out(64)

    def loss(some):
        return cross_entropy(some(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten()).item()

    with torch.no_grad():
        untrained = bench._Bare(recipe.shape(corpus.vocab_size)).eval()
        assert loss(model) < loss(untrained) - 0.5
        other = x.clone()
        other[:, 9:] = (other[:, 9:] + 1) % corpus.vocab_size
        assert_close(model(x)[:, :9], model(other)[:, :9])
        assert not torch.equal(model(x)[:, 9:], model(other)[:, 9:])
    sizes = [sum(p.numel() for p in one.parameters()) for one in (model, Transformer(recipe.shape(corpus.vocab_size)))]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_tokens_a_second_are_those_of_the_seconds():
    found = bench.trainings(2, 1)
    assert set(found) == {"a bare loop", "this package"}
    for one in found.values():
        assert one["tokens a second"] * one["seconds"] == pytest.approx(2 * 64 * 32)


def test_what_is_published_is_whole_and_of_todays_code(tmp_path):
    told = bench.read()
    assert bench.state(told) == "of today's code"
    assert bench.state(told | {"code": "another"}) == "not of today's code"
    with pytest.raises(InputError, match=r"no measurement in none\.json .*make it with `ardm bench --out"):
        bench.read(tmp_path / "none.json")
