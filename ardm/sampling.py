"""The one sampling loop. It calls the denoiser, draws the proposals, applies what a rule says, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ardm.devices import generator
from ardm.signals import log_prob_of
from ardm.types import Action, Bool, Denoiser, Float, InputError, Int, Rule, Step

__all__ = ["Frame", "Trace", "blank", "draw", "refine"]


@dataclass(frozen=True)
class Frame:
    """One recorded step: the sequence after it, what was written, hidden and changed, and the rule's scores before it."""

    x: Int[Tensor, "B L"]
    write: Bool[Tensor, "B L"]
    remask: Bool[Tensor, "B L"]
    changed: Bool[Tensor, "B L"]
    scores: Mapping[str, Float[Tensor, "B L"]]


@dataclass(frozen=True)
class Trace:
    """What came out and what it cost.

    ``x``: ``[B, L]``, without a mask. ``calls``: forward calls of the denoiser (NFE) per sequence. ``writes``: tokens written, of
    which ``rewrites`` replaced a visible token in place and ``changes`` made it another one; ``remasks``: visible tokens hidden.
    Counts are per sequence, ``[B]``. ``frames`` is filled when recording.
    """

    start: Int[Tensor, "B L"]
    x: Int[Tensor, "B L"]
    calls: int
    writes: Int[Tensor, " B"]
    rewrites: Int[Tensor, " B"]
    changes: Int[Tensor, " B"]
    remasks: Int[Tensor, " B"]
    frames: tuple[Frame, ...] = ()

    @property
    def overwrites(self) -> Int[Tensor, " B"]:
        """Visible tokens revised: replaced in place or hidden to be written again."""
        return self.rewrites + self.remasks

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


def draw(log_q: Float[Tensor, "B L V"], generator: torch.Generator, *, temperature: float = 1.0) -> Int[Tensor, "B L"]:
    """One token per position from q^(1/temperature), by the Gumbel-max trick in float64.

    In float32 the trick truncates the tails and acts as a lower temperature (Zheng et al. 2024, arXiv:2409.02908).
    ``temperature`` 0 takes the most probable token, and uses up the same random numbers.
    """
    if not temperature >= 0:
        raise InputError(f"temperature={temperature}: it is at least 0")
    dtype = torch.float32 if log_q.device.type == "mps" else torch.float64  # MPS has no float64
    noise = torch.empty(log_q.shape, dtype=dtype, device=log_q.device).exponential_(generator=generator)
    if temperature == 0:
        return log_q.argmax(-1)
    return (log_q.to(dtype) / temperature - noise.log()).argmax(-1)


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
    record: bool = False,
) -> Trace:
    """Refine ``x`` over ``steps`` calls of the denoiser.

    ``x`` may be all masks, random tokens, a draft, or a prompt with holes; ``fixed`` positions are never touched. At every step
    the denoiser is called once and one proposal is drawn for every position from a stream that depends on ``seed`` alone, so
    that two rules compared at one seed meet the same random numbers. The last step writes every mask that is left and hides
    nothing, whatever the rule says: no mask ever leaves the loop.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: sampling takes at least 1")
    fixed = torch.zeros_like(x, dtype=torch.bool) if fixed is None else fixed
    proposals = generator(seed, "proposals", x.device)
    choices = generator(seed, "choices", x.device)
    start, log_q_before, frames = x, None, []
    log_q_written: Tensor = torch.zeros(x.shape, device=x.device)
    writes, rewrites, changes, remasks = (torch.zeros(len(x), dtype=torch.long, device=x.device) for _ in range(4))

    for t in range(1, steps + 1):
        prediction = denoiser(x, 1 - (t - 1) / steps)
        log_q = prediction.logits.log_softmax(-1)
        mask_id = log_q.shape[-1]
        is_mask = x == mask_id
        if t == 1:
            _check_start(x, fixed, mask_id)
        proposal = draw(log_q, proposals, temperature=temperature)
        step = Step(t, steps, x, proposal, log_q, log_q_before, log_q_written, prediction.hidden, is_mask, fixed)
        action = rule(step, choices)
        _check_action(action, step, rule)

        last = t == steps
        write = action.write | is_mask if last else action.write
        remask = torch.zeros_like(write) if last else action.remask
        after = torch.where(write, proposal, x)
        after = torch.where(remask, mask_id, after)

        changed = write & ~is_mask & (after != x)
        writes += write.sum(-1)
        rewrites += (write & ~is_mask).sum(-1)
        changes += changed.sum(-1)
        remasks += remask.sum(-1)
        if record:
            frames.append(Frame(after, write, remask, changed, action.scores))
        log_q_written = torch.where(write, log_prob_of(log_q, proposal).to(log_q_written.dtype), log_q_written)
        log_q_written = log_q_written.masked_fill(remask, 0.0)
        x, log_q_before = after, log_q

    return Trace(start, x, steps, writes, rewrites, changes, remasks, tuple(frames))


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
