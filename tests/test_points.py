"""Points with intervals: where they stand, in which order, in which colour."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from ardm.base.errors import InputError
from ardm.book.points import points

TABLE = pd.DataFrame({"value": [1.0, 4.0], "low": [0.5, 3.0], "high": [2.0, 6.0]}, index=["first", "second"])


def test_rows_stand_from_the_top_with_their_intervals():
    fig, ax = plt.subplots()
    points(ax, TABLE, colours=["#111111", "#222222"], shift=0.2)
    fig.draw_without_rendering()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    low, high = ax.get_ylim()
    assert low > high  # the first row is on top
    lines = [(line.get_color(), line.get_xdata(), line.get_ydata()) for line in ax.get_lines()]
    assert [(c, list(x), list(y)) for c, x, y in lines[2:]] == [
        ("#222222", [3.0, 6.0], [1.2, 1.2]),
        ("#222222", [4.0], [1.2]),
    ]
    plt.close(fig)


def test_without_an_interval_there_is_a_point_alone():
    _, ax = plt.subplots()
    points(ax, TABLE[["value"]])
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.get_lines()] == [([1.0], [0.0]), ([4.0], [1.0])]
    plt.close("all")


def test_a_colour_a_row_or_one_for_all():
    with pytest.raises(InputError, match="3 colours for 2 rows"):
        points(plt.figure().gca(), TABLE, colours=["red"] * 3)
    plt.close("all")
