"""Plan, then denoise."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import at_least_one
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import GATES
from ardm.method.rules.scores import scores_of
from ardm.method.schedule import lowest
from ardm.method.types import Action, Step

__all__ = ["DDPD"]


@dataclass(frozen=True)
class DDPD:
    """Plan, then denoise: hide the ``k`` tokens the gate doubts most, and write them at the next call (after arXiv:2410.06264).

    Two calls for k tokens. From a hidden text the first call fills everything at once: the noise it starts from.
    """

    gate: OverwriteGate
    k: int = 4

    def __post_init__(self) -> None:
        at_least_one(self, "k")

    def __call__(self, step: Step, chance: Chance) -> Action:
        out = self.gate(step)
        whole = ~step.is_mask.any(-1, keepdim=True)
        hide = lowest(-out.logit_u, ~step.is_fixed & whole, self.k)
        return Action(write=step.is_mask, remask=hide, scores=scores_of(out))


ENTRIES = (
    Entry(
        name="DDPD",
        source="arXiv:2410.06264",
        group="field",
        rule=DDPD,
        knobs=grid(k=(4, 1, 8, 16)),
        gate=GATES["mismatch"],
    ),
)
