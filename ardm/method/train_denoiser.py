"""Training a denoiser: what it reads, and the recipe that decides what it becomes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.devices import pick_device
from ardm.base.errors import InputError, at_least_one, check_choice
from ardm.base.processes import Alone
from ardm.base.streams import Lots, generator
from ardm.method.corruption import corrupt
from ardm.method.denoiser import Shape, Transformer
from ardm.method.losses import denoising_loss
from ardm.method.prior import prior_logit
from ardm.method.training import Run, train
from ardm.method.types import Corpus, Denoiser, Float, Int

__all__ = ["DenoiserRecipe", "mask_rates", "seen", "train_denoiser", "validation_loss"]


@dataclass(frozen=True)
class DenoiserRecipe:
    """All that decides what a denoiser becomes. Two equal recipes on one machine give the same weights, bit for bit."""

    corpus: str = "agreement"
    length: int = 32  # tokens a sequence
    width: int = 96
    depth: int = 3
    heads: int = 4
    steps: int = 2000  # optimiser steps
    batch: int = 64  # sequences a step
    rate: float = 2e-3  # peak learning rate
    error_rate: float = 0.1  # share of the visible tokens that are wrong
    prior_share: float = 0.5  # share of the sequences whose masks follow the positional prior
    seed: int = 0
    causal: bool = False  # an autoregressive model: trained on clean texts, each token from those before it
    grid: bool = False  # a square grid: the model is told row, column and box
    precision: str = "float32"  # bfloat16: the training steps compute in it, the weights stay float32

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "batch")
        check_choice("precision", self.precision, ("float32", "bfloat16"))
        if not self.rate > 0:
            raise InputError(f"rate={self.rate}: a learning rate is positive")
        if not 0 <= self.prior_share <= 1:
            raise InputError(f"prior_share={self.prior_share}: it is a share in [0, 1]")

    def shape(self, vocab_size: int) -> Shape:
        """The sizes of its transformer."""
        return Shape(vocab_size, self.length, self.width, self.depth, self.heads, self.causal, self.grid)


def mask_rates(count: int, length: int, prior_share: float, rng: torch.Generator) -> Float[Tensor, "B L"]:
    """A mask rate per token: for most sequences one uniform rate, for a share ``prior_share`` the prior r at a random step."""
    level = torch.rand(count, 1, generator=rng)
    steps = length * level  # T = n: one position matures a step
    by_position = torch.stack([prior_logit(length, float(t), length).sigmoid() for t in steps])
    follows = torch.rand(count, 1, generator=rng) < prior_share
    return torch.where(follows, by_position, level.expand(-1, length))


def train_denoiser(
    recipe: DenoiserRecipe,
    corpus: Corpus,
    *,
    device: torch.device | None = None,
    progress: bool = True,
    run: Run | None = None,
) -> tuple[Transformer, list[float]]:
    """Train a denoiser from its recipe; returns it in eval mode with the loss of every step, in nats.

    ``corpus`` is the one that the recipe names, opened (:func:`ardm.worlds.corpora.open_corpus`). ``run`` says how it is
    trained: in pieces, with a checkpoint.
    """
    device = device or pick_device()
    training = _DenoiserTraining(recipe, corpus, device)
    losses = train(training, run or Run(), device, progress=progress)
    return training.model.eval(), losses


class _DenoiserTraining:
    """Reads corrupted texts and says the true ones: see :class:`~ardm.method.training.Training`."""

    name = "denoiser"

    def __init__(self, recipe: DenoiserRecipe, corpus: Corpus, device: torch.device) -> None:
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.steps, self.batch, self.rate = recipe.steps, recipe.batch, recipe.rate
        self.data = generator(recipe.seed, "denoiser data")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = Transformer(recipe.shape(corpus.vocab_size)).to(device)

    def draw(self, k: int, own: Lots, crew: Alone) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
        """What is read and what is true."""
        x0 = self.corpus.batch(self.batch, own.generator)
        x = seen(x0, self.corpus.vocab_size, self.recipe, own.generator)
        return own.own(x).to(self.device), own.own(x0).to(self.device)

    def loss(self, drawn: tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]], share: float) -> Float[Tensor, ""]:
        x, x0 = drawn
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            logits = self.model(x).logits
        return share * denoising_loss(logits.float(), x0)


def seen(x0: Int[Tensor, "B L"], vocab_size: int, recipe: DenoiserRecipe, rng: torch.Generator) -> Int[Tensor, "B L"]:
    """What the model reads in training: corrupted texts, or the clean ones when it is causal."""
    if recipe.causal:
        return x0
    rates = mask_rates(len(x0), recipe.length, recipe.prior_share, rng)
    return corrupt(x0, vocab_size, mask_rate=rates, error_rate=recipe.error_rate, generator=rng).x


@torch.no_grad()
def validation_loss(
    model: Denoiser, corpus: Corpus, recipe: DenoiserRecipe, *, count: int = 512, device: torch.device
) -> float:
    """The training loss on held-out sequences, corrupted the same way at every call; nats per token."""
    rng = generator(0, "validation")
    x0 = corpus.held_out(count)
    x = seen(x0, corpus.vocab_size, recipe, rng)
    return denoising_loss(model(x.to(device), 1.0).logits.float(), x0.to(device)).item()
