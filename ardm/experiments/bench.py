"""What deciding costs beside predicting: signals and a draw made in several ways, each against one head matmul of the same run.

Times are taken in rounds: every way once a round, in an order that turns with the round, so that a machine that slows down slows
all of them. Reported are ratios within a round, which carry from one machine to another better than seconds do. What was measured
last on the machine of the book is published with the package (:func:`read`).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardm.base import fingerprint
from ardm.base.errors import InputError, at_least_one
from ardm.base.provenance import provenance
from ardm.base.resources import RESULTS
from ardm.base.streams import Chance, generator
from ardm.method.belief import Streamed
from ardm.method.denoiser import Shape, Transformer
from ardm.method.draw import Draw
from ardm.method.gate import FOUR, AttentiveHead, OverwriteGate
from ardm.method.sampling import observe
from ardm.method.signals import confidence_change, entropy, log_prob_of, margin
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser
from ardm.method.types import Belief, Corpus, Denoiser, Head
from ardm.worlds.corpora import open_corpus

__all__ = [
    "BOOK",
    "LARGE",
    "WAYS",
    "Size",
    "bench",
    "calls_of",
    "exponents",
    "floor",
    "floors",
    "memory",
    "parts_of_a_step",
    "ratios",
    "read",
    "report",
    "rounds",
    "state",
    "trainings",
]

BASE = "head matmul"
BOOK = Shape(vocab_size=50, length=32)
"""The denoiser of the book's default size, on its longest toy texts."""

LARGE = Shape(vocab_size=16_384, length=128, width=768, depth=12, heads=12)
"""A denoiser of about 100 M parameters."""


@dataclass(frozen=True)
class Size:
    """``positions``: tokens of all texts together, B x L; ``words``: V; ``width``: D."""

    positions: int = 512
    words: int = 50_257
    width: int = 768

    def __post_init__(self) -> None:
        at_least_one(self, "positions", "words", "width")


@dataclass(frozen=True)
class Given:
    """What a step has at hand: hidden states of now and of the step before, the head, the placed tokens, uniform numbers."""

    hidden: Tensor
    before: Tensor
    weight: Tensor
    tokens: Tensor
    uniform: Tensor

    @classmethod
    def of(cls, size: Size, device: torch.device | str = "cpu", seed: int = 0) -> Given:
        rng = generator(seed, "bench")
        hidden = torch.randn(1, size.positions, size.width, generator=rng)
        moved = hidden + 0.1 * torch.randn(hidden.shape, generator=rng)
        weight = torch.randn(size.words, size.width, generator=rng) / math.sqrt(size.width)
        tokens = torch.randint(size.words, (1, size.positions), generator=rng)
        hidden, moved, weight, tokens = (x.to(device) for x in (hidden, moved, weight, tokens))
        return cls(hidden, moved, weight, tokens, Chance(seed, "bench", torch.arange(1, device=device)).uniform(size.positions))


def head_matmul(given: Given) -> Tensor:
    """The logits, and nothing else: what a denoiser does without a gate."""
    return given.hidden @ given.weight.T


def streamed(given: Given, before: Belief) -> tuple[Tensor, ...]:
    """Entropy, margin, confidence change and log-probability of the placed token, and a draw, as a run has them from a head."""
    now = Streamed(given.hidden, Head(given.weight))
    drawn = now.drawn(Draw(), given.uniform)
    return now.entropy, now.margin, now.log_prob(given.tokens), now.change(before, given.tokens), drawn


def plain(given: Given, log_q_before: Tensor) -> tuple[Tensor, ...]:
    """The same by the functions of :mod:`ardm.method.signals` and the draw, from the logits."""
    log_q = head_matmul(given).log_softmax(-1)
    change = confidence_change(log_q, log_q_before, given.tokens)
    return entropy(log_q), margin(log_q), log_prob_of(log_q, given.tokens), change, Draw()(log_q, given.uniform)


def chunked(given: Given, log_q_before: Tensor) -> tuple[Tensor, ...]:
    """The plain way for some positions at a time, as fused linear cross-entropies do it: whole rows of logits, few of them."""
    rows = max(1, 2**22 // len(given.weight))
    parts = [x.split(rows, dim=1) for x in (given.hidden, given.before, given.tokens, given.uniform, log_q_before)]
    found = [
        plain(Given(hidden, before, given.weight, tokens, uniform), log_q)
        for hidden, before, tokens, uniform, log_q in zip(*parts, strict=True)
    ]
    return tuple(torch.cat(part, dim=1) for part in zip(*found, strict=True))


def document(given: Given, logits_before: Tensor) -> tuple[Tensor, ...]:
    """The starting document's path (its sections 3.1 and 3.2), by its formulas: each signal goes back to the logits."""
    logits = head_matmul(given)
    q = F.softmax(logits, dim=-1)
    H = -(q * F.log_softmax(logits, dim=-1)).sum(-1)
    first, second = logits.topk(2, dim=-1).values.unbind(-1)
    at = given.tokens.unsqueeze(-1)
    now, then = (F.log_softmax(z, dim=-1).gather(-1, at).squeeze(-1) for z in (logits, logits_before))
    drawn = torch.multinomial(F.softmax(logits, dim=-1).flatten(0, 1), 1).view(given.tokens.shape)
    return H, first - second, now, now - then, drawn


WAYS: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {
    "streamed": streamed,
    "plain": plain,
    "some positions at a time": chunked,
    "the document's": document,
}
"""Ways to the four signals and a token of every position; each is given what its kind keeps of the step before."""


def _kept(way: str, given: Given) -> Tensor | Belief:
    """What a way keeps of the step before: hidden states and a few numbers a position, or the logits."""
    then = replace(given, hidden=given.before)
    if way == "streamed":
        before = Streamed(then.hidden, Head(given.weight))
        before.drawn(Draw(), given.uniform)
        return before
    logits = head_matmul(then)
    return logits if way == "the document's" else logits.log_softmax(-1)


def calls_of(given: Given) -> dict[str, Callable[[], Any]]:
    """The head matmul and every way, ready to be timed: what each keeps of the step before is there."""
    kept = {way: _kept(way, given) for way in WAYS}
    return {BASE: partial(head_matmul, given), **{way: partial(call, given, kept[way]) for way, call in WAYS.items()}}


@torch.no_grad()
def rounds(calls: Mapping[str, Callable[[], Any]], repeats: int, device: torch.device | str = "cpu") -> dict[str, list[float]]:
    """Seconds of every call in every round; each is called once before, and the order turns from round to round."""
    if repeats < 1:
        raise InputError(f"repeats={repeats}: at least one round")
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else lambda: None
    names, seconds = list(calls), {name: [] for name in calls}
    for number in range(-1, repeats):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            wait()
            start = time.perf_counter()
            calls[name]()
            wait()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], base: str = BASE) -> dict[str, dict[str, float]]:
    """Of every call the median over rounds of its time over the base's in the same round, with the quartiles."""
    found = {}
    for name, times in seconds.items():
        low, middle, high = np.quantile(np.divide(times, seconds[base]), (0.25, 0.5, 0.75)).tolist()
        found[name] = {"seconds": float(np.median(times)), "ratio": middle, "low": low, "high": high}
    return found


@torch.no_grad()
def memory(call: Callable[[], Any]) -> int:
    """Bytes of tensors that a call needs at its peak, above what was there before, as torch's CPU allocator counts them."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would print two lines a call
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max([0, *itertools.accumulate(changes)])


@torch.no_grad()
def parts_of_a_step(shape: Shape, batch: int, repeats: int, device: torch.device | str = "cpu") -> dict[str, dict[str, float]]:
    """A sampling step against the denoiser's call alone: with the attentive gate on four signals and a draw, plain and streamed.

    Plain, the denoiser makes logits and everything is read from them; streamed, it gives its last layer, which
    :func:`~ardm.method.head.read_head` reads: the two forms that ``refine`` takes.
    """
    denoiser = Transformer(shape).eval().to(device)
    gate = OverwriteGate(AttentiveHead(shape.width, len(FOUR)), signals=FOUR).eval().to(device)
    rows = torch.arange(batch, device=device)
    x = (Chance(0, "texts", rows).uniform(shape.length) * shape.vocab_size).long()
    uniform = Chance(0, "draws", rows).uniform(shape.length)
    forms = {"gate and draw, plain": denoiser, "gate and draw, streamed": denoiser.by_head}

    def step_of(form: Denoiser) -> Callable[[], Any]:
        before = observe(form, x, t=1, T=2, uniform=uniform).now
        return lambda: gate(observe(form, x, t=2, T=2, uniform=uniform, before=before))  # draws, too

    calls = {"denoiser alone": lambda: denoiser(x), **{name: step_of(form) for name, form in forms.items()}}
    return ratios(rounds(calls, repeats, device), "denoiser alone")


def floors(device: torch.device | str = "cpu") -> dict[str, float]:
    """The machine's own limits, measured: bytes a second of a copy (read and written), operations a second of a matmul."""
    n = 2048
    square, flat = torch.randn(n, n, device=device), torch.empty(2**26, device=device)
    seconds = rounds({"matmul": lambda: square @ square, "copy": flat.clone}, 3, device)
    return {
        "operations a second": 2 * n**3 / min(seconds["matmul"]),
        "bytes a second": 2 * flat.numel() * flat.element_size() / min(seconds["copy"]),
    }


def floor(size: Size, limits: Mapping[str, float]) -> dict[str, float]:
    """Seconds that nobody can do without on such a machine: to multiply by the head, and to read it and the hidden states once."""
    moved = 4 * (size.words + size.positions) * size.width
    return {
        "operations": 2 * size.positions * size.words * size.width / limits["operations a second"],
        "bytes": moved / limits["bytes a second"],
    }


class _Bare(nn.Module):
    """A causal transformer of torch's own layers, of a denoiser's sizes: what a small language model is usually made of."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(shape.vocab_size, shape.width), nn.Embedding(shape.length, shape.width)
        layer = nn.TransformerEncoderLayer(
            shape.width, shape.heads, 4 * shape.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, shape.depth, nn.LayerNorm(shape.width), enable_nested_tensor=False)
        self.head = nn.Linear(shape.width, shape.vocab_size)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(shape.length))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.words(x) + self.places.weight, mask=self.mask, is_causal=True))


def _train_bare(recipe: DenoiserRecipe, corpus: Corpus, device: torch.device | str) -> nn.Module:
    """The shortest loop that trains a language model: AdamW, gradients clipped at 1, each token from those before it."""
    model, rng = _Bare(recipe.shape(corpus.vocab_size)).to(device), generator(recipe.seed, "bench")
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate)
    for _ in range(recipe.steps):
        x = corpus.batch(recipe.batch, rng).to(device)
        loss = F.cross_entropy(model(x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model


def trainings(steps: int, repeats: int, device: torch.device | str = "cpu") -> dict[str, dict[str, float]]:
    """The loop of this package, which corrupts its texts, against a bare one on a causal model of equal size: ratios of seconds.

    Each call makes a model and trains it for some steps on the agreement grammar, with the recipe of its published denoiser.
    """
    recipe = DenoiserRecipe(steps=steps)
    corpus, where = open_corpus(recipe.corpus, recipe.length), torch.device(device)

    @torch.enable_grad()
    def ours() -> nn.Module:
        return train_denoiser(recipe, corpus, device=where, progress=False)[0]

    @torch.enable_grad()
    def bare() -> nn.Module:
        return _train_bare(recipe, corpus, where)

    seconds = rounds({"a bare loop": bare, "this package": ours}, repeats, device)
    tokens = recipe.batch * recipe.length * steps
    return {
        name: found | {"tokens a second": tokens / found["seconds"]} for name, found in ratios(seconds, "a bare loop").items()
    }


def exponents(size: Size, repeats: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """How the time of the streamed way grows with each of its sizes: the slope of log time over log size, from a quarter up."""
    found = {}
    for name in ("positions", "words", "width"):
        sizes = [replace(size, **{name: max(1, getattr(size, name) // part)}) for part in (4, 2, 1)]
        calls = {}
        for one in sizes:
            given = Given.of(one, device)
            kept = _kept("streamed", given)
            calls[str(getattr(one, name))] = lambda given=given, kept=kept: streamed(given, kept)
        times = rounds(calls, repeats, device)
        middle = [float(np.median(values)) for values in times.values()]
        found[name] = float(np.polyfit(np.log([int(value) for value in times]), np.log(middle), 1)[0])
    return found


@torch.no_grad()
def bench(size: Size = Size(), repeats: int = 7, device: torch.device | str = "cpu") -> dict[str, Any]:
    """All of it, as what ``ardm bench`` writes: sizes, ratios, memory, a step's parts, floors, growth, provenance."""
    if repeats < 1:
        raise InputError(f"repeats={repeats}: at least one round")
    calls = calls_of(Given.of(size, device))
    on_cpu, limits = torch.device(device).type == "cpu", floors(device)
    return {
        "code": fingerprint.code(__name__),
        "size": asdict(size),
        "ways": ratios(rounds(calls, repeats, device)),
        "memory": {name: memory(call) for name, call in calls.items()} if on_cpu else {},
        "steps": {
            "book": parts_of_a_step(BOOK, 64, repeats, device),
            "large": parts_of_a_step(LARGE, 2, min(repeats, 3), device),
        },
        "training": trainings(20, repeats, device),
        "floors": limits,
        "floor": floor(size, limits),
        "exponents": exponents(size, min(repeats, 3), device),
        "provenance": provenance(),
    }


def read(path: Path = RESULTS / "bench.json") -> dict[str, Any]:
    """What was measured and published; ``InputError`` where the file is not there or not whole."""
    try:
        return json.loads(path.read_text("utf8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no measurement in {path.name} ({error}): make it with `ardm bench --out {path}`") from error


def state(told: Mapping[str, Any]) -> str:
    """What a published measurement is: "of today's code", or that it is not."""
    return "of today's code" if told["code"] == fingerprint.code(__name__) else "not of today's code"


def report(told: Mapping[str, Any]) -> str:
    """What :func:`bench` measured, as lines for a reader: ratios with quartiles, megabytes, a step's parts, growth."""
    size, lines = told["size"], []
    lines.append(f"{size['positions']} positions, {size['words']} words, width {size['width']}: time over one head matmul")
    for name, found in told["ways"].items():
        peak = f", {told['memory'][name] / 1e6:.1f} MB at the peak" if name in told["memory"] else ""
        lines.append(f"  {name:26s} {found['ratio']:5.2f} [{found['low']:.2f}, {found['high']:.2f}]{peak}")
    for name, parts in told["steps"].items():
        lines.append(f"a step of the {name} denoiser: time over the denoiser alone")
        lines += [
            f"  {part:26s} {found['ratio']:5.2f} [{found['low']:.2f}, {found['high']:.2f}]" for part, found in parts.items()
        ]
    lines.append("training: time over a bare loop")
    lines += [
        f"  {name:26s} {found['ratio']:5.2f} [{found['low']:.2f}, {found['high']:.2f}], {found['tokens a second']:,.0f} tokens/s"
        for name, found in told["training"].items()
    ]
    least, streamed = max(told["floor"].values()), told["ways"]["streamed"]["seconds"]
    lines.append(f"the machine's own floor is {least / streamed:.0%} of the streamed time")
    growth = ", ".join(f"{name} {slope:.2f}" for name, slope in told["exponents"].items())
    return "\n".join([*lines, f"exponents of growth: {growth}"])
