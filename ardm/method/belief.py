"""The two forms of what a denoiser says: a table of log q, and a head with the hidden states that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ardm.base.devices import single
from ardm.method.draw import Draw
from ardm.method.head import Reading, read_head
from ardm.method.signals import entropy_in, log_prob_in, margin_in, normalised, placed_margin_in
from ardm.method.types import Belief, Float, Head, Int, Prediction

__all__ = ["Streamed", "Table", "believe"]


@dataclass(frozen=True, eq=False)
class Table(Belief):
    """log q of every word. Numbers of a position are read from it when they are asked for, and kept.

    ``check`` looks for NaN before anything is read (``InputError``); it waits for the device.
    """

    log_q: Float[Tensor, "B L V"]
    check: bool = True

    @property
    def vocab_size(self) -> int:
        return self.log_q.shape[-1]

    @cached_property
    def _read(self) -> Float[Tensor, "B L V"]:
        """What numbers are read from: normalised, whatever was given, as in :mod:`ardm.method.signals`."""
        return normalised(self.log_q, self.check)

    @cached_property
    def entropy(self) -> Float[Tensor, "B L"]:
        return entropy_in(self._read)

    @cached_property
    def margin(self) -> Float[Tensor, "B L"]:
        return margin_in(self._read)

    @cached_property
    def best(self) -> Int[Tensor, "B L"]:
        return self._read.argmax(-1)

    @cached_property
    def top(self) -> Float[Tensor, "B L"]:
        return self.log_q.amax(-1)

    def log_prob(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        return log_prob_in(self._read, tokens)

    def placed_margin(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        return placed_margin_in(self._read, tokens)

    def drawn(self, draw: Draw, uniform: Float[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The token of every position."""
        return draw(self.log_q, uniform, check=self.check)

    def rows(self, where: Tensor) -> Table:
        return Table(self.log_q[where], self.check)


@dataclass(frozen=True, eq=False)
class Streamed(Belief):
    """A head and what it reads. One pass over the words gives the numbers of every position; no table is made unless asked for.

    What is kept for the next step are ``state`` and those numbers, a few a position. ``check``: as for a table.
    """

    state: Float[Tensor, "B L E"]
    head: Head
    check: bool = True

    @property
    def vocab_size(self) -> int:
        return len(self.head.weight)

    @cached_property
    def reading(self) -> Reading:
        """The numbers of every position."""
        return read_head(self.head, self.state, check=self.check)

    @cached_property
    def log_q(self) -> Float[Tensor, "B L V"]:
        return self.head.logits(self.state).log_softmax(-1)

    @property
    def entropy(self) -> Float[Tensor, "B L"]:
        return self.reading.entropy

    @property
    def margin(self) -> Float[Tensor, "B L"]:
        return self.reading.margin

    @property
    def best(self) -> Int[Tensor, "B L"]:
        return self.reading.best

    @property
    def top(self) -> Float[Tensor, "B L"]:
        return self.reading.top

    def log_prob(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        return self.head.log_prob(self.state, tokens, self.reading.log_sum)

    def placed_margin(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        known = (tokens >= 0) & (tokens < self.vocab_size)
        behind = torch.where(tokens == self.best, self.margin, self.log_prob(tokens) - self.top)
        return torch.where(known, behind, 0.0)

    def drawn(self, draw: Draw, uniform: Float[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The token of every position, drawn in the pass that reads them."""
        reading = read_head(self.head, self.state, uniform=uniform, draw=draw, check=self.check)
        self.__dict__["reading"] = reading
        return reading.proposal

    def rows(self, where: Tensor) -> Streamed:
        some = Streamed(self.state[where], self.head, self.check)
        if "reading" in self.__dict__:
            some.__dict__["reading"] = self.reading.rows(where)
        return some


def believe(prediction: Prediction, check: bool = True) -> Table | Streamed:
    """What a denoiser said, in the form in which it said it. Half precision is widened."""
    if prediction.head is not None:
        return Streamed(prediction.state, prediction.head, check)
    return Table(single(prediction.logits).log_softmax(-1), check)
