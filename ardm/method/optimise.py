"""One optimiser for all trainings: AdamW under a warm-up and a straight decay, gradients clipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

    def descend(self) -> None:
        """One step down the gradients that have been gathered, clipped to norm 1 together; then there are none."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.schedule.step()
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that it remembers: AdamW's tensors by name, and as JSON the rate and the place on the schedule."""
        held = self.adam.state_dict()["state"]
        moments = {f"{number}.{name}": value for number, values in held.items() for name, value in values.items()}
        return moments, {"rates": [group["lr"] for group in self.adam.param_groups], "schedule": self.schedule.state_dict()}

    def restore(self, moments: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
        """Remember what another one of the same parameters did."""
        held: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            number, _, what = name.partition(".")
            held.setdefault(int(number), {})[what] = value
        groups = self.adam.state_dict()["param_groups"]
        for group, rate in zip(groups, told["rates"], strict=True):
            group["lr"] = rate
        self.adam.load_state_dict({"state": held, "param_groups": groups})
        self.schedule.load_state_dict(dict(told["schedule"]))
