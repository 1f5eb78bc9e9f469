"""Shares and means with their intervals: over texts, and over trainings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from ardm.base.devices import double
from ardm.base.errors import InputError
from ardm.method.types import Bool, Float

__all__ = ["Interval", "Share", "mean_over_trainings", "nested_difference", "paired_difference", "share"]


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


def nested_difference(
    a: Bool[Tensor, "S N"], b: Bool[Tensor, "R M"], *, trainings: bool = True, draws: int = 4000, seed: int = 0
) -> Interval:
    """The difference of two shares, paired text by text, with the 95 % interval of a nested bootstrap.

    A draw takes S trainings with replacement, and N of the texts of each (Davison and Hinkley 1997, section 3.8, doi:
    10.1017/CBO9780511802843); the ends are the percentiles of the draws' means. Of few trainings this is too narrow, see
    :func:`mean_over_trainings`. Not over ``trainings``, it keeps these as they are, and says what another set of texts would have
    given. ``InputError`` where the two have other trainings or texts.
    """
    if a.shape != b.shape or a.numel() == 0:
        raise InputError(f"outcomes of {tuple(a.shape)} against {tuple(b.shape)}: pairs need the same trainings and texts")
    gaps, rng = double(a.cpu()).numpy() - double(b.cpu()).numpy(), np.random.default_rng(seed)
    S, N = gaps.shape
    drawn = rng.integers(S, size=(draws, S)) if trainings else np.broadcast_to(np.arange(S), (draws, S))
    means = [gaps[some[:, None], rng.integers(N, size=(S, N))].mean() for some in drawn]
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return Interval(float(gaps.mean()), low, high)
