"""The tasks: of the arena, of the ladders, and for a GPU. What a task is stands in ``task.py``: a new one changes no result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ardm.experiments.grids import GridScore, HardPuzzles
from ardm.experiments.published import PUBLISHED
from ardm.experiments.scores import LawFidelity, Repair, TextQuality, Validity
from ardm.experiments.starts import Infill, OwnErrors, PlantedErrors, StartFrom
from ardm.experiments.task import Task
from ardm.method.train_denoiser import DenoiserRecipe

__all__ = ["ARENA", "GRIDS", "LADDER", "LARGE", "TASKS"]

AGREEMENT = DenoiserRecipe(steps=3000)
GRID, TEXT8 = PUBLISHED["sudoku9"], PUBLISHED["text8"]
LONG: dict[str, Any] = {
    "nfe": (8, 16),
    "causal": False,
    "long": True,
    "one_denoiser": True,
    "portion": 0.5,
    "gate_share": 0.5,
}


def _small(corpus: str, length: int, title: str, name: str | None = None, **how: Any) -> Task:
    """A law with short texts, and a small model."""
    recipe = DenoiserRecipe(corpus=corpus, length=length, width=64, steps=2000)
    return Task(name=name or corpus, title=title, recipe=recipe, score_by=LawFidelity(), **how)


ARENA = (
    Task(
        name="agreement",
        title="agreement grammar",
        recipe=AGREEMENT,
        score_by=LawFidelity(counted="."),
        nfe=(4, 8, 16, 32),
    ),
    _small("sudoku", 16, "Sudoku 4×4"),
    _small("dyck", 12, "brackets", "brackets", nfe=(4, 8, 12, 16)),
    _small("addition", 12, "addition", nfe=(4, 8, 12, 16)),
    _small("parity", 8, "parity"),
    Task(
        name="agreement-repair",
        title="repair, planted errors",
        recipe=AGREEMENT,
        score_by=Repair(),
        start_from=PlantedErrors(wrong=(2, 6)),
        nfe=(8,),
        causal=False,
    ),
    Task(
        name="agreement-own",
        title="repair, own errors",
        recipe=AGREEMENT,
        score_by=Repair(),
        start_from=OwnErrors(hidden=0.5),
        nfe=(8,),
        causal=False,
    ),
    Task(
        name="sudoku9-infill",
        title="Sudoku 9×9, infill",
        recipe=GRID,
        score_by=Validity(),
        start_from=Infill(clues=(30, 50)),
        **LONG,
    ),
    Task(
        name="sudoku9-repair",
        title="Sudoku 9×9, repair",
        recipe=GRID,
        score_by=Repair(),
        start_from=PlantedErrors(wrong=(4, 20)),
        **LONG,
    ),
    Task(name="text8", title="text8", recipe=TEXT8, score_by=TextQuality(), **LONG),
)
"""The tasks that are played when none is named.

:meta hide-value:
"""


def _rung(name: str, recipe: DenoiserRecipe, title: str, **how: Any) -> Task:
    """A rung of a ladder: one denoiser, and as many calls a token on every rung."""
    calls = (recipe.length // 4, recipe.length // 2)
    return Task(name=name, title=title, recipe=recipe, nfe=calls, causal=False, one_denoiser=True, **how)


LADDER = tuple(
    _rung(name, replace(AGREEMENT, **size), title, score_by=LawFidelity(counted="."))
    for name, size, title in (
        ("agreement-16", {"length": 16}, "16 tokens"),
        ("agreement-32", {}, "32 tokens"),
        ("agreement-64", {"length": 64}, "64 tokens"),
        ("agreement-narrow", {"width": 48, "depth": 2}, "32 tokens, narrow model"),
        ("agreement-wide", {"width": 128, "depth": 4}, "32 tokens, wide model"),
    )
)
"""The agreement grammar at three lengths with one model, and at the middle length with a smaller and a larger model.

:meta hide-value:
"""


def _large(size: int, width: int, depth: int, heads: int, rate: float) -> Task:
    recipe = DenoiserRecipe(
        corpus="text8",
        length=256,
        width=width,
        depth=depth,
        heads=heads,
        steps=4000,
        batch=256,
        rate=rate,
        precision="bfloat16",
    )
    return _rung(f"text8-{size}m", recipe, f"text8, {size} M parameters", score_by=TextQuality(), portion=0.5)


LARGE = tuple(_large(*sizes) for sizes in ((10, 384, 6, 6, 1e-3), (25, 512, 8, 8, 6e-4), (85, 768, 12, 12, 3e-4)))
"""Characters of text8 in windows of 256, with models that want a GPU.

:meta hide-value:
"""


def _grid(name: str, title: str, start_from: StartFrom, nfe: tuple[int, ...] = (16, 64)) -> Task:
    """A task on full grids, with the denoiser that was trained long."""
    recipe = PUBLISHED["sudoku9-long"]
    how = LONG | {"nfe": nfe}
    return Task(name=name, title=title, recipe=recipe, score_by=GridScore(), start_from=start_from, **how)


GRIDS = (
    _grid("grid-repair", "4 to 20 wrong cells", PlantedErrors(wrong=(4, 20)), (8, 16)),
    _grid("grid-30", "30 to 39 blanks", Infill(clues=(42, 51))),
    _grid("grid-40", "40 to 49 blanks", Infill(clues=(32, 41))),
    _grid("grid-50", "50 to 59 blanks", Infill(clues=(22, 31))),
    _grid("grid-60", "60 to 69 blanks", Infill(clues=(12, 21))),
    _grid("grid-hard", "puzzles that take guesses", HardPuzzles()),
)
"""Sudoku of side 9 as others published on it.

:meta hide-value:
"""

TASKS = {task.name: task for task in (*ARENA, *LADDER, *LARGE, *GRIDS)}
"""All tasks by name.

:meta hide-value:
"""
