"""Text diffusion that revises itself: the nouns of the method, of which the book is written.

They are loaded at first use, so that ``import ardm`` itself is quick. Inside the package each is imported from the module that
defines it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ardm.base import __version__ as __version__

if TYPE_CHECKING:
    from ardm.base.errors import InputError
    from ardm.experiments.published import load_denoiser, load_gate
    from ardm.method.draw import Draw
    from ardm.method.gate import OverwriteGate
    from ardm.method.prior import PositionalPrior
    from ardm.method.rules.hide import HideThenRefill
    from ardm.method.rules.one_way import OneWay
    from ardm.method.rules.overwrite import Overwrite
    from ardm.method.sampling import Trace, blank, refine
    from ardm.method.schedule import Schedule
    from ardm.method.selection import Selection
    from ardm.method.types import Action, Denoiser, Prediction, Rule, Step
    from ardm.worlds.corpora import open_corpus

__all__ = [
    "Action",
    "Denoiser",
    "Draw",
    "HideThenRefill",
    "InputError",
    "OneWay",
    "Overwrite",
    "OverwriteGate",
    "PositionalPrior",
    "Prediction",
    "Rule",
    "Schedule",
    "Selection",
    "Step",
    "Trace",
    "blank",
    "load_denoiser",
    "load_gate",
    "open_corpus",
    "refine",
]

_HOMES = {
    "ardm.base.errors": ("InputError",),
    "ardm.experiments.published": ("load_denoiser", "load_gate"),
    "ardm.method.draw": ("Draw",),
    "ardm.method.gate": ("OverwriteGate",),
    "ardm.method.prior": ("PositionalPrior",),
    "ardm.method.rules.hide": ("HideThenRefill",),
    "ardm.method.rules.one_way": ("OneWay",),
    "ardm.method.rules.overwrite": ("Overwrite",),
    "ardm.method.sampling": ("Trace", "blank", "refine"),
    "ardm.method.schedule": ("Schedule",),
    "ardm.method.selection": ("Selection",),
    "ardm.method.types": ("Action", "Denoiser", "Prediction", "Rule", "Step"),
    "ardm.worlds.corpora": ("open_corpus",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ardm' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
