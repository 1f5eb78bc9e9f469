"""The published toy for other runtimes: denoiser and gate as ONNX graphs, as the page that samples in the browser loads them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ardm.base.atomic import check_writable, whole, write_whole
from ardm.base.errors import InputError
from ardm.base.resources import MODELS
from ardm.experiments.published import load_denoiser, load_gate
from ardm.method.gate import Features, OverwriteGate

if TYPE_CHECKING:
    from ardm.method.denoiser import Transformer

__all__ = ["DenoiserGraph", "GateGraph", "denoiser_onnx", "export_onnx", "gate_onnx"]

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


def denoiser_onnx(denoiser: Transformer, path: Path) -> Path:
    """Write the graph of a denoiser."""
    x = torch.zeros(1, denoiser.shape.length, dtype=torch.long)
    return _write(DenoiserGraph(denoiser), {"x": x}, ["logits", "hidden"], path)


def gate_onnx(gate: OverwriteGate, length: int, hidden: int, path: Path) -> Path:
    """Write the graph of a gate for texts of ``length`` tokens and ``hidden`` numbers of each."""
    inputs = {
        "hidden": torch.zeros(1, length, hidden),
        "signals": torch.zeros(1, length, len(gate.standard)),
        "time": torch.zeros(1),
        "prior": torch.zeros(1, length),
    }
    return _write(GateGraph(gate), inputs, ["logit_u"], path)


def _write(graph: nn.Module, inputs: dict[str, Tensor], given: list[str], path: Path) -> Path:
    try:
        import onnx  # noqa: F401  torch's exporter writes with it
    except ImportError as error:
        raise InputError("exporting needs onnx: pip install 'ardm[export]'") from error
    with whole(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that the sizes are fixed, which is meant
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=given,
            opset_version=OPSET,
            dynamo=False,
        )
    return path


def export_onnx(name: str, folder: Path = MODELS) -> list[Path]:
    """Write ``NAME.onnx``, ``NAME-gate.onnx`` and, with words and sizes, ``NAME.json`` into ``folder``; returns their paths."""
    denoiser, recipe, facts = load_denoiser(name, device=torch.device("cpu"))
    gate = load_gate(name, device=torch.device("cpu"))
    check_writable(folder / f"{name}.onnx")
    paths = [
        denoiser_onnx(denoiser, folder / f"{name}.onnx"),
        gate_onnx(gate, recipe.length, recipe.width, folder / f"{name}-gate.onnx"),
    ]
    prior = {"alpha": gate.prior.alpha.item(), "delta": gate.prior.delta.item()}
    told = {
        "words": facts["words"],
        "length": recipe.length,
        "corpus": recipe.corpus,
        "signals": list(gate.standard),
        "prior": prior,
    }
    write_whole(folder / f"{name}.json", json.dumps(told) + "\n")
    return [*paths, folder / f"{name}.json"]
