"""Overwriting in place: the sampler of the starting document."""

from __future__ import annotations

from dataclasses import dataclass

from ardm.base.errors import check_choice
from ardm.base.streams import Chance
from ardm.method.gate import OverwriteGate
from ardm.method.rules.scores import scores_of
from ardm.method.schedule import nothing
from ardm.method.selection import Selection
from ardm.method.types import Action, Step

__all__ = ["Overwrite"]


@dataclass(frozen=True)
class Overwrite:
    """The document's sampler (section 2.5): overwrite token i in place with probability p_i^t, or as ``selection`` says.

    ``accept="always"`` writes what was drawn. ``"better"`` is an acceptance test: over a visible token it writes only what the
    denoiser holds to be likelier than that token. This makes a text more probable than the law would, token by token.
    """

    gate: OverwriteGate
    selection: Selection = Selection()
    accept: str = "always"

    def __post_init__(self) -> None:
        check_choice("accept", self.accept, ("always", "better"))

    def __call__(self, step: Step, chance: Chance) -> Action:
        out = self.gate(step)
        write = self.selection(out.logit_p, ~step.is_fixed, step, chance)
        if self.accept == "better":
            write &= step.is_mask | (step.now.log_prob(step.proposal) > step.now.log_prob(step.x))
        return Action(write=write, remask=nothing(step), scores=scores_of(out))
