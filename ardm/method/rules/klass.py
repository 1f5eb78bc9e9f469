"""Every mask of which the denoiser is sure and about which it has stopped changing its mind."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import InputError, check_share
from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.schedule import lowest, nothing
from ardm.method.types import Action, Step

__all__ = ["Settled"]


@dataclass(frozen=True)
class Settled:
    """Write every mask with max q above ``threshold`` and KL(q now, q before) below ``moved`` nats, and the surest one in any case.

    KLASS (arXiv:2511.05664) asks that both hold at two calls in a row; a rule here remembers nothing, so one comparison with the
    call before has to do. At the first call nothing can have settled.
    """

    threshold: float = 0.9
    moved: float = 0.01

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold)
        if not self.moved > 0:
            raise InputError(f"moved={self.moved}: nats, above 0")

    def __call__(self, step: Step, chance: Chance) -> Action:
        top = step.now.top
        write = lowest(-top, step.is_mask, 1)
        if step.before is not None:
            log_q, before = step.now.log_q, step.before.log_q
            moved = (log_q.exp() * (log_q - before)).sum(-1)
            write = write | (step.is_mask & (moved < self.moved) & (top.exp() > self.threshold))
        return Action(write=write, remask=nothing(step))


ENTRIES = (
    Entry(
        name="KLASS",
        source="arXiv:2511.05664",
        group="field",
        rule=Settled,
        knobs=grid(threshold=(0.9, 0.6), moved=(0.01, 0.015, 0.1, 0.5)),
        revises=False,
        long=True,
    ),
)
