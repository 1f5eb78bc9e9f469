"""Where a run of a task starts: from nothing, from a puzzle, from a text with planted errors, from one with the denoiser's own.

A start is made from right texts, the random numbers of its seed and, for the denoiser's own errors, the denoiser; the rule plays no
part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ardm.base.devices import widest
from ardm.base.errors import InputError
from ardm.method.corruption import wrong_tokens
from ardm.method.draw import Draw
from ardm.method.types import Bool, Denoiser, Int
from ardm.worlds.world import Wrong

__all__ = ["Blank", "Given", "Infill", "OwnErrors", "PlantedErrors", "Start", "StartFrom"]


@dataclass(frozen=True)
class Start:
    """``x``: where a run starts; ``fixed``: what it may not touch; ``wrong``: which visible tokens of a text have to change, as
    the oracle gate and the scores see it.
    """

    x: Int[Tensor, "B L"]
    fixed: Bool[Tensor, "B L"]
    wrong: Wrong | None = None


Begun = tuple[Tensor, Tensor]
"""``x`` [B, L] and ``fixed`` [B, L] of a start, on the CPU."""


@dataclass(frozen=True)
class Given:
    """What starts are made from: right texts, the random numbers of the seed, and a denoiser where it is asked."""

    x0: Int[Tensor, "B L"]
    mask_id: int
    rng: torch.Generator
    denoiser: Denoiser | None
    device: torch.device | str  # of the denoiser


@runtime_checkable
class StartFrom(Protocol):
    """Makes starts: plain data, chosen once for each task."""

    hides: ClassVar[bool]  # there are masks to write
    from_texts: ClassVar[bool]  # something of a right text is left, of which that text is the solution

    def __call__(self, given: Given) -> Begun: ...


@dataclass(frozen=True)
class Blank:
    """Masks alone: a text is written from nothing."""

    hides: ClassVar[bool] = True
    from_texts: ClassVar[bool] = False

    def __call__(self, given: Given) -> Begun:
        return torch.full_like(given.x0, given.mask_id), _nothing(given.x0)


@dataclass(frozen=True)
class Infill:
    """Random clues of a right text, fixed; all else is hidden. ``clues``: how many a text, from and to."""

    clues: tuple[int, int]
    hides: ClassVar[bool] = True
    from_texts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_range("clues", self.clues)

    def __call__(self, given: Given) -> Begun:
        fixed = _some(given, self.clues)
        return torch.where(fixed, given.x0, given.mask_id), fixed


@dataclass(frozen=True)
class PlantedErrors:
    """A right text in which random tokens are replaced by other ones, all alike. ``wrong``: how many a text, from and to."""

    wrong: tuple[int, int]
    hides: ClassVar[bool] = False
    from_texts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_range("wrong", self.wrong)

    def __call__(self, given: Given) -> Begun:
        hit = _some(given, self.wrong)
        others = wrong_tokens(given.x0, given.mask_id, generator=given.rng)
        return torch.where(hit, others, given.x0), _nothing(given.x0)


@dataclass(frozen=True)
class OwnErrors:
    """A right text of which the share ``hidden`` was hidden and filled by the denoiser, all at once."""

    hidden: float = 0.5
    hides: ClassVar[bool] = False
    from_texts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.hidden <= 1:
            raise InputError(f"hidden={self.hidden}: it is a share in (0, 1]")

    @torch.no_grad()
    def __call__(self, given: Given) -> Begun:
        if given.denoiser is None:
            raise InputError("the start holds a denoiser's own errors: give the denoiser")
        x0 = given.x0
        hidden = torch.rand(x0.shape, generator=given.rng) < self.hidden
        uniform = torch.rand(x0.shape, generator=given.rng, dtype=widest("cpu"))
        x = torch.where(hidden, given.mask_id, x0).to(given.device)
        log_q = given.denoiser(x, self.hidden).logits.log_softmax(-1)
        return torch.where(hidden, Draw()(log_q.cpu(), uniform), x0), _nothing(x0)


def _nothing(x0: Tensor) -> Tensor:
    return torch.zeros_like(x0, dtype=torch.bool)


def _some(given: Given, number: tuple[int, int]) -> Tensor:
    """``[B, L]``: so many random positions of each text, their number drawn uniformly from a range that holds both ends."""
    B, L = given.x0.shape
    if number[1] > L:
        raise InputError(f"{number[1]} positions of a text of {L} tokens: ask for at most all")
    wanted = torch.randint(number[0], number[1] + 1, (B, 1), generator=given.rng)
    return torch.rand(B, L, generator=given.rng).argsort(-1).argsort(-1) < wanted


def _check_range(name: str, number: tuple[int, int]) -> None:
    if not 0 <= number[0] <= number[1]:
        raise InputError(f"{name}={number}: give the fewest and the most, from 0 upward")
