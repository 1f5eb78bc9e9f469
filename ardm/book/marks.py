"""What a reader can point at in a figure: where each mark lies, which series it is of, and what it says, as its axes say it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import axis, category, collections, colors, container, lines, patches, text, ticker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MOST", "marks"]

MOST = 1200
"""A figure with more marks than this has none to point at: it is read as a picture."""

MOST_OF_ONE = 400
"""Nor has a cloud of more points than this; a line without marks is read at a hundred of its points."""

CLOSE = 0.03
"""What lies closer to a labelled place of a logarithmic axis, as a share of the axis, was moved aside to be seen."""


def marks(fig: Figure) -> dict[str, Any]:
    """The marks of a figure that was drawn, for a page that answers when one is pointed at; the same each time.

    ``size`` is that of the figure in points, ``text`` that of its smallest words. ``axes`` holds the words of each pair of axes:
    across, up, title. A mark is ``[axes, series, left, top, across, up, interval across, interval up, width, height]``: the first
    two count in ``axes`` and ``series``, places and extents are per mille of the figure, what a mark lacks at the end is left out.
    Marks are the points of lines, errorbars and scatters, bars, and cells whose colour a legend names.
    """
    named, series, found = _Legend(fig), {"": 0}, []
    panels = [ax for ax in fig.axes if ax.get_visible() and not hasattr(ax, "_colorbar")]
    for number, ax in enumerate(panels):
        across, up = _reader(ax.xaxis), _reader(ax.yaxis)
        notes = {tuple(map(float, note.xy)): note.get_text() for note in ax.texts if _is_note(note)}
        for mark in _of(ax, named):
            place = _place(fig, ax, mark)
            if place is None:
                continue
            left, top, width, height = place
            index = series.setdefault(mark.series or notes.get((mark.x, mark.y), ""), len(series))
            words = [across(mark.x), up(mark.y), _interval(across, mark.across), _interval(up, mark.up)]
            extent = [width, height] if mark.size else []
            found.append([number, index, left, top, *words, *extent])
            while found[-1][-1] == "":
                found[-1].pop()
    if len(found) > MOST:
        found = []
    words = [each for each in fig.findobj(text.Text) if each.get_visible() and each.get_text().strip()]
    return {
        "size": [round(72 * length, 1) for length in fig.get_size_inches()],
        "text": round(min((each.get_fontsize() for each in words), default=10.0), 1),
        "axes": [[_words(ax, "x"), _words(ax, "y"), ax.get_title(loc="left") or ax.get_title()] for ax in panels],
        "series": list(series),
        "marks": found,
    }


@dataclass
class _Mark:
    """A mark at ``x``, ``y`` in the units of its axes. ``at``: where it is drawn, if elsewhere. ``size``: of a bar or a cell."""

    series: str
    x: float
    y: float
    across: tuple[float, float] | None = None
    up: tuple[float, float] | None = None
    at: tuple[float, float] | None = None
    size: tuple[float, float] | None = None


def _of(ax: Axes, named: _Legend) -> Iterator[_Mark]:
    inside = set()  # parts of what is read whole
    for group in ax.containers:
        if isinstance(group, container.ErrorbarContainer) and group.lines[0] is not None:
            inside |= {id(part) for part in (group.lines[0], *group.lines[1])}
            yield from _errorbar(group, named(group.lines[0], group.get_label()))
        elif isinstance(group, container.BarContainer):
            inside |= {id(bar) for bar in group}
            yield from (_bar(bar, group.orientation == "horizontal", named(bar, group.get_label())) for bar in group)
    own = [line for line in ax.lines if id(line) not in inside and line.get_visible() and line.get_transform() == ax.transData]
    spans = [line for line in own if _is_span(line)]
    for line in (line for line in own if not _is_span(line)):
        yield from _line(line, named(line, line.get_label()), spans)
    for cloud in (each for each in ax.collections if isinstance(each, collections.PathCollection)):
        places = np.asarray(cloud.get_offsets(), float).tolist()
        yield from (_Mark(named(cloud, cloud.get_label()), x, y) for x, y in places if len(places) <= MOST_OF_ONE)
    yield from _cells([patch for patch in ax.patches if id(patch) not in inside], named)


def _cells(found: list[patches.Patch], named: _Legend) -> Iterator[_Mark]:
    for cell in found:
        if (
            isinstance(cell, patches.Rectangle)
            and cell.get_data_transform() == cell.axes.transData
            and (series := named(cell, ""))
        ):
            middle, size = _extent(cell)
            yield _Mark(series, *middle, size=size)


def _extent(bar: patches.Rectangle) -> tuple[tuple[float, float], tuple[float, float]]:
    """The middle of a bar or cell, and its size."""
    x, y, width, height = map(float, (bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()))
    return (x + width / 2, y + height / 2), (width, height)


def _is_note(note: text.Text) -> bool:
    """Whether it is the name of a point, written beside it."""
    return isinstance(note, text.Annotation) and note.xycoords == "data" and all(isinstance(at, int | float) for at in note.xy)


def _errorbar(group: container.ErrorbarContainer, series: str) -> Iterator[_Mark]:
    line, _, bars = group.lines
    points = np.asarray(line.get_xydata(), float)
    if len(points) > MOST_OF_ONE:
        return
    ways = [way for way, there in (("across", group.has_xerr), ("up", group.has_yerr)) if there]
    ends = {way: [part[:, int(way == "up")] for part in bar.get_segments()] for way, bar in zip(ways, bars, strict=True)}
    for k, (x, y) in enumerate(points.tolist()):
        between = {way: tuple(each[k].tolist()) for way, each in ends.items() if len(each) == len(points) and len(each[k]) == 2}
        yield _Mark(series, x, y, **between)


def _bar(bar: patches.Rectangle, lies: bool, series: str) -> _Mark:
    (x, y), (width, height) = _extent(bar)
    read = (width, y) if lies else (x, height)
    return _Mark(series, *read, at=(x, y), size=(width, height))


def _is_span(line: lines.Line2D) -> bool:
    """Whether it is an interval drawn by hand: two points on a level, without marks."""
    points = np.asarray(line.get_xydata())
    return len(points) == 2 and not _has_marks(line) and bool((points[0] == points[1]).any())


def _has_marks(line: lines.Line2D) -> bool:
    return line.get_marker() not in (None, "None", "none", "", " ")


def _line(line: lines.Line2D, series: str, spans: list[lines.Line2D]) -> Iterator[_Mark]:
    points = np.asarray(line.get_xydata(), float)
    if not _has_marks(line):
        if not series:
            return  # a line that only guides the eye
        points = points[np.unique(np.linspace(0, len(points) - 1, 100).round().astype(int))] if len(points) else points
    elif len(points) > MOST_OF_ONE:
        return
    colour = colors.to_hex(line.get_color())
    ours = [np.asarray(span.get_xydata(), float) for span in spans if colors.to_hex(span.get_color()) == colour]
    for x, y in points.tolist():
        between = {}
        for span in ours:
            (left, low), (right, high) = span.min(0), span.max(0)
            if low == high == y and left <= x <= right:
                between["across"] = (left, right)
            elif left == right == x and low <= y <= high:
                between["up"] = (low, high)
        yield _Mark(series, x, y, **between)


class _Legend:
    """The name of a series: its label, or what a legend of the figure says of its colour and mark."""

    def __init__(self, fig: Figure) -> None:
        self.names: dict[tuple[str, str] | str, set[str]] = defaultdict(set)
        for legend in (*fig.legends, *filter(None, (ax.get_legend() for ax in fig.axes))):
            for handle, words in zip(legend.legend_handles, legend.get_texts(), strict=True):
                colour, mark = _look(handle)
                self.names[colour, mark].add(words.get_text())
                self.names[colour].add(words.get_text())

    def __call__(self, artist: Any, label: object) -> str:
        if isinstance(label, str) and label and not label.startswith("_"):
            return " ".join(label.split())
        look = _look(artist)
        found = self.names.get(look) or self.names.get(look[0]) or set()
        return " ".join(next(iter(found)).split()) if len(found) == 1 else ""


def _look(artist: Any) -> tuple[str, str]:
    if isinstance(artist, lines.Line2D):
        return colors.to_hex(artist.get_color()), str(artist.get_marker())
    faces = artist.get_facecolor() if hasattr(artist, "get_facecolor") else ()
    faces = (
        np.atleast_2d(faces)
        if len(faces)
        else np.atleast_2d(artist.get_edgecolor())
        if hasattr(artist, "get_edgecolor")
        else ()
    )
    return (colors.to_hex(faces[0]), "") if len(faces) and faces[0].size else ("", "")


def _place(fig: Figure, ax: Axes, mark: _Mark) -> tuple[float, ...] | None:
    """Left, top, width and height of a mark, per mille of the figure; nothing where it lies outside its axes."""
    x, y = mark.at or (mark.x, mark.y)
    width, height = mark.size or (0.0, 0.0)
    corners = [(x - width / 2, y - height / 2), (x + width / 2, y + height / 2)]
    seen = ax.transAxes.inverted().transform(ax.transData.transform([(x, y)]))[0]
    if not np.isfinite(seen).all() or (seen < -0.01).any() or (seen > 1.01).any():
        return None
    low, high = np.sort(fig.transFigure.inverted().transform(ax.transData.transform(corners)), axis=0) * 1000
    middle = (low + high) / 2
    return tuple(_short(value) for value in (middle[0], 1000 - middle[1], *(high - low)))


def _short(value: float) -> float:
    value = round(float(value), 1)
    return int(value) if value == int(value) else value


def _interval(read: Callable[[float], str], between: tuple[float, float] | None) -> str:
    ends = [read(end) for end in between or () if np.isfinite(end)]
    return f"{ends[0]} to {ends[1]}" if len(ends) == 2 and all(ends) else ""


def _words(ax: Axes, way: str) -> str:
    """The label of an axis, or that of the panel which labels it for a whole row or column; without what stands in brackets.

    An axis whose places are words needs no label: it takes one only of a panel whose axis it shares.
    """
    own, spec = getattr(ax, f"get_{way}label")(), ax.get_subplotspec()
    if not own and spec is not None:
        span, shared = {"x": "colspan", "y": "rowspan"}[way], getattr(ax, f"get_shared_{way}_axes")()
        in_words = any(_number(name) is None for name in _names(getattr(ax, f"{way}axis")).values())
        panels = [other for other in ax.figure.axes if other.get_subplotspec() is not None]
        alike = [other for other in panels if getattr(other.get_subplotspec(), span) == getattr(spec, span)]
        alike = [other for other in alike if shared.joined(ax, other) or not in_words]
        own = next((words for other in alike if (words := getattr(other, f"get_{way}label")())), "")
    return re.sub(r"\s*\([^()]*\)$", "", " ".join(own.split()))


def _names(way: axis.Axis) -> dict[float, str]:
    """The places of an axis and what is written there, where that is more than their numbers."""
    formatter, fixed = way.get_major_formatter(), isinstance(way.get_major_locator(), ticker.FixedLocator)
    named = ticker.FixedFormatter | category.StrCategoryFormatter
    if not isinstance(formatter, named | ticker.FuncFormatter if fixed else named):
        return {}
    places = way.get_majorticklocs()
    names = {float(place): str(name) for place, name in zip(places, formatter.format_ticks(places), strict=False)}
    plain = all(_number(name) == place for place, name in names.items()) and way.get_scale() != "log"
    return {} if plain else {place: " ".join(name.split()) for place, name in names.items()}


def _reader(way: axis.Axis) -> Callable[[float], str]:
    """How the axis says a value: the name of the place where it has names, otherwise as many digits as can be seen."""
    low, high = sorted(way.get_view_interval())
    scaled, log, names = way.get_transform().transform, way.get_scale() == "log", _names(way)
    numbers = all(_number(name) == place for place, name in names.items())
    places = np.array(list(names))
    steps = np.diff(np.sort(scaled(places))) if len(places) > 1 else np.ones(1)
    reach = CLOSE * np.ptp(scaled(np.array([low, high]))) if numbers else 0.5 * (steps.min() if log else min(1.0, steps.min()))
    decimals = max(0, int(np.ceil(-np.log10(max(high - low, 1e-12) / 400))))  # finer than a pixel

    def read(value: float) -> str:
        if names:
            away = np.abs(scaled(places) - scaled(value))
            if away.min() <= reach:
                return names[places[away.argmin()]]
            if not numbers:
                return ""
        if value == round(value):
            return _minus(f"{value:.0f}")
        return _minus(f"{value:.3g}" if log and abs(value) < 1000 else f"{value:.{decimals}f}")

    return read


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _number(name: str) -> float | None:
    try:
        return float(name.replace("−", "-"))
    except ValueError:
        return None
