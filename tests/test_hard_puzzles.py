"""Puzzles that take guesses, and what the tasks on full grids add to starts and scores."""

import itertools

import pytest
import torch

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.experiments.grids import GridScore, HardPuzzles
from ardm.experiments.starts import Given, Start
from ardm.experiments.tasks import TASKS
from ardm.worlds.hard_puzzles import guesses, hard_puzzle
from ardm.worlds.puzzles import MASK, complete, parse_grid, solutions, unique_puzzle

EASY = "003020600900305001001806400008102900700000008006708200002609500800203009005010300"
"""Project Euler's problem 96, grid 01: singles fill it in."""


def hidden(grid, *cells):
    x = grid.clone()
    x[list(cells)] = MASK
    return x


def certain(x):
    """Fills in, by sets, every cell with one candidate and every digit with one place in a unit, until there is none."""
    cells, units = x.tolist(), [[9 * r + c for c in range(9)] for r in range(9)]
    units += [[9 * r + c for r in range(9)] for c in range(9)]
    units += [[27 * a + 3 * b + 9 * i + j for i in range(3) for j in range(3)] for a in range(3) for b in range(3)]
    while True:
        options = {
            i: set(range(9)).difference(*({cells[j] for j in unit} for unit in units if i in unit))
            for i in range(81)
            if cells[i] == MASK
        }
        sure = {i: next(iter(it)) for i, it in options.items() if len(it) == 1}
        for unit in units:
            for digit in range(9):
                places = [i for i in unit if i in options and digit in options[i]]
                if len(places) == 1:
                    sure[places[0]] = digit
        if not sure:
            return cells
        for i, digit in sure.items():
            cells[i] = digit


def test_a_full_grid_and_one_of_singles_take_no_guess():
    grid = complete(1, seed=0)[0]
    assert guesses(grid) == guesses(hidden(grid, 0, 40, 80)) == guesses(parse_grid(EASY)) == 0


def test_a_guess_is_needed_where_singles_end_before_the_grid_is_full():
    """Solved by sets, in another program: it ends with empty cells exactly where a guess was counted."""
    puzzles = [unique_puzzle(grid, 26, seed=i) for i, grid in enumerate(complete(24, seed=3))]
    ends = [MASK in certain(puzzle) for puzzle in puzzles]
    assert ends == [guesses(puzzle) > 0 for puzzle in puzzles]
    assert 0 < sum(ends) < len(ends)


def test_guesses_by_hand():
    """Two digits that can change places in four cells leave two solutions: one guess, right whichever it is. Two such, two."""
    grid = complete(1, seed=0)[0]
    at = grid.view(9, 9).tolist()
    squares = [
        {9 * a + c, 9 * a + d, 9 * b + c, 9 * b + d}
        for a, b in itertools.combinations(range(9), 2)
        for c, d in itertools.combinations(range(9), 2)
        if at[a][c] == at[b][d] and at[a][d] == at[b][c] and (a // 3 == b // 3) != (c // 3 == d // 3)
    ]
    first, second = next(pair for pair in itertools.combinations(squares, 2) if not pair[0] & pair[1])
    assert len(solutions(hidden(grid, *first))) == 2
    assert guesses(hidden(grid, *first)) == 1
    assert len(solutions(hidden(grid, *first, *second), 5)) == 4
    assert guesses(hidden(grid, *first, *second)) == 2


def test_a_hard_puzzle_has_one_solution_no_clue_to_spare_and_takes_guesses():
    for i, grid in enumerate(complete(6, seed=1)):
        puzzle = hard_puzzle(grid, seed=i, least=2)
        clues = (puzzle != MASK).nonzero().flatten().tolist()
        assert torch.equal(solutions(puzzle)[0], grid)
        assert len(solutions(puzzle)) == 1
        assert all(len(solutions(hidden(puzzle, cell))) > 1 for cell in clues)
        assert guesses(puzzle) >= 2
        assert torch.equal(hard_puzzle(grid, seed=i, least=2), puzzle)
        assert not torch.equal(hard_puzzle(grid, seed=i + 1), puzzle)


def test_what_cannot_be_asked_is_refused_in_one_line():
    grid = complete(1, seed=0)[0]
    twice = grid.clone()
    twice[0] = twice[1]
    with pytest.raises(InputError, match="no solution: give those of a valid grid"):
        guesses(twice)
    with pytest.raises(InputError, match="a digit twice in a row, column or box"):
        hard_puzzle(twice, seed=0)
    with pytest.raises(InputError, match="least=0: it is at least 1"):
        hard_puzzle(grid, seed=0, least=0)
    with pytest.raises(InputError, match="least=1000000: no order of 50"):
        hard_puzzle(grid, seed=0, least=10**6)
    with pytest.raises(InputError, match="guesses=0"):
        HardPuzzles(guesses=0)


def test_a_start_from_hard_puzzles_fixes_the_clues_and_nothing_else():
    x0 = complete(3, seed=2)
    x, fixed = HardPuzzles()(Given(x0, MASK, generator(0, "x"), None, "cpu"))
    assert torch.equal(fixed, x != MASK)
    assert torch.equal(x[fixed], x0[fixed])
    assert all(guesses(one) for one in x)
    again, _ = HardPuzzles()(Given(x0, MASK, generator(0, "x"), None, "cpu"))
    assert torch.equal(again, x)


def test_scores_of_grids_by_hand():
    """Three grids of one start: itself, another valid one, and itself with one wrong cell, in conflict with three others."""
    world, x0 = TASKS["grid-repair"].world, complete(2, seed=5)
    truth = x0[:1].expand(3, -1)
    wrong = x0[0].clone()
    cell, digit = 40, (x0[0, 40] + 1) % 9
    wrong[cell] = digit
    row = GridScore()(world, torch.stack([x0[0], x0[1], wrong]), Start(truth, truth < 0, world.wrong(truth)), None)
    places = ((x0[0] == digit).nonzero().flatten()).tolist()
    r, c = divmod(cell, 9)
    same = [p for p in places if p // 9 == r or p % 9 == c or (p // 27 == r // 3 and p % 9 // 3 == c // 3)]
    assert row["quality"] == pytest.approx(2 / 3)
    assert row["loss"] == pytest.approx(1 / 3)
    assert row["exact"] == pytest.approx(1 / 3)
    assert row["mistakes"] == pytest.approx((int((x0[0] != x0[1]).sum()) + 1) / (3 * 81))
    assert row["conflicts"] == pytest.approx((1 + len(same)) / 3)
    with pytest.raises(InputError, match="give the start"):
        GridScore()(world, x0, None, None)
