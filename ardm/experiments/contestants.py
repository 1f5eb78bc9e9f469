"""Who competes in the arena: every rule of the field and of this book, with the knobs it is tuned over.

One entry a rule: how it is made, from which trained gate, and the settings the search tries; the first setting is the default of
its source. All play on the same denoiser, but for the autoregressive model, which is its twin of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ardm.base.errors import InputError
from ardm.experiments.published import RECOMMENDED
from ardm.experiments.tasks import Start
from ardm.method.gate import FOUR, LinearHead, OverwriteGate
from ardm.method.rivals import (
    DDPD,
    EntropyBounded,
    InformedCorrector,
    MaskPredict,
    MostConfidentFirst,
    PathPlanning,
    ReMDM,
    TokenToMask,
    TokenToToken,
)
from ardm.method.rules import (
    ORDERS,
    FixedSchedule,
    HideThenRefill,
    LeftToRight,
    OneWay,
    OracleGate,
    Overwrite,
    RandomGate,
    Shuffled,
    UniformRefinement,
)
from ardm.method.selection import Selection
from ardm.method.train_gate import GateRecipe
from ardm.method.types import Rule

__all__ = ["CONTESTANTS", "GATES", "SCHEDULES", "Contestant", "choose"]

GATES = {
    "linear": GateRecipe(head="linear", steps=200),
    "mismatch": GateRecipe(signals=FOUR, steps=200),
    "ratio": GateRecipe(signals=FOUR, label="likelihood_ratio", steps=200),
    "hidden": GateRecipe(signals=(), own_errors=1.0, error_rate=0.0, steps=200),
    "final": GateRecipe(signals=FOUR, label="final", states="rollout", edit="hide", batch=16, steps=60),
    "attentive": RECOMMENDED,
}
"""The gates that are trained for each denoiser, by name; the training seed is the denoiser's."""

Gates = Mapping[str, OverwriteGate]


@dataclass(frozen=True)
class Contestant:
    """One rule of the arena. ``make(gates, start, **knobs)`` gives the rule; ``gate`` names the trained gate it needs.

    ``grid``: the settings that tuning tries, the first the default. With ``schedule`` it then tries, with the best of them, every
    writing order of :data:`SCHEDULES`. ``like``: plays with what this other rule was tuned to.
    """

    name: str
    source: str
    make: Callable[..., Rule]
    grid: tuple[dict[str, Any], ...] = ({},)
    schedule: bool = False  # writes masks on a schedule, whose order and end are tuned too
    gate: str | None = None
    like: str | None = None
    causal: bool = False  # plays on the causal model, one call a token
    knows: bool = False  # asks what no rule can: the upper bound
    revises: bool = True  # can change what is visible

    @property
    def stages(self) -> tuple[tuple[dict[str, Any], ...], ...]:
        """What tuning tries, one stage after the other, each with the best of those before; empty where nothing is tuned."""
        stages = (self.grid, SCHEDULES) if self.schedule else (self.grid,)
        return tuple(stage for stage in stages if len(stage) > 1)


def _grid(**choices: tuple) -> tuple[dict[str, Any], ...]:
    return tuple(dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


def _plain(make: Callable[..., Rule]) -> Callable[..., Rule]:
    return lambda gates, start, **knobs: make(**knobs)


def _in_place(gate: str, combine: str) -> Callable[..., Rule]:
    return lambda gates, start, **knobs: Overwrite(gates[gate].combined(combine), Selection(**knobs))


def _hide(gate: str, finish: bool = True) -> Callable[..., Rule]:
    def make(gates: Gates, start: Start, *, order: str = "random", written_by: float = 0.6, **knobs: Any) -> Rule:
        return HideThenRefill(gates[gate].combined("gate_only"), Selection(**knobs), written_by, order, finish)

    return make


def _unit(gates: Gates, start: Start) -> Rule:
    """The document's formula as written: unit weights, no training but the moments of its signals."""
    trained = gates["linear"]
    gate = OverwriteGate(LinearHead(), trained.prior, "noisy_or", tuple(trained.standard)).eval()
    gate.standard = trained.standard
    return Overwrite(gate)


def _shuffled(gates: Gates, start: Start, **knobs: Any) -> Rule:
    return Shuffled(_hide("attentive")(gates, start, **knobs))


def _oracle(in_place: bool) -> Callable[..., Rule]:
    def make(gates: Gates, start: Start, **knobs: Any) -> Rule:
        if start.wrong is None:
            raise InputError("the oracle gate needs a task that says what is wrong; leave it out on text")
        return OracleGate(start.wrong, in_place, **knobs)

    return make


SCHEDULES = _grid(order=ORDERS, written_by=(0.6, 0.4, 0.8))
"""In which order masks are written, and by which share of the steps: one choice for every rule that writes on a schedule."""

HIDING = _grid(how=("threshold",), threshold=(0.5, 0.2, 0.3, 0.7), budget=(4, 1, 2, 16))

CONTESTANTS = {
    c.name: c
    for c in (
        Contestant("autoregressive", "a causal model of the same size", _plain(LeftToRight), causal=True, revises=False),
        Contestant("left-to-right", "blocks, bidirectional", _plain(LeftToRight), revises=False),
        Contestant("one-way", "arXiv:2406.07524", _plain(OneWay), revises=False),
        Contestant("max-prob", "arXiv:2502.06768", _plain(MostConfidentFirst), revises=False),
        Contestant("margin", "arXiv:2502.06768", _plain(lambda: MostConfidentFirst("margin")), revises=False),
        Contestant(
            "entropy-bounded",
            "arXiv:2505.24857",
            _plain(EntropyBounded),
            _grid(gamma=(0.1, 0.01, 0.5, 1.0, 2.0)),
            revises=False,
        ),
        Contestant("fixed schedule", "arXiv:2305.09515", _plain(FixedSchedule), _grid(alpha=(1.25, 0.15, 0.3, 0.6, 2.5))),
        Contestant("uniform refinement", "control", _plain(UniformRefinement), _grid(rate=(0.5, 0.1, 0.25, 0.75, 0.9))),
        Contestant("all-resample", "arXiv:2112.06749, 2503.04482", _plain(lambda: UniformRefinement(1.0))),
        Contestant("Mask-Predict", "arXiv:1904.09324", _plain(MaskPredict)),
        Contestant("ReMDM cap", "arXiv:2503.00307", _plain(ReMDM), _grid(eta=(0.008, 0.05, 0.1, 0.2, 0.4, 0.8))),
        Contestant(
            "ReMDM rescale",
            "arXiv:2503.00307",
            _plain(lambda eta: ReMDM("rescale", eta)),
            _grid(eta=(0.015, 0.1, 0.3, 0.6, 0.9)),
        ),
        Contestant(
            "ReMDM conf",
            "arXiv:2503.00307",
            _plain(lambda eta: ReMDM("cap", eta, by_confidence=True)),
            _grid(eta=(0.008, 0.2, 0.5, 1.0)),
        ),
        Contestant(
            "ReMDM loop", "arXiv:2503.00307", _plain(lambda eta: ReMDM("cap", eta, loop=True)), _grid(eta=(0.02, 0.1, 0.3, 0.6))
        ),
        Contestant("P2-self", "arXiv:2502.03540", _plain(PathPlanning), _grid(eta=(1.0, 0.5, 2.0, 4.0, 8.0))),
        Contestant(
            "PRISM head",
            "arXiv:2510.01384",
            _hide("hidden", finish=False),
            _grid(how=("threshold",), threshold=(0.0,), budget=(2, 1, 4, 8)),
            schedule=True,
            gate="hidden",
        ),
        Contestant(
            "T2T threshold", "arXiv:2602.08676", _plain(TokenToToken), _grid(threshold=(0.5, 0.0, 0.3, 0.7)), schedule=True
        ),
        Contestant(
            "T2M low-prob",
            "arXiv:2604.18738",
            _plain(TokenToMask),
            _grid(threshold=(0.3, 0.02, 0.08, 0.15, 0.5, 0.7, 0.8, 0.9, 0.95)),
            schedule=True,
        ),
        Contestant(
            "T2M logit-diff",
            "arXiv:2604.18738",
            _plain(lambda **knobs: TokenToMask("logit_diff", **knobs)),
            _grid(threshold=(0.3, 0.1, 0.5)),
            schedule=True,
        ),
        Contestant(
            "informed corrector",
            "arXiv:2407.21243",
            _plain(InformedCorrector),
            _grid(k=(2, 1, 4, 8, 16), noise=(1.0, 0.1)),
            schedule=True,
        ),
        Contestant(
            "DDPD",
            "arXiv:2410.06264",
            lambda gates, start, k: DDPD(gates["mismatch"], k),
            _grid(k=(4, 1, 8, 16)),
            gate="mismatch",
        ),
        Contestant(
            "final-token label",
            "arXiv:2605.24697",
            _hide("final"),
            _grid(how=("threshold",), threshold=(0.5, 0.3, 0.7), budget=(4,)),
            schedule=True,
            gate="final",
        ),
        Contestant("document's gate", "the starting document, unit weights", _unit, gate="linear"),
        Contestant("linear gate in place", "the starting document, trained", _in_place("linear", "noisy_or"), gate="linear"),
        Contestant(
            "linear gate hide",
            "this book",
            _hide("linear"),
            _grid(how=("threshold",), threshold=(0.5, 0.3, 0.7), budget=(4, 2)),
            schedule=True,
            gate="linear",
        ),
        Contestant("learned noisy-OR in place", "the starting document", _in_place("mismatch", "noisy_or"), gate="mismatch"),
        Contestant("learned product in place", "this book", _in_place("mismatch", "product"), gate="mismatch"),
        Contestant("learned logit-sum in place", "this book", _in_place("mismatch", "logit_sum"), gate="mismatch"),
        Contestant(
            "learned p=u in place",
            "this book",
            _in_place("mismatch", "gate_only"),
            (
                {"how": "bernoulli"},
                *_grid(how=("threshold",), threshold=(0.3, 0.5, 0.7)),
                *_grid(how=("bernoulli",), budget=(8, 16)),
            ),
            gate="mismatch",
        ),
        Contestant("learned hide mismatch", "this book", _hide("mismatch"), HIDING, schedule=True, gate="mismatch"),
        Contestant("learned hide ratio", "this book", _hide("ratio"), HIDING, schedule=True, gate="ratio"),
        Contestant("attentive hide ratio", "this book", _hide("attentive"), HIDING, schedule=True, gate="attentive"),
        Contestant(
            "learned hide Bernoulli",
            "this book",
            _hide("ratio"),
            ({"how": "bernoulli"}, *_grid(how=("bernoulli",), budget=(1, 4))),
            schedule=True,
            gate="ratio",
        ),
        Contestant(
            "learned hide budget",
            "this book",
            _hide("ratio"),
            _grid(how=("threshold",), threshold=(0.0,), budget=(2, 1, 4, 8)),
            schedule=True,
            gate="ratio",
        ),
        Contestant("shuffled gate", "control", _shuffled, gate="attentive", like="attentive hide ratio"),
        Contestant("random gate", "control", _plain(RandomGate), _grid(k=(2, 1, 4, 8)), schedule=True),
        Contestant("oracle in place", "upper bound", _oracle(True), schedule=True, knows=True),
        Contestant("oracle hide", "upper bound", _oracle(False), schedule=True, knows=True),
    )
}
"""The rules by name."""


def choose(names: Sequence[str] | None) -> list[Contestant]:
    """The contestants of these names, all by default; ``InputError`` for a name that is not there."""
    for name in names or []:
        if name not in CONTESTANTS:
            raise InputError(f"no rule {name!r}: choose among {', '.join(CONTESTANTS)}")
    return [CONTESTANTS[name] for name in names or CONTESTANTS]
