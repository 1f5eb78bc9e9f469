"""The one training loop. It owns optimiser, schedule, clipping, progress and the checkpoint, and stops where the loss is no number.

What is trained says how the material of a step is drawn and what its loss is (:class:`Training`). A training that was killed goes
on from its checkpoint and ends, on one CPU, with the weights and losses of one that was not, bit for bit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ardm.base.errors import InputError
from ardm.base.processes import Alone, leads, processes
from ardm.base.streams import Lots
from ardm.base.weights import read_weights, write_weights
from ardm.method.optimise import Optimiser

__all__ = ["Diverged", "Run", "Training", "train"]

LOOK = 20  # steps between two looks at the losses of a GPU, each of which waits for it


class Diverged(InputError):
    """A loss that is not finite: no step after it means anything."""


@runtime_checkable
class Training(Protocol):
    """What is trained: its parameters, and how a step's loss is made."""

    name: str  # for the line of progress
    model: nn.Module  # all that learns, and all that has to be kept
    steps: int
    batch: int  # texts a step
    rate: float
    data: torch.Generator  # the only numbers that its material is drawn from

    def draw(self, k: int, own: Lots, crew: Alone) -> Any:
        """The material of step k, from 0, without gradients: for these rows of the batch, all of whose numbers are drawn.

        Tensors, and tuples and dataclasses of them; each tensor with a dimension has the rows first.
        """
        ...

    def loss(self, drawn: Any, share: float) -> Tensor:
        """The part of the step's loss that comes from some rows, a share of the batch: the losses of all parts add up to it."""
        ...


@dataclass
class Run:
    """How a training is run, and what came of it. Nothing here changes what is trained, but for rounding where it is split.

    With ``pieces`` the rows of each step are taken through the model in so many parts, one after the other, for the memory of one.
    """

    checkpoint: Path | None = None  # a file that is there while the training lasts
    key: str = ""  # of what is trained: a checkpoint of another is not gone on from
    pieces: int = 1
    every: float = 60.0  # seconds between two checkpoints
    seconds: float = 0.0  # that the training took, those before it was stopped among them
    processes: int = 1
    warnings: list[str] = field(default_factory=list)

    def end(self) -> None:
        """Remove the checkpoint and what a killed process left of one: what was trained is kept elsewhere now."""
        if self.checkpoint is not None and leads():
            self.checkpoint.unlink(missing_ok=True)
            for part in self.checkpoint.parent.glob(f".{self.checkpoint.name}.*.part"):
                part.unlink(missing_ok=True)


class _Loss(nn.Module):
    """The loss as a module, for those who share its parameters' gradients; buffers stay out."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.weights = nn.ParameterList(p for p in training.model.parameters() if p.requires_grad)
        self.part: Callable[[Any, float], Tensor] = training.loss

    def forward(self, drawn: Any, share: float) -> Tensor:
        return self.part(drawn, share)


def train(training: Training, run: Run, device: torch.device, *, progress: bool = True) -> list[float]:
    """Train, from the checkpoint if there is one; returns the loss of every step.

    ``Diverged`` where a loss is not finite. ``InputError`` where the batch has fewer texts than there are processes and pieces.
    """
    crew, began = processes(device.type), time.monotonic()
    own = crew.lots(training.data, training.batch)
    if not 1 <= run.pieces <= own.count:
        raise InputError(f"pieces={run.pieces}: a process has {own.count} texts a step; take 1 to so many pieces")
    optimiser = Optimiser(training.model, training.rate, training.steps)
    loss, keeper = crew.joined(_Loss(training)), _Keeper(training, optimiser, run, device)
    losses = keeper.found(crew)
    steps = tqdm(
        range(len(losses), training.steps),
        training.name,
        initial=len(losses),
        total=training.steps,
        disable=not progress or not leads(),
        mininterval=1.0,
    )
    for k in steps:
        drawn, parts = training.draw(k, own, crew), []
        for number, rows in enumerate(_cut(own.count, run.pieces), 1):
            share = (rows.stop - rows.start) / training.batch
            with crew.quiet(loss, number < run.pieces):
                part = loss(drawn if run.pieces == 1 else _rows(drawn, rows), share)
                crew.backward(part)
            parts.append(part.detach())
        losses.append(crew.total(parts[0] if run.pieces == 1 else torch.stack(parts).sum()))
        if device.type == "cpu":
            keeper.check(losses, last=1)
        elif k % LOOK == LOOK - 1 or k == training.steps - 1:
            keeper.check(losses)
        optimiser.descend()
        if k < training.steps - 1:
            keeper.keep(losses)
    run.processes = crew.count
    run.seconds += time.monotonic() - began
    return torch.stack(losses).tolist()


def _cut(count: int, pieces: int) -> Iterator[slice]:
    """The rows of each piece; sizes differ by one at most."""
    for i in range(pieces):
        yield slice(count * i // pieces, count * (i + 1) // pieces)


def _rows(drawn: Any, rows: slice) -> Any:
    """These rows of all tensors of the material."""
    if isinstance(drawn, Tensor):
        return drawn[rows] if drawn.dim() else drawn
    if isinstance(drawn, tuple):
        return tuple(_rows(one, rows) for one in drawn)
    if is_dataclass(drawn) and not isinstance(drawn, type):
        return replace(drawn, **{it.name: _rows(getattr(drawn, it.name), rows) for it in fields(drawn)})
    return drawn


class _Keeper:
    """Writes the checkpoint, looks for one, and looks at the losses."""

    def __init__(self, training: Training, optimiser: Optimiser, run: Run, device: torch.device) -> None:
        self.training, self.optimiser, self.run, self.device = training, optimiser, run, device
        self.began = self.last = time.monotonic()
        self.good = 0  # the step that the last checkpoint goes on from

    def check(self, losses: list[Tensor], last: int = LOOK) -> None:
        """Raise ``Diverged`` where one of the last losses is not finite."""
        told = torch.stack(losses[-last:]).tolist()
        bad = next((i for i, loss in enumerate(told) if not abs(loss) < float("inf")), None)
        if bad is None:
            return
        step = len(losses) - len(told) + bad + 1
        before = f"the last finite one is {losses[step - 2]:.4g} at step {step - 1}" if step > 1 else "none before it is finite"
        kept = (
            f"the last good checkpoint is {self.run.checkpoint}, of step {self.good}" if self.good else "there is no checkpoint"
        )
        raise Diverged(
            f"step {step} of {self.training.steps}: the loss is {told[bad]}, {before}; {kept}: "
            f"train with a lower rate than {self.training.rate:g}"
        )

    def keep(self, losses: list[Tensor]) -> None:
        """Write a checkpoint when it is time to; a disk that is full stops no training."""
        path, now = self.run.checkpoint, time.monotonic()
        if path is None or not leads() or now - self.last < self.run.every:
            return
        self.check(losses)
        if not all(p.isfinite().all() for p in self.optimiser.parameters):
            return  # the next loss will say so
        tensors, told = self._state(losses)
        facts = {
            "key": self.run.key,
            "step": len(losses),
            "seconds": self.run.seconds + now - self.began,
            **told,
        }
        try:
            write_weights(path, tensors, facts)
        except OSError as error:
            _say(f"{path.name} cannot be written ({error.strerror}): training goes on without a checkpoint")
        else:
            self.good = len(losses)
        self.last = time.monotonic()

    def _state(self, losses: list[Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        moments, told = self.optimiser.state()
        random = {"data": self.training.data.get_state(), "torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        groups = {"model": self.training.model.state_dict(), "moments": moments, "random": random}
        tensors = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        return {name: value.cpu() for name, value in {**tensors, "losses": torch.stack(losses)}.items()}, told

    def found(self, crew: Alone) -> list[Tensor]:
        """The losses so far of the checkpoint, everything else of it put in its place; none where there is no good one."""
        found = self._read()
        step = torch.tensor(float(found[0]["step"] if found else 0), device=self.device)
        if float(crew.total(step)) != crew.count * float(step):
            raise InputError("the processes do not see the same checkpoint: put it on a file system that all of them share")
        if found is None:
            return []
        facts, tensors = found
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "moments": {}, "random": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups.get(group, {})[rest] = value
        self.training.model.load_state_dict(groups["model"])
        self.optimiser.restore(groups["moments"], facts)
        self.training.data.set_state(groups["random"]["data"])
        torch.set_rng_state(groups["random"]["torch"])
        if "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"], self.device)
        self.run.seconds, self.good = facts["seconds"], facts["step"]
        return list(tensors["losses"].to(self.device).unbind())

    def _read(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """The checkpoint, if it is whole and of what is trained; a line says why not, and the next one takes its place."""
        path = self.run.checkpoint
        if path is None or not path.is_file():
            return None
        try:
            facts, tensors = read_weights(path)
            if facts["key"] == self.run.key:
                return facts, tensors
            why = "it is of another model"
        except (InputError, KeyError) as error:
            why = "it is cut off or damaged" if isinstance(error, InputError) else f"it lacks {error}"
        if leads():
            _say(f"{path.name} is not gone on from, {why}: the training starts anew and will overwrite it")
        return None


def _say(line: str) -> None:
    print(f"ardm: {line}", file=sys.stderr, flush=True)
