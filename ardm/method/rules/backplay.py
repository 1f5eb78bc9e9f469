"""BackPlay: a head on the frozen denoiser that learns from the denoiser's own errors, seen later in a richer text.

Its source (arXiv:2601.06428) asks the denoiser once about a text with more hidden, puts the surest of its draws into a text with
less hidden, and teaches transformer blocks on the hidden states which visible tokens are not the true ones; when it samples, the
head's worst tokens above a threshold are hidden now and then. Here runs of the sampler make such states: what is drawn early, with
much hidden, stands in the later steps of a run, which start from true texts with a random share hidden. The head edits these runs
as it is at that moment, all draws stay and not the surest alone, a mask counts as a token to be changed, and at every call suspects
may be hidden, the same place again too. The head has one block, and is trained as long as this book's gate on its own runs.
"""

from __future__ import annotations

from functools import partial

from ardm.method.entry import Entry, grid
from ardm.method.gate_recipe import GateRecipe, Head, Rollout, Taught
from ardm.method.rules.by_gate import hide_by_gate

__all__: list[str] = []

BACKPLAY = GateRecipe(
    head=Head("attentive"),
    signals=(),
    states=Rollout("hide"),
    objective=Taught("mismatch"),
    steps=150,
    batch=48,
    rate=2e-3,
)

ENTRIES = (
    Entry(
        name="BackPlay head",
        source="arXiv:2601.06428",
        group="field",
        rule=partial(hide_by_gate, finish=False),
        knobs=grid(how=("threshold",), threshold=(0.5, 0.0, 0.1, 0.3, 0.7), budget=(2, 4, 16)),
        scheduled=True,
        gate=BACKPLAY,
        long=True,
    ),
)
