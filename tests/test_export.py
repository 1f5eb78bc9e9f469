"""The exported graphs compute what torch computes: run by onnx's reference evaluator, which is written in numpy."""

import json

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.book import export
from ardm.book.export import COUNT, denoiser_onnx, export_onnx, gate_onnx, measured
from ardm.experiments.published import load_denoiser, load_gate
from ardm.method.denoiser import Shape, Transformer
from ardm.method.gate_recipe import RECOMMENDED
from ardm.method.sampling import observe
from ardm.method.train_gate import new_gate
from ardm.worlds.world import world_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "measured", lambda *given: {})  # minutes; a test of its own measures less
        export_onnx("toy", folder)
    return folder


def random_models():
    """A denoiser and a gate with random weights, and a gate whose standardisers have seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        denoiser = Transformer(Shape(vocab_size=7, length=9, width=16, depth=2, heads=2)).eval()
        gate = new_gate(RECOMMENDED, 16).combined("gate_only")
        for parameter in (*denoiser.parameters(), *gate.head.parameters()):
            torch.nn.init.normal_(parameter, std=0.3)
        gate.train()(looked_at(denoiser, torch.randint(8, (5, 9))))
    return denoiser, gate.eval()


def looked_at(denoiser, x):
    return observe(denoiser, x, t=3, T=8, uniform=torch.full(x.shape, 0.5, dtype=torch.float64))


def agree(denoiser, gate, x, folder, name, kind="gate"):
    """The graphs of a denoiser and of a gate against torch, on one text."""
    step = looked_at(denoiser, x)
    logits, hidden = ReferenceEvaluator(str(folder / f"{name}.onnx")).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(torch.tensor(logits).log_softmax(-1), step.log_q, atol=2e-5)
    np.testing.assert_allclose(hidden, step.hidden, atol=2e-5)
    out = gate(step)
    feeds = {
        "hidden": step.hidden.numpy(),
        "signals": torch.stack([gate.measure(name, step) for name in gate.standard], dim=-1).numpy(),
        "time": np.array([3 / 8], dtype=np.float32),
        "prior": out.logit_r.sigmoid().detach().numpy(),
    }
    if kind == "repair":
        feeds["x"] = x.numpy()
    (logit_u,) = ReferenceEvaluator(str(folder / f"{name}-{kind}.onnx")).run(None, feeds)
    assert logit_u.std() > 0
    np.testing.assert_allclose(logit_u, out.logit_u.detach(), atol=1e-4)


def test_graphs_of_random_models_agree_with_torch(tmp_path):
    denoiser, gate = random_models()
    denoiser_onnx(denoiser, tmp_path / "any.onnx")
    gate_onnx(gate, 9, 16, tmp_path / "any-gate.onnx")
    agree(denoiser, gate, torch.randint(8, (1, 9), generator=torch.Generator().manual_seed(0)), tmp_path, "any")


@pytest.mark.parametrize("kind", ["gate", "repair"])
@pytest.mark.parametrize("folder", ["fresh", "published"])
def test_graphs_of_the_toy_agree_with_torch(exported, folder, kind):
    denoiser, recipe, facts = load_denoiser("toy", device=CPU)
    x = torch.randint(len(facts["words"]) + 1, (1, recipe.length), generator=torch.Generator().manual_seed(0))
    gate = load_gate("toy", repairing=kind == "repair", device=CPU)
    agree(denoiser, gate, x, exported if folder == "fresh" else MODELS, "toy", kind)


def test_the_published_files_are_those_of_the_export_and_small(exported):
    names = ["toy.onnx", "toy-gate.onnx", "toy-repair.onnx", "toy.json", "toy-run.json", "toy-measured.json"]
    assert sorted(path.name for path in exported.iterdir()) == sorted(names)
    assert json.loads((exported / "toy.json").read_text()) == json.loads((MODELS / "toy.json").read_text())
    assert sum((MODELS / name).stat().st_size for name in names) < 1_000_000
    assert (MODELS / "toy-repair.onnx").stat().st_size < 400_000


def test_what_is_said_of_the_gates_is_measured():
    """A smaller sample of the same falls near the published numbers, whose own is large."""
    told = json.loads((MODELS / "toy-measured.json").read_text())
    assert told["count"] == COUNT >= 2000
    rows = {(row["gate"], row["calls"]): row for row in told["rows"]}
    for (gate, calls), row in rows.items():  # as the page says
        assert gate == "gate" or all(row[name] > rows["gate", calls][name] for name in ("valid", "mended"))
    denoiser, recipe, _ = load_denoiser("toy", device=CPU)
    gates = {"repair": load_gate("toy", repairing=True, device=CPU)}
    (row,) = measured(denoiser, gates, world_of(recipe.corpus, recipe.length), count=300, calls=(4,))["rows"]
    (published,) = (one for one in told["rows"] if (one["gate"], one["calls"]) == ("repair", 4))
    for name in ("valid", "mended"):
        assert row[f"{name}_low"] < published[name] < row[f"{name}_high"]
    assert published["valid_high"] - published["valid_low"] < 0.025


def test_what_is_told_is_what_the_model_is(exported):
    told = json.loads((exported / "toy.json").read_text())
    _, recipe, facts = load_denoiser("toy", device=CPU)
    assert (told["words"], told["length"], told["corpus"]) == (facts["words"], recipe.length, "agreement")
    assert set(told["prior"]) == {"alpha", "delta"}


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown model 'nothing'"):
        export_onnx("nothing", tmp_path)
    assert list(tmp_path.iterdir()) == []
