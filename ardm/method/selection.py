"""From probabilities to a decision: which tokens a gate's rule acts on at a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_choice, check_number, check_whole
from ardm.base.streams import Chance
from ardm.method.types import Bool, Float, Step

__all__ = ["Selection"]


@dataclass(frozen=True)
class Selection:
    """Which of the allowed tokens to act on, given the logit of p.

    ``how="bernoulli"`` draws each with its probability p; ``"threshold"`` takes those with p > ``threshold``. Two limits can be
    laid on top. ``budget``: at most that many tokens of a sequence a step, the most probable first; with ``last_budget`` it
    goes in a straight line from ``budget`` at step 1 to ``last_budget`` at step T, rounded. ``per_position``: at most that
    many overwrites of one position in the whole run. The k most probable tokens are ``Selection("threshold", 0.0, budget=k)``.
    """

    how: str = "bernoulli"
    threshold: float = 0.5
    budget: int | None = None
    last_budget: int | None = None
    per_position: int | None = None

    def __post_init__(self) -> None:
        check_choice("how", self.how, ("bernoulli", "threshold"))
        check_number("threshold", self.threshold)
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold={self.threshold}: it is a probability in [0, 1]")
        for name in ("budget", "last_budget", "per_position"):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, 0, 2**31)
        if self.last_budget is not None and self.budget is None:
            raise InputError(f"last_budget={self.last_budget} without a budget: give the budget of step 1 too")

    @cached_property
    def _limit(self) -> float:
        """The logit of the threshold, in the precision of a gate."""
        return torch.tensor(self.threshold).logit().item()

    def budget_at(self, t: int, T: int) -> int | None:
        """Most tokens of a sequence at step t of T; None is no limit."""
        if self.budget is None or self.last_budget is None or T == 1:
            return self.budget
        return int(self.budget + (self.last_budget - self.budget) * (t - 1) / (T - 1) + 0.5)

    def __call__(
        self, logit_p: Float[Tensor, "B L"], allowed: Bool[Tensor, "B L"], step: Step, chance: Chance
    ) -> Bool[Tensor, "B L"]:
        p = logit_p.sigmoid()
        chosen = chance.uniform(p.shape[-1]) < p if self.how == "bernoulli" else logit_p > self._limit
        chosen = chosen & allowed
        if self.per_position is not None:
            chosen = chosen & (step.is_mask | (step.overwrites < self.per_position))
        budget = self.budget_at(step.t, step.T)
        if budget is not None:
            rank = logit_p.masked_fill(~chosen, -torch.inf).argsort(dim=-1, descending=True, stable=True).argsort(-1)
            chosen = chosen & (rank < budget)
        return chosen
