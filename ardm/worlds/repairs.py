"""Minimal repair: in which tokens the nearest right texts differ from a given one, averaged over all that are equally near.

A token is wrong by itself only in the eyes of a truth. Of two tokens that contradict each other either may be the wrong one, and
then each counts one half. Laws know all their texts; a grid is held against the solution that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.method.types import Bool, Float, Int
from ardm.worlds.laws import Law
from ardm.worlds.world import GridWorld, LawWorld, World

__all__ = ["Repairs", "minimal_repair", "verifies"]

FAR = 1 << 20
"""More changes than any text has tokens."""


@dataclass(frozen=True)
class _Edges:
    """The transitions of a law's automaton at one position that lie on a way from its start to an accepted end."""

    before: Int[Tensor, " E"]
    token: Int[Tensor, " E"]
    after: Int[Tensor, " E"]
    weight: Float[Tensor, " E"]


class Repairs:
    """The nearest texts of a law: how many changes they take, and which tokens they change.

    Two recursions over the automaton carry the fewest changes and the probability of the texts that need no more, so ties are
    exact: Viterbi's (1967, doi:10.1109/TIT.1967.1054010) with the sum of all best paths in place of one of them.
    """

    def __init__(self, law: Law) -> None:
        self.law = law
        self.edges = _edges(law)

    def __call__(self, x: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The probability that each visible token differs in a nearest text drawn by the law; 0 at masks, which may become
        anything. float64.
        """
        law, x, device = self.law, x.cpu(), x.device
        ahead = self._forward(x)
        cost = torch.full((len(x), len(law.accepts)), FAR)
        cost[:, law.accepts] = 0
        weight = law.accepts.double().expand(len(x), -1)
        wrong = []
        for i in reversed(range(law.length)):
            edges, changed = self.edges[i], self._changed(x, i)
            cost_before, weight_before = ahead[i]
            through = cost_before[:, edges.before] + changed + cost[:, edges.after]
            nearest = through == through.amin(-1, keepdim=True)
            mass = torch.where(nearest, weight_before[:, edges.before] * edges.weight * weight[:, edges.after], 0.0)
            wrong.append((mass * changed).sum(-1) / mass.sum(-1))
            cost, weight = _carried(cost[:, edges.after] + changed, weight[:, edges.after] * edges.weight, edges.before, cost)
        return torch.stack(wrong[::-1], dim=1).to(device)

    def distance(self, x: Int[Tensor, "B L"]) -> Int[Tensor, " B"]:
        """How many visible tokens a nearest text has otherwise."""
        cost, _ = self._forward(x.cpu())[-1]
        return cost[:, self.law.accepts].amin(-1).to(x.device)

    def _changed(self, x: Int[Tensor, "B L"], i: int) -> Int[Tensor, "B E"]:
        here = x[:, i, None]
        return ((here != self.edges[i].token) & (here < self.law.vocab_size)).long()

    def _forward(self, x: Int[Tensor, "B L"]) -> list[tuple[Int[Tensor, "B S"], Float[Tensor, "B S"]]]:
        """Fewest changes, and the weight of the beginnings that need no more, before each position and at the end."""
        states = len(self.law.accepts)
        cost = torch.full((len(x), states), FAR)
        cost[:, self.law.start] = 0
        weight = torch.zeros(len(x), states, dtype=torch.float64)
        weight[:, self.law.start] = 1.0
        found = [(cost, weight)]
        for i, edges in enumerate(self.edges):
            grown = cost[:, edges.before] + self._changed(x, i), weight[:, edges.before] * edges.weight
            cost, weight = _carried(*grown, edges.after, cost)
            found.append((cost, weight))
        return found


def _carried(
    cost: Int[Tensor, "B E"], weight: Float[Tensor, "B E"], into: Int[Tensor, " E"], like: Int[Tensor, "B S"]
) -> tuple[Int[Tensor, "B S"], Float[Tensor, "B S"]]:
    """Costs and weights of edges gathered in the states that they lead into: the lowest, and the sum of those that have it."""
    at = into.expand_as(cost)
    lowest = torch.full_like(like, FAR).scatter_reduce(1, at, cost, "amin")
    best = torch.where(cost == lowest.gather(1, at), weight, 0.0)
    summed = torch.zeros(like.shape, dtype=torch.float64).scatter_add(1, at, best)
    return lowest, summed / summed.amax(-1, keepdim=True)  # only ratios are used


def _edges(law: Law) -> tuple[_Edges, ...]:
    """The edges of each position; those from or into states that no text passes there are left out."""
    endings = law.backward()
    here: Bool[Tensor, " S"] = torch.zeros(len(law.accepts), dtype=torch.bool)
    here[law.start] = True
    found = []
    for i in range(law.length):
        on_the_way = here.unsqueeze(1) & (law.weight > 0) & (endings[i + 1][law.following] > 0)
        before, token = on_the_way.nonzero(as_tuple=True)
        after = law.following[before, token]
        found.append(_Edges(before, token, after, law.weight[before, token]))
        here = torch.zeros_like(here)
        here[after] = True
    return tuple(found)


@lru_cache
def _repairs(world: LawWorld) -> Repairs:
    return Repairs(world.law)


def verifies(world: World) -> bool:
    """Whether minimal repair is known here: of laws and grids, not of real text."""
    return isinstance(world, (LawWorld, GridWorld))


def minimal_repair(world: World) -> Callable[[Int[Tensor, "B L"], Int[Tensor, "B L"]], Float[Tensor, "B L"]]:
    """What is wrong in texts ``x`` that were made from ``truth``: ``(x, truth)`` -> ``[B, L]`` in [0, 1], 0 at masks.

    A law is asked for its nearest texts, whatever the truth. A grid of side 9 is held against its truth: with 30 and more clues
    there is nearly always one solution. ``InputError`` for real text.
    """
    if isinstance(world, LawWorld):
        return lambda x, truth: _repairs(world)(x)
    if isinstance(world, GridWorld):
        mask_id = world.corpus.vocab_size
        return lambda x, truth: ((x < mask_id) & (x != truth)).double()
    raise InputError(f"{world.name}: nobody can say which token of real text is wrong; choose another label")
