"""WINO as its paper has it: a visible token is judged by what the others say of its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ardm.method.entry import Entry, grid
from ardm.method.rules.wino import WideInNarrowOut
from ardm.method.views import LeaveOneOut, View

__all__ = ["WideInNarrowOutUnseen"]


@dataclass(frozen=True)
class WideInNarrowOutUnseen(WideInNarrowOut):
    """Write widely, hide narrowly, where no token speaks for itself (arXiv:2507.18578).

    The source adds a shadow of masks to the text, one a place, that may look at all tokens but its own: twice the length, so about
    the cost of a second call, and the released code leaks, since what the shadow looks at has seen the token. Here the same q comes
    through the view :class:`~ardm.method.views.LeaveOneOut`, from the one call and without the leak, as exact as the denoiser is.
    Without the view it is :class:`~ardm.method.rules.wino.WideInNarrowOut`.
    """

    view: ClassVar[type[View]] = LeaveOneOut


ENTRIES = (
    Entry(
        name="WINO leave-one-out",
        source="arXiv:2507.18578",
        group="field",
        rule=WideInNarrowOutUnseen,
        knobs=grid(write_above=(0.6, 0.3, 0.8), hide_below=(0.9, 0.7, 0.5, 0.2, 0.05)),
        long=True,
    ),
)
