"""Figures: one style, one colour per rule, and ``publish``, which shows a figure and keeps what is behind it."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib import patches

from ardm.files import write_whole
from ardm.provenance import provenance
from ardm.types import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ardm.sampling import Trace

__all__ = ["COLOURS", "EVENTS", "LOOKS", "OTHERS", "publish", "rewriting", "style"]

# Okabe and Ito's palette (jfly.uni-koeln.de/color), told apart by colour-blind readers. A rule keeps its colour in the whole book.
COLOURS = {
    "one-way": "#0072B2",
    "left-to-right": "#000000",
    "uniform refinement": "#999999",
    "fixed schedule": "#E69F00",
    "linear gate, in place": "#CC79A7",
    "learned gate, in place": "#D55E00",
    "learned gate, hide then refill": "#009E73",
}

# The arena has more rules than colours: the ones a figure speaks of have a colour and a mark, the others are grey.
LOOKS = {
    "autoregressive": ("#000000", "*"),
    "left-to-right": ("#000000", "s"),
    "one-way": ("#0072B2", "o"),
    "max-prob": ("#0072B2", "^"),
    "Mask-Predict": ("#56B4E9", "v"),
    "P2-self": ("#56B4E9", "D"),
    "T2M low-prob": ("#56B4E9", "P"),
    "ReMDM cap": ("#56B4E9", "o"),
    "fixed schedule": ("#E69F00", "o"),
    "uniform refinement": ("#777777", "s"),
    "all-resample": ("#777777", "^"),
    "document's gate": ("#CC79A7", "o"),
    "linear gate in place": ("#CC79A7", "s"),
    "learned noisy-OR in place": ("#D55E00", "o"),
    "learned p=u in place": ("#D55E00", "s"),
    "learned hide mismatch": ("#009E73", "s"),
    "learned hide ratio": ("#009E73", "o"),
    "shuffled gate": ("#777777", "x"),
    "oracle hide": ("#000000", "P"),
}
OTHERS = ("#bbbbbb", ".")


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
            "figure.constrained_layout.wspace": 0.06,  # two panels do not read as one
        }
    )


def publish(fig: Figure, *, id: str, caption: str, alt: str, data: pd.DataFrame, folder: Path | None = None) -> None:
    """Show ``fig`` in the notebook and keep it with its data.

    ``id`` starts with ``fig-`` and names the figure in the whole book. ``caption`` and ``alt`` (what a reader who cannot see it
    needs to know) become the page's. ``data`` is the tidy table behind it. Writes ``ID.png``, ``ID.csv`` and ``ID.json`` (words and
    provenance), each whole, into ``folder``, by default ``_build/figures``, and closes the figure.
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
    plt.close(fig)
    folder = folder or Path(__file__).resolve().parent.parent / "_build" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{id}.png", picture.getvalue())
    write_whole(folder / f"{id}.csv", data.to_csv(index=False))
    words = {"id": id, "caption": caption, "alt": alt}
    write_whole(folder / f"{id}.json", json.dumps({**words, "provenance": provenance()}, indent=1) + "\n")
    bundle = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": f"<figure {id}>"}
    display(bundle, metadata={"ardm": {"figure": words}}, raw=True)


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
        if finished or cell.event not in ("hidden", "kept", "hidden again"):
            ax.text(cell.position, cell.step, cell.token.replace("\n", "⏎"), ha="center", va="center", fontsize=9.5, color=ink)
    ax.set(xlim=(-0.5, trace.x.shape[1] - 0.5), ylim=(len(trace.frames) + 0.5, -0.5), xlabel="position i", ylabel="step t")
    ax.xaxis.get_major_locator().set_params(integer=True)
    shown = [event for event in EVENTS if event in set(table["event"])]
    handles = [patches.Patch(facecolor=EVENTS[event][0], edgecolor="grey", label=event) for event in shown]
    fig.legend(handles=handles, loc="outside upper left", ncols=len(shown), fontsize=10)
    sns.despine(fig, left=True, bottom=True)
    return fig, table


EVENTS = {  # what happened to a token: its colour, and that of its word
    "hidden": ("#e8e8e8", "black"),
    "given": ("#bbbbbb", "black"),
    "written": ("#0072B2", "white"),
    "kept": ("#d5e6f1", "black"),
    "changed": ("#D55E00", "white"),
    "rewritten, unchanged": ("#f3c6a5", "black"),
    "hidden again": ("#555555", "white"),
}
