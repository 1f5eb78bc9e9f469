"""Puzzles of side 9 that cannot be filled in one cell after the other: a solver has to guess, and to take guesses back."""

from __future__ import annotations

from functools import lru_cache
from itertools import count

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_whole
from ardm.base.streams import generator
from ardm.method.types import Int
from ardm.worlds.puzzles import MASK, ORDERS, PEERS, UNITS, UNITS_OF, in_conflict, is_valid_grid, solutions

__all__ = ["guesses", "hard_puzzle"]


def guesses(clues: Int[Tensor, " 81"]) -> int:
    """How many guesses a solver makes until the grid is full; 0 where it needs none.

    It fills in what is certain: a cell with one candidate left, a digit with one place left in a unit. Where nothing is certain
    it guesses, in a cell with the fewest candidates (the first such cell, digits in ascending order), and takes back what led
    to a contradiction. ``InputError`` for clues without a solution.
    """
    if not solutions(clues, 1):
        raise InputError("these clues have no solution: give those of a valid grid")
    waiting = [clues]
    for tried in count():
        x = waiting.pop()
        options = _options(x)
        while (single := _certain(options)).any():
            x = torch.where(single.any(1), single.int().argmax(1), x)
            options = _options(x)
        empty = x == MASK
        if in_conflict(x[None]).any() or (empty & ~options.any(1)).any():
            continue
        if not empty.any():
            return tried
        cell = int(options.sum(1).masked_fill(~empty, MASK + 1).argmin())
        waiting += [x.scatter(0, torch.tensor([cell]), digit) for digit in options[cell].nonzero().flip(0)]
    raise AssertionError  # there is a solution, and every guess that is left waits


def _options(x: Int[Tensor, " 81"]) -> Tensor:
    """``[81, 9]``: which digits an empty cell may hold by the digits in its units; a full cell has none."""
    held = torch.nn.functional.one_hot(x, MASK + 1)[:, :MASK].float()
    return (x == MASK).unsqueeze(1) & ((PEERS.float() @ held) == 0)


def _certain(options: Tensor) -> Tensor:
    """``[81, 9]``: the digits that are the only ones of a cell, or have no other place in one of its units."""
    one_place = options[torch.tensor(UNITS)].sum(1) == 1  # [27, 9]
    return options & ((options.sum(1, keepdim=True) == 1) | one_place[torch.tensor(UNITS_OF)].any(1))


def hard_puzzle(solution: Int[Tensor, " 81"], *, seed: int, least: int = 1) -> Int[Tensor, " 81"]:
    """A puzzle with this valid grid as its one solution, of which no clue can be spared, and that takes ``least`` guesses.

    Cells are hidden in random order, each unless a second solution would appear; another order is tried where what is left takes
    fewer guesses. ``InputError`` where no order of 50 does.
    """
    check_whole("least", least, 1)
    check_whole("seed", seed, 0)
    if not is_valid_grid(solution.unsqueeze(0)).all():
        raise InputError("the solution has a mask, or a digit twice in a row, column or box: give a valid grid")
    return torch.tensor(_hard(tuple(solution.tolist()), int(seed), least), device=solution.device)


@lru_cache(maxsize=100_000)
def _hard(solution: tuple[int, ...], seed: int, least: int) -> tuple[int, ...]:
    rng = generator(seed, "hard puzzles")
    for _ in range(ORDERS):
        left = torch.tensor(solution)
        for cell in torch.randperm(81, generator=rng).tolist():
            left[cell] = MASK
            if len(solutions(left)) > 1:
                left[cell] = solution[cell]
        if guesses(left) >= least:
            return tuple(left.tolist())
    raise InputError(f"least={least}: no order of {ORDERS} led to a puzzle that takes so many guesses; ask for fewer")
