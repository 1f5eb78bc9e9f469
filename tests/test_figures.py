"""A published figure: shown with its words, kept with its data, the same bytes each time."""

import json
import re
from xml.etree import ElementTree

import matplotlib as mpl
import pandas as pd
import pytest
import torch

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.text import Text

from ardm.base.errors import InputError
from ardm.book.dark import contrast
from ardm.book.figures import COLOURS, EVENTS, LOOKS, OTHERS, forest, label_lines, publish, rewriting, style
from ardm.method import sampling
from ardm.method.rules import entries
from ardm.method.sampling import Frame, Trace

WORDS = {"caption": "Three points on a line.", "alt": "Three points rising from left to right."}
DATA = pd.DataFrame({"x": [0, 1, 2], "y": [0, 1, 2]})


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: calls.append((bundle, options)))
    return calls


def figure():
    fig, ax = plt.subplots()
    ax.plot(DATA["x"], DATA["y"])
    return fig


def test_publish_shows_keeps_and_repeats(tmp_path, shown):
    style()
    publish(figure(), id="fig-points", data=DATA, folder=tmp_path, **WORDS)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(kept) == {f"fig-points.{kind}" for kind in ("png", "svg", "dark.svg", "pdf", "csv", "json", "marks.json")}
    assert kept["fig-points.png"][:8] == b"\x89PNG\r\n\x1a\n"
    assert kept["fig-points.pdf"][:5] == b"%PDF-"
    assert ElementTree.fromstring(kept["fig-points.svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    for kind in ("png", "svg", "pdf"):  # a version of matplotlib or a date would change the bytes
        assert not re.search(rb"Software|Matplotlib v|CreationDate|dc:date", kept[f"fig-points.{kind}"]), kind
    assert pd.read_csv(tmp_path / "fig-points.csv").equals(DATA)
    facts = json.loads(kept["fig-points.json"])
    assert facts["alt"] == WORDS["alt"] and facts["provenance"]["torch"] == torch.__version__.split("+")[0]
    assert facts["provenance"]["matplotlib"] == mpl.__version__
    bundle, options = shown[0]
    assert options["metadata"] == {"ardm": {"figure": {"id": "fig-points", **WORDS}}}
    publish(figure(), id="fig-points", data=DATA, folder=tmp_path, **WORDS)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    assert shown[1][0] == bundle
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": "points"}, "starts with fig-"),
        ({"alt": "plot"}, "alt='plot'"),
        ({"caption": ""}, "caption=''"),
        ({"data": DATA[:0]}, "empty"),
    ],
)
def test_a_figure_without_words_or_data_is_refused(tmp_path, shown, change, named):
    with pytest.raises(InputError, match=named):
        publish(figure(), **{"id": "fig-points", "data": DATA, "folder": tmp_path, **WORDS, **change})
    assert not shown and not list(tmp_path.iterdir())
    plt.close("all")


def test_without_a_folder_the_files_lie_where_the_run_says(tmp_path, shown, monkeypatch):
    monkeypatch.setenv("ARDM_FIGURES", str(tmp_path / "run" / "figures"))
    publish(figure(), id="fig-points", data=DATA, **WORDS)
    assert (tmp_path / "run" / "figures" / "fig-points.svg").is_file()


def marks(ax):
    """Of each drawn mark: where it is, its sign, and whether it is filled."""
    drawn = [line for line in ax.get_lines() if line.get_marker() not in ("None", "", None)]
    return [(*line.get_xydata()[0].round(3), line.get_marker(), line.get_markerfacecolor() != "white") for line in drawn]


def test_a_forest_has_a_row_for_each_change_and_fills_what_excludes_zero():
    cells = [
        ("b", "two", "x", "s", 1.0, 0.5, 1.5),
        ("b", "two", "x", "t", -1.0, -3.0, 1.0),
        ("b", "two", "y", "t", 0.0, 0.0, 0.0),
        ("b", "one", "x", "s", -40.0, -41.0, -39.0),
        ("a", "one", "x", "s", 40.0, -1.0, 81.0),
        ("a", "one", "z", "s", 2.0, 1.0, 3.0),  # a panel that is not asked for
    ]
    table = pd.DataFrame(cells, columns=["group", "row", "panel", "series", "value", "low", "high"])
    looks = {"s": ("#0072B2", "o"), "t": ("#D55E00", "s")}
    fig = forest(table, {"x": "points", "y": "hundredths"}, looks, reach={"x": 30})
    left, right = fig.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["two", "one", "one"]
    assert list(left.get_yticks()) == [1, 2, 4]  # below the headings at 0 and 3
    assert marks(left) == [
        (1, 0.875, "o", True),
        (-1, 1.125, "s", False),
        (-30, 1.875, "<", True),
        (30, 3.875, ">", False),
    ]
    assert marks(right) == [(0, 1.125, "s", False)]
    assert [text.get_text() for text in left.texts] == ["-40", "+40", "b", "a"]
    assert (left.get_xlabel(), right.get_xlabel()) == ("points", "hundredths")
    assert left.get_ylim()[0] > left.get_ylim()[1]
    free = forest(table, {"x": "points"}, looks)
    assert [mark[2] for mark in marks(free.axes[0])] == ["o", "s", "o", "o"]
    plt.close("all")


def named(*ends, scale="linear"):
    """Axes with a line to each height in ``ends``, and where ``label_lines`` writes their names."""
    style()
    fig, ax = plt.subplots()
    for k, end in enumerate(ends):
        y = [1, end, float("nan")] if k == 0 else [1, 1, end]
        ax.errorbar([1, 2, 3], y, yerr=0.1, label=f"line {k}", color=f"C{k}")
    ax.plot([1, 3], [1, 1], color="grey")  # without a name
    ax.set(ylim=(0.5, 10), yscale=scale)
    names = label_lines(ax)
    fig.draw_without_rendering()
    return fig, ax, names, [Text.get_window_extent(name) for name in names]


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("ends", [(4, 6, 8), (5, 5, 5.01, 2), (10, 9.9, 0.5, 0.6), (3,)])
def test_names_stand_beside_their_lines_and_apart(ends, scale):
    fig, ax, names, boxes = named(*ends, scale=scale)
    assert [name.get_text() for name in names] == [f"line {k}" for k in range(len(ends))]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert all(box.x0 > ax.bbox.x1 and box.x1 <= fig.bbox.x1 for box in boxes)
    order = sorted(range(len(ends)), key=ends.__getitem__)
    assert [boxes[k].y0 for k in order] == sorted(box.y0 for box in boxes)  # as the lines end
    at = [ax.transData.transform((1, end))[1] for end in ends]
    alone = [k for k in order if all(abs(at[k] - other) > 40 for j, other in enumerate(at) if j != k)]
    assert [(boxes[k].y0 + boxes[k].y1) / 2 for k in alone] == pytest.approx([at[k] for k in alone], abs=3)
    assert [names[k].arrow_patch for k in alone] == [None] * len(alone)
    plt.close(fig)


def test_names_are_read_on_white_and_led_to_where_they_moved():
    fig, _, names, _ = named(5, 5, 9)
    assert [name.arrow_patch is not None for name in names] == [True, True, False]
    assert all(contrast(name.get_color(), "#ffffff") >= 4.5 for name in names)
    assert names[0].get_color() == COLOURS["one-way"].lower()  # can be read as it is
    plt.close(fig)


def test_more_names_than_room_spread_over_both_edges():
    fig, ax, _, boxes = named(*[5] * 24)
    (low, high), middle = (ax.bbox.y0, ax.bbox.y1), sum(box.y0 + box.y1 for box in boxes) / 2 / len(boxes)
    assert low - boxes[0].y0 > 10 and boxes[-1].y1 - high > 10
    assert middle == pytest.approx((low + high) / 2, abs=3)
    assert label_lines(fig.add_subplot()) == []
    plt.close(fig)


def trace() -> Trace:
    """Three places, words a b c, mask 3: one write, then a change, a keep and a hide."""
    start = torch.tensor([[3, 0, 1]])
    none = at()
    first = Frame(x=torch.tensor([[2, 0, 3]]), write=at(0), remask=at(2), changed=none, scores={})
    second = Frame(x=torch.tensor([[2, 1, 0]]), write=at(0, 1, 2), remask=none, changed=at(1), scores={})
    zero = torch.zeros(1, dtype=torch.long)
    counts = dict.fromkeys(("writes", "rewrites", "changes", "remasks", "wasted", "settled"), zero)
    return Trace(start=start, x=second.x, calls=zero + 2, **counts, overwritten=torch.zeros_like(start), frames=(first, second))


def at(*places: int) -> torch.Tensor:
    return torch.tensor([[i in places for i in range(3)]])


def test_the_grid_names_what_happened_to_each_token():
    fig, table = rewriting(trace(), ("a", "b", "c"))
    events = table.pivot(index="step", columns="position", values="event").to_numpy().tolist()
    assert events == [
        ["hidden", "given", "given"],
        ["written", "kept", "hidden again"],
        ["rewritten, unchanged", "changed", "written"],
    ]
    assert table[table["step"] == 2]["token"].tolist() == ["c", "b", "a"]
    plt.close(fig)


def test_every_event_has_a_colour_and_nothing_else_has():
    assert tuple(EVENTS) == sampling.EVENTS


def test_rules_have_different_colours():
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_rules_that_a_figure_tells_apart_look_different():
    assert len(set(LOOKS.values())) == len(LOOKS) > 20
    assert all(name in entries() for name in LOOKS)
    assert (LOOKS["one-way"], LOOKS["attentive hide ratio"]) == (("#0072B2", "o"), ("#009E73", "o"))


def test_a_rule_without_a_colour_is_grey_and_a_misspelt_one_an_error():
    assert LOOKS.get("DDPD") == LOOKS.get("DDPD", OTHERS) == ("#bbbbbb", ".")
    with pytest.raises(KeyError, match="DDPD has no colour of its own"):
        LOOKS["DDPD"]
    with pytest.raises(InputError, match="no rule 'one-wey': choose one-way"):
        LOOKS["one-wey"]
    with pytest.raises(InputError, match="no rule 'one-wey'"):
        LOOKS.get("one-wey", OTHERS)
