"""The starting document's own gate code (sections 3.1 and 3.2), re-created from its formulas with its defects as switches.

It exists so that the book can measure what each defect does. Nothing else should use it:
:class:`~ardm.method.gate.OverwriteGate` is the same method without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ardm.base.errors import InputError
from ardm.method.gate import DOCUMENT, Features, OverwriteGate
from ardm.method.prior import PositionalPrior
from ardm.method.types import Float, Step

__all__ = ["AS_WRITTEN", "DEFECTS", "LiteralGate", "RunningNormaliser"]

DEFECTS = {
    "shared_normaliser": "entropy and margin pass through one normaliser, which both update",
    "updates_in_eval": "the running moments go on moving while sampling, so a text's p depends on its batch",
    "first_variance": "the first batch sets the variance: about 1e-5 for the all-zero confidence change of step 1",
    "position_to_1": "the code divides the position by n - 1, the text by n",
    "feature_order": "the code puts r before position and time, the text after them",
    "proxy_change": "without a confidence change the code feeds -sigmoid of the standardised margin in its place",
}
"""The defects by name, each with what it is."""

AS_WRITTEN = tuple(name for name in DEFECTS if name != "proxy_change")
"""What the document's sampler does: it passes a confidence change, so the proxy stays unused."""


class RunningNormaliser(nn.Module):
    """(x - mean) / sqrt(var + eps) with exponential moving moments (section 3.1), momentum 0.95, eps 1e-5.

    With ``first_variance`` the first batch replaces the moments, whatever it is, and eps is added to its variance as well as
    under the root; without, moments start at 0 and 1 and a batch without spread is left out. With ``updates_in_eval`` every call
    moves the moments; without, calls in training mode alone do.
    """

    mean: Tensor
    variance: Tensor
    started: Tensor

    def __init__(self, *, first_variance: bool, updates_in_eval: bool, momentum: float = 0.95, eps: float = 1e-5) -> None:
        super().__init__()
        self.first_variance, self.updates_in_eval = first_variance, updates_in_eval
        self.momentum, self.eps = momentum, eps
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("started", torch.tensor(False))

    @torch.no_grad()
    def _update(self, values: Float[Tensor, "..."]) -> None:
        mean, variance = values.mean(), values.var(correction=0)
        if self.first_variance:
            variance = variance + self.eps
        elif variance == 0:
            return
        old = self.momentum if self.started else 0.0
        self.mean.copy_(old * self.mean + (1 - old) * mean)
        self.variance.copy_(old * self.variance + (1 - old) * variance)
        self.started.fill_(True)

    def forward(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if self.training or self.updates_in_eval:
            self._update(values)
        return (values - self.mean) / (self.variance + self.eps).sqrt()


class LiteralGate(OverwriteGate):
    """The document's gate with the named ``defects`` of :data:`DEFECTS`; with none, its formulas as they are meant.

    ``combine="noisy_or"`` is the document's. It reads the document's three signals.
    """

    def __init__(
        self,
        head: nn.Module,
        defects: Iterable[str] = AS_WRITTEN,
        prior: PositionalPrior | None = None,
        combine: str = "noisy_or",
    ) -> None:
        super().__init__(head, prior, combine, DOCUMENT)
        self.defects = frozenset(defects)
        unknown = self.defects - set(DEFECTS)
        if unknown:
            raise InputError(f"defect {sorted(unknown)[0]!r}: choose among {', '.join(DEFECTS)}")
        settings = {name: name in self.defects for name in ("first_variance", "updates_in_eval")}
        self.standard = nn.ModuleDict({name: RunningNormaliser(**settings) for name in DOCUMENT})

    def combined(self, combine: str) -> LiteralGate:
        other = LiteralGate(self.head, self.defects, self.prior, combine).train(self.training)
        other.standard = self.standard
        return other

    def signals(self, step: Step, whole: Callable[[Tensor], Tensor] | None = None) -> Float[Tensor, "B L S"]:
        """Those of the document, standardised as it does; it knows of one process alone, so that ``whole`` plays no part."""
        has = self.defects.__contains__
        raw = {name: self.measure(name, step) for name in DOCUMENT}
        H = self.standard["entropy"](raw["entropy"])
        M = self.standard["entropy" if has("shared_normaliser") else "margin"](raw["margin"])
        change = -M.sigmoid() if has("proxy_change") else raw["confidence_change"]
        return torch.stack([H, M, self.standard["confidence_change"](change)], dim=-1)

    def features(self, step: Step, logit_r: Float[Tensor, "B L"], signals: Float[Tensor, "B L S"] | None = None) -> Features:
        B, L = step.x.shape
        has = self.defects.__contains__
        signals = self.signals(step) if signals is None else signals
        one = torch.ones(B, L, device=step.x.device)
        position = one * torch.arange(L, device=one.device) / (max(L - 1, 1) if has("position_to_1") else L)
        time, prior = one * step.t / step.T, logit_r.sigmoid()
        if has("feature_order"):
            position, time, prior = prior, position, time
        return Features(hidden=step.hidden.float(), signals=signals, position=position, time=time, prior=prior)
