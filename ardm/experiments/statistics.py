"""Shares and means with their intervals: over texts, and over trainings."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.method.types import Float

__all__ = ["Interval", "Share", "mean_over_trainings", "paired_difference", "share"]


@dataclass(frozen=True)
class Share:
    """A share of successes with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def share(successes: Tensor) -> Share:
    """The share of true entries of a boolean tensor."""
    count = successes.numel()
    if count == 0:
        raise InputError("a share of nothing: give at least one outcome")
    hits = int(successes.sum())
    interval = stats.binomtest(hits, count).proportion_ci(method="wilson")
    return Share(hits / count, float(interval.low), float(interval.high), count)


@dataclass(frozen=True)
class Interval:
    """A mean or a difference of means with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_over_trainings(values: Float[Tensor, " S"]) -> Interval:
    """The mean of one number per training with Student's interval: it covers what another training would have given.

    A bootstrap of five numbers is too narrow, since it has nothing to resample the tails from; Student's t is not. Raises
    ``InputError`` below two trainings.
    """
    if len(values) < 2:
        raise InputError(f"{len(values)} training: an interval over trainings needs at least 2")
    v = double(values.cpu()).numpy()
    half = stats.sem(v) * stats.t.ppf(0.975, len(v) - 1)
    return Interval(float(v.mean()), float(v.mean() - half), float(v.mean() + half))


def paired_difference(a: Float[Tensor, " S"], b: Float[Tensor, " R"]) -> Interval:
    """The mean of a - b, training by training, with Student's paired interval."""
    if a.shape != b.shape:
        raise InputError(f"{len(a)} against {len(b)} trainings: pairs need the same ones")
    return mean_over_trainings(double(a) - double(b))
