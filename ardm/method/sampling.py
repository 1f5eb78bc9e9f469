"""The one sampling loop. It calls the denoiser, draws the proposals, applies what a rule says, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import generator
from ardm.method.signals import confidence_change, entropy, log_prob_of, margin
from ardm.method.types import Action, Bool, Denoiser, Float, Int, Prediction, Rule, Step

__all__ = ["Frame", "Trace", "blank", "draw", "noise", "observe", "refine"]


@dataclass(frozen=True)
class Frame:
    """One recorded step: the sequence after it, what was written, hidden and changed, and the scores it was decided on.

    ``scores`` holds the denoiser's ``entropy``, ``margin`` and ``confidence_change`` of the first choice, and whatever the rule
    reports: a gate's ``p``, ``u`` and ``r``.
    """

    x: Int[Tensor, "B L"]
    write: Bool[Tensor, "B L"]
    remask: Bool[Tensor, "B L"]
    changed: Bool[Tensor, "B L"]
    scores: Mapping[str, Float[Tensor, "B L"]]


@dataclass(frozen=True)
class Trace:
    """What came out and what it cost.

    ``x``: ``[B, L]``, without a mask. ``calls``: forward calls of the denoiser (NFE). ``writes``: tokens written, of which
    ``rewrites`` replaced a visible token in place and ``changes`` made it another one; ``remasks``: visible tokens hidden.
    ``wasted``: overwrites that put the same token back. ``settled``: the last step that changed anything. These are per sequence,
    ``[B]``; ``overwritten`` ``[B, L]`` says how often each position lost a visible token. ``frames`` is filled when recording.
    """

    start: Int[Tensor, "B L"]
    x: Int[Tensor, "B L"]
    calls: Int[Tensor, " B"]
    writes: Int[Tensor, " B"]
    rewrites: Int[Tensor, " B"]
    changes: Int[Tensor, " B"]
    remasks: Int[Tensor, " B"]
    wasted: Int[Tensor, " B"]
    settled: Int[Tensor, " B"]
    overwritten: Int[Tensor, "B L"]
    frames: tuple[Frame, ...] = ()

    @property
    def overwrites(self) -> Int[Tensor, " B"]:
        """Visible tokens revised: replaced in place or hidden to be written again."""
        return self.rewrites + self.remasks

    def score(self, name: str) -> Float[Tensor, "steps B L"]:
        """A recorded score at every step, such as ``p`` or ``entropy``."""
        if not self.frames:
            raise InputError("no step was recorded: sample with record=True")
        if name not in self.frames[0].scores:
            raise InputError(f"no score {name!r}: recorded are {', '.join(self.frames[0].scores)}")
        return torch.stack([frame.scores[name] for frame in self.frames])

    def history(self, row: int, mask_id: int) -> list[list[tuple[int, str]]]:
        """One recorded sequence as (token, what happened to it) by position: a list for the start, then one a step.

        What happened is ``given`` or ``hidden`` at the start, then ``written`` (over a mask), ``changed`` or
        ``rewritten, unchanged`` (over a visible token), ``hidden again``, or nothing: ``kept`` or still ``hidden``.
        """
        tokens = self.start[row].tolist()
        steps = [[(token, "hidden" if token == mask_id else "given") for token in tokens]]
        for frame in self.frames:
            before, tokens = tokens, frame.x[row].tolist()
            done = zip(frame.write[row].tolist(), frame.remask[row].tolist(), frame.changed[row].tolist(), strict=True)
            events = []
            for old, new, (write, remask, changed) in zip(before, tokens, done, strict=True):
                if remask:
                    events.append("hidden again")
                elif not write:
                    events.append("hidden" if new == mask_id else "kept")
                elif old == mask_id:
                    events.append("written")
                else:
                    events.append("changed" if changed else "rewritten, unchanged")
            steps.append(list(zip(tokens, events, strict=True)))
        return steps


def blank(count: int, length: int, vocab_size: int, device: torch.device | str = "cpu") -> Int[Tensor, "B L"]:
    """``count`` sequences of masks: where sampling from nothing starts."""
    return torch.full((count, length), vocab_size, device=device)


def noise(count: int, length: int, vocab_size: int, *, seed: int, device: torch.device | str = "cpu") -> Int[Tensor, "B L"]:
    """``count`` sequences of tokens drawn uniformly: the other place where sampling from nothing can start."""
    return torch.randint(vocab_size, (count, length), generator=generator(seed, "noise", device), device=device)


def draw(
    log_q: Float[Tensor, "B L V"],
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Tensor, "B L"]:
    """One token per position from q^(1/temperature), by the Gumbel-max trick in float64.

    In float32 the trick truncates the tails and acts as a lower temperature (Zheng et al. 2024, arXiv:2409.02908).
    ``temperature`` 0 takes the most probable token. ``top_k`` keeps the k likeliest tokens, ``top_p`` the fewest likeliest ones
    whose probabilities reach p (Holtzman et al. 2020, arXiv:1904.09751); both look at q after the temperature, top_k first.
    Whatever the settings, the same random numbers are used up.
    """
    _check_draw(temperature, top_k, top_p)
    dtype = torch.float32 if log_q.device.type == "mps" else torch.float64  # MPS has no float64
    gumbel = -torch.empty(log_q.shape, dtype=dtype, device=log_q.device).exponential_(generator=generator).log()
    if temperature == 0:
        return log_q.argmax(-1)
    score = log_q.to(dtype) / temperature
    if top_k is not None and top_k < score.shape[-1]:
        kept = torch.zeros_like(score, dtype=torch.bool).scatter_(-1, score.topk(top_k, dim=-1).indices, True)
        score = score.masked_fill(~kept, -torch.inf)
    if top_p is not None:
        q, order = score.softmax(-1).sort(dim=-1, descending=True, stable=True)
        enough = q.cumsum(-1) - q >= top_p  # the tokens before this one already reach p
        score = score.masked_fill(torch.zeros_like(enough).scatter_(-1, order, enough), -torch.inf)
    return (score + gumbel).argmax(-1)


def _check_draw(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not temperature >= 0:
        raise InputError(f"temperature={temperature}: it is at least 0")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k={top_k}: it is at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p={top_p}: it is a probability in (0, 1]")


@torch.no_grad()
def observe(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    *,
    t: int,
    T: int,
    generator: torch.Generator,
    log_q_before: Float[Tensor, "B L V"] | None = None,
) -> Step:
    """One step as a rule would meet it, outside a run: ``x`` as it stands before step t of T, nothing fixed, nothing overwritten.

    The proposal is drawn on the generator's device.
    """
    prediction = denoiser(x, 1 - (t - 1) / T)
    log_q = prediction.logits.log_softmax(-1)
    proposal = draw(log_q.to(generator.device), generator).to(x.device)
    is_mask = x == log_q.shape[-1]
    zeros = torch.zeros_like(x)
    return Step(t, T, x, proposal, log_q, log_q_before, zeros.float(), prediction.hidden, is_mask, zeros.bool(), zeros)


@torch.no_grad()
def refine(
    denoiser: Denoiser,
    rule: Rule,
    x: Int[Tensor, "B L"],
    steps: int,
    *,
    seed: int,
    fixed: Bool[Tensor, "B L"] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    patience: int | None = None,
    record: bool = False,
) -> Trace:
    """Refine ``x`` over ``steps`` calls of the denoiser.

    ``x`` may be all masks, random tokens, a draft, or a prompt with holes; ``fixed`` positions are never touched. At every step
    the denoiser is called once and one proposal is drawn for every position from a stream that depends on ``seed`` alone, so
    that two rules compared at one seed meet the same random numbers. The last step writes every mask that is left and hides
    nothing, whatever the rule says: no mask ever leaves the loop.

    ``temperature``, ``top_k`` and ``top_p`` are those of :func:`draw`. With ``patience`` a sequence that has no mask and has not
    changed for that many steps in a row is finished: it is kept as it is and costs no more calls.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: sampling takes at least 1")
    if patience is not None and patience < 1:
        raise InputError(f"patience={patience}: it is a number of steps, at least 1")
    _check_draw(temperature, top_k, top_p)
    fixed = torch.zeros_like(x, dtype=torch.bool) if fixed is None else fixed
    proposals = generator(seed, "proposals", x.device)
    choices = generator(seed, "choices", x.device)
    start, prediction, log_q, log_q_before, frames = x, None, None, None, []
    log_q_written: Tensor = torch.zeros(x.shape, device=x.device)
    overwrites = torch.zeros_like(x)
    token_before = torch.full_like(x, -1)  # what stood where a token was hidden
    calls, writes, rewrites, changes, remasks, wasted, settled, idle = (x.new_zeros(len(x)) for _ in range(8))
    active = torch.ones_like(calls, dtype=torch.bool)

    for t in range(1, steps + 1):
        prediction, log_q = _predict(denoiser, x, 1 - (t - 1) / steps, active, prediction, log_q)
        mask_id = log_q.shape[-1]
        is_mask = x == mask_id
        if t == 1:
            _check_start(x, fixed, mask_id)
        proposal = draw(log_q, proposals, temperature=temperature, top_k=top_k, top_p=top_p)
        step = Step(t, steps, x, proposal, log_q, log_q_before, log_q_written, prediction.hidden, is_mask, fixed, overwrites)
        action = rule(step, choices)
        _check_action(action, step, rule)

        last = t == steps
        write = (action.write | is_mask if last else action.write) & active[:, None]
        remask = torch.zeros_like(write) if last else action.remask & active[:, None]
        after = torch.where(write, proposal, x)
        after = torch.where(remask, mask_id, after)

        changed = write & ~is_mask & (after != x)
        calls += active
        writes += write.sum(-1)
        rewrites += (write & ~is_mask).sum(-1)
        changes += changed.sum(-1)
        remasks += remask.sum(-1)
        wasted += (write & (after == torch.where(is_mask, token_before, x))).sum(-1)
        settled = torch.where((after != x).any(-1), t, settled)
        token_before = torch.where(remask, x, token_before)
        overwrites = overwrites + ((write & ~is_mask) | remask)
        if record:
            frames.append(Frame(after, write, remask, changed, {**_signals(log_q, log_q_before), **action.scores}))
        log_q_written = torch.where(write, log_prob_of(log_q, proposal).to(log_q_written.dtype), log_q_written)
        log_q_written = log_q_written.masked_fill(remask, 0.0)
        if patience is not None:
            idle = torch.where(((after == x) & (after != mask_id)).all(-1), idle + 1, 0)
            active = idle < patience
        x, log_q_before = after, log_q
        if not active.any():
            break

    return Trace(start, x, calls, writes, rewrites, changes, remasks, wasted, settled, overwrites, tuple(frames))


def _predict(
    denoiser: Denoiser, x: Tensor, time: float, active: Tensor, before: Prediction | None, log_q_before: Tensor | None
) -> tuple[Prediction, Tensor]:
    """The prediction of the active sequences; the finished ones keep their last."""
    if before is None or log_q_before is None or active.all():
        prediction = denoiser(x, time)
        return prediction, prediction.logits.log_softmax(-1)
    fresh = denoiser(x[active], time)
    logits, hidden, log_q = before.logits.clone(), before.hidden.clone(), log_q_before.clone()
    logits[active], hidden[active], log_q[active] = fresh.logits, fresh.hidden, fresh.logits.log_softmax(-1)
    return Prediction(logits, hidden), log_q


def _signals(log_q: Tensor, log_q_before: Tensor | None) -> dict[str, Tensor]:
    change = confidence_change(log_q, log_q_before)
    return {"entropy": entropy(log_q), "margin": margin(log_q), "confidence_change": change}


def _check_start(x: Tensor, fixed: Tensor, mask_id: int) -> None:
    if x.min() < 0 or x.max() > mask_id:
        raise InputError(
            f"start holds id {int(x.min() if x.min() < 0 else x.max())}: ids are 0 .. {mask_id}, the last the mask"
        )
    if (fixed & (x == mask_id)).any():
        raise InputError("a fixed position holds a mask: it could never be written; leave it open or give its token")


def _check_action(action: Action, step: Step, rule: Rule) -> None:
    if (action.write & action.remask).any():
        raise ValueError(f"{type(rule).__name__} writes and hides the same token")
    if ((action.write | action.remask) & step.is_fixed).any():
        raise ValueError(f"{type(rule).__name__} touches a fixed token")
    if (action.remask & step.is_mask).any():
        raise ValueError(f"{type(rule).__name__} hides what is hidden already")
