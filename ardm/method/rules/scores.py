"""What a rule with a gate reports of a step."""

from __future__ import annotations

from torch import Tensor

from ardm.method.gate import GateOutput
from ardm.method.types import Float

__all__ = ["scores_of"]


def scores_of(out: GateOutput) -> dict[str, Float[Tensor, "B L"]]:
    """p, u and r of every position."""
    return {"p": out.logit_p.sigmoid(), "u": out.logit_u.sigmoid(), "r": out.logit_r.sigmoid()}
