"""The rules, one file each: from one :class:`~ardm.method.types.Step`, which tokens to write and which to hide.

What a rule cannot do is call the denoiser, draw a token, know the truth or remember: that is the same for all of them.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any


def _modules() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__)]


def __getattr__(name: str) -> Any:
    """A class by its name, whichever file it stands in, so that readers need no file names."""
    if name.startswith("__") or name in _modules():
        raise AttributeError(name)
    for module in _modules():
        found = import_module(f"{__name__}.{module}")
        if name in found.__all__:
            return getattr(found, name)
    raise AttributeError(f"there is no rule {name} in {__name__}")
