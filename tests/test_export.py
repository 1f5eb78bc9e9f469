"""The exported graphs compute what torch computes: run by onnx's reference evaluator, which is written in numpy."""

import json

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from ardm.book.export import export_onnx
from ardm.method.gate import SIGNALS
from ardm.experiments.store import load_gate
from ardm.method.sampling import observe
from ardm.experiments.store import MODELS, load_denoiser
from ardm.base.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    export_onnx("toy", folder)
    return folder


def test_the_published_files_are_those_of_the_export_and_small(exported):
    names = ["toy.onnx", "toy-gate.onnx", "toy.json"]
    assert sorted(path.name for path in exported.iterdir()) == sorted(names)
    assert json.loads((exported / "toy.json").read_text()) == json.loads((MODELS / "toy.json").read_text())
    assert sum((MODELS / name).stat().st_size for name in names) < 1_000_000


@pytest.mark.parametrize("folder", ["fresh", "published"])
def test_graphs_agree_with_torch(exported, folder):
    where = exported if folder == "fresh" else MODELS
    denoiser, recipe, facts = load_denoiser("toy", device=CPU)
    gate, V, L = load_gate("toy", device=CPU), len(facts["words"]), recipe.length
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(V + 1, (1, L), generator=rng)
    step = observe(denoiser, x, t=3, T=8, generator=rng)
    logits, hidden = ReferenceEvaluator(str(where / "toy.onnx")).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(torch.tensor(logits).log_softmax(-1), step.log_q, atol=2e-5)
    np.testing.assert_allclose(hidden, step.hidden, atol=2e-5)

    out = gate(step)
    raw = torch.stack([SIGNALS[name](step).float().clamp(-30, 30) for name in gate.standard], dim=-1)
    feeds = {
        "hidden": step.hidden.numpy(),
        "signals": raw.numpy(),
        "time": np.array([3 / 8], dtype=np.float32),
        "prior": out.logit_r.sigmoid().detach().numpy(),
    }
    (logit_u,) = ReferenceEvaluator(str(where / "toy-gate.onnx")).run(None, feeds)
    np.testing.assert_allclose(logit_u, out.logit_u.detach(), atol=1e-4)


def test_what_is_told_is_what_the_model_is(exported):
    told = json.loads((exported / "toy.json").read_text())
    _, recipe, facts = load_denoiser("toy", device=CPU)
    assert (told["words"], told["length"], told["corpus"]) == (facts["words"], recipe.length, "agreement")
    assert set(told["prior"]) == {"alpha", "delta"}


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(InputError, match="no model 'nothing'"):
        export_onnx("nothing", tmp_path)
    assert list(tmp_path.iterdir()) == []
