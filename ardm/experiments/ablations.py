"""The ablations: one gate, and what changes when one thing about it does, from the same trainings and on the same starts.

One thing at a time. The full grid of these choices would be millions of cells, so how two of them act together is not measured.
`make ablations` plays the cells (``notebooks/ablations/Snakefile``); ``book/rerun.md`` says how.
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ardm.base.atomic import check_writable, whole, write_whole
from ardm.base.errors import InputError
from ardm.base.provenance import provenance
from ardm.experiments.match import Kit, Settings, digest, outcome
from ardm.experiments.published import RECOMMENDED
from ardm.experiments.results import effects
from ardm.experiments.store import facts_of, trained_gate
from ardm.method.gate import FOUR, SIGNALS
from ardm.method.rules import HideThenRefill, Overwrite, nothing
from ardm.method.selection import Selection
from ardm.method.train_gate import GateRecipe, TrainedGate, train_gate
from ardm.method.types import Action, Step

__all__ = ["PROFILES", "VARIANTS", "Variant", "ablate", "collect", "fetch", "keep", "trained", "unfinished", "variant_named"]

BASE = RECOMMENDED  # attentive head, four signals and the hidden state, likelihood ratio
ORDER = "surest"
SELECTION = Selection("threshold", 0.5, budget=4)

PROFILES = {
    "small": Settings(("sudoku",), nfe=(8, 16), seeds=2, count=60, tuning=0, denoiser_steps=600, gate_steps=60),
    "paper": Settings(("agreement", "sudoku"), nfe=(8, 16), count=160, tuning=0, gate_steps=100),
}
"""``small``: minutes on two cores, to see that all works. ``paper``: what is published. ``gate_steps`` are those of the base."""


class InPlace(HideThenRefill):
    """What would be hidden is overwritten by its proposal at once: the denoiser judges the place while it sees the suspect."""

    def __call__(self, step: Step, generator: torch.Generator) -> Action:
        action = super().__call__(step, generator)
        return Action(write=action.write | action.remask, remask=nothing(step), scores=action.scores)


@dataclass(frozen=True)
class Variant:
    """What is changed of the base: fields of recipe and selection; the rule with its ``knobs``; ``calls`` beside the settings'."""

    gate: Mapping[str, Any] = field(default_factory=dict)
    combine: str = "gate_only"
    select: Mapping[str, Any] = field(default_factory=dict)
    rule: type = HideThenRefill
    knobs: Mapping[str, Any] = field(default_factory=lambda: {"order": ORDER})
    calls: tuple[int, ...] = ()

    def recipe(self, settings: Settings, seed: int) -> GateRecipe:
        """The recipe of its gate; with ``gate_steps`` in the settings, its own steps in proportion."""
        recipe = replace(BASE, **self.gate, seed=seed)
        return replace(recipe, steps=-(-recipe.steps * (settings.gate_steps or BASE.steps) // BASE.steps))


def _gates(**recipes: dict[str, Any]) -> dict[str, Variant]:
    return {name: Variant(gate=fields) for name, fields in recipes.items()}


ROLLOUT = {"states": "rollout", "edit": "hide", "batch": 8}  # 8 texts, 8 steps of each: 64 states, as in the base
END = {"combine": "gate_only", "edit": "hide"}  # end to end, the gate learns for the rule that plays it

AXES = {
    "combine": {name: Variant(combine=name) for name in ("noisy_or", "product", "logit_sum", "prior_only")},
    "selection": {
        "threshold_0.3": Variant(select={"threshold": 0.3}),
        "threshold_0.7": Variant(select={"threshold": 0.7}),
        "bernoulli": Variant(select={"how": "bernoulli"}),
        **{f"top_{k}": Variant(select={"threshold": 0.0, "budget": k}) for k in (1, 2, 4)},
        "no_budget": Variant(select={"budget": None}),
        "annealed": Variant(select={"last_budget": 0}),
    },
    "features": _gates(
        **{f"without_{name}": {"signals": tuple(s for s in FOUR if s != name)} for name in FOUR},
        **{f"only_{name}": {"signals": (name,), "hidden": False} for name in FOUR},
        without_hidden_state={"hidden": False},
        only_hidden_state={"signals": ()},
        all_signals={"signals": tuple(SIGNALS)},
        linear={"head": "linear", "rate": 3e-2},  # five weights: at the attentive head's rate they would not arrive
        each_alone={"head": "learned", "rate": 5e-3},  # no attention between the tokens
    ),
    "label": _gates(mismatch={"label": "mismatch"}, final={"label": "final", **ROLLOUT}),
    "states": _gates(rollout=ROLLOUT),
    "loss": _gates(
        sparsity={"sparsity": 0.05},
        stability={"stability": 0.1},
        gumbel_sigmoid={"loss": "gumbel_sigmoid", **END},
        gumbel_sigmoid_auxiliary={"loss": "gumbel_sigmoid", "auxiliary": 1.0, **END},
        gumbel_sigmoid_sparsity={"loss": "gumbel_sigmoid", "sparsity": 0.05, **END},
        gumbel_sigmoid_stability={"loss": "gumbel_sigmoid", "stability": 0.1, **END},
        straight_through={"loss": "straight_through", **END},
        straight_through_auxiliary={"loss": "straight_through", "auxiliary": 1.0, **END},
    ),
    "denoiser": _gates(joint={"joint": True, "steps": 500}),  # for longer: the denoiser moves along
    "width": {f"{width}": Variant(gate={"width": width}) for width in (16, 128)},
    "steps": _gates(quarter={"steps": RECOMMENDED.steps // 4}, triple={"steps": 3 * RECOMMENDED.steps}),
    "edit": {
        "in_place": Variant(rule=InPlace),
        "overwrite": Variant(rule=Overwrite, knobs={}),  # the document's sampler: the gate decides when masks are written too
        "no_finish": Variant(knobs={"order": ORDER, "finish": False}),
    },
    "order": {order: Variant(knobs={"order": order}) for order in ("random", "left")},
    "written_by": {f"{share}": Variant(knobs={"order": ORDER, "written_by": share}) for share in (0.4, 0.8)},
}
VARIANTS = {
    "base": Variant(calls=(4, 8, 16, 32)),
    **{f"{axis}/{name}": variant for axis, named in AXES.items() for name, variant in named.items()},
}
"""``base``, and what differs from it by axis and name; the base's own choice is in no axis."""


def variant_named(name: str) -> Variant:
    """The variant of this name; ``InputError`` names those that are close to it."""
    if name not in VARIANTS:
        close = difflib.get_close_matches(name, VARIANTS, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose among {', '.join(VARIANTS)}"
        raise InputError(f"no variant {name!r}: {hint}")
    return VARIANTS[name]


def gate_file(kit: Kit) -> Path:
    """Where the gate of the base is kept, which many variants share."""
    choices = VARIANTS["base"].recipe(kit.settings, kit.seed).choices
    return kit.models / f"{kit.file('denoiser').stem}-base-{digest(choices)}.safetensors"


def fetch(kit: Kit, known: Path) -> None:
    """Put the denoiser into the kit's folder: a copy where ``known`` holds it, else trained."""
    wanted = kit.file("denoiser")
    if (known / wanted.name).is_file() and not wanted.is_file():
        check_writable(wanted)
        with whole(wanted) as part:
            shutil.copyfile(known / wanted.name, part)
    kit.denoiser()


def trained(name: str, kit: Kit) -> TrainedGate:
    """The gate of a variant, its losses, and the denoiser it plays with. The gate of the base is kept, the others are not."""
    recipe, denoiser, corpus = variant_named(name).recipe(kit.settings, kit.seed), kit.denoiser(), kit.task.corpus
    if variant_named(name).gate:
        return train_gate(denoiser, corpus, recipe, device=kit.device, progress=False)
    gate = trained_gate(denoiser, corpus, recipe, gate_file(kit), device=kit.device, progress=False)
    return TrainedGate(gate, denoiser, facts_of(gate_file(kit))["losses"])


def ablate(name: str, kit: Kit, made: TrainedGate) -> list[dict[str, Any]]:
    """The rows of one cell: the variant on the kit's task with its trained gate, a row for each number of calls."""
    variant, task, calls = variant_named(name), kit.task, kit.settings.nfe or kit.task.nfe
    start = task.start(kit.settings.texts(task), seed=kit.seed, denoiser=kit.denoiser(), device=kit.device)
    rule = variant.rule(made.gate.combined(variant.combine), replace(SELECTION, **variant.select), **variant.knobs)
    return [
        {"variant": name, "task": task.name, "nfe": nfe, "seed": kit.seed, "count": len(start.x)}
        | outcome(task, made.denoiser, rule, start, nfe=nfe, seed=kit.seed)
        for nfe in sorted({*calls, *variant.calls})
    ]


def keep(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows of one cell, and what they were made with, whole or not at all."""
    check_writable(path)
    write_whole(path, json.dumps({"rows": rows, "provenance": provenance()}, ensure_ascii=False) + "\n")


def collect(files: Iterable[Path], settings: Settings, folder: Path) -> None:
    """Write ``ablations.csv`` (a row a cell and number of calls), ``effects.csv`` and ``ablations.json`` from kept cells."""
    import pandas as pd

    cells = [json.loads(file.read_text()) for file in files]
    table = pd.DataFrame([row for cell in cells for row in cell["rows"]])
    made = {json.dumps(cell["provenance"]): cell["provenance"] for cell in cells}
    facts = {
        "settings": asdict(settings),
        "base": {"gate": VARIANTS["base"].recipe(settings, 0).choices, "selection": asdict(SELECTION), "order": ORDER},
        "cells": len(cells),
        "playing_seconds": round((table["seconds"] * table["count"]).sum()),
        "provenance": list(made.values()),  # one where all cells were made by the same code on the same machine
    }
    write_whole(folder / "ablations.csv", table.to_csv(index=False, float_format="%.6g"))
    write_whole(folder / "effects.csv", effects(table).to_csv(index=False, float_format="%.6g"))
    write_whole(folder / "ablations.json", json.dumps(facts, indent=1) + "\n")


def unfinished(cells: Mapping[str, Path]) -> str:
    """How many of the cells, by name with the file of their rows, are missing, and why: the last line of each log."""
    absent = {name: rows.with_name("log.txt") for name, rows in cells.items() if not rows.is_file()}
    logs = {name: log.read_text(errors="replace").strip() for name, log in absent.items() if log.is_file()}
    failed = [f"  {name}: {text.splitlines()[-1] if text else 'it said nothing'}" for name, text in logs.items()]
    head = f"ablations: {len(absent)} of {len(cells)} cells are missing, {len(failed)} of them failed"
    return "\n".join([f"{head}; the same command goes on with them", *failed])
