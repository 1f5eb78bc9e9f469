"""The settings of the published tables, by name."""

from __future__ import annotations

from ardm.experiments.cells import CHALLENGERS, Settings
from ardm.experiments.tasks import GRIDS, LADDER, LARGE

__all__ = ["FINALISTS", "PROFILES", "SCALED"]

FINALISTS = (
    *("autoregressive", "one-way", "fixed schedule", "uniform refinement", "all-resample", "Mask-Predict", "P2-self"),
    *("T2T threshold", "T2M low-prob", "informed corrector", "document's gate"),
    *("learned hide ratio", "attentive hide ratio", "shuffled gate", "oracle hide"),
    *CHALLENGERS,
)
"""The rivals that were best in the first table, this book's gates, and the rules that came later."""

SCALED = (
    *("one-way", "all-resample", "P2-self", "T2M low-prob", "informed corrector"),
    *("attentive hide ratio", "oracle hide"),
)
"""The gate and its best rivals."""

ON_GRIDS = (
    *("margin", "confidence threshold", "Mask-Predict", "P2-self", "T2M low-prob", "informed corrector"),
    *("attentive hide ratio", "own ratio hide", "repair hide", "oracle hide"),
)
"""The order by margin and the threshold that others fill grids with, the rivals that were best on grids, and the gates."""

PROFILES = {
    "small": Settings(tasks=("sudoku", "parity"), seeds=2, count=60, tuning=30, denoiser_steps=600, gate_steps=60),
    "paper": Settings(),
    "final": Settings(
        tasks=("agreement", "sudoku", "sudoku9-repair", "text8"),
        rules=FINALISTS,
        nfe=(8, 16),
        count=320,
        tuning=240,
        closer=480,
        tune_all=True,
        texts_from=20_000,
    ),
    "scale": Settings(
        tasks=tuple(task.name for task in LADDER),
        rules=SCALED,
        count=160,
        tuning=60,
        texts_from=30_000,
        tuned_up_to=32,
    ),
    "grids": Settings(
        tasks=tuple(task.name for task in GRIDS),
        rules=ON_GRIDS,
        count=320,
        texts_from=40_000,
        tuned_up_to=64,
    ),
    "scale-gpu": Settings(
        tasks=tuple(task.name for task in LARGE),
        rules=SCALED,
        count=240,
        texts_from=30_000,
        tuned_up_to=128,
    ),
}
"""``small``: minutes on two cores, to see that all works. ``paper``: the book's tables. ``final``: the rivals that were best there
against this book's gates, on more texts and new ones. ``scale``: the gate and its best rivals on longer texts and with smaller and
larger models; ``scale-gpu``: the same on text, with models for a GPU. ``grids``: Sudoku of side 9 with a denoiser trained long.

:meta hide-value:
"""
