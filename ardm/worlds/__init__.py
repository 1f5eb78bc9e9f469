"""What there is to write: laws with their exact oracles, Sudoku grids, real text, and what a sample of each is worth."""
