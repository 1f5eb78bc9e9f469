"""Figures: one style, one colour per rule, and ``publish``, which shows a figure and keeps what is behind it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import colors, container, lines, patches, transforms
from PIL import Image
from scipy.optimize import isotonic_regression

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError
from ardm.base.provenance import provenance
from ardm.base.sheets import inert_table
from ardm.book.dark import darkened, readable
from ardm.book.marks import marks
from ardm.method.entry import BLACK, BLUE, LIGHT, VERMILION
from ardm.method.rules import choose, entries
from ardm.method.sampling import CHANGED, GIVEN, HIDDEN, HIDDEN_AGAIN, KEPT, REWRITTEN, WRITTEN, Trace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

__all__ = [
    "COLOURS",
    "EVENTS",
    "LOOKS",
    "OTHERS",
    "forest",
    "label_lines",
    "publish",
    "readable",
    "rewriting",
    "style",
]

WHITE = "#ffffff"

OTHERS = (LIGHT, ".")
"""How a rule looks that has no colour of its own: there are more rules than colours, and a figure speaks of a few."""


class Looks(dict[str, tuple[str, str]]):
    """Colour and mark of the rules that have their own, by name. To ask for a name that is no rule is an error, not a grey dot."""

    def __missing__(self, rule: str) -> tuple[str, str]:
        choose([rule])
        raise KeyError(f"{rule} has no colour of its own: LOOKS.get({rule!r}, OTHERS)")

    def get(self, rule: str, default: tuple[str, str] = OTHERS) -> tuple[str, str]:
        """The look of a rule, ``default`` where it has none of its own."""
        try:
            return self[rule]
        except KeyError:
            return default


LOOKS = Looks({name: (rule.colour, rule.mark) for name, rule in entries().items() if (rule.colour, rule.mark) != OTHERS})
"""One colour a rule in the whole book, as its entry says."""

FIRST_CHAPTERS = {
    **{name: name for name in ("one-way", "left-to-right", "uniform refinement", "fixed schedule")},
    "linear gate, in place": "linear gate in place",
    "learned gate, in place": "learned noisy-OR in place",
    "learned gate, hide then refill": "learned hide mismatch",
}
"""What chapters call a rule that know one gate only, and its name among all rules."""

COLOURS = {label: LOOKS[rule][0] for label, rule in FIRST_CHAPTERS.items()}
"""The colours of the rules of the first chapters."""


def style() -> None:
    """The book's look: call once, before the first figure of a notebook."""
    sns.set_theme(context="notebook", style="ticks", palette=list(COLOURS.values()))
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.facecolor": "white",  # opaque: the page may be dark
            "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # matplotlib brings the first, the second is as wide
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "font.size": 11,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.wspace": 0.06,  # two panels do not read as one
        }
    )


def publish(fig: Figure, *, id: str, caption: str, alt: str, data: pd.DataFrame, folder: Path | None = None) -> None:
    """Show ``fig`` in the notebook and keep it with its data.

    ``id`` starts with ``fig-`` and names the figure in the whole book. ``caption`` and ``alt`` (what a reader who cannot see it
    needs to know) become the page's. ``data`` is the tidy table behind it. Writes ``ID.png``, ``ID.svg``, ``ID.pdf``, ``ID.csv``,
    ``ID.json`` (words and provenance), ``ID.dark.svg`` (for the dark theme) and ``ID.marks.json`` (what a reader can point at),
    each whole and the same each time, into ``folder``, and closes the figure.
    ``folder`` is by default the one named by ``ARDM_FIGURES``, which ``ardm run`` and ``ardm execute`` set to ``figures`` beside
    the executed notebook; without it, ``_build/figures``.
    """
    from IPython.display import display

    if not id.startswith("fig-"):
        raise InputError(f"figure id {id!r}: it starts with fig-")
    for name, words in (("caption", caption), ("alt", alt)):
        if len(words.split()) < 3:
            raise InputError(f"{id}: {name}={words!r} says too little; write a sentence")
    if data.empty:
        raise InputError(f"{id}: the data behind it are empty")
    drawn = {kind: _drawn(fig, id, kind, metadata) for kind, metadata in FORMATS.items()}
    drawn["dark.svg"] = darkened(drawn["svg"])
    drawn["marks.json"] = json.dumps(marks(fig), ensure_ascii=False, separators=(",", ":")) + "\n"
    plt.close(fig)
    folder = folder or Path(os.environ.get("ARDM_FIGURES") or Path.cwd() / "_build" / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in drawn.items():
        write_whole(folder / f"{id}.{kind}", content)
    write_whole(folder / f"{id}.csv", inert_table(data).to_csv(index=False, float_format="%.6g"))
    words = {"id": id, "caption": caption, "alt": alt}
    made = {**provenance(), "matplotlib": mpl.__version__}
    write_whole(folder / f"{id}.json", json.dumps({**words, "provenance": made}, indent=1) + "\n")
    bundle = {"image/png": base64.b64encode(drawn["png"]).decode(), "text/plain": f"<figure {id}>"}
    display(bundle, metadata={"ardm": {"figure": words}}, raw=True)


# What matplotlib would write of itself and of the time of day, and what is written instead: nothing.
FORMATS = {
    "png": {},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def _drawn(fig: Figure, id: str, kind: str, metadata: Mapping[str, None]) -> bytes:
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": id, "svg.fonttype": "none", "pdf.fonttype": 42}):  # ids that repeat; text stays text
        fig.savefig(file, format=kind, metadata=dict(metadata))
    return SHRINK.get(kind, bytes)(file.getvalue())


def _to_hundredths(picture: bytes) -> bytes:
    """The SVG with its coordinates rounded to hundredths of a point, and without line breaks."""

    def rounded(numbers: re.Match[bytes]) -> bytes:
        return re.sub(rb"-?\d+\.\d{3,}", lambda number: b"%.2f" % float(number.group()), numbers.group().replace(b"\n", b""))

    return re.sub(rb'(?<= )(d|x|y|transform)="[^"]*"', rounded, re.sub(rb">\n\s*<", b"><", picture))


def _in_few_colours(picture: bytes) -> bytes:
    """The PNG with 256 colours and no metadata: the eye sees no difference, the file is a third of the size."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()


SHRINK = {"png": _in_few_colours, "svg": _to_hundredths}


def forest(
    table: pd.DataFrame,
    panels: Mapping[str, str],
    looks: Mapping[str, tuple[str, str]],
    *,
    reach: Mapping[str, float] | None = None,
) -> Figure:
    """Differences with their intervals, a row each under the heading of its group; filled where the interval excludes zero.

    ``table`` has columns ``group``, ``row``, ``panel``, ``series``, ``value``, ``low``, ``high``; groups and rows stand in its
    order, from the top. ``panels``: the words below each panel. ``looks``: colour and mark of each series, side by side in a row.
    A value farther from zero than its panel's ``reach`` stands at the edge as an arrow, with its number.
    """
    places, headings, y = {}, {}, 0
    for group, part in table.groupby("group", sort=False):
        headings[group], y = y, y + 1
        for row in part["row"].unique():
            places[group, row], y = y, y + 1
    shifts = {name: 0.5 * ((k + 0.5) / len(looks) - 0.5) for k, name in enumerate(looks)}

    fig, axes = plt.subplots(1, len(panels), figsize=(5.4, 0.25 * y + 1.2), sharey=True, squeeze=False)
    for ax, (panel, words) in zip(axes[0], panels.items(), strict=True):
        edge = (reach or {}).get(panel)
        for cell in table[table["panel"] == panel].itertuples():
            (colour, mark), at = looks[cell.series], places[cell.group, cell.row] + shifts[cell.series]
            face = colour if cell.low > 0 or cell.high < 0 else "white"
            if edge and abs(cell.value) > edge:
                side = 1 if cell.value > 0 else -1
                ax.plot(side * edge, at, marker=">" if side > 0 else "<", markersize=5, color=colour, markerfacecolor=face)
                where = {"ha": "right" if side > 0 else "left", "va": "center", "fontsize": 7.5, "color": colour}
                ax.annotate(f"{cell.value:+.0f}", (side * edge, at), (-5 * side, 0), textcoords="offset points", **where)
            else:
                ax.plot([cell.low, cell.high], [at, at], color=colour, linewidth=1)
                ax.plot(cell.value, at, marker=mark, markersize=4.5, color=colour, markerfacecolor=face)
        for place in places.values():
            ax.axhline(place, color="#eeeeee", linewidth=0.8, zorder=0)
        ax.axvline(0, color="grey", linewidth=0.8, zorder=0)
        ax.set_xlabel(words, fontsize=9)
        ax.tick_params(axis="x", labelsize=9)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.patch.set_visible(False)  # a heading may run on from the panel before
        if edge:
            ax.set_xlim(-1.06 * edge, 1.06 * edge)
    axes[0, 0].set(ylim=(y - 0.5, -0.6))
    axes[0, 0].set_yticks(list(places.values()), [row for _, row in places], fontsize=9)
    for group, place in headings.items():
        heading = axes[0, 0].annotate(group, (0.01, place), xycoords=("figure fraction", "data"), va="center", fontsize=9)
        heading.set(fontweight="bold", in_layout=False, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    handles = [
        lines.Line2D([], [], color=colour, marker=mark, markersize=4.5, linewidth=1, label=name)
        for name, (colour, mark) in looks.items()
    ]
    fig.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9)
    return fig


def label_lines(ax: Axes, *, fontsize: float = 8.5) -> list[Annotation]:
    """Write the name of each labelled line at its right end, in its colour, instead of a legend; names that collide move apart.

    Call it last, when limits, scales and ticks of ``ax`` are set. A line or an errorbar without a label gets no name; a pale
    colour is darkened until its name can be read. A name stands right of the axes, where ``style`` makes room for it; a thin
    line leads to it where it had to move. Returns the names, in the order of a legend.
    """
    ends = [(name, *end) for handle, name in zip(*ax.get_legend_handles_labels(), strict=True) if (end := _end(handle))]
    ax.figure.draw_without_rendering()  # settles limits and layout
    gap = 1.2 * fontsize / (72 * ax.get_window_extent().height / ax.figure.dpi)  # in heights of the axes
    into = ax.transAxes.inverted()
    heights = [into.transform(line.get_transform().transform(point))[1] for _, line, point in ends]
    beside = transforms.offset_copy(ax.transAxes, ax.figure, x=9, units="points")
    names = []
    for (name, line, point), height, free in zip(ends, heights, _apart(heights, gap), strict=True):
        colour = colors.to_hex(line.get_color())
        lead = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
        text = ax.annotate(
            name,
            point,
            (1, free),
            xycoords=line.get_transform(),
            textcoords=beside,
            va="center",
            fontsize=fontsize,
            color=readable(colour),
            annotation_clip=False,
            arrowprops=lead if abs(free - height) > gap / 4 else None,
        )
        names.append(text)
    return names


def _end(handle: object) -> tuple[lines.Line2D, tuple[float, float]] | None:
    """The line of a handle of a legend and its last finite point; nothing where it is no line or has no point."""
    line = handle.lines[0] if isinstance(handle, container.ErrorbarContainer) else handle
    if not isinstance(line, lines.Line2D):
        return None
    points = np.asarray(line.get_xydata(), float)
    points = points[np.isfinite(points).all(1)]
    return (line, tuple(points[points[:, 0].argmax()])) if len(points) else None


def _apart(heights: list[float], gap: float) -> list[float]:
    """The heights with neighbours at least ``gap`` apart, moved as little as can be (least squares), all between 0 and 1."""
    if not heights:
        return []
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    spare = 1 - steps[-1]
    low, high = (0, spare) if spare > 0 else (spare / 2, spare / 2)  # more names than room: over both edges alike
    moved = np.clip(isotonic_regression(np.asarray(heights)[order] - steps).x, low, high) + steps
    return moved[np.argsort(order)].tolist()


EVENTS = {  # what happened to a token: its colour, and that of its word
    HIDDEN: ("#e8e8e8", BLACK),
    GIVEN: (LIGHT, BLACK),
    WRITTEN: (BLUE, WHITE),
    KEPT: ("#d5e6f1", BLACK),
    CHANGED: (VERMILION, WHITE),
    REWRITTEN: ("#f3c6a5", BLACK),
    HIDDEN_AGAIN: ("#555555", WHITE),
}


def rewriting(trace: Trace, words: tuple[str, ...], *, row: int = 0, separator: str = "_") -> tuple[Figure, pd.DataFrame]:
    """One recorded sequence as a grid, position by step: each token where it was written, coloured by what happened to it.

    Returns the figure and the tidy table behind it (step, position, token, event). ``separator`` stands for the mask.
    """
    import pandas as pd

    names = (*words, separator)
    cells = [
        (t, i, names[token], event)
        for t, tokens in enumerate(trace.history(row, len(words)))
        for i, (token, event) in enumerate(tokens)
    ]
    table = pd.DataFrame(cells, columns=["step", "position", "token", "event"])

    fig, ax = plt.subplots(figsize=(0.66 * trace.x.shape[1], 0.3 * len(trace.frames) + 1.2))
    for cell in table.itertuples():
        face, ink = EVENTS[cell.event]
        ax.add_patch(patches.Rectangle((cell.position - 0.5, cell.step - 0.5), 1, 1, facecolor=face, edgecolor="white"))
        finished = cell.step == len(trace.frames)
        if finished or cell.event not in (HIDDEN, KEPT, HIDDEN_AGAIN):
            ax.text(cell.position, cell.step, cell.token.replace("\n", "⏎"), ha="center", va="center", fontsize=9.5, color=ink)
    ax.set(xlim=(-0.5, trace.x.shape[1] - 0.5), ylim=(len(trace.frames) + 0.5, -0.5), xlabel="position i", ylabel="step t")
    ax.xaxis.get_major_locator().set_params(integer=True)
    shown = [event for event in EVENTS if event in set(table["event"])]
    handles = [patches.Patch(facecolor=EVENTS[event][0], edgecolor="grey", label=event) for event in shown]
    fig.legend(handles=handles, loc="outside upper left", ncols=len(shown), fontsize=10)
    sns.despine(fig, left=True, bottom=True)
    return fig, table
