"""Steps made by hand, for the tests of rules."""

from dataclasses import replace

import torch

from ardm.base.streams import Chance
from ardm.method.belief import Table
from ardm.method.types import Step

V = 4


def step(x, t, T, fixed=None):
    x = torch.as_tensor(x)
    log_q = torch.zeros(*x.shape, V).log_softmax(-1)
    fixed = torch.zeros_like(x, dtype=torch.bool) if fixed is None else torch.as_tensor(fixed)
    zero = torch.zeros_like(x)
    return Step(
        t=t,
        T=T,
        x=x,
        proposal=x.clamp(max=V - 1),
        now=Table(log_q),
        before=None,
        log_q_written=zero.float(),
        hidden=torch.zeros(*x.shape, 0),
        is_mask=x == V,
        is_fixed=fixed,
        overwrites=zero,
    )


def rng(rows=1, seed=0):
    """The random numbers of a step for so many texts."""
    return Chance(seed, "choices", torch.arange(rows))


def seen(x, q, t, T, *, proposal=None, written=None, before=None, overwrites=None):  # noqa: PLR0913  a step by its parts
    """A step of one text with the given probabilities of the four words at each position."""
    s = step([x], t, T)
    q = torch.tensor([q])
    given = {"now": Table(q.log())}
    if proposal is not None:
        given["proposal"] = torch.tensor([proposal])
    if written is not None:
        given["log_q_written"] = torch.tensor([written]).log()
    if before is not None:
        given["before"] = Table(torch.tensor([before]).log())
    if overwrites is not None:
        given["overwrites"] = torch.tensor([overwrites])
    return replace(s, **given)


SURE, TIE, DOUBT = [0.97, 0.01, 0.01, 0.01], [0.5, 0.48, 0.01, 0.01], [0.4, 0.2, 0.2, 0.2]


def places(mask):
    return mask[0].nonzero().flatten().tolist()
