"""The leave-one-out corrector: redraw the visible tokens that the others hold least by, from what the others say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ardm.method.entry import Entry, grid
from ardm.method.rules.informed_corrector import InformedCorrector
from ardm.method.views import LeaveOneOut, View

__all__ = ["LeaveOneOutCorrector"]


@dataclass(frozen=True)
class LeaveOneOutCorrector(InformedCorrector):
    """Redraw the ``k`` visible tokens that trail most by what all other tokens say, and from that alone (arXiv:2605.22765).

    The informed corrector through the view :class:`~ardm.method.views.LeaveOneOut`: highest are ``noise`` x Gumbel - c with c the
    placed margin in q_loo, which the other tokens decide, and q_loo is what is drawn from. So a token does not speak for itself,
    neither when it is judged nor when its place is drawn anew. Without the view it is the informed corrector.

    The source has uniform diffusion, without masks: its error rate falls with time, its corrector makes calls of its own, ranks and
    draws by q_loo mixed with as much noise as the text still has, and ``noise`` is its selection temperature, 1 in diffusers 0.42.
    Here a text holds masks, which the schedule writes in the same call, and visible tokens are meant to be right: none is drawn
    noisy.
    """

    k: int = 1

    view: ClassVar[type[View]] = LeaveOneOut


ENTRIES = (
    Entry(
        name="leave-one-out corrector",
        source="arXiv:2605.22765",
        group="field",
        rule=LeaveOneOutCorrector,
        knobs=grid(k=(1, 2, 4, 8, 16), noise=(1.0, 0.1)),
        scheduled=True,
        long=True,
    ),
)
