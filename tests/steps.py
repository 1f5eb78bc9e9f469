"""Steps made by hand, for the tests of rules."""

from dataclasses import replace

import torch

from ardm.method.types import Step

V = 4


def step(x, t, T, fixed=None):
    x = torch.as_tensor(x)
    log_q = torch.zeros(*x.shape, V).log_softmax(-1)
    fixed = torch.zeros_like(x, dtype=torch.bool) if fixed is None else torch.as_tensor(fixed)
    zero = torch.zeros_like(x)
    hidden = torch.zeros(*x.shape, 0)
    return Step(t, T, x, x.clamp(max=V - 1), log_q, None, zero.float(), hidden, x == V, fixed, zero)


def rng():
    return torch.Generator().manual_seed(0)


def seen(x, q, t, T, *, proposal=None, written=None, before=None, overwrites=None):
    """A step of one text with the given probabilities of the four words at each position."""
    s = step([x], t, T)
    q = torch.tensor([q])
    given = {"log_q": q.log()}
    if proposal is not None:
        given["proposal"] = torch.tensor([proposal])
    if written is not None:
        given["log_q_written"] = torch.tensor([written]).log()
    if before is not None:
        given["log_q_before"] = torch.tensor([before]).log()
    if overwrites is not None:
        given["overwrites"] = torch.tensor([overwrites])
    return replace(s, **given)


SURE, TIE, DOUBT = [0.97, 0.01, 0.01, 0.01], [0.5, 0.48, 0.01, 0.01], [0.4, 0.2, 0.2, 0.2]


def places(mask):
    return mask[0].nonzero().flatten().tolist()
