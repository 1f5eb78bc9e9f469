"""The small experiments of the chapters: rules played on one denoiser over some seeds, and errors planted in clean texts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import Chance, generator
from ardm.experiments.statistics import mean_over_trainings
from ardm.method.corruption import Corrupted, corrupt, mask_more
from ardm.method.draw import Draw
from ardm.method.sampling import blank, observe, refine
from ardm.method.types import Bool, Corpus, Denoiser, Int, Rule, Step
from ardm.worlds.fidelity import unigram_distance
from ardm.worlds.laws import Law

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Planted", "over_seeds", "planted_errors", "trials"]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Texts in which errors are planted, and the step at which a rule meets them.

    ``before``: the step before, when a part of the text was still hidden; None where none was asked for.
    """

    x0: Int[Tensor, "B L"]
    state: Corrupted
    step: Step
    before: Step | None

    @property
    def visible(self) -> Bool[Tensor, "B L"]:
        return ~self.state.is_mask

    @property
    def stood(self) -> Bool[Tensor, "B L"]:
        """What is visible at both steps."""
        if self.before is None:
            raise InputError("there is no step before: plant the errors with news=")
        return self.visible & (self.before.x.cpu() == self.state.x)


@torch.no_grad()
def planted_errors(  # noqa: PLR0913  what is planted, and where
    denoiser: Denoiser,
    corpus: Corpus,
    *,
    count: int,
    hidden_rate: float,
    error_rate: float,
    seed: int,
    device: torch.device,
    news: float | None = None,
) -> Planted:
    """``count`` held-out texts with a share ``hidden_rate`` of the tokens hidden and ``error_rate`` of the visible ones made wrong.

    The denoiser reads them as at the step that would have written so much, one token a step. With ``news`` it has read them one
    step before too, with that share of the visible tokens still hidden.
    """
    rng = generator(seed, "signals")
    x0 = corpus.held_out(count, seed=seed)
    V, T = corpus.vocab_size, x0.shape[1]
    t = round(T * (1 - hidden_rate)) + 1
    state = corrupt(x0, V, mask_rate=hidden_rate, error_rate=error_rate, generator=rng)
    uniform = Chance(seed, "proposals", torch.arange(count, device=device)).uniform(T)
    before = None
    if news is not None:
        earlier = mask_more(state.x, V, rate=news, generator=rng)
        before = observe(denoiser, earlier.to(device), t=max(1, t - 1), T=T, uniform=uniform)
    step = observe(denoiser, state.x.to(device), t=t, T=T, uniform=uniform)
    return Planted(x0=x0, state=state, step=step, before=before)


def trials(  # noqa: PLR0913  an experiment by its parts
    denoiser: Denoiser,
    rules: Mapping[str, Rule],
    law: Law,
    *,
    calls: Iterable[int],
    samples: int,
    seeds: Iterable[int],
    device: torch.device,
    draw: Draw | None = None,
) -> pd.DataFrame:
    """``samples`` texts of the law written from blank ones by each rule, with each number of calls and each seed.

    A row each: ``rule``, ``calls``, ``seed``; ``valid`` texts in %, ``distance`` of the words from the law's (total variation),
    ``overwrites`` a text, ``seconds``. Rules meet the same random draws at one seed.
    """
    import pandas as pd

    calls, seeds, rows = tuple(calls), tuple(seeds), []
    for name, rule in rules.items():
        for T in calls:
            for seed in seeds:
                began = time.perf_counter()
                start = blank(samples, law.length, law.vocab_size, device)
                trace = refine(denoiser, rule, start, T, seed=seed, draw=draw or Draw())
                valid = 100 * law.is_valid(trace.x).float().mean().item()
                edits = trace.overwrites.float().mean().item()
                distance = unigram_distance(trace.x, law)
                rows.append((name, T, seed, valid, distance, edits, time.perf_counter() - began))
    return pd.DataFrame(rows, columns=["rule", "calls", "seed", "valid", "distance", "overwrites", "seconds"])


def over_seeds(runs: pd.DataFrame, by: str | Sequence[str], quantity: str) -> pd.DataFrame:
    """The mean of a quantity over the runs of each group, with Student's 95 % interval: columns ``value``, ``low``, ``high``.

    Groups stand in the order of ``runs``. Raises ``InputError`` where a group has a single run.
    """
    import pandas as pd

    groups = runs.groupby(by, sort=False)[quantity]
    found = {name: astuple(mean_over_trainings(torch.tensor(part.to_numpy()))) for name, part in groups}
    table = pd.DataFrame.from_dict(found, orient="index", columns=["value", "low", "high"])
    table.index = groups.mean().index
    return table
