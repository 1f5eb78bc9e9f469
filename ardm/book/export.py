"""The published toy for other runtimes: denoiser and gates as ONNX graphs, as the page that samples in the browser loads them.

With them go what that page is told in words and numbers: the language, a recorded run, and how well each gate writes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ardm.base.atomic import check_writable, whole, write_whole
from ardm.base.errors import InputError
from ardm.base.provenance import provenance
from ardm.base.resources import MODELS
from ardm.experiments.published import REPAIRING, load_denoiser, load_gate
from ardm.experiments.scores import LawFidelity
from ardm.experiments.starts import Given, PlantedErrors
from ardm.experiments.statistics import share
from ardm.method.gate import Features, OverwriteGate
from ardm.method.rules import HideThenRefill
from ardm.method.sampling import Trace, blank, refine
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection
from ardm.method.train_on_own_runs import ReadingGate
from ardm.worlds.world import LawWorld, world_of

if TYPE_CHECKING:
    from ardm.method.denoiser import Transformer
    from ardm.worlds.laws import Law

__all__ = ["DenoiserGraph", "GateGraph", "denoiser_onnx", "export_onnx", "gate_onnx", "measured", "recorded_run", "rule_of"]

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
    """hidden ``[1, L, D]``, raw signals ``[1, L, S]``, t/T ``[1]`` and r ``[1, L]`` -> the logit of u ``[1, L]``; a gate that reads
    the tokens is also given x ``[1, L]``.
    """

    def __init__(self, gate: OverwriteGate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, hidden: Tensor, signals: Tensor, time: Tensor, prior: Tensor, x: Tensor | None = None) -> Tensor:
        L = hidden.shape[1]
        ones = torch.ones_like(prior)
        position = torch.arange(L).float().unsqueeze(0) / L
        standard = [one(signals[..., k]) for k, one in enumerate(self.gate.standard.values())]
        signals, when = torch.stack(standard, dim=-1), ones * time
        seen = Features(hidden=hidden, signals=signals, position=position, time=when, prior=prior)
        return self.gate.head(seen) if x is None else self.gate.head(seen, x)


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
    if isinstance(gate, ReadingGate):
        inputs["x"] = torch.zeros(1, length, dtype=torch.long)
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
    """Write ``NAME.onnx``, the graph of each of its gates and, with words and sizes, ``NAME.json`` into ``folder``; returns their
    paths. A denoiser that has a gate of :data:`ardm.experiments.published.REPAIRING` is told of in numbers too: ``NAME-run.json``
    is one recorded run, ``NAME-measured.json`` says how well each gate writes and mends.
    """
    denoiser, recipe, facts = load_denoiser(name, device=torch.device("cpu"))
    gates = {"gate": load_gate(name, device=torch.device("cpu"))}
    if name in REPAIRING:
        gates["repair"] = load_gate(name, repairing=True, device=torch.device("cpu"))
    check_writable(folder / f"{name}.onnx")
    made = {"command": f"ardm export {name}", "provenance": provenance()}  # of the commit as it is before anything is written
    paths = [denoiser_onnx(denoiser, folder / f"{name}.onnx")]
    paths += [gate_onnx(gate, recipe.length, recipe.width, folder / f"{name}-{kind}.onnx") for kind, gate in gates.items()]
    prior = {"alpha": gates["gate"].prior.alpha.item(), "delta": gates["gate"].prior.delta.item()}
    told = {
        "words": facts["words"],
        "length": recipe.length,
        "corpus": recipe.corpus,
        "signals": list(gates["gate"].standard),
        "prior": prior,
    }
    more = {}
    if name in REPAIRING:
        world = world_of(recipe.corpus, recipe.length)
        told["law"] = _automaton(world.law)
        more = {
            "-run": {**recorded_run(denoiser, gates["repair"]), **made},
            "-measured": {**measured(denoiser, gates, world), **made},
        }
    for kind, content in {"": told, **more}.items():
        paths.append(folder / f"{name}{kind}.json")
        write_whole(paths[-1], json.dumps(content) + "\n")
    return paths


def _automaton(law: Law) -> dict:
    """The texts that the law allows: from each state, by token, the next one."""
    states = range(len(law.accepts))
    edges = [{v: law.following[s, v].item() for v in law.weight[s].nonzero().flatten().tolist()} for s in states]
    return {"start": law.start, "accepts": law.accepts.nonzero().flatten().tolist(), "edges": edges}


# ------------------------------------------------------------------------------------------- what the page says of its gates

RECORDED = {"rule": "repair gate: hide, then refill", "T": 8, "threshold": 0.5, "seed": 0}
"""The run that plays until the page has its model."""

COUNT, TRIED, CALLS, GRID = 6000, 1000, (4, 8), (0.1, 0.3, 0.5, 0.7, 0.9)
CHOOSING, MEASURING = 1, 2  # seeds
PLANTED = PlantedErrors(wrong=(2, 6))


def rule_of(gate: OverwriteGate, threshold: float) -> HideThenRefill:
    """The rule of the page for a gate."""
    return HideThenRefill(gate, Selection("threshold", threshold, budget=4), schedule=Schedule("surest"))


def recorded_run(denoiser: Transformer, gate: OverwriteGate) -> dict:
    """One text written from nothing, with what happened to each token and p at every step: as the page's sampler tells a run."""
    V, L = denoiser.shape.vocab_size, denoiser.shape.length
    rule = rule_of(gate, RECORDED["threshold"])
    trace = refine(denoiser, rule, blank(1, L, V), RECORDED["T"], seed=RECORDED["seed"], record=True)
    return {"settings": {**RECORDED, "x": trace.start[0].tolist(), "fixed": [False] * L}, "frames": _frames(trace, V)}


def _frames(trace: Trace, V: int) -> list[dict]:
    """Tokens, events and p of the start and of every step; p is None where the token was hidden."""
    told = [{"x": [token for token, _ in step], "events": [event for _, event in step]} for step in trace.history(0, V)]
    for before, after, frame in zip(told, told[1:], trace.frames, strict=False):
        p = frame.scores["p"][0].tolist()
        after["p"] = [None if token == V else round(value, 4) for token, value in zip(before["x"], p, strict=True)]
    return told


def measured(
    denoiser: Transformer, gates: dict[str, OverwriteGate], world: LawWorld, *, count: int = COUNT, calls: Iterable[int] = CALLS
) -> dict:
    """How well each gate writes and mends ``count`` texts at equal calls; the threshold is chosen on other ones.

    A row for each gate and number of calls: ``valid``, the share of right texts of those written from nothing, with Wilson's 95 %
    interval; ``loss``, a lower bound on the distance from the law; ``mended``, the share of right texts after a rewriting of
    held-out ones with two to six wrong tokens. All gates have the same random numbers.
    """
    rows = []
    for name, gate in gates.items():
        for T in calls:
            tried = {at: _written(denoiser, rule_of(gate, at), world, min(TRIED, count), T, CHOOSING) for at in GRID}
            best = max(GRID, key=lambda at: world.right(tried[at]).sum().item())
            rule = rule_of(gate, best)
            x = _written(denoiser, rule, world, count, T, MEASURING)
            mended = refine(denoiser, rule, _broken(world, count), T, seed=MEASURING).x
            rows.append(
                {
                    "gate": name,
                    "calls": T,
                    "threshold": best,
                    **_share("valid", world.right(x)),
                    "loss": LawFidelity(counted=".")(world, x, None, None)["loss"],
                    **_share("mended", world.right(mended)),
                }
            )
    return {"count": count, "rows": rows}


def _share(name: str, right: Tensor) -> dict[str, float]:
    found = share(right)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _written(denoiser: Transformer, rule: HideThenRefill, world: LawWorld, count: int, T: int, seed: int) -> Tensor:
    return refine(denoiser, rule, blank(count, world.law.length, world.law.vocab_size), T, seed=seed).x


def _broken(world: LawWorld, count: int) -> Tensor:
    """Held-out texts with planted errors."""
    law = world.law
    x0 = law.sample(count, seed=MEASURING, stream="broken")
    rng = torch.Generator().manual_seed(MEASURING)
    return PLANTED(Given(x0, law.vocab_size, rng, None, "cpu"))[0]
