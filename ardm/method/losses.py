"""What the trainings minimise, and the relaxed overwrite through which a gate can be trained end to end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ardm.base.errors import InputError
from ardm.base.streams import Lots, lots
from ardm.method.types import Bool, Float, Int

__all__ = ["bce", "denoising_loss", "expected_overwrites", "relaxed_bernoulli", "total_variation"]


def denoising_loss(logits: Float[Tensor, "B L V"], x0: Int[Tensor, "B L"]) -> Float[Tensor, ""]:
    """Mean of -log q_i(x0_i) over **all** positions, in nats.

    Over masks alone this is the masked-diffusion loss (arXiv:2406.07524). Visible positions count as well, at the same weight:
    some of them are wrong, and only then is the minimiser the posterior P(x0_i | x) there too. A denoiser trained on masks only
    takes what it sees for right, and resampling from it leaves most errors where they are.
    """
    return F.cross_entropy(logits.transpose(1, 2), x0)


def bce(
    logit: Float[Tensor, "B L"],
    label: Float[Tensor, "B L"],
    where: Bool[Tensor, "B L"] | None = None,
    count: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of a gate against labels in [0, 1], "this token should be overwritten", in nats.

    The mean over the positions in ``where`` (all by default); 0 when there are none. Where these rows are a part of a batch,
    ``count`` is how many such positions the whole has: the losses of the parts then add up to that of the whole.
    """
    return _mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"), where, count)


def expected_overwrites(
    logit_p: Float[Tensor, "B L"], where: Bool[Tensor, "B L"] | None = None, count: Float[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """E[m], the expected share of tokens overwritten: the mean of p. Times a weight it is the sparsity penalty.

    ``where`` and ``count`` as in :func:`bce`.
    """
    return _mean(logit_p.sigmoid(), where, count)


def total_variation(logit_p: Float[Tensor, "B L"], logit_p_before: Float[Tensor, "B L"]) -> Float[Tensor, ""]:
    """Mean of ``|p_i^t - p_i^(t-1)|``: how restless the gate is between two steps. Times a weight, the stability penalty."""
    return (logit_p.sigmoid() - logit_p_before.sigmoid()).abs().mean()


def relaxed_bernoulli(
    logit_p: Float[Tensor, "B L"],
    rng: torch.Generator | Lots | Float[Tensor, "B L"],
    *,
    how: str = "gumbel_sigmoid",
    temperature: float = 1.0,
) -> Float[Tensor, "B L"]:
    """A draw m from Bernoulli(p) through which gradients reach p.

    ``"gumbel_sigmoid"``: m = sigmoid((logit p + g) / temperature) with g logistic, in (0, 1); rounded it is an exact Bernoulli
    draw, and as the temperature falls it tends to that draw (the binary Concrete of Maddison et al. 2017, arXiv:1611.00712, and
    Jang et al. 2017, arXiv:1611.01144). ``"straight_through"``: m is the draw itself, 0 or 1, and its gradient is passed to p as if
    m were p (Bengio et al. 2013, arXiv:1308.3432).
    """
    if not temperature > 0:
        raise InputError(f"temperature={temperature}: it is above 0")
    uniform = rng if isinstance(rng, Tensor) else lots(rng).uniform(*logit_p.shape).to(logit_p.device)
    if how == "gumbel_sigmoid":
        tiny = torch.finfo(logit_p.dtype).eps
        return ((logit_p + uniform.clamp(tiny, 1 - tiny).logit()) / temperature).sigmoid()
    if how == "straight_through":
        p = logit_p.sigmoid()
        return (uniform < p).to(p.dtype) + (p - p.detach())
    raise InputError(f"how={how!r}: choose gumbel_sigmoid or straight_through")


def _mean(
    values: Float[Tensor, "B L"], where: Bool[Tensor, "B L"] | None, count: Float[Tensor, ""] | None
) -> Float[Tensor, ""]:
    if where is None:
        return values.mean()
    weight = where.to(values.dtype)
    return (values * weight).sum() / (weight.sum() if count is None else count).clamp_min(1)
