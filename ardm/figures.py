"""Figures: one style, one colour per rule, and ``publish``, which shows a figure and keeps what is behind it."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import seaborn as sns

from ardm.types import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "publish", "style"]

# Okabe and Ito's palette, told apart by colour-blind readers (jfly.uni-koeln.de/color). A rule keeps its colour all through the book.
COLOURS = {
    "one-way": "#0072B2",
    "left-to-right": "#000000",
    "uniform refinement": "#999999",
    "fixed schedule": "#E69F00",
    "linear gate, in place": "#CC79A7",
    "learned gate, in place": "#D55E00",
    "learned gate, hide then refill": "#009E73",
}


def style() -> None:
    """The book's look: call once, before the first figure of a notebook."""
    sns.set_theme(context="notebook", style="ticks", palette=list(COLOURS.values()))
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.facecolor": "white",  # opaque: the page may be dark
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "axes.titlelocation": "left",
            "legend.frameon": False,
            "font.size": 11,
            "figure.constrained_layout.use": True,
        }
    )


def publish(fig: Figure, *, id: str, caption: str, alt: str, data: pd.DataFrame, folder: Path | None = None) -> None:
    """Show ``fig`` in the notebook and keep it with its data.

    ``id`` starts with ``fig-`` and names the figure in the whole book. ``caption`` and ``alt`` (what a reader who cannot see it
    needs to know) become the page's. ``data`` is the tidy table behind it. Writes ``ID.png`` and ``ID.csv`` whole into
    ``folder``, by default ``_build/figures``, and closes the figure.
    """
    from IPython.display import display

    if not id.startswith("fig-"):
        raise InputError(f"figure id {id!r}: it starts with fig-")
    for name, words in (("caption", caption), ("alt", alt)):
        if len(words.split()) < 3:
            raise InputError(f"{id}: {name}={words!r} says too little; write a sentence")
    if data.empty:
        raise InputError(f"{id}: the data behind it are empty")
    picture = io.BytesIO()
    fig.savefig(picture, format="png", metadata={"Software": None})
    mpl.pyplot.close(fig)
    folder = folder or Path(__file__).resolve().parent.parent / "_build" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{id}.png", picture.getvalue())
    _write(folder / f"{id}.csv", data.to_csv(index=False).encode())
    bundle = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": f"<figure {id}>"}
    display(bundle, metadata={"ardm": {"figure": {"id": id, "caption": caption, "alt": alt}}}, raw=True)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
