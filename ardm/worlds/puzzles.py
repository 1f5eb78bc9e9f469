"""Sudoku of side 9: grids, puzzles with one solution, errors, and a corpus of grids without end.

A grid is a row of 81 ints, line by line: 0 .. 8 stand for the digits 1 .. 9, and 9 is the mask (an empty cell). A unit is a
row, a column or a 3 x 3 box; in a valid grid each of the 27 units holds each digit once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_whole
from ardm.base.streams import HELD_OUT, generator
from ardm.method.denoiser import units_of
from ardm.method.types import Bool, Int
from ardm.worlds.laws import LARGEST

__all__ = [
    "GridCorpus",
    "complete",
    "in_conflict",
    "is_valid_grid",
    "parse_grid",
    "plant_errors",
    "shuffled",
    "solutions",
    "solved_table",
    "unique_puzzle",
]

MASK = 9
FEWEST_CLUES = 17  # no puzzle with fewer has one solution: McGuire, Tugemann & Civario 2014, arXiv:1201.0749
ORDERS = 50  # orders of removal that unique_puzzle tries
TRAIN_BASE = (1000, 1)  # how many grids GridCorpus shuffles, and their seed
HELD_OUT_BASE = (200, 2)


UNITS_OF = [tuple(units) for units in units_of(81).tolist()]
UNITS = [[cell for cell in range(81) if unit in UNITS_OF[cell]] for unit in range(27)]
PEERS = torch.tensor([[a != b and bool(set(UNITS_OF[a]) & set(UNITS_OF[b])) for b in range(81)] for a in range(81)])


def solutions(clues: Int[Tensor, " 81"], limit: int = 2) -> list[Tensor]:
    """Up to ``limit`` completions ``[81]`` of a grid with masks, by backtracking; none when the clues contradict each other."""
    check_whole("limit", limit, 0, LARGEST)
    _check_grids("clues", clues.unsqueeze(0))
    cells = clues.tolist()
    if foreign := [value for value in cells if not 0 <= value <= MASK]:
        raise InputError(f"a cell holds {foreign[0]}: give the digits as 0 .. 8 and a mask as {MASK}")
    return [torch.tensor(found, device=clues.device) for found in islice(_completions(cells), limit)]


def complete(count: int, *, seed: int) -> Int[Tensor, "N 81"]:
    """``count`` random valid grids, each filled from nothing with the digits of every cell tried in random order."""
    check_whole("count", count, 0)
    check_whole("seed", seed, 0)
    rng = random.Random(int(seed))
    grids = [next(_completions([MASK] * 81, rng)) for _ in range(count)]
    return torch.tensor(grids, dtype=torch.long).reshape(count, 81)


def _completions(cells: list[int], rng: random.Random | None = None) -> Iterator[list[int]]:
    """Every completion of ``cells``, lazily; digits in ascending order, or in random order with ``rng``."""
    cells = list(cells)
    free = [0b111111111] * 27  # the digits that each unit still lacks, a bit each
    for cell, digit in enumerate(cells):
        if digit != MASK:
            if not all(free[unit] >> digit & 1 for unit in UNITS_OF[cell]):
                return
            for unit in UNITS_OF[cell]:
                free[unit] ^= 1 << digit
    yield from _fill(cells, free, rng)


def _fill(cells: list[int], free: list[int], rng: random.Random | None) -> Iterator[list[int]]:
    """One level of the backtracking: every digit of the most constrained cell, and the completions of each."""
    chosen = _choose(cells, free)
    if chosen is None:
        yield list(cells)
        return
    cell, candidates = chosen
    digits = [digit for digit in range(9) if candidates >> digit & 1]
    if rng is not None:
        rng.shuffle(digits)
    row, column, box = UNITS_OF[cell]
    for digit in digits:
        bit = 1 << digit
        cells[cell] = digit
        free[row] ^= bit
        free[column] ^= bit
        free[box] ^= bit
        yield from _fill(cells, free, rng)
        free[row] ^= bit
        free[column] ^= bit
        free[box] ^= bit
    cells[cell] = MASK


def _choose(cells: list[int], free: list[int]) -> tuple[int, int] | None:
    """The empty cell with the fewest candidates and those, as bits; None in a full grid.

    When no cell has fewer than two candidates, a digit with one place left in a unit decides its cell.
    """
    options = [0] * 81
    best, fewest = None, 10
    for cell, (row, column, box) in enumerate(UNITS_OF):
        if cells[cell] == MASK:
            options[cell] = candidates = free[row] & free[column] & free[box]
            size = candidates.bit_count()
            if size < 2:
                return cell, candidates
            if size < fewest:
                best, fewest = cell, size
    if best is None:
        return None
    for unit, members in enumerate(UNITS):
        once = twice = 0
        for cell in members:
            twice |= once & options[cell]
            once |= options[cell]
        if once != free[unit]:  # a digit has no place left
            return best, 0
        single = once & ~twice
        if single:
            cell = next(cell for cell in members if options[cell] & single)
            return cell, options[cell] & single
    return best, options[best]


def shuffled(grids: Int[Tensor, "B 81"], generator: torch.Generator) -> Int[Tensor, "B 81"]:
    """Each grid under a random symmetry of its own; valid grids stay valid, masks stay masks.

    The digits are renamed, the bands, the rows in a band, the stacks and the columns in a stack change places, and half of the
    grids are transposed.
    """
    _check_cells("grids", grids)
    B, device = len(grids), generator.device
    digits = torch.rand(B, 9, generator=generator, device=device).argsort(-1)
    rows, columns = (_lines(B, generator) for _ in range(2))
    source = rows.unsqueeze(2) * 9 + columns.unsqueeze(1)
    transpose = torch.rand(B, 1, 1, generator=generator, device=device) < 0.5
    source = torch.where(transpose, source.mT, source).flatten(1).to(grids.device)
    names = torch.cat([digits, torch.full((B, 1), MASK, device=device)], dim=1).to(grids.device)
    return names.gather(1, grids.gather(1, source))


def _is_whole(x: Tensor) -> bool:
    return not (x.dtype == torch.bool or x.is_floating_point() or x.is_complex())


def _check_grids(name: str, x: Tensor) -> None:
    """Raise ``InputError`` unless these are rows of 81 whole numbers."""
    if not _is_whole(x):
        raise InputError(f"{name} has the type {x.dtype}: give cells as whole numbers")
    if x.ndim != 2 or x.shape[1] != 81:
        raise InputError(f"{name} has the shape {list(x.shape)}: a grid has 81 cells, line by line")


def _check_cells(name: str, x: Tensor) -> None:
    """And unless each is a digit or a mask."""
    _check_grids(name, x)
    if (strange := x[(x < 0) | (x > MASK)]).numel():
        raise InputError(f"{name} holds {int(strange[0])}: give the digits as 0 .. 8 and a mask as {MASK}")


def _lines(count: int, generator: torch.Generator) -> Int[Tensor, "B 9"]:
    """Orders of nine lines in which the three of a band stay together."""
    bands = torch.rand(count, 3, generator=generator, device=generator.device).argsort(-1)
    within = torch.rand(count, 3, 3, generator=generator, device=generator.device).argsort(-1)
    return (bands.unsqueeze(-1) * 3 + within).flatten(1)


def unique_puzzle(solution: Int[Tensor, " 81"], clues: int, *, seed: int) -> Int[Tensor, " 81"]:
    """A puzzle of ``clues`` cells of a valid grid, from 17 to 81, that has this grid as its one solution.

    Cells are hidden in random order, each unless a second solution would appear. Few orders get below 23 clues.
    """
    check_whole("clues", clues, 0)
    check_whole("seed", seed, 0)
    if not FEWEST_CLUES <= clues <= 81:
        raise InputError(f"clues={clues}: a puzzle with one solution has {FEWEST_CLUES} to 81")
    _check_grids("solution", solution.unsqueeze(0))
    if not is_valid_grid(solution.unsqueeze(0)).all():
        raise InputError("the solution has a mask, or a digit twice in a row, column or box: give a valid grid")
    rng = random.Random(int(seed))
    lowest = 81
    for _ in range(ORDERS):
        cells, left = solution.tolist(), 81
        for cell in rng.sample(range(81), 81):
            if left == clues:
                return torch.tensor(cells, device=solution.device)
            digit, cells[cell] = cells[cell], MASK
            if len(list(islice(_completions(cells), 2))) == 1:
                left -= 1
            else:
                cells[cell] = digit
        if left == clues:
            return torch.tensor(cells, device=solution.device)
        lowest = min(lowest, left)
    raise InputError(
        f"clues={clues}: {ORDERS} orders of removal reached {lowest}; ask for {lowest} or more, or change the seed"
    )


def is_valid_grid(x: Int[Tensor, "B 81"]) -> Bool[Tensor, " B"]:
    """Whether each row, column and box holds each digit once; a grid with a mask is not valid."""
    _check_grids("x", x)
    held = x[:, torch.tensor(UNITS, device=x.device)].sort(-1).values
    return (held == torch.arange(9, device=x.device)).flatten(1).all(-1)


def in_conflict(x: Int[Tensor, "B 81"]) -> Bool[Tensor, "B 81"]:
    """The visible cells whose digit stands again in their row, column or box."""
    _check_grids("x", x)
    same = (x.unsqueeze(2) == x.unsqueeze(1)) & PEERS.to(x.device)
    return same.any(-1) & (x != MASK)


def plant_errors(
    solutions: Int[Tensor, "B 81"], count: int | Int[Tensor, " B"], *, generator: torch.Generator
) -> Int[Tensor, "B 81"]:
    """The grids with ``count`` random cells each, all different, replaced by another digit, all alike.

    ``count`` is one number or one for each grid, from 0 to 81.
    """
    _check_cells("solutions", solutions)
    if (solutions == MASK).any():
        raise InputError("a grid to plant errors in has a mask: give full grids")
    device = generator.device
    try:
        counts = torch.as_tensor(count, device=device)
    except (TypeError, ValueError, RuntimeError):
        counts = torch.tensor(math.nan)
    if not _is_whole(counts) or counts.shape not in ((), (1,), solutions.shape[:1]):
        raise InputError(f"count={count!r}: give one whole number, or one for each of the {len(solutions)} grids")
    counts = counts.expand(len(solutions))
    if bad := counts[(counts < 0) | (counts > 81)].tolist():
        raise InputError(f"count={bad[0]}: plant 0 to 81 errors in a grid")
    order = torch.rand(solutions.shape, generator=generator, device=device).argsort(-1)
    shift = torch.randint(1, 9, solutions.shape, generator=generator, device=device)
    shift = torch.where(order < counts.unsqueeze(-1), shift, 0).to(solutions.device)
    return (solutions + shift) % 9


def parse_grid(text: str) -> Int[Tensor, " 81"]:
    """The grid written as 81 characters: ``1`` .. ``9``, and ``.``, ``0`` or ``_`` for a mask. White space does not count."""
    if not isinstance(text, str):
        raise InputError(f"{text!r:.20} is no grid: write 81 characters, each 1 .. 9, or one of . 0 _ for an empty cell")
    cells = "".join(text.split()).replace(".", "0").replace("_", "0")
    if len(cells) != 81 or not set(cells) <= set("0123456789"):
        raise InputError(f"{text[:20]!r} is no grid: write 81 characters, each 1 .. 9, or one of . 0 _ for an empty cell")
    return torch.tensor([(int(cell) - 1) % 10 for cell in cells])  # an empty 0 becomes 9, the mask


def solved_table(text: str) -> str:
    """A list of puzzles, one a line, as CSV with their solutions; ``0`` is an empty cell. Ten seconds for 10,000 puzzles."""
    lines = ["puzzle,solution"]
    for number, line in enumerate(text.split(), start=1):
        puzzle = parse_grid(line)
        found = solutions(puzzle)
        if len(found) != 1:
            raise InputError(
                f"puzzle {number} has {'no' if not found else 'more than one'} solution: list puzzles that have one"
            )
        lines.append(",".join("".join(str((cell + 1) % 10) for cell in grid.tolist()) for grid in (puzzle, found[0])))
    return "\n".join(lines) + "\n"


@cache
def _base(count: int, seed: int) -> Int[Tensor, "N 81"]:
    """The grids of :func:`complete`, made once in each process."""
    return complete(count, seed=seed)


@dataclass(frozen=True)
class GridCorpus:
    """Valid grids: random symmetries of 1,000 base grids to learn from, of 200 others held out."""

    name: str = "sudoku9"
    words: tuple[str, ...] = tuple("123456789")
    length: int = 81
    law: None = None

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B 81"]:
        return self._draw(_base(*TRAIN_BASE), count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B 81"]:
        return self._draw(_base(*HELD_OUT_BASE), count, generator(seed, HELD_OUT))

    def _draw(self, base: Tensor, count: int, generator: torch.Generator) -> Tensor:
        check_whole("count", count, 0, LARGEST // 81)
        which = torch.randint(len(base), (count,), generator=generator, device=generator.device)
        return shuffled(base[which.to(base.device)], generator)

    def decode(self, x: Int[Tensor, " 81"]) -> str:
        """Nine lines of nine digits; a mask is shown as ``_``."""
        shown = [(*self.words, "_")[int(token)] for token in x]
        return "\n".join("".join(shown[first : first + 9]) for first in range(0, len(shown), 9))
