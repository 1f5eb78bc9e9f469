"""Token to token, to the first choice: a visible token gives way to the word that the denoiser holds likeliest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ardm.base.streams import Chance
from ardm.method.entry import Entry, grid
from ardm.method.rules.token_to_token import TokenToToken
from ardm.method.schedule import nothing, revisable
from ardm.method.types import Action, Step
from ardm.method.views import FirstChoice, View

__all__ = ["TokenToFirstChoice"]


@dataclass(frozen=True)
class TokenToFirstChoice(TokenToToken):
    """Replace a visible token by the first choice where the denoiser gives that more than ``threshold`` (arXiv:2602.08676).

    This is LLaDA2.1's edit as it is run: a word is put in place, none is drawn. It plays through the view
    :class:`~ardm.method.views.FirstChoice`, by which the proposal of a visible token is the first choice; without the view it
    writes where the draw happens to be that. A threshold of 0 edits every token that is not the first choice. Masks are written
    on the schedule, with what is drawn.
    """

    view: ClassVar[type[View]] = FirstChoice

    def revise(self, step: Step, chance: Chance) -> Action:
        sure = (step.proposal == step.now.best) & (FirstChoice.log_q(step).exp() > self.threshold)
        return Action(write=revisable(step) & (step.proposal != step.x) & sure, remask=nothing(step))


ENTRIES = (
    Entry(
        name="T2T argmax",
        source="arXiv:2602.08676",
        group="field",
        rule=TokenToFirstChoice,
        knobs=grid(threshold=(0.5, 0.0, 0.3, 0.7)),
        scheduled=True,
        long=True,
    ),
)
