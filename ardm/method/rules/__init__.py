"""The rules, one file each: from one :class:`~ardm.method.types.Step`, which tokens to write and which to hide.

What a rule cannot do is call the denoiser, draw a token, know the truth or remember: that is the same for all of them. A file of
this package is all that a new rule takes: its class, and with ``ENTRIES`` the names under which it competes. One that would put
another word in a visible place names a view of the denoiser in its class (:mod:`ardm.method.views`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

from ardm.base.errors import InputError
from ardm.method.entry import GROUPS, Entry


def _files() -> tuple[str, ...]:
    return tuple(file.name for file in pkgutil.iter_modules(__path__))


def _modules() -> tuple[ModuleType, ...]:
    return tuple(import_module(f"{__name__}.{name}") for name in _files())


def __getattr__(name: str) -> Any:
    """What a file of the package offers, by its name alone, so that readers need no file names."""
    if name == "__all__":
        return sorted({"choose", "entries"}.union(*(module.__all__ for module in _modules())))
    if not name.startswith("_") and name not in _files():
        for module in _modules():
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"{__name__} has no {name!r}")


def entries() -> dict[str, Entry]:
    """Every entry by its name, group by group. ``InputError`` where two have one name or ``like`` names none."""
    found = [replace(entry, module=module.__name__) for module in _modules() for entry in getattr(module, "ENTRIES", ())]
    named: dict[str, Entry] = {}
    for entry in sorted(found, key=_rank_of_group):
        if entry.name in named:
            raise InputError(f"{entry.name!r} stands in {named[entry.name].module} and in {entry.module}: rename one")
        named[entry.name] = entry
    for entry in found:
        if entry.like is not None and entry.like not in named:
            raise InputError(f"{entry.name!r} plays like {entry.like!r}, which is no rule{_meant(entry.like, named)}")
    return named


def choose(names: Iterable[str] | None = None) -> list[Entry]:
    """The entries of these names, all by default; ``InputError`` for a name that is not there."""
    every = entries()
    if names is None:
        return list(every.values())
    chosen = []
    for name in names:
        if name not in every:
            raise InputError(f"no rule {name!r}{_meant(name, every)}")
        chosen.append(every[name])
    return chosen


def _rank_of_group(entry: Entry) -> int:
    return list(GROUPS).index(entry.group)


def _meant(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, names) or list(names)
    return f": choose {' or '.join(close)}"
