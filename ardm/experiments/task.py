"""A task of the arena: whose texts, where a run starts, how what comes out is scored. The tasks themselves are in ``tasks.py``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_share
from ardm.base.streams import generator
from ardm.experiments.scores import Row, ScoreBy
from ardm.experiments.starts import Blank, Given, OwnErrors, Start, StartFrom
from ardm.method.sampling import Trace
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.types import Corpus, Denoiser, Int
from ardm.worlds.world import World, world_of

__all__ = ["Task"]

BLANK = Blank()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: plain data. The recipe of its denoiser names corpus and length, so that a training seed decides everything."""

    name: str
    title: str  # what the book calls it
    recipe: DenoiserRecipe
    score_by: ScoreBy
    start_from: StartFrom = BLANK
    nfe: tuple[int, ...] = (4, 8, 16)
    causal: bool = True  # an autoregressive model of the same size competes too
    long: bool = False  # played by the rules that are marked for it alone
    one_denoiser: bool = False  # too long to train once a seed: the seeds then train gates alone
    portion: float = 1.0  # of the arena's texts: long ones are played in smaller numbers
    gate_share: float = 1.0  # of the gates' optimiser steps and batch

    def __post_init__(self) -> None:
        check_share("portion", self.portion)
        check_share("gate_share", self.gate_share)
        if not isinstance(self.world, self.score_by.worlds):
            raise InputError(f"{type(self.score_by).__name__} does not score {self.recipe.corpus}: choose another score")
        if self.causal and isinstance(self.start_from, OwnErrors):
            raise InputError(f"{self.name}: a denoiser's own errors are those of one that sees both sides; set causal=False")

    @property
    def world(self) -> World:
        """What is right and what is wrong here."""
        return world_of(self.recipe.corpus, self.recipe.length)

    @property
    def corpus(self) -> Corpus:
        return self.world.corpus

    @property
    def from_nothing(self) -> bool:
        """Whether runs start from masks alone, so that real texts are the best there can be."""
        return isinstance(self.start_from, Blank)

    @property
    def tells(self) -> bool:
        """Whether somebody knows which tokens are wrong, as an oracle has to."""
        return self.world.knows or self.start_from.from_texts

    @property
    def data(self) -> dict[str, Any]:
        """What decides starts and scores, besides the corpus: the name is that of the stream."""
        parts = {"start_from": self.start_from, "score_by": self.score_by}
        world = {"corpus": self.recipe.corpus, "length": self.recipe.length}
        return {"name": self.name, **world} | {name: [type(part).__name__, asdict(part)] for name, part in parts.items()}

    def start(self, count: int, *, seed: int, denoiser: Denoiser | None = None, device: torch.device | str = "cpu") -> Start:
        """``count`` starts. They depend on the seed, and where errors are the denoiser's own, on the denoiser."""
        x0, mask_id = self.corpus.held_out(count, seed=seed), self.corpus.vocab_size
        rng = generator(seed, f"start of {self.name}")
        x, fixed = self.start_from(Given(x0, mask_id, rng, denoiser, device))
        truth = x0.to(device) if self.start_from.from_texts else None
        return Start(x.to(device), fixed.to(device), self.world.wrong(truth))

    def score(self, x: Int[Tensor, "B L"], start: Start | None = None, trace: Trace | None = None) -> Row:
        """What finished texts are worth; a repair needs its start and trace too."""
        return self.score_by(self.world, x, start, trace)

    def real(self, count: int, *, seed: int) -> Int[Tensor, "B L"]:
        """What a perfect sampler would give when it starts from nothing: texts of the law, or real text."""
        return self.world.real(count, seed=seed)
