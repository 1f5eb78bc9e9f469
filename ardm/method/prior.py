"""The positional prior: left tokens mature first.

tau(i) = (T / n)(i + delta) is the step at which position i (0-based) matures, and r_i^t = sigmoid(alpha (tau(i) - t)) the prior
probability that it is still open to revision at step t (AR-Diffusion, Wu et al. 2023, arXiv:2305.09515).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ardm.base.errors import InputError, check_number, check_whole
from ardm.method.types import Float

__all__ = ["PositionalPrior", "forced_overwrites", "maturity", "prior_logit"]

LARGEST = 1e6
"""Of slope and shift: far beyond any use, and float32 holds all that is made of them."""


def maturity(n: int, T: int, delta: float | Tensor = 0.0, *, device: torch.device | str | None = None) -> Float[Tensor, " n"]:
    """tau(i) for i = 0 .. n-1, in steps."""
    check_whole("n", n, 1)
    check_whole("T", T, 1)
    if not isinstance(delta, Tensor):
        _check_delta(delta)
        delta = float(delta)
    i = torch.arange(n, dtype=torch.float32, device=device)
    return (T / n) * (i + delta)


def prior_logit(
    n: int,
    t: float,
    T: int,
    alpha: float | Tensor = 1.25,
    delta: float | Tensor = 0.0,
    *,
    device: torch.device | str | None = None,
) -> Float[Tensor, " n"]:
    """The logit of r_i^t, alpha (tau(i) - t); its sigmoid is r. ``t`` counts steps from 1 to T."""
    if not isinstance(alpha, Tensor):
        _check_slope(alpha)
        alpha = float(alpha)
    return alpha * (maturity(n, T, delta, device=device) - t)


def forced_overwrites(n: int, T: int, alpha: float = 1.25, delta: float = 0.0) -> Float[Tensor, " n"]:
    r"""Sum over t = 1 .. T of r_i^t: how often position i is overwritten, in expectation, by position alone.

    The sum lies within 1 of its integral over t from 1/2 to T + 1/2, which is
    (softplus(alpha (tau(i) - 1/2)) - softplus(alpha (tau(i) - T - 1/2))) / alpha. With delta = 0 it adds up to about nT/2.
    A gate combined with the prior by a noisy-OR can only add to it.
    """
    check_whole("T", T, 1)
    return torch.stack([prior_logit(n, t, T, alpha, delta).sigmoid() for t in range(1, T + 1)]).sum(0)


def _check_delta(delta: float) -> None:
    check_number("delta", delta)
    if not abs(delta) <= LARGEST:
        raise InputError(f"delta={delta}: it is at most {LARGEST:g} either way")


def _check_slope(alpha: float) -> None:
    check_number("alpha", alpha)
    if not alpha > 0:
        raise InputError(f"alpha={alpha}: the slope is positive, else right tokens would mature first")
    if not 1 / LARGEST <= alpha <= LARGEST:
        raise InputError(f"alpha={alpha}: it is between {1 / LARGEST:g} and {LARGEST:g}")


class PositionalPrior(nn.Module):
    """The prior with learnable slope and shift; the slope is kept positive by learning its logarithm."""

    def __init__(self, alpha: float = 1.25, delta: float = 0.0) -> None:
        super().__init__()
        _check_slope(alpha)
        _check_delta(delta)
        self.log_alpha = nn.Parameter(torch.tensor(float(alpha)).log())
        self.delta = nn.Parameter(torch.tensor(float(delta)))

    @property
    def alpha(self) -> Tensor:
        return self.log_alpha.exp()

    def forward(self, n: int, t: float, T: int) -> Float[Tensor, " n"]:
        """The logit of r_i^t at every position."""
        return prior_logit(n, t, T, self.alpha, self.delta, device=self.delta.device)
