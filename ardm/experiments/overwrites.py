"""What the overwrites of a run met and what they brought, judged by the law that its texts are of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ardm.base.errors import InputError
from ardm.method.sampling import Trace
from ardm.method.types import Bool, Int
from ardm.worlds.laws import Law

__all__ = ["OUTCOMES", "Overwritten", "overwritten", "wrong_tokens"]

OUTCOMES = ("hit a wrong token", "another word, right too", "the same word again", "a word that is wrong")
"""What can come of an overwrite: it hits a wrong token, or a right one is followed by one of the other three."""


def wrong_tokens(law: Law, texts: Int[Tensor, "... L"]) -> Bool[Tensor, "... L"]:
    """The visible tokens in which each text differs from its nearest text of the law; each different text is looked at once."""
    once, which = texts.flatten(0, -2).unique(dim=0, return_inverse=True)
    return ((once < law.vocab_size) & (once != law.nearest(once)))[which].view_as(texts)


@dataclass(frozen=True)
class Overwritten:
    """Every token of a recorded run as it stood before each step. ``over``: was overwritten then, in place or by hiding it.

    ``wrong``: in the text of that moment; ``same``, ``spoilt``: the next visible token at its place is the same, or wrong in the
    text in which it stands then.
    """

    law: Law
    states: Int[Tensor, "T B L"]
    over: Bool[Tensor, "T B L"]
    wrong: Bool[Tensor, "T B L"]
    same: Bool[Tensor, "T B L"]
    spoilt: Bool[Tensor, "T B L"]

    def outcomes(self) -> dict[str, Bool[Tensor, "T B L"]]:
        """The overwrites by their :data:`OUTCOMES`: each is in one of them."""
        right, other = self.over & ~self.wrong, ~self.same
        found = (self.over & self.wrong, right & other & ~self.spoilt, right & self.same, right & other & self.spoilt)
        return dict(zip(OUTCOMES, found, strict=True))

    def shares(self) -> dict[str, float]:
        """In per cent: each of the :data:`OUTCOMES`, of all overwrites; ``caught``, of the wrong tokens in sight at a step those
        that it overwrites. NaN where there are none.
        """
        total, bad = (int(n.sum()) or float("nan") for n in (self.over, self.wrong))
        found = {name: 100 * int(there.sum()) / total for name, there in self.outcomes().items()}
        return found | {"caught": 100 * int((self.over & self.wrong).sum()) / bad}

    def in_some_repair(self, sample: int, rng: Generator) -> float:
        """Per cent of the overwrites whose token is wrong in *some* nearest text: to hide it makes the smallest repair smaller.

        Where the nearest text of the law differs there at once, it is. Of the others a random ``sample`` is tried out.
        """
        if sample < 1:
            raise InputError(f"sample={sample}: overwrites to try out are at least 1")
        total = int(self.over.sum()) or float("nan")
        open_to_doubt = (self.over & ~self.wrong & self.wrong.any(-1, keepdim=True)).nonzero().cpu()
        pick = open_to_doubt[torch.randperm(len(open_to_doubt), generator=rng)[:sample]]
        t, text, i = pick.to(self.states.device).T
        alone = self.states[t, text].clone()
        alone[torch.arange(len(alone)), i] = self.law.vocab_size
        smaller = wrong_tokens(self.law, alone).sum(-1) < self.wrong[t, text].sum(-1)
        more = smaller.float().mean().item() * len(open_to_doubt) if len(open_to_doubt) else 0.0
        return 100 * (int((self.over & self.wrong).sum()) + more) / total


def overwritten(law: Law, trace: Trace) -> Overwritten:
    """Judge every step of a recorded run of ``law``. ``InputError`` where it was not recorded."""
    if not trace.frames:
        raise InputError("no step was recorded: sample with record=True")
    states = torch.stack([trace.start, *(frame.x for frame in trace.frames)])  # [T + 1, B, L]
    seen, wrong = states < law.vocab_size, wrong_tokens(law, states)
    after, after_wrong = states.clone(), wrong.clone()  # the next visible token, from that step on
    for t in reversed(range(len(trace.frames))):
        after[t] = torch.where(seen[t], states[t], after[t + 1])
        after_wrong[t] = torch.where(seen[t], wrong[t], after_wrong[t + 1])
    write, remask = (torch.stack([getattr(frame, what) for frame in trace.frames]) for what in ("write", "remask"))
    return Overwritten(
        law=law,
        states=states[:-1],
        over=remask | (write & seen[:-1]),
        wrong=wrong[:-1],
        same=after[1:] == states[:-1],
        spoilt=after_wrong[1:],
    )
