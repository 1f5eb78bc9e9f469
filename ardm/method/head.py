"""Signals and a draw from a denoiser's hidden states and its head, without the logits.

With V words the logits of a batch are V / D times as large as its hidden states: at 50,000 words and more they are what fills the
memory, and reading them again for every signal is what takes the time. Here a tile of them is made, read for everything at once,
and forgotten. :func:`read_head` equals the functions of :mod:`ardm.method.signals` and :class:`~ardm.method.draw.Draw` on
``hidden @ weight.T + bias``, to the precision of its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ardm.base.devices import double, widest
from ardm.base.errors import InputError
from ardm.method.draw import Draw
from ardm.method.types import Float, Head, Int

__all__ = ["Reading", "read_head"]

TILE = {"cpu": (256, 1024)}
"""Positions and words of a tile, by kind of device: on a CPU its logits and its share of the head stay in a cache."""

WIDE_TILE = (4096, 8192)
"""The same where there is no such limit."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a head says of every position, in nats.

    ``log_sum``: the log of the sum of exp(logits); ``entropy`` and ``margin`` as in :mod:`ardm.method.signals`; ``best``: the
    likeliest token, ``top`` its log q; ``log_q``: of the tokens asked for; ``proposal`` and ``log_q_proposal``: the token drawn,
    None when no uniform numbers were given.
    """

    log_sum: Float[Tensor, "B L"]
    entropy: Float[Tensor, "B L"]
    margin: Float[Tensor, "B L"]
    best: Int[Tensor, "B L"]
    top: Float[Tensor, "B L"]
    log_q: Float[Tensor, "B L"] | None = None
    proposal: Int[Tensor, "B L"] | None = None
    log_q_proposal: Float[Tensor, "B L"] | None = None

    def rows(self, where: Tensor) -> Reading:
        """The same of some sequences, by number or by a mask over B."""
        kept = {name: value[where] for name, value in vars(self).items() if value is not None}
        return Reading(**kept)


def read_head(
    head: Head,
    hidden: Float[Tensor, "B L D"],
    *,
    tokens: Int[Tensor, "B L"] | None = None,
    uniform: Float[Tensor, "B L"] | None = None,
    draw: Draw = Draw(),
    tile: tuple[int, int] | None = None,
    check: bool = True,
) -> Reading:
    """Everything of :class:`Reading` in one pass over the vocabulary, ``tile`` positions and words at a time.

    Sums run in the widest type of the device. The draw has a second, short pass: the first leaves the mass of every tile, which
    decides the tile that a uniform number falls in, and the logits of that one are made again. ``top_k`` and ``top_p`` look at
    all words of a position together; their draw makes whole rows of logits, some positions at a time.

    Gradients reach ``hidden``, ``weight`` and ``bias`` through all but ``best`` and ``proposal``; tiles are made again for them.
    ``InputError`` for sizes that do not fit, and where there is no distribution (NaN, +inf, or every word forbidden; this waits
    for the device, ``check=False`` leaves it out).
    """
    _check(head, hidden, tokens, uniform)
    positions, words = tile or TILE.get(hidden.device.type, WIDE_TILE)
    parts = [_read(head, rows, words, float(draw.temperature)) for rows in hidden.flatten(0, -2).split(positions)]
    *seen, masses = (torch.cat(part) for part in zip(*parts, strict=True))
    log_sum, entropy, margin, best, top = (value.view(hidden.shape[:-1]) for value in seen)
    if check and not log_sum.isfinite().all():
        raise InputError(
            "the logits hold NaN, +inf or a row of -inf only: no distribution; look for a diverged training upstream"
        )
    reading = Reading(log_sum=log_sum, entropy=entropy, margin=margin, best=best, top=top)
    if tokens is not None:
        reading = replace(reading, log_q=head.log_prob(hidden, tokens, log_sum))
    if uniform is None:
        return reading
    with torch.no_grad():
        rows = hidden.flatten(0, -2), uniform.flatten()
        if draw.temperature == 0:
            proposal = best
        elif draw.top_k is None and draw.top_p is None:
            proposal = _draw(head, *rows, draw, masses, words, check)
        else:
            some = max(1, positions * words // len(head.weight))
            blocks = zip(*(part.split(some) for part in rows), strict=True)
            proposal = torch.cat([draw(head.logits(block)[None], u[None], check=check)[0] for block, u in blocks])
    proposal = proposal.view(uniform.shape)
    return replace(reading, proposal=proposal, log_q_proposal=head.log_prob(hidden, proposal, log_sum))


def _check(head: Head, hidden: Tensor, tokens: Tensor | None, uniform: Tensor | None) -> None:
    if hidden.shape[-1] != head.weight.shape[-1]:
        raise InputError(f"hidden states of width {hidden.shape[-1]}: this head reads {head.weight.shape[-1]}")
    if head.bias is not None and len(head.bias) != len(head.weight):
        raise InputError(f"a bias of {len(head.bias)} words for a head of {len(head.weight)}")
    for name, given in (("tokens", tokens), ("uniform", uniform)):
        if given is not None and given.shape != hidden.shape[:-1]:
            raise InputError(f"{name} of shape {tuple(given.shape)}: the positions are {tuple(hidden.shape[:-1])}")
    if uniform is not None and uniform.dtype != widest(uniform.device):
        raise InputError(f"uniform numbers of {uniform.dtype}: {widest(uniform.device)} reaches the rare tokens")


def _chunks(head: Head, words: int) -> Iterator[Head]:
    count = -(-len(head.weight) // words)
    return map(Head, *([None] * count if part is None else part.split(words) for part in head))


def _read(head: Head, hidden: Float[Tensor, "N D"], words: int, temperature: float) -> tuple[Tensor, ...]:
    """Of some positions: log_sum, entropy, margin, best, top, and the log of the mass of each chunk in a draw, ``[N, C]``."""
    again = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, *head))
    found = []
    for chunk in _chunks(head, words):
        given = (hidden, chunk, temperature)
        found.append(checkpoint(_read_chunk, *given, use_reentrant=False) if again else _read_chunk(*given))
    mass, mean, first, second, at, drawn = (torch.stack(part, dim=-1) for part in zip(*found, strict=True))
    log_sum = mass.logsumexp(-1, keepdim=True)
    entropy = log_sum - ((mass - log_sum).exp() * mean).sum(-1, keepdim=True)
    top, chunk = first.max(-1, keepdim=True)
    runner_up = torch.cat([first.scatter(-1, chunk, -torch.inf), second], dim=-1).amax(-1, keepdim=True)
    best = at.gather(-1, chunk) + chunk * words
    said = log_sum.to(top.dtype), entropy.to(top.dtype), top - runner_up, best, (top - log_sum).to(top.dtype)
    return *(value.squeeze(-1) for value in said), drawn.detach()


def _read_chunk(hidden: Tensor, chunk: Head, temperature: float) -> tuple[Tensor, ...]:
    """Of a chunk: the log of its mass, its mean logit under its own distribution, its two highest logits and where the first
    stands, and the log of its mass in a draw.
    """
    logits = chunk.logits(hidden)
    first, at = logits.max(-1)
    second = logits.scatter(-1, at.unsqueeze(-1), -torch.inf).amax(-1)
    top = first.detach().masked_fill(first == -torch.inf, 0.0)
    shifted = logits - top.unsqueeze(-1)
    weights = shifted.exp()
    total = weights.sum(-1)
    moment = (weights * shifted.masked_fill(shifted == -torch.inf, 0.0)).sum(-1)
    wide = double(top)
    mass = double(total).log() + wide
    mean = double(torch.where(total > 0, moment / total.clamp_min(0.5), 0.0)) + wide  # the likeliest alone weighs 1
    drawn = mass if temperature in (0, 1) else double((shifted / temperature).exp().sum(-1)).log() + wide / temperature
    return mass, mean, first, second, at, drawn


def _draw(
    head: Head, hidden: Tensor, uniform: Tensor, draw: Draw, masses: Tensor, words: int, check: bool
) -> Int[Tensor, " N"]:
    """The token of each position: the chunk its uniform number falls in, and with what is left of the number a token of it."""
    edges = (masses - masses.amax(-1, keepdim=True)).exp().cumsum(-1)
    target = (uniform * edges[:, -1]).unsqueeze(-1)
    chosen = torch.searchsorted(edges, target, right=True).clamp_max(masses.shape[-1] - 1).squeeze(-1)
    chosen = torch.where(masses.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) > -torch.inf, chosen, masses.argmax(-1))
    edges = torch.nn.functional.pad(edges, (1, 0))
    low, high = (edges.gather(-1, (chosen + k).unsqueeze(-1)).squeeze(-1) for k in (0, 1))
    inside = ((target.squeeze(-1) - low) / (high - low)).clamp(0, 1 - torch.finfo(uniform.dtype).eps)
    order = chosen.argsort(stable=True)
    counts = chosen.bincount(minlength=masses.shape[-1]).tolist()  # waits for the device, once
    drawn = torch.empty_like(chosen)
    for number, (chunk, here) in enumerate(zip(_chunks(head, words), order.split(counts), strict=True)):
        if len(here):
            drawn[here] = number * words + draw(chunk.logits(hidden[here])[None], inside[here][None], check=check)[0]
    return drawn
