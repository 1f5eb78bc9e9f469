"""What the two trainings minimise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ardm.types import Bool, Float, Int

__all__ = ["denoising_loss", "gate_loss"]


def denoising_loss(logits: Float[Tensor, "B L V"], x0: Int[Tensor, "B L"]) -> Float[Tensor, ""]:
    """Mean of -log q_i(x0_i) over **all** positions, in nats.

    Over masks alone this is the masked-diffusion loss (arXiv:2406.07524). Visible positions count as well, at the same weight:
    some of them are wrong, and only then is the minimiser the posterior P(x0_i | x) there too. A denoiser trained on masks only
    learns to copy what it sees, and every signal on visible tokens is blind.
    """
    return F.cross_entropy(logits.transpose(1, 2), x0)


def gate_loss(
    logit: Float[Tensor, "B L"],
    label: Float[Tensor, "B L"],
    where: Bool[Tensor, "B L"],
    *,
    sparsity: float = 0.0,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the gate against "this token should be overwritten", in nats, plus ``sparsity`` times its mean
    probability; both averaged over the positions in ``where``.
    """
    weight = where.float()
    per_token = F.binary_cross_entropy_with_logits(logit, label, reduction="none") + sparsity * logit.sigmoid()
    return (per_token * weight).sum() / weight.sum().clamp_min(1)
