"""The tasks of the arena: where sampling starts, what counts as wrong, and how what comes out is scored.

Every task names the recipe of its denoiser, so that a training seed decides everything. A score is a row of named numbers; two are
in all of them: ``quality``, the share of texts that are right, and ``loss`` in [0, 1], which falls with quality *and* fidelity and
is what knobs are tuned on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.experiments.published import PUBLISHED
from ardm.method.corruption import wrong_tokens
from ardm.method.sampling import Trace, blank, draw
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.method.types import Bool, Denoiser, Int
from ardm.worlds.corpora import Corpus, TextCorpus, open_corpus
from ardm.worlds.fidelity import fidelity, fidelity_floor
from ardm.worlds.judge import TextScore, TextScorer, windows
from ardm.worlds.laws import LAWS, Law
from ardm.worlds.puzzles import is_valid_grid, plant_errors

__all__ = ["ARENA", "LADDER", "LARGE", "TASKS", "Start", "Task"]


@dataclass(frozen=True)
class Start:
    """``x``: where a run starts; ``fixed``: what it may not touch; ``wrong``: which visible tokens of a text have to change, as
    the oracle gate and the scores see it.
    """

    x: Int[Tensor, "B L"]
    fixed: Bool[Tensor, "B L"]
    wrong: Callable[[Int[Tensor, "B L"]], Bool[Tensor, "B L"]] | None = None


@dataclass(frozen=True)
class Task:
    """One task. ``kind``: ``write`` a text from nothing, ``repair`` one with planted errors, ``own`` one with errors that the
    denoiser made itself, or ``infill`` the empty cells of a grid.
    """

    name: str
    recipe: DenoiserRecipe
    title: str  # what the book calls it
    kind: str = "write"
    amount: tuple[int, int] = (0, 0)  # repair: wrong tokens a text, from and to; infill: clues; own: per cent hidden
    counted: str | None = None  # write: a word whose number in a text is compared with the law too
    nfe: tuple[int, ...] = (4, 8, 16)
    causal: bool = True  # an autoregressive model of the same size competes too
    one_denoiser: bool = False  # too long to train once a seed: the seeds then train gates alone
    portion: float = 1.0  # of the arena's texts: long ones are played in smaller numbers
    rules: tuple[str, ...] | None = None  # the rules played; all by default
    gate_share: float = 1.0  # of the gates' optimiser steps and batch

    @cached_property
    def corpus(self) -> Corpus:
        return open_corpus(self.recipe.corpus, self.recipe.length)

    @property
    def law(self) -> Law | None:
        return self.corpus.law if self.recipe.corpus in LAWS else None  # no text is opened to say that it has none

    def start(self, count: int, *, seed: int, denoiser: Denoiser | None, device: torch.device | str = "cpu") -> Start:
        """``count`` starts. They depend on the seed, and where errors are the denoiser's own (``own``), on the denoiser."""
        V, rng = self.corpus.vocab_size, generator(seed, f"start of {self.name}")
        x0 = self.corpus.held_out(count, seed=seed)
        fixed = torch.zeros_like(x0, dtype=torch.bool)
        if self.kind == "write":
            x = blank(count, self.recipe.length, V)
        elif self.kind == "infill":
            clues = torch.randint(self.amount[0], self.amount[1] + 1, (count, 1), generator=rng)
            fixed = torch.rand(x0.shape, generator=rng).argsort(-1).argsort(-1) < clues
            x = torch.where(fixed, x0, V)
        elif self.kind == "repair":
            wanted = torch.randint(self.amount[0], self.amount[1] + 1, (count,), generator=rng)
            if self.law is None:
                x = plant_errors(x0, wanted, generator=rng)
            else:
                hit = torch.rand(x0.shape, generator=rng).argsort(-1).argsort(-1) < wanted[:, None]
                x = torch.where(hit, wrong_tokens(x0, V, generator=rng), x0)
        elif self.kind == "own":
            assert denoiser is not None
            hidden = torch.rand(x0.shape, generator=rng) < self.amount[0] / 100
            with torch.no_grad():
                log_q = denoiser(torch.where(hidden, V, x0).to(device), 1.0).logits.log_softmax(-1)
            x = torch.where(hidden, draw(log_q.cpu(), rng), x0)
        else:
            raise InputError(f"kind={self.kind!r}: choose write, repair, own or infill")
        truth = x0.to(device)
        law = self.law
        if law is not None:
            wrong = lambda x: (x < V) & (x != law.nearest(x))  # noqa: E731
        else:
            wrong = (lambda x: (x < V) & (x != truth)) if self.kind in ("repair", "infill") else None
        return Start(x.to(device), fixed.to(device), wrong)

    @cached_property
    def scorer(self) -> TextScorer:
        if not isinstance(self.corpus, TextCorpus):
            raise InputError(f"{self.name} is no task on text")
        return TextScorer.of(self.corpus)

    def real(self, count: int, *, seed: int) -> Int[Tensor, "B L"]:
        """What a perfect sampler would give when it starts from nothing: texts of the law, or real text."""
        if isinstance(self.corpus, TextCorpus):
            return windows(self.scorer.reference, self.recipe.length, count, seed=3000 + seed)
        return self.corpus.held_out(count, seed=3000 + seed)

    def score(self, x: Int[Tensor, "B L"], start: Start, trace: Trace | None = None) -> dict[str, float | str]:
        """What finished texts are worth; with a trace also what a repair did."""
        if self.kind == "write":
            row = self._score_law(x) if self.law is not None else self._score_text(x)
        else:
            right = self.law.is_valid(x) if self.law is not None else is_valid_grid(x.cpu())
            row = {
                "quality": right.double().mean().item(),
                "loss": 1 - right.double().mean().item(),
                "outcomes": _packed(right),
            }
        if self.kind in ("repair", "own") and trace is not None and start.wrong is not None:
            row |= _repair(start, x, trace)
            row["loss"] = max(row["loss"], row["damaged"])
        return row

    def _score_law(self, x: Tensor) -> dict[str, float | str]:
        law = self.law
        assert law is not None
        found, floor = fidelity(x, law, self.counted), fidelity_floor(len(x), law, self.counted)
        log_p = law.log_prob(x)
        valid = log_p.isfinite()
        return {
            "quality": 1 - found.invalid,
            "loss": found.bound(floor),
            "outcomes": _packed(valid),
            **{name: value for name, value in asdict(found).items() if name != "invalid"},
            "nats": -log_p[valid].mean().item() / law.length if valid.any() else math.nan,
            "distinct": len(x.cpu().unique(dim=0)) / len(x),
        }

    def _score_text(self, x: Tensor) -> dict[str, float | str]:
        found, ceiling = self.scorer.score(x.cpu()), _ceiling(self.scorer, len(x))
        return {
            "quality": found.word_rate,
            "loss": max(0.0, ceiling.word_rate - found.word_rate, found.pair_distance - ceiling.pair_distance),
            "pairs": found.pair_distance,
            "judge_bits": found.judge_bits,
            "entropy": found.entropy,
            "distinct": found.distinct4,
        }


@cache
def _ceiling(scorer: TextScorer, count: int) -> TextScore:
    """What as many real windows score: the same for every cell."""
    return scorer.ceiling(count)


def _packed(outcomes: Tensor) -> str:
    """One bit a text, as hexadecimal digits, so that two rules can be compared text by text."""
    return f"{int(''.join('01'[bit] for bit in outcomes.int().tolist()), 2):0{-(-len(outcomes) // 4)}x}"


def _repair(start: Start, x: Tensor, trace: Trace) -> dict[str, float]:
    """Of the tokens that were wrong: the share ever overwritten and the share right in the end; of the right ones the share
    that ended wrong.
    """
    assert start.wrong is not None
    before, after, touched = start.wrong(start.x), start.wrong(x), trace.overwritten > 0
    share = lambda what, among: (what & among).sum().item() / max(1, among.sum().item())  # noqa: E731
    return {"touched": share(touched, before), "recovered": share(~after, before), "damaged": share(after, ~before)}


AGREEMENT = DenoiserRecipe(steps=3000)
SMALL = {"width": 64, "steps": 2000}
GRID, TEXT8 = PUBLISHED["sudoku9"], PUBLISHED["text8"]
LONG = {
    "nfe": (8, 16),
    "causal": False,
    "one_denoiser": True,
    "portion": 0.5,
    "gate_share": 0.5,
    "rules": (
        *(
            "left-to-right",
            "one-way",
            "max-prob",
            "margin",
            "fixed schedule",
            "uniform refinement",
            "all-resample",
            "Mask-Predict",
        ),
        *("ReMDM cap", "P2-self", "PRISM head", "T2T threshold", "T2M low-prob", "informed corrector", "document's gate"),
        *("learned noisy-OR in place", "learned p=u in place", "learned hide mismatch", "learned hide ratio"),
        "attentive hide ratio",
        *("shuffled gate", "random gate", "oracle hide"),
    ),
}

ARENA = (
    Task("agreement", AGREEMENT, "agreement grammar", counted=".", nfe=(4, 8, 16, 32)),
    Task("sudoku", DenoiserRecipe(corpus="sudoku", length=16, **SMALL), "Sudoku 4×4"),
    Task("brackets", DenoiserRecipe(corpus="dyck", length=12, **SMALL), "brackets", nfe=(4, 8, 12, 16)),
    Task("addition", DenoiserRecipe(corpus="addition", length=12, **SMALL), "addition", nfe=(4, 8, 12, 16)),
    Task("parity", DenoiserRecipe(corpus="parity", length=8, **SMALL), "parity"),
    Task("agreement-repair", AGREEMENT, "repair, planted errors", "repair", (2, 6), nfe=(8,), causal=False),
    Task("agreement-own", AGREEMENT, "repair, own errors", "own", (50, 50), nfe=(8,), causal=False),
    Task("sudoku9-infill", GRID, "Sudoku 9×9, infill", "infill", (30, 50), **LONG),
    Task("sudoku9-repair", GRID, "Sudoku 9×9, repair", "repair", (4, 20), **LONG),
    Task("text8", TEXT8, "text8", **LONG),
)
"""The tasks that are played when none is named."""


def _rung(name: str, recipe: DenoiserRecipe, title: str, **how: Any) -> Task:
    """A rung of a ladder: one denoiser, and as many calls a token on every rung."""
    calls = (recipe.length // 4, recipe.length // 2)
    return Task(name, recipe, title, nfe=calls, causal=False, one_denoiser=True, **how)


LADDER = tuple(
    _rung(name, replace(AGREEMENT, **size), title, counted=".")
    for name, size, title in (
        ("agreement-16", {"length": 16}, "16 tokens"),
        ("agreement-32", {}, "32 tokens"),
        ("agreement-64", {"length": 64}, "64 tokens"),
        ("agreement-narrow", {"width": 48, "depth": 2}, "32 tokens, narrow model"),
        ("agreement-wide", {"width": 128, "depth": 4}, "32 tokens, wide model"),
    )
)
"""The agreement grammar at three lengths with one model, and at the middle length with a smaller and a larger model."""

LARGE = tuple(
    _rung(
        f"text8-{size}m",
        DenoiserRecipe("text8", 256, width, depth, heads, 4000, 256, rate, precision="bfloat16"),
        f"text8, {size} M parameters",
        portion=0.5,
    )
    for size, width, depth, heads, rate in ((10, 384, 6, 6, 1e-3), (25, 512, 8, 8, 6e-4), (85, 768, 12, 12, 3e-4))
)
"""Characters of text8 in windows of 256, with models that want a GPU."""

TASKS = {task.name: task for task in (*ARENA, *LADDER, *LARGE)}
"""All tasks by name."""
