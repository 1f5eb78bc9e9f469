"""What finished texts are worth: a row of named numbers.

Two are in every row: ``quality``, the share of texts (or words) that are right, and ``loss`` in [0, 1], which falls with quality
*and* fidelity and is what knobs are tuned on.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.experiments.starts import Start
from ardm.method.sampling import Trace
from ardm.method.types import Bool, Int
from ardm.worlds.fidelity import fidelity, fidelity_floor
from ardm.worlds.judge import TextScore
from ardm.worlds.world import GridWorld, LawWorld, TextWorld, World

__all__ = ["LawFidelity", "Repair", "Row", "ScoreBy", "TextQuality", "Validity", "packed"]

Row = dict[str, float | str]


@runtime_checkable
class ScoreBy(Protocol):
    """Scores finished texts ``x`` of a world: plain data, chosen once for each task. ``worlds``: those that it can score."""

    worlds: ClassVar[tuple[type[World], ...]]

    def __call__(self, world: World, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row: ...


@dataclass(frozen=True)
class LawFidelity:
    """Validity under a law, and how far the sample is from it. ``counted``: a word whose number in a text is compared too."""

    counted: str | None = None
    worlds: ClassVar[tuple[type[World], ...]] = (LawWorld,)

    def __call__(self, world: LawWorld, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row:
        law = world.law
        found, floor = fidelity(x, law, self.counted), fidelity_floor(len(x), law, self.counted)
        log_p = law.log_prob(x)
        valid = log_p.isfinite()
        return {
            "quality": 1 - found.invalid,
            "loss": found.bound(floor),
            "outcomes": packed(valid),
            **{name: value for name, value in asdict(found).items() if name != "invalid"},
            "nats": -log_p[valid].mean().item() / law.length if valid.any() else math.nan,
            "distinct": len(x.cpu().unique(dim=0)) / len(x),
        }


@dataclass(frozen=True)
class TextQuality:
    """Words, neighbours, bits and diversity of real text, each against what as many real windows score."""

    worlds: ClassVar[tuple[type[World], ...]] = (TextWorld,)

    def __call__(self, world: TextWorld, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row:
        found, ceiling = world.scorer.score(x.cpu()), _ceiling(world, len(x))
        return {
            "quality": found.word_rate,
            "loss": max(0.0, ceiling.word_rate - found.word_rate, found.pair_distance - ceiling.pair_distance),
            "pairs": found.pair_distance,
            "judge_bits": found.judge_bits,
            "entropy": found.entropy,
            "distinct": found.distinct4,
        }


@cache
def _ceiling(world: TextWorld, count: int) -> TextScore:
    """What as many real windows score: the same for every cell."""
    return world.scorer.ceiling(count)


@dataclass(frozen=True)
class Validity:
    """Whether each text is right as a whole."""

    worlds: ClassVar[tuple[type[World], ...]] = (LawWorld, GridWorld)

    def __call__(self, world: World, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row:
        right = world.right(x)
        quality = double(right).mean().item()
        return {"quality": quality, "loss": 1 - quality, "outcomes": packed(right)}


@dataclass(frozen=True)
class Repair:
    """Validity, and of the tokens that were wrong at the start: the share ever overwritten (``touched``) and the share right in the
    end (``recovered``); of the right ones the share that ended wrong (``damaged``), which ``loss`` is at least.
    """

    worlds: ClassVar[tuple[type[World], ...]] = (LawWorld, GridWorld)

    def __call__(self, world: World, x: Int[Tensor, "B L"], start: Start | None, trace: Trace | None) -> Row:
        row = Validity()(world, x, start, trace)
        if start is None or start.wrong is None or trace is None:
            raise InputError("a repair is scored by what became of its start: give start and trace")
        before, after, touched = start.wrong(start.x), start.wrong(x), trace.overwritten > 0
        row |= {"touched": _among(touched, before), "recovered": _among(~after, before), "damaged": _among(after, ~before)}
        row["loss"] = max(row["loss"], row["damaged"])
        return row


def _among(what: Tensor, these: Tensor) -> float:
    """The share of these tokens of which it is true; 0 where there are none."""
    return (what & these).sum().item() / max(1, these.sum().item())


def packed(outcomes: Bool[Tensor, " B"]) -> str:
    """One bit a text, as hexadecimal digits, so that two rules can be compared text by text."""
    return f"{int(''.join('01'[bit] for bit in outcomes.int().tolist()), 2):0{-(-len(outcomes) // 4)}x}"
