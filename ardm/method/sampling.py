"""The one sampling loop. It calls the denoiser, draws the proposals, applies what a rule says, and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ardm.base.errors import InputError, check_whole
from ardm.base.streams import Chance
from ardm.method.belief import Table, believe
from ardm.method.draw import Draw
from ardm.method.inputs import check_fixed, check_ids, check_prediction, check_range, check_table, check_uniform
from ardm.method.types import Action, Belief, Bool, Denoiser, Float, Int, Prediction, Rule, Step

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
    reports: a gate's ``p``, ``u`` and ``r``. A finished sequence keeps those of its last step, with a confidence change of 0.
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
    _check_sizes(count, length, vocab_size)
    return torch.full((count, length), vocab_size, device=device)


def noise(
    count: int, length: int, vocab_size: int, *, seed: int, device: torch.device | str = "cpu", first_row: int = 0
) -> Int[Tensor, "B L"]:
    """``count`` sequences of tokens drawn uniformly: the other place where sampling from nothing can start.

    Row i does not depend on ``count``. ``first_row`` is the number of the first one, as in :func:`refine`.
    """
    _check_sizes(count, length, vocab_size)
    chance = Chance(seed, "noise", _rows(count, first_row, device))
    return (chance.uniform(length) * vocab_size).long()


def _check_sizes(count: int, length: int, vocab_size: int) -> None:
    check_whole("count", count, 0, 2**31)
    check_whole("length", length, 1, 2**31)
    check_whole("vocab_size", vocab_size, 1, 2**31)


def _rows(count: int, first: int | Tensor, device: torch.device | str) -> Int[Tensor, " B"]:
    if isinstance(first, Tensor):
        if first.shape != (count,) or first.is_floating_point():
            raise InputError(f"first_row of {first.dtype}, {tuple(first.shape)}: give one whole number, or {count} of them")
        return first.to(device)
    check_whole("first_row", first, 0, 2**32)
    return torch.arange(first, first + count, device=device)


Part = TypeVar("Part")


def _some(part: Part, where: Bool[Tensor, " B"]) -> Part:
    """The same of some sequences: of every tensor and belief in it, one row a sequence."""
    kept = {}
    for one in fields(part):
        value = getattr(part, one.name)
        if isinstance(value, Tensor):
            kept[one.name] = value[where]
        elif isinstance(value, Belief):
            kept[one.name] = value.rows(where)
    return replace(part, **kept)


@dataclass(frozen=True, kw_only=True)
class _State:
    """What one step leaves to the next, of the sequences that are still worked on.

    ``row``: where each stands in the batch that was given. ``before``: what the denoiser said at the last step, None before the
    first. ``quiet``: for how many steps in a row a sequence has had no mask and no change.
    """

    row: Int[Tensor, " B"]
    x: Int[Tensor, "B L"]
    fixed: Bool[Tensor, "B L"]
    log_q_written: Float[Tensor, "B L"]
    overwrites: Int[Tensor, "B L"]
    quiet: Int[Tensor, " B"]
    before: Belief | None = None


def _at_start(x: Int[Tensor, "B L"], fixed: Bool[Tensor, "B L"] | None = None) -> _State:
    return _State(
        row=torch.arange(len(x), device=x.device),
        x=x.long(),
        fixed=torch.zeros_like(x, dtype=torch.bool) if fixed is None else fixed,
        log_q_written=torch.zeros(x.shape, device=x.device),
        overwrites=torch.zeros_like(x, dtype=torch.long),
        quiet=torch.zeros(len(x), dtype=torch.long, device=x.device),
    )


@dataclass(frozen=True, kw_only=True)
class _Tally:
    """Counts what happens to each sequence, for the trace: nothing in a run depends on it."""

    calls: Int[Tensor, " B"]
    writes: Int[Tensor, " B"]
    rewrites: Int[Tensor, " B"]
    changes: Int[Tensor, " B"]
    remasks: Int[Tensor, " B"]
    wasted: Int[Tensor, " B"]
    settled: Int[Tensor, " B"]
    token_before: Int[Tensor, "B L"]  # what stood where a token was hidden

    @classmethod
    def of(cls, x: Int[Tensor, "B L"]) -> _Tally:
        zero = torch.zeros(len(x), dtype=torch.long, device=x.device)
        counts = {one.name: zero for one in fields(cls) if one.name != "token_before"}
        return cls(**counts, token_before=torch.full_like(x, -1, dtype=torch.long))

    def add(self, step: Step, action: Action, after: _State) -> _Tally:
        """The counts after a step."""
        old = torch.where(step.is_mask, self.token_before, step.x)
        return _Tally(
            calls=self.calls + 1,
            writes=self.writes + action.write.sum(-1),
            rewrites=self.rewrites + (action.write & ~step.is_mask).sum(-1),
            changes=self.changes + _changed(step, action).sum(-1),
            remasks=self.remasks + action.remask.sum(-1),
            wasted=self.wasted + (action.write & (step.proposal == old)).sum(-1),
            settled=torch.where((after.x != step.x).any(-1), step.t, self.settled),
            token_before=torch.where(action.remask, step.x, self.token_before),
        )


@torch.no_grad()
def observe(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    *,
    t: int,
    T: int,
    uniform: Float[Tensor, "B L"],
    before: Belief | Float[Tensor, "B L V"] | None = None,
) -> Step:
    """One step as a rule would meet it, outside a run: ``x`` as it stands before step t of T, nothing fixed, nothing overwritten.

    ``uniform``: numbers in [0, 1), float64 where the device has it, from which the proposal is drawn (see :class:`Draw`).
    ``before``: what the denoiser said one step ago, as another step's ``now`` or as a table of log q.
    """
    _check_callable(denoiser=denoiser)
    check_ids("x", x, least=1)
    check_whole("T", T, 1)
    check_whole("t", t, 1, T)
    check_uniform(uniform, x)
    _check_known(x, denoiser)
    if before is not None and not isinstance(before, Belief):
        check_table("before", before, x)
        before = Table(before)
    state = replace(_at_start(x), before=before)
    step = _meet(denoiser, state, t=t, T=T, draw=Draw(), uniform=uniform)
    _check_start(step)
    return step


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
    check: bool = True,
) -> Trace:
    """Refine ``x`` over ``steps`` calls of the denoiser.

    ``x`` may be all masks, random tokens, a draft, or a prompt with holes; ``fixed`` positions are never touched. At every step
    the denoiser is called once and ``draw`` makes one proposal for every position. The last step writes every mask that is left
    and hides nothing, whatever the rule says: no mask ever leaves the loop. With ``patience`` a sequence that has no mask and
    has not changed for that many steps in a row is finished: it leaves the batch as it is and costs nothing more. The rule is
    asked about the others alone; ``chance.rows`` says which texts these are.

    Random numbers depend on ``seed``, the number of the row and the step alone, so two rules compared at one seed meet the same
    proposals as long as their texts agree, and a text does not depend on the others in its batch. Row i of ``x`` has the number
    ``first_row`` + i: ``x[3:4]`` with ``first_row=3`` gives row 3 of the whole. A tensor gives each row a number of its own.

    ``check`` asks at every step whether q is a distribution and whether the rule keeps its contract (``ValueError``), for which
    the host waits for the device. Without it nothing in a step does, but what denoiser and rule do themselves, ``patience``, and
    a draw from a head (:func:`~ardm.method.head.read_head`).
    """
    _check_callable(denoiser=denoiser, rule=rule)
    if not isinstance(draw, Draw):
        raise InputError(f"draw={draw!r}: give a Draw, such as Draw(temperature=0.7)")
    check_ids("x", x)
    check_fixed(fixed, x)
    check_whole("steps", steps, 1)
    if patience is not None:
        check_whole("patience", patience, 1)
    _check_known(x, denoiser)
    rows = _rows(len(x), first_row, x.device)
    proposals, choices = (Chance(seed, stream, rows) for stream in ("proposals", "choices"))
    state, tally = _at_start(x, fixed), _Tally.of(x)
    finished, frames = [], []
    for t in range(1, steps + 1 if len(x) else 1):
        uniform = proposals.at(t).uniform(x.shape[1])
        step = _meet(denoiser, state, t=t, T=steps, draw=draw, uniform=uniform, check=check)
        if t == 1:
            _check_start(step)
        action = rule(step, choices.at(t))
        if check:
            _check_action(action, step, rule)
        action = _carried_out(action, step)
        after = _advance(state, step, action)
        tally = tally.add(step, action, after)
        if record:
            frames.append(_frame(step, action, after, frames[-1] if frames else None))
        state = after
        if patience is None or not (done := state.quiet >= patience).any():
            continue
        finished.append((_some(replace(state, before=None), done), _some(tally, done)))
        state, tally = _some(state, ~done), _some(tally, ~done)
        proposals, choices = proposals.of(~done), choices.of(~done)
        if not len(state.x):
            break
    return _trace(x, [*finished, (state, tally)], frames)


def _trace(x: Int[Tensor, "B L"], parts: list[tuple[_State, _Tally]], frames: list[Frame]) -> Trace:
    """What came of all sequences, in the order in which they were given."""
    order = torch.cat([state.row for state, _ in parts]).argsort()

    def whole(values: list[Tensor]) -> Tensor:
        return values[0] if len(values) == 1 else torch.cat(values)[order]

    names = [one.name for one in fields(_Tally) if one.name != "token_before"]
    counts = {name: whole([getattr(tally, name) for _, tally in parts]) for name in names}
    ended, overwritten = (whole([getattr(state, name) for state, _ in parts]) for name in ("x", "overwrites"))
    return Trace(start=x, x=ended, overwritten=overwritten, frames=tuple(frames), **counts)


def _meet(denoiser: Denoiser, state: _State, *, t: int, T: int, draw: Draw, uniform: Tensor, check: bool = True) -> Step:
    """The step that a rule meets: the denoiser's call and the proposals."""
    x = state.x
    prediction = _called(denoiser, x, 1 - (t - 1) / T)
    check_prediction(prediction, x, state.before)
    now = believe(prediction, check)
    return Step(
        t=t,
        T=T,
        x=x,
        proposal=now.drawn(draw, uniform),
        now=now,
        before=state.before,
        log_q_written=state.log_q_written,
        hidden=prediction.hidden,
        is_mask=x == now.vocab_size,
        is_fixed=state.fixed,
        overwrites=state.overwrites,
    )


def _called(denoiser: Denoiser, x: Int[Tensor, "B L"], time: float) -> Prediction:
    try:
        return denoiser(x, time)
    except IndexError as error:
        raise InputError(f"x holds ids up to {int(x.max())}, and the denoiser cannot read it: {error}") from error


def _carried_out(action: Action, step: Step) -> Action:
    """What is done of what the rule says: at the last step every mask is written and none is made."""
    if step.t < step.T:
        return action
    return Action(write=action.write | step.is_mask, remask=torch.zeros_like(action.remask), scores=action.scores)


def _advance(state: _State, step: Step, action: Action) -> _State:
    """The state after an action: a function of its arguments alone."""
    mask_id = step.now.vocab_size
    x = torch.where(action.write, step.proposal, step.x).masked_fill(action.remask, mask_id)
    log_q_proposal = step.now.log_prob(step.proposal).to(state.log_q_written.dtype)
    return replace(
        state,
        x=x,
        log_q_written=torch.where(action.write, log_q_proposal, state.log_q_written).masked_fill(action.remask, 0.0),
        overwrites=state.overwrites + ((action.write & ~step.is_mask) | action.remask),
        quiet=torch.where(((x == step.x) & (x != mask_id)).all(-1), state.quiet + 1, 0),
        before=step.now,
    )


def _changed(step: Step, action: Action) -> Bool[Tensor, "B L"]:
    """Visible tokens that another one replaces in place."""
    return action.write & ~step.is_mask & (step.proposal != step.x)


def _frame(step: Step, action: Action, after: _State, last: Frame | None) -> Frame:
    """What is recorded of a step: of finished sequences what is in the last frame, and that nothing was done."""
    signals = {"entropy": step.now.entropy, "margin": step.now.margin, "confidence_change": step.change}
    scores = {**signals, **action.scores}
    done = {"x": after.x, "write": action.write, "remask": action.remask, "changed": _changed(step, action)}
    if last is None or len(after.x) == len(last.x):
        return Frame(**done, scores=scores)
    still = {"x": last.x, "confidence_change": torch.zeros_like(last.scores["confidence_change"])}
    still |= {name: torch.zeros_like(last.write) for name in ("write", "remask", "changed")}
    old = {**last.scores, **still}
    whole = {}
    for name, value in {**done, **scores}.items():
        base = old[name] if name in old else value.new_zeros(last.x.shape)
        whole[name] = base.index_copy(0, after.row, value)
    return Frame(**{name: whole.pop(name) for name in done}, scores=whole)


def _check_callable(**given: Any) -> None:
    for name, value in given.items():
        if not callable(value):
            raise InputError(f"{name}={value!r}: give something that can be called")


def _check_known(x: Int[Tensor, "B L"], denoiser: Denoiser) -> None:
    """Before the call, where the denoiser says how many words it knows: a GPU would not tell which id was the wrong one."""
    words = getattr(denoiser, "vocab_size", None)
    check_range("x", x, words if isinstance(words, int) else None)


def _check_start(step: Step) -> None:
    check_range("x", step.x, step.now.vocab_size)
    if (step.is_fixed & step.is_mask).any():
        raise InputError("a fixed position holds a mask: it could never be written; leave it open or give its token")


def _check_action(action: Action, step: Step, rule: Rule) -> None:
    for name in ("write", "remask"):
        mask = getattr(action, name, None)
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != step.x.shape:
            raise InputError(f"{type(rule).__name__} gives no {name} of True and False, {tuple(step.x.shape)}: look at Action")
    if (action.write & action.remask).any():
        raise ValueError(f"{type(rule).__name__} writes and hides the same token")
    if ((action.write | action.remask) & step.is_fixed).any():
        raise ValueError(f"{type(rule).__name__} touches a fixed token")
    if (action.remask & step.is_mask).any():
        raise ValueError(f"{type(rule).__name__} hides what is hidden already")
