"""One optimiser for both trainings: AdamW under a warm-up and a straight decay, gradients clipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Optimiser"]


class Optimiser:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) for ``steps`` steps: a short warm-up, then down to 5 % of ``rate``.

    Weights decay in matrices alone: a norm, a bias, a standardised scale or the prior's slope has nothing to shrink towards.
    """

    def __init__(self, model: nn.Module, rate: float, steps: int, *, decay: float = 0.01) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in self.parameters if p.dim() >= 2]
        others = [p for p in self.parameters if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.98), fused=True)
        warm = max(1, min(100, steps // 10))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.adam, lambda step: min((step + 1) / warm, 1 - 0.95 * step / steps)
        )

    def descend(self, loss: Tensor) -> None:
        """One step down the loss, the gradient clipped to norm 1."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.schedule.step()
