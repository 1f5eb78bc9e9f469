"""What a figure answers when one of its marks is pointed at: the name, the values as the axes say them, the interval, the place."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch, Rectangle

from ardm.book.figures import forest, style
from ardm.book.marks import MOST, MOST_OF_ONE, marks


@pytest.fixture(autouse=True)
def _closed():
    style()
    yield
    plt.close("all")


def told(fig):
    """Each mark in words: series, across, up, interval across, interval up."""
    fig.draw_without_rendering()
    found = marks(fig)
    whole = [(*mark, "", "", "", "") for mark in found["marks"]]
    return [(found["series"][mark[1]], *mark[4:8]) for mark in whole], found


def test_a_line_of_points_says_its_name_and_its_values():
    fig, ax = plt.subplots()
    ax.plot([1, 2, 4], [10.04, 52.126, 100], "o-", label="a rule")
    ax.set(xscale="log", ylim=(0, 105), xlabel="calls", ylabel="valid, %\n(dotted: chance)", title="Sudoku")
    said, found = told(fig)
    assert said == [("a rule", "1", "10.0", "", ""), ("a rule", "2", "52.1", "", ""), ("a rule", "4", "100", "", "")]
    assert found["axes"] == [["calls", "valid, %", "Sudoku"]]


def test_the_place_of_a_mark_is_where_it_is_drawn():
    """Against the pixels: the only red on the sheet."""
    fig, ax = plt.subplots(figsize=(5, 4))
    ax.plot(2, 30, "s", color="#ff0000", markersize=4)
    ax.set(xlim=(0, 3), ylim=(0, 100))
    fig.canvas.draw()
    sheet = np.asarray(fig.canvas.buffer_rgba())
    rows, columns = np.nonzero((sheet[..., 0] > 200) & (sheet[..., 1] < 50))
    (mark,) = marks(fig)["marks"]
    assert mark[2] == pytest.approx(1000 * columns.mean() / sheet.shape[1], abs=2)
    assert mark[3] == pytest.approx(1000 * rows.mean() / sheet.shape[0], abs=2)
    assert marks(fig)["size"] == [360, 288]


@pytest.mark.parametrize(("way", "wanted"), [("xerr", ("0.50 to 2.50", "")), ("yerr", ("", "−0.50 to 1.50"))])
def test_an_errorbar_says_its_interval(way, wanted):
    fig, ax = plt.subplots()
    ax.errorbar([2.0], [1.0], **{way: [[1.5], [0.5]]}, fmt="o", capsize=2, label="gate")
    ax.set(xlim=(0, 20), ylim=(-2, 3))
    assert told(fig)[0] == [("gate", "2", "1", *wanted)]


def test_an_interval_drawn_by_hand_belongs_to_the_mark_it_goes_through():
    cells = [("a", "one", "x", "s", 1.0, 0.5, 1.5), ("a", "two", "x", "t", -1.0, -3.0, 1.0)]
    table = pd.DataFrame(cells, columns=["group", "row", "panel", "series", "value", "low", "high"])
    said, found = told(forest(table, {"x": "points"}, {"s": ("#0072B2", "o"), "t": ("#D55E00", "s")}))
    assert said == [("s", "1", "one", "0.50 to 1.50", ""), ("t", "−1", "two", "−3 to 1", "")]
    assert found["axes"] == [["points", "", ""]]


def test_a_place_with_a_name_is_called_by_it():
    fig, (left, right) = plt.subplots(1, 2, sharey=True)
    left.plot([0.25, 3.4], [0.15, 0.9], "o")
    left.set(
        yticks=[0, 1], yticklabels=["one-way", "a\ngate"], xticks=[0, 3, 6], xticklabels=["zero", "three", "six"], xlabel="x"
    )
    right.plot([1, 2], [1, 0], "o")
    said, found = told(fig)
    assert [mark[:3] for mark in said] == [
        ("", "zero", "one-way"),
        ("", "three", "a gate"),
        ("", "1", "a gate"),
        ("", "2", "one-way"),
    ]
    assert [axes[1] for axes in found["axes"]] == ["", ""]  # names need no label


def test_a_place_between_the_names_has_none():
    fig, ax = plt.subplots()
    ax.plot([0, 2, 4], [0, 1, 2], "o")
    ax.set_xticks([0, 4])
    ax.set_xticklabels([1, 5])  # numbers that are not those of their places
    assert [mark[1] for mark in told(fig)[0]] == ["1", "", "5"]


def test_what_was_moved_aside_on_a_logarithmic_axis_is_read_at_its_place():
    fig, ax = plt.subplots()
    ax.plot([8.1, 20], [1, 2], "o")
    ax.set_xscale("log", base=2)
    ax.set_xticks([4, 8, 32], ["4", "8", "32"])
    assert [mark[1] for mark in told(fig)[0]] == ["8", "20"]


def test_a_legend_names_by_colour_and_mark():
    fig, ax = plt.subplots()
    for mark, colour in (("o", "#0072B2"), ("s", "#0072B2"), ("o", "#D55E00"), ("x", "#009E73")):
        ax.plot(1, 1, mark, color=colour)
    handles = [ax.plot([], [], mark, color="#0072B2", label=f"blue {mark}")[0] for mark in "os"]
    fig.legend(handles=[*handles, Patch(facecolor="#D55E00", label="orange")])
    assert [mark[0] for mark in told(fig)[0]] == ["blue o", "blue s", "orange", ""]


def test_a_name_beside_a_point_is_its_name():
    fig, ax = plt.subplots()
    ax.plot([1, 2], [1, 2], "o")
    ax.annotate("T2M", (2, 2), (5, 5), textcoords="offset points")
    assert [mark[0] for mark in told(fig)[0]] == ["", "T2M"]


def test_bars_say_their_length_and_cells_their_place():
    fig, (ax, grid) = plt.subplots(1, 2)
    ax.barh(["a", "b"], [10, 20], left=[0, 5], color="#0072B2", label="caught")
    ax.set_xlim(0, 100)
    grid.add_patch(Rectangle((0.5, 1.5), 1, 1, facecolor="#bbbbbb", edgecolor="white"))
    grid.add_patch(Rectangle((0.5, 2.5), 1, 1, facecolor="#123456"))  # no legend knows it
    grid.set(xlim=(0, 4), ylim=(0, 4))
    fig.legend(handles=[Patch(facecolor="#bbbbbb", label="given")])
    said, found = told(fig)
    assert [mark[:3] for mark in said] == [("caught", "10", "a"), ("caught", "20", "b"), ("given", "1", "2")]
    widths = [mark[8] for mark in found["marks"]]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)


def test_lines_that_guide_the_eye_and_what_lies_outside_say_nothing():
    fig, ax = plt.subplots()
    ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
    ax.axhline(0.5, label="chance")
    ax.plot([0.5, 5], [0.5, 0.5], "o", label="a")
    ax.plot(np.linspace(0, 1, 5000), np.zeros(5000), label="a curve")
    ax.plot(np.zeros(MOST_OF_ONE + 1), np.zeros(MOST_OF_ONE + 1), ".", label="a cloud")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    said = [mark[0] for mark in told(fig)[0]]
    assert said.count("a") == 1 and said.count("a curve") == 100 and set(said) == {"a", "a curve"}


def test_a_figure_of_too_many_marks_is_a_picture():
    fig, ax = plt.subplots()
    for k in range(MOST // MOST_OF_ONE + 1):
        ax.scatter(np.arange(MOST_OF_ONE), np.full(MOST_OF_ONE, k))
    assert told(fig)[0] == []


def test_a_label_of_the_row_holds_for_the_panels_beside():
    fig, axes = plt.subplots(2, 2)
    for ax in axes.flat:
        ax.plot(1, 1, "o")
    axes[0, 0].set_ylabel("valid, %")
    axes[1, 1].set_xlabel("calls")
    fig.colorbar(axes[1, 0].imshow([[1, 2]]), ax=axes[1, 0])
    words = [axes[:2] for axes in told(fig)[1]["axes"]]
    assert words == [["", "valid, %"], ["calls", "valid, %"], ["", ""], ["calls", ""]]


@pytest.mark.parametrize(
    ("names", "shared", "word"), [(["4", "8"], False, "calls"), (["a", "b"], False, ""), (["a", "b"], True, "calls")]
)
def test_an_axis_of_words_takes_no_label_of_another(names, shared, word):
    fig, (upper, lower) = plt.subplots(2, 1, sharex=shared)
    for ax in (upper, lower):
        ax.plot([4, 8], [1, 2], "o")
        ax.set_xscale("log")
        ax.set_xticks([4, 8], names)
    lower.set_xlabel("calls")
    assert [axes[0] for axes in told(fig)[1]["axes"]] == [word, "calls"]


def test_the_smallest_words_are_found():
    fig, ax = plt.subplots()
    ax.set_title("small", fontsize=6.5)
    ax.text(0, 0, "", fontsize=2)
    assert told(fig)[1]["text"] == 6.5
