"""What the tasks on full Sudoku need besides: starts from puzzles that take guesses, and scores that others report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError, check_whole
from ardm.experiments.scores import Row, Validity
from ardm.experiments.starts import Begun, Given, Start
from ardm.method.sampling import Trace
from ardm.method.types import Int
from ardm.worlds.hard_puzzles import hard_puzzle
from ardm.worlds.puzzles import MASK, in_conflict
from ardm.worlds.world import GridWorld, World

__all__ = ["GridScore", "HardPuzzles"]


@dataclass(frozen=True)
class HardPuzzles:
    """Puzzles with one solution that take at least so many ``guesses`` (:func:`~ardm.worlds.hard_puzzles.guesses`)."""

    guesses: int = 1
    hides: ClassVar[bool] = True
    from_texts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("guesses", self.guesses, 1)

    def __call__(self, given: Given) -> Begun:
        seeds = torch.randint(2**31, (len(given.x0),), generator=given.rng).tolist()
        puzzles = [hard_puzzle(x0, seed=seed, least=self.guesses) for x0, seed in zip(given.x0, seeds, strict=True)]
        x = torch.stack(puzzles)
        return x, x != MASK


@dataclass(frozen=True)
class GridScore:
    """Whether each grid is valid (``quality``); the share that are the grid of the start (``exact``), the share of cells that
    differ from it (``mistakes``), and how many cells of a grid hold a digit that stands again in a unit of theirs (``conflicts``).
    """

    worlds: ClassVar[tuple[type[World], ...]] = (GridWorld,)

    def __call__(self, world: GridWorld, x: Int[Tensor, "B 81"], start: Start | None, trace: Trace | None) -> Row:
        if start is None or start.wrong is None:
            raise InputError("grids are compared with that of their start: give the start")
        wrong = start.wrong(x)
        return {
            **Validity()(world, x, start, trace),
            "exact": double(~wrong.any(-1)).mean().item(),
            "mistakes": double(wrong).mean().item(),
            "conflicts": double(in_conflict(x.cpu()).sum(-1)).mean().item(),
        }
