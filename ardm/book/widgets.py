"""Things to touch: HTML that works in JupyterLab and in the built page alike, with no kernel and no network.

Each widget is its data and a script of ``ardm/book/js``; what a reader moves is computed again in JavaScript, by the formulas of
``formulas.js``, which a test compares with the package.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ardm.base.errors import InputError
from ardm.method.gate import COMBINE, FOUR
from ardm.method.sampling import CHANGED, GIVEN, HIDDEN, HIDDEN_AGAIN, KEPT, REWRITTEN, WRITTEN, Trace

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

__all__ = ["frontier_explorer", "gate_explorer", "is_widget", "player", "prior_explorer"]

SCRIPTS = Path(__file__).parent / "js"

CLASSES = {  # what happened to a token, and the class in widgets.css that shows it
    HIDDEN: "hidden",
    GIVEN: "",
    KEPT: "",
    WRITTEN: "new",
    CHANGED: "changed",
    REWRITTEN: "same",
    HIDDEN_AGAIN: "cover",
}
KEY = {CLASSES[event]: event for event in (WRITTEN, CHANGED, REWRITTEN, HIDDEN_AGAIN)}
"""The classes that a key below the text explains."""


def player(
    runs: Trace | Mapping[str, Trace],
    words: tuple[str, ...],
    *,
    id: str,
    row: int = 0,
    separator: str = " ",
    mask: str = "_",
    command: str = "",
) -> HTML:
    """Step through recorded samplings of one sequence: a slider, back, next, play, and a choice of rule where there are several.

    ``runs``: one trace, or one for each rule by name, from the same start. Beside the text stands the rule's p at every step where
    it was recorded. ``separator`` stands between tokens: a blank for words, nothing for characters. Opens on the last step.
    """
    named = {"": runs} if isinstance(runs, Trace) else dict(runs)
    if not named or not all(trace.frames for trace in named.values()):
        raise InputError("nothing to play: sample with record=True")
    names = (*words, mask)
    data = {
        "separator": separator,
        "events": KEY,
        "runs": {
            name: {
                "frames": [
                    [[_visible(names[token]), CLASSES[event]] for token, event in step]
                    for step in trace.history(row, len(words))
                ],
                "p": _p(trace, row, len(words)),
            }
            for name, trace in named.items()
        },
    }
    return _widget("player", id, data, f"Recorded sampling: {', '.join(filter(None, named)) or 'one rule'}", command)


def _p(trace: Trace, row: int, mask_id: int) -> list[list[float | None]] | None:
    """p of every step and position, None where the place is hidden; None as a whole where no p was recorded."""
    if "p" not in trace.frames[0].scores:
        return None
    before = [trace.start, *(frame.x for frame in trace.frames[:-1])]
    return [
        [
            None if token == mask_id else round(p, 3)
            for token, p in zip(x[row].tolist(), frame.scores["p"][row].tolist(), strict=True)
        ]
        for x, frame in zip(before, trace.frames, strict=True)
    ]


def prior_explorer(*, id: str, n: int = 32, T: int = 16, alpha: float = 1.25, delta: float = 0.0, command: str = "") -> HTML:
    """The positional prior r over positions and steps, for any size, slope and shift; and the overwrites it forces."""
    return _widget("prior_explorer", id, {"n": n, "T": T, "alpha": alpha, "delta": delta}, "Positional prior", command)


def gate_explorer(  # noqa: PLR0913  each is a control of the widget
    logits: Sequence[Sequence[float]],
    before: Sequence[Sequence[float]],
    placed: Sequence[int],
    words: Sequence[str],
    *,
    id: str,
    t: int = 3,
    T: int = 8,
    beta: Mapping[str, float] | None = None,
    alpha: float = 1.25,
    delta: float = 0.0,
    combine: str = "noisy_or",
    command: str = "",
) -> HTML:
    """Signals, u, r and p of a few tokens, computed again as logits, weights, slope, shift, step or combination are moved.

    ``logits``, ``before``: ``[L][V]``, at this step and the one before; ``placed``: ``[L]``. ``beta``: the weight of ``bias`` and
    of each of :data:`ardm.method.gate.FOUR`, on the raw signals; by default the document's unit weights.
    """
    if not len(logits) == len(before) == len(placed):
        raise InputError(
            f"{len(logits)} rows of logits, {len(before)} before, {len(placed)} tokens: give one each for every token"
        )
    for name, rows in (("logits", logits), ("before", before)):
        if any(len(row) != len(words) for row in rows):
            raise InputError(f"{name}: a row has {len(words)} logits, one for each word")
    if combine not in COMBINE:
        raise InputError(f"combine={combine!r}: choose one of {', '.join(COMBINE)}")
    document = {"bias": 0.0, "entropy": 1.0, "margin": -1.0, "confidence_change": -1.0, "placed_log_prob": 0.0}
    if unknown := set(beta or {}) - {"bias", *FOUR}:
        raise InputError(f"beta: no signal {', '.join(sorted(unknown))}; choose among bias, {', '.join(FOUR)}")
    tokens = [
        {"logits": list(now), "before": list(old), "placed": token}
        for now, old, token in zip(logits, before, placed, strict=True)
    ]
    data = {
        "words": list(words),
        "tokens": tokens,
        "beta": {**document, **(beta or {})},
        **{"t": t, "T": T, "alpha": alpha, "delta": delta, "combine": combine},
    }
    return _widget("gate_explorer", id, data, "Signals and gate of a few tokens", command)


def frontier_explorer(
    table: pd.DataFrame,
    looks: Mapping[str, str],
    quality: Mapping[str, str],
    *,
    id: str,
    task: str,
    nfe: int,
    command: str = "",
) -> HTML:
    """Every rule of a table as a mark: quality against loss, overwrites or time, for one task and number of calls at a time.

    ``table`` has columns ``task``, ``rule``, ``nfe``, ``quality``, ``low``, ``high``, ``loss``, ``overwrites``, ``milliseconds``.
    ``looks``: the colour of each rule that is named in the picture. ``quality``: what quality is, in words, by task.
    """
    rows = json.loads(table.round(4).to_json(orient="records"))  # None where there is no number
    data = {"rows": rows, "looks": dict(looks), "quality": dict(quality), "task": task, "nfe": nfe}
    return _widget("frontier_explorer", id, data, "Rules by task and number of calls", command)


def _widget(kind: str, id: str, data: Mapping[str, Any], label: str, command: str) -> HTML:
    """A box with a style, a place for the parts, and a script that builds them from the data."""
    from IPython.display import HTML

    script = _script(kind, _as_json(id), _as_json(data))
    again = f'<p class="rerun">Made by <code>{html.escape(command)}</code></p>' if command else ""
    return HTML(
        f'<div class="ardm-widget {kind}" id="{html.escape(id)}" role="group" aria-label="{html.escape(label)}">'
        f"<style>{(SCRIPTS / 'widgets.css').read_text('utf8')}</style>"
        f'<div class="stage"></div>{again}</div><script>{script}</script>'
    )


def _script(kind: str, id: str, data: str) -> str:
    """The script of a widget, from its id and its data as JSON."""
    parts = [(SCRIPTS / f"{name}.js").read_text("utf8") for name in ("formulas", "controls", kind)]
    opening = f"const root = document.getElementById({id}).querySelector('.stage');"
    return "\n".join(["(() => {", *parts, opening, f"start(root, {data});", "})();"])


def _as_json(value: Any) -> str:
    """JSON that ends no script: whatever a text holds, there is no ``<`` in it."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def is_widget(script: str) -> bool:
    """Whether a script is that of a widget of today, with data that are JSON and nothing else."""
    for kind in (player, prior_explorer, gate_explorer, frontier_explorer):
        before, between, after = _script(kind.__name__, "\0", "\0").split("\0")
        if script.startswith(before) and script.endswith(after):
            id, found, data = script[len(before) : -len(after)].partition(between)
            try:
                return bool(found) and isinstance(json.loads(id), str) and isinstance(json.loads(data), dict)
            except ValueError:
                return False
    return False


def _visible(word: str) -> str:
    """A line break is shown as a sign and still breaks the line."""
    return word.replace("\n", "⏎\n")
