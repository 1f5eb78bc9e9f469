"""The published toy for other runtimes: denoiser and gate as ONNX graphs, as the page that samples in the browser loads them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ardm.base.atomic import whole, write_whole
from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.experiments.published import load_denoiser, load_gate
from ardm.method.gate import Features, OverwriteGate

if TYPE_CHECKING:
    from ardm.method.denoiser import Transformer

__all__ = ["DenoiserGraph", "GateGraph", "export_onnx"]

OPSET = 14  # the newest that the runtime of the page knows


class DenoiserGraph(nn.Module):
    """x ``[1, L]`` -> logits ``[1, L, V]`` and hidden ``[1, L, D]``."""

    def __init__(self, denoiser: Transformer) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        prediction = self.denoiser(x)
        return prediction.logits, prediction.hidden


class GateGraph(nn.Module):
    """hidden ``[1, L, D]``, raw signals ``[1, L, S]``, t/T ``[1]`` and r ``[1, L]`` -> the logit of u ``[1, L]``."""

    def __init__(self, gate: OverwriteGate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, hidden: Tensor, signals: Tensor, time: Tensor, prior: Tensor) -> Tensor:
        L = hidden.shape[1]
        ones = torch.ones_like(prior)
        position = torch.arange(L).float().unsqueeze(0) / L
        standard = [one(signals[..., k]) for k, one in enumerate(self.gate.standard.values())]
        signals, when = torch.stack(standard, dim=-1), ones * time
        return self.gate.head(Features(hidden=hidden, signals=signals, position=position, time=when, prior=prior))


def export_onnx(name: str, folder: Path = MODELS) -> list[Path]:
    """Write ``NAME.onnx``, ``NAME-gate.onnx`` and, with words and sizes, ``NAME.json`` into ``folder``; returns their paths."""
    try:
        import onnx  # noqa: F401  torch's exporter writes with it
    except ImportError as error:
        raise InputError("exporting needs onnx: pip install 'ardm[export]'") from error
    denoiser, recipe, facts = load_denoiser(name, device=torch.device("cpu"))
    gate = load_gate(name, device=torch.device("cpu"))
    L, D, S = recipe.length, recipe.width, len(gate.standard)
    sample = torch.zeros(1, L, dtype=torch.long)
    features = (torch.zeros(1, L, D), torch.zeros(1, L, S), torch.zeros(1), torch.zeros(1, L))
    graphs = {
        f"{name}.onnx": (DenoiserGraph(denoiser), (sample,), ["x"], ["logits", "hidden"]),
        f"{name}-gate.onnx": (GateGraph(gate), features, ["hidden", "signals", "time", "prior"], ["logit_u"]),
    }
    paths = []
    for file, (graph, inputs, taken, given) in graphs.items():
        with whole(folder / file) as part, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that the sizes are fixed, which is meant
            torch.onnx.export(
                graph.eval(), inputs, str(part), input_names=taken, output_names=given, opset_version=OPSET, dynamo=False
            )
        paths.append(folder / file)
    prior = {"alpha": gate.prior.alpha.item(), "delta": gate.prior.delta.item()}
    told = {"words": facts["words"], "length": L, "corpus": recipe.corpus, "signals": list(gate.standard), "prior": prior}
    write_whole(folder / f"{name}.json", json.dumps(told) + "\n")
    return [*paths, folder / f"{name}.json"]
