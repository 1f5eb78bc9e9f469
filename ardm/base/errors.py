"""Bad input, said in one line."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

__all__ = ["InputError", "at_least_one", "check_choice", "check_number", "check_share", "check_whole"]


class InputError(ValueError):
    """Bad input, said in one line that names the value and the fix."""


def at_least_one(thing: object, *names: str) -> None:
    """Raise ``InputError`` for the first of the named attributes that is below 1."""
    for name in names:
        check_whole(name, getattr(thing, name), 1)


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise ``InputError`` unless the value is a whole number from ``least`` on, and no truth value."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name}={value!r}: it is a whole number, at least {least}")
    if value < least:
        raise InputError(f"{name}={value}: it is at least {least}")
    if most is not None and value > most:
        raise InputError(f"{name}={value}: it is at most {most}")


def check_number(name: str, value: Any) -> None:
    """Raise ``InputError`` unless the value is a number, and no truth value; it may be infinite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name}={value!r}: it is a number")
    try:
        float(value)
    except OverflowError:
        raise InputError(f"{name}={value}: it is a number that a float can hold") from None


def check_share(name: str, value: float) -> None:
    """Raise ``InputError`` unless the value is in (0, 1]."""
    check_number(name, value)
    if not 0 < value <= 1:
        raise InputError(f"{name}={value}: it is a share in (0, 1]")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ``InputError`` unless the value is one of the choices."""
    choices = tuple(choices)
    if value not in choices:
        raise InputError(f"{name}={value!r}: choose {' or '.join(choices)}")
