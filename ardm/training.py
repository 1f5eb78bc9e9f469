"""Training the denoiser, and the recipes whose results are published with the book. The gate is trained after it."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from ardm.corpora import Corpus, open_corpus
from ardm.corruption import corrupt
from ardm.denoiser import Shape, Transformer
from ardm.devices import generator, pick_device
from ardm.files import check_writable, whole
from ardm.losses import denoising_loss
from ardm.prior import prior_logit
from ardm.provenance import provenance
from ardm.types import Denoiser, Float, InputError, Int, at_least_one, choices_of

__all__ = [
    "PUBLISHED",
    "DenoiserRecipe",
    "descend",
    "facts_of",
    "load_denoiser",
    "optimiser_and_schedule",
    "publish_denoiser",
    "save_model",
    "seen",
    "train_denoiser",
    "trained_denoiser",
    "validation_loss",
]

MODELS = Path(__file__).resolve().parent.parent / "data" / "models"


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
    positional: float = 0.5  # share of the sequences whose masks follow the positional prior
    seed: int = 0
    causal: bool = False  # an autoregressive model: trained on clean texts, each token from those before it
    grid: bool = False  # a square grid: the model is told row, column and box
    precision: str = "float32"  # bfloat16: the training steps compute in it, the weights stay float32

    def __post_init__(self) -> None:
        at_least_one(self, "steps", "batch")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision={self.precision!r}: choose float32 or bfloat16")
        if not self.rate > 0:
            raise InputError(f"rate={self.rate}: a learning rate is positive")
        if not 0 <= self.positional <= 1:
            raise InputError(f"positional={self.positional}: it is a share in [0, 1]")

    @property
    def key(self) -> str:
        """A short name of exactly this recipe."""
        return hashlib.sha256(json.dumps(self.choices, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def choices(self) -> dict[str, Any]:
        """What its key is made of."""
        return choices_of(self, "causal", "grid", "precision")

    def shape(self, vocab_size: int) -> Shape:
        """The sizes of its transformer."""
        return Shape(vocab_size, self.length, self.width, self.depth, self.heads, self.causal, self.grid)


PUBLISHED = {
    "agreement": DenoiserRecipe(steps=8000),
    "tinyshakespeare": DenoiserRecipe(corpus="tinyshakespeare", length=64, width=128, steps=4000, batch=32),
    "text8": DenoiserRecipe(corpus="text8", length=64, width=128, steps=3000, batch=32),
    "sudoku9": DenoiserRecipe(
        corpus="sudoku9", length=81, width=96, depth=4, heads=6, steps=3500, batch=32, rate=1.5e-3, positional=0.0, grid=True
    ),
    "toy": DenoiserRecipe(length=16, width=64, depth=2, steps=8000),
}
"""The denoisers that come with the book: ``data/models/NAME.safetensors``, made again by ``ardm train NAME``."""


def mask_rates(count: int, length: int, positional: float, rng: torch.Generator) -> Float[Tensor, "B L"]:
    """A mask rate per token: for most sequences one uniform rate, for a share ``positional`` the prior r at a random step."""
    level = torch.rand(count, 1, generator=rng)
    steps = length * level  # T = n: one position matures a step
    by_position = torch.stack([prior_logit(length, float(t), length).sigmoid() for t in steps])
    follows = torch.rand(count, 1, generator=rng) < positional
    return torch.where(follows, by_position, level.expand(-1, length))


def train_denoiser(
    recipe: DenoiserRecipe, *, corpus: Corpus | None = None, device: torch.device | None = None, progress: bool = True
) -> tuple[Transformer, list[float]]:
    """Train a denoiser from its recipe; returns it in eval mode with the loss of every step, in nats."""
    corpus = corpus or open_corpus(recipe.corpus, recipe.length)
    device = device or pick_device()
    data = generator(recipe.seed, "denoiser data")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Transformer(recipe.shape(corpus.vocab_size)).to(device)
    optimiser, schedule = optimiser_and_schedule(model, recipe.rate, recipe.steps)

    losses = []
    for _ in tqdm(range(recipe.steps), desc="denoiser", disable=not progress, mininterval=1.0):
        x0 = corpus.batch(recipe.batch, data)
        x = seen(x0, corpus.vocab_size, recipe, data)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = model(x.to(device)).logits
        loss = denoising_loss(logits.float(), x0.to(device))
        descend(model, optimiser, schedule, loss)
        losses.append(loss.detach())
    return model.eval(), torch.stack(losses).tolist()


def seen(x0: Int[Tensor, "B L"], vocab_size: int, recipe: DenoiserRecipe, rng: torch.Generator) -> Int[Tensor, "B L"]:
    """What the model reads in training: corrupted texts, or the clean ones when it is causal."""
    if recipe.causal:
        return x0
    rates = mask_rates(len(x0), recipe.length, recipe.positional, rng)
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


def optimiser_and_schedule(
    model: nn.Module, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW under a short warm-up and a straight decay to 5 % of the peak."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warm = max(1, min(100, steps // 10))
    factor = lambda step: min((step + 1) / warm, 1 - 0.95 * step / steps)  # noqa: E731
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def descend(
    model: nn.Module, optimiser: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, loss: Tensor
) -> None:
    """One optimiser step, the gradient clipped to norm 1."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()


def publish_denoiser(name: str, folder: Path = MODELS, *, device: torch.device | None = None, progress: bool = True) -> Path:
    """Train the published recipe ``name`` and write ``folder/NAME.safetensors``, whole or not at all."""
    if name not in PUBLISHED:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(PUBLISHED)}")
    target = folder / f"{name}.safetensors"
    _make(PUBLISHED[name], target, device or pick_device(), progress)
    return target


def trained_denoiser(
    recipe: DenoiserRecipe, folder: Path, *, device: torch.device | None = None, progress: bool = True
) -> tuple[Transformer, dict]:
    """The denoiser of the recipe and its facts, from ``folder``; trained and kept there when it is not there yet."""
    target = folder / f"{recipe.key}.safetensors"
    if not target.is_file():
        _make(recipe, target, device or pick_device(), progress)
    model, _, facts = load_denoiser(recipe.key, folder, device=device)
    return model, facts


def _make(recipe: DenoiserRecipe, target: Path, device: torch.device, progress: bool) -> None:
    """Train and write one denoiser with its facts, whole or not at all."""
    check_writable(target)
    corpus = open_corpus(recipe.corpus, recipe.length)
    began = time.perf_counter()
    model, losses = train_denoiser(recipe, corpus=corpus, device=device, progress=progress)
    facts = {
        "recipe": asdict(recipe),
        "key": recipe.key,
        "words": list(corpus.words),
        "train_loss": sum(losses[-100:]) / len(losses[-100:]),
        "validation_loss": validation_loss(model, corpus, recipe, device=device),
        "seconds": round(time.perf_counter() - began, 1),
        "provenance": provenance(),
    }
    save_model(model, target, facts)


def save_model(model: nn.Module, path: Path, facts: dict) -> None:
    """Write the weights with the facts of their training beside them, whole or not at all."""
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with whole(path) as part:
        save_file(weights, part, metadata={"ardm": json.dumps(facts)})


def facts_of(path: Path) -> dict:
    """What :func:`save_model` wrote beside the weights."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["ardm"])


def load_denoiser(
    name: str, folder: Path = MODELS, *, device: torch.device | None = None
) -> tuple[Transformer, DenoiserRecipe, dict]:
    """The published denoiser ``name`` in eval mode, its recipe, and the facts stored with it (words, losses, provenance)."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(f"no model {name!r} in {folder.name}/: make it with `ardm train {name}`")
    device = device or pick_device()
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            facts = json.loads(file.metadata()["ardm"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is not a whole model ({error}): make it again with `ardm train {name}`") from error
    recipe = DenoiserRecipe(**facts["recipe"])
    model = Transformer(recipe.shape(len(facts["words"]))).to(device)
    model.load_state_dict(weights)
    return model.eval(), recipe, facts
