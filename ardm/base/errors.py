"""Bad input, said in one line."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["InputError", "at_least_one", "check_choice", "check_share"]


class InputError(ValueError):
    """Bad input, said in one line that names the value and the fix."""


def at_least_one(thing: object, *names: str) -> None:
    """Raise ``InputError`` for the first of the named attributes that is below 1."""
    for name in names:
        if getattr(thing, name) < 1:
            raise InputError(f"{name}={getattr(thing, name)}: it is at least 1")


def check_share(name: str, value: float) -> None:
    """Raise ``InputError`` unless the value is in (0, 1]."""
    if not 0 < value <= 1:
        raise InputError(f"{name}={value}: it is a share in (0, 1]")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``InputError`` unless the value is one of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise InputError(f"{name}={value!r}: choose {' or '.join(choices)}")
