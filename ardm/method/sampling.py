"""The one sampling loop. It calls the denoiser, draws the proposals, applies what a rule says, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.method.draw import Draw
from ardm.method.signals import confidence_change, entropy, log_prob_of, margin
from ardm.method.types import Action, Bool, Denoiser, Float, Int, Rule, Step

__all__ = ["EVENTS", "Frame", "Trace", "blank", "noise", "observe", "refine"]

HIDDEN = "hidden"
GIVEN = "given"
WRITTEN = "written"
KEPT = "kept"
CHANGED = "changed"
REWRITTEN = "rewritten, unchanged"
HIDDEN_AGAIN = "hidden again"
EVENTS = (HIDDEN, GIVEN, WRITTEN, KEPT, CHANGED, REWRITTEN, HIDDEN_AGAIN)
"""What can happen to a token at a step, in the words of :meth:`Trace.history`."""


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
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
        """One recorded sequence as (token, event) by position: a list for the start, then one for each step.

        A token is ``given`` or ``hidden`` at the start. At a step it is ``written`` over a mask, ``changed`` or
        ``rewritten, unchanged`` over a visible token, or ``hidden again``; otherwise it is ``kept`` or still ``hidden``.
        """
        tokens = self.start[row].tolist()
        steps = [[(token, HIDDEN if token == mask_id else GIVEN) for token in tokens]]
        for frame in self.frames:
            before, tokens = tokens, frame.x[row].tolist()
            done = zip(frame.write[row].tolist(), frame.remask[row].tolist(), frame.changed[row].tolist(), strict=True)
            events = []
            for old, new, (write, remask, changed) in zip(before, tokens, done, strict=True):
                if remask:
                    events.append(HIDDEN_AGAIN)
                elif not write:
                    events.append(HIDDEN if new == mask_id else KEPT)
                elif old == mask_id:
                    events.append(WRITTEN)
                else:
                    events.append(CHANGED if changed else REWRITTEN)
            steps.append(list(zip(tokens, events, strict=True)))
        return steps


def blank(count: int, length: int, vocab_size: int, device: torch.device | str = "cpu") -> Int[Tensor, "B L"]:
    """``count`` sequences of masks: where sampling from nothing starts."""
    return torch.full((count, length), vocab_size, device=device)


def noise(
    count: int, length: int, vocab_size: int, *, seed: int, device: torch.device | str = "cpu", first_row: int = 0
) -> Int[Tensor, "B L"]:
    """``count`` sequences of tokens drawn uniformly: the other place where sampling from nothing can start.

    Row i does not depend on ``count``. ``first_row`` is the number of the first one, as in :func:`refine`.
    """
    chance = Chance(seed, "noise", _rows(count, first_row, device))
    return (chance.uniform(length) * vocab_size).long()


def _rows(count: int, first: int | Tensor, device: torch.device | str) -> Int[Tensor, " B"]:
    return first.to(device) if isinstance(first, Tensor) else torch.arange(first, first + count, device=device)


@dataclass(frozen=True, kw_only=True)
class _State:
    """What one step leaves to the next.

    ``log_q_before``, ``hidden_before``: what the denoiser said at the last step, None before the first. ``quiet``: for how many
    steps in a row a sequence has had no mask and no change; ``active``: whether it is still worked on.
    """

    x: Int[Tensor, "B L"]
    fixed: Bool[Tensor, "B L"]
    log_q_written: Float[Tensor, "B L"]
    overwrites: Int[Tensor, "B L"]
    quiet: Int[Tensor, " B"]
    active: Bool[Tensor, " B"]
    log_q_before: Float[Tensor, "B L V"] | None = None
    hidden_before: Float[Tensor, "B L D"] | None = None


def _at_start(x: Int[Tensor, "B L"], fixed: Bool[Tensor, "B L"] | None = None) -> _State:
    return _State(
        x=x,
        fixed=torch.zeros_like(x, dtype=torch.bool) if fixed is None else fixed,
        log_q_written=torch.zeros(x.shape, device=x.device),
        overwrites=torch.zeros_like(x),
        quiet=x.new_zeros(len(x)),
        active=torch.ones(len(x), dtype=torch.bool, device=x.device),
    )


class _Tally:
    """Counts what happens to each sequence, for the trace: nothing in a run depends on it."""

    def __init__(self, x: Int[Tensor, "B L"]) -> None:
        names = ("calls", "writes", "rewrites", "changes", "remasks", "wasted", "settled")
        self.counts = {name: x.new_zeros(len(x)) for name in names}
        self.token_before = torch.full_like(x, -1)  # what stood where a token was hidden

    def add(self, step: Step, action: Action, state: _State, after: _State) -> None:
        old = torch.where(step.is_mask, self.token_before, step.x)
        happened = {
            "calls": state.active.unsqueeze(-1),
            "writes": action.write,
            "rewrites": action.write & ~step.is_mask,
            "changes": _changed(step, action),
            "remasks": action.remask,
            "wasted": action.write & (step.proposal == old),
        }
        for name, where in happened.items():
            self.counts[name] += where.sum(-1)
        self.counts["settled"] = torch.where((after.x != step.x).any(-1), step.t, self.counts["settled"])
        self.token_before = torch.where(action.remask, step.x, self.token_before)


@torch.no_grad()
def observe(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    *,
    t: int,
    T: int,
    uniform: Float[Tensor, "B L"],
    log_q_before: Float[Tensor, "B L V"] | None = None,
) -> Step:
    """One step as a rule would meet it, outside a run: ``x`` as it stands before step t of T, nothing fixed, nothing overwritten.

    ``uniform``: numbers in [0, 1), float64 where the device has it, from which the proposal is drawn (see :class:`Draw`).
    """
    step = _meet(denoiser, _at_start(x), t=t, T=T, draw=Draw(), uniform=uniform)
    return replace(step, log_q_before=log_q_before)


@torch.no_grad()
def refine(  # noqa: PLR0913  the one entry of the package: what to run, then how, each with a default
    denoiser: Denoiser,
    rule: Rule,
    x: Int[Tensor, "B L"],
    steps: int,
    *,
    seed: int,
    fixed: Bool[Tensor, "B L"] | None = None,
    draw: Draw = Draw(),
    patience: int | None = None,
    record: bool = False,
    first_row: int | Int[Tensor, " B"] = 0,
) -> Trace:
    """Refine ``x`` over ``steps`` calls of the denoiser.

    ``x`` may be all masks, random tokens, a draft, or a prompt with holes; ``fixed`` positions are never touched. At every step
    the denoiser is called once and ``draw`` makes one proposal for every position. The last step writes every mask that is left
    and hides nothing, whatever the rule says: no mask ever leaves the loop. With ``patience`` a sequence that has no mask and
    has not changed for that many steps in a row is finished: it is kept as it is and costs no more calls.

    Random numbers depend on ``seed``, the number of the row and the step alone, so two rules compared at one seed meet the same
    proposals as long as their texts agree, and a text does not depend on the others in its batch. Row i of ``x`` has the number
    ``first_row`` + i: ``x[3:4]`` with ``first_row=3`` gives row 3 of the whole. A tensor gives each row a number of its own.
    """
    if steps < 1:
        raise InputError(f"steps={steps}: sampling takes at least 1")
    if patience is not None and patience < 1:
        raise InputError(f"patience={patience}: it is a number of steps, at least 1")
    rows = _rows(len(x), first_row, x.device)
    proposals, choices = (Chance(seed, stream, rows) for stream in ("proposals", "choices"))
    state, tally, frames = _at_start(x, fixed), _Tally(x), []
    for t in range(1, steps + 1):
        step = _meet(denoiser, state, t=t, T=steps, draw=draw, uniform=proposals.at(t).uniform(x.shape[1]))
        if t == 1:
            _check_start(step)
        action = rule(step, choices.at(t))
        _check_action(action, step, rule)
        action = _carried_out(action, step, state.active)
        after = _advance(state, step, action, patience)
        tally.add(step, action, state, after)
        if record:
            frames.append(_frame(step, action, after))
        state = after
        if not state.active.any():
            break
    return Trace(start=x, x=state.x, overwritten=state.overwrites, frames=tuple(frames), **tally.counts)


def _meet(denoiser: Denoiser, state: _State, *, t: int, T: int, draw: Draw, uniform: Tensor) -> Step:
    """The step that a rule meets: the denoiser's call on the active sequences and the proposals.

    A finished sequence keeps what the denoiser last said of it.
    """
    x, time = state.x, 1 - (t - 1) / T
    if state.log_q_before is None or state.hidden_before is None or state.active.all():
        prediction = denoiser(x, time)
        log_q, hidden = prediction.logits.log_softmax(-1), prediction.hidden
    else:
        prediction = denoiser(x[state.active], time)
        log_q, hidden = state.log_q_before.clone(), state.hidden_before.clone()
        log_q[state.active], hidden[state.active] = prediction.logits.log_softmax(-1), prediction.hidden
    return Step(
        t=t,
        T=T,
        x=x,
        proposal=draw(log_q, uniform),
        log_q=log_q,
        log_q_before=state.log_q_before,
        log_q_written=state.log_q_written,
        hidden=hidden,
        is_mask=x == log_q.shape[-1],
        is_fixed=state.fixed,
        overwrites=state.overwrites,
    )


def _carried_out(action: Action, step: Step, active: Bool[Tensor, " B"]) -> Action:
    """What is done of what the rule says: nothing to a finished sequence, and at the last step every mask is written."""
    last, here = step.t == step.T, active.unsqueeze(-1)
    write = action.write | step.is_mask if last else action.write
    remask = torch.zeros_like(action.remask) if last else action.remask
    return Action(write=write & here, remask=remask & here, scores=action.scores)


def _advance(state: _State, step: Step, action: Action, patience: int | None) -> _State:
    """The state after an action: a function of its arguments alone."""
    mask_id = step.log_q.shape[-1]
    x = torch.where(action.write, step.proposal, step.x).masked_fill(action.remask, mask_id)
    log_q_proposal = log_prob_of(step.log_q, step.proposal).to(state.log_q_written.dtype)
    quiet = torch.where(((x == step.x) & (x != mask_id)).all(-1), state.quiet + 1, 0)
    return replace(
        state,
        x=x,
        log_q_written=torch.where(action.write, log_q_proposal, state.log_q_written).masked_fill(action.remask, 0.0),
        overwrites=state.overwrites + ((action.write & ~step.is_mask) | action.remask),
        quiet=quiet,
        active=state.active if patience is None else quiet < patience,
        log_q_before=step.log_q,
        hidden_before=step.hidden,
    )


def _changed(step: Step, action: Action) -> Bool[Tensor, "B L"]:
    """Visible tokens that another one replaces in place."""
    return action.write & ~step.is_mask & (step.proposal != step.x)


def _frame(step: Step, action: Action, after: _State) -> Frame:
    signals = {
        "entropy": entropy(step.log_q),
        "margin": margin(step.log_q),
        "confidence_change": confidence_change(step.log_q, step.log_q_before),
    }
    return Frame(
        x=after.x,
        write=action.write,
        remask=action.remask,
        changed=_changed(step, action),
        scores={**signals, **action.scores},
    )


def _check_start(step: Step) -> None:
    x, mask_id = step.x, step.log_q.shape[-1]
    if x.min() < 0 or x.max() > mask_id:
        raise InputError(
            f"start holds id {int(x.min() if x.min() < 0 else x.max())}: ids are 0 .. {mask_id}, the last the mask"
        )
    if (step.is_fixed & step.is_mask).any():
        raise InputError("a fixed position holds a mask: it could never be written; leave it open or give its token")


def _check_action(action: Action, step: Step, rule: Rule) -> None:
    if (action.write & action.remask).any():
        raise ValueError(f"{type(rule).__name__} writes and hides the same token")
    if ((action.write | action.remask) & step.is_fixed).any():
        raise ValueError(f"{type(rule).__name__} touches a fixed token")
    if (action.remask & step.is_mask).any():
        raise ValueError(f"{type(rule).__name__} hides what is hidden already")
