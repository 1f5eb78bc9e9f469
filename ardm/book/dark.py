"""The dark theme of a figure: its SVG with each colour moved to where it stands out from a dark sheet as it did from white.

Greys change places with their opposites, pale tints become deep ones, and the colours of the rules stay or grow a little lighter:
each can be read as text on the sheet. Heat maps keep their colours, and so do the lines drawn over them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from xml.etree import ElementTree

import numpy as np

__all__ = ["SHEET", "contrast", "darkened", "moved", "readable"]

SHEET = "#121212"
"""The page's background in the dark theme."""

PALE = 1.7
"""A colour with less contrast to white than this is a tint of the sheet: grid lines, cells, bands."""

MOST = 14.0
"""The contrast of what was black: less than white would have, which dazzles on a dark page."""

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


def contrast(one: str, other: str) -> float:
    """How far two colours ``#rrggbb`` stand apart in brightness, from 1 to 21, as WCAG 2.2 defines it (w3.org/TR/WCAG22)."""
    dark, bright = sorted(_luminance(colour) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = _parts(colour)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _parts(colour: str) -> np.ndarray:
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def _hex(parts: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def readable(colour: str, sheet: str = "#ffffff", least: float = 4.5) -> str:
    """The colour nearest to ``colour`` in its own hue that stands out from ``sheet`` by a contrast of at least ``least``.

    4.5 is what text needs, 3 what lines and marks need (WCAG 2.2, 1.4.3 and 1.4.11).
    """
    return _towards(colour, max(("#000000", "#ffffff"), key=lambda end: contrast(end, sheet)), sheet, least)


def _towards(start: str, end: str, sheet: str, least: float) -> str:
    """The first colour on the straight way from ``start`` to ``end`` with the contrast; ``end`` where none has it."""
    way = (_hex(_parts(start) + share * (_parts(end) - _parts(start))) for share in np.linspace(0, 1, 201))
    return next(one for one in way if one == end or contrast(one, sheet) >= least)


@lru_cache
def moved(colour: str, least: float = 3.0) -> str:
    """What a colour ``#rrggbb`` of a figure on white is on the dark sheet; ``least`` is the contrast of a grey that is no tint."""
    colour, on_white, parts = colour.lower(), contrast(colour, "#ffffff"), _parts(colour)
    if on_white >= PALE and np.ptp(parts) > 0.1:
        return readable(colour, SHEET)
    share = 1 - parts.min()  # how much of its hue a pale colour holds
    hue = _hex((parts - 1 + share) / share) if np.ptp(parts) > 0.02 else "#ffffff"
    return _towards(SHEET, readable(hue, SHEET), SHEET, min(MOST, on_white if on_white < PALE else max(least, on_white)))


def darkened(picture: bytes) -> bytes:
    """The SVG of a figure for the dark theme: the same drawing, its colours :func:`moved`."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(picture)
    for part in root.findall(f"{{{SVG}}}metadata"):
        root.remove(part)
    root.set("fill", moved("#000000"))  # matplotlib does not write what is black anyway
    _darken(root, over_image=False)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"


def _darken(node: ElementTree.Element, *, over_image: bool) -> None:
    name, least = node.get("id", ""), 4.5 if node.tag == f"{{{SVG}}}text" else 3.0
    if name.startswith("QuadMesh") or (over_image and name.startswith("line2d")):
        return
    if "style" in node.attrib:
        node.set("style", re.sub("#[0-9a-f]{6}", lambda found: moved(found.group(), least), node.get("style")))
    if name.startswith("matplotlib.axis"):
        over_image = False
    elif name.startswith("axes"):
        over_image = node.find(f".//{{{SVG}}}image") is not None
    for child in node:
        _darken(child, over_image=over_image)
