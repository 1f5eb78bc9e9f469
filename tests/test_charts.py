"""Charts of the tables: rules that are named stand out by name and colour, the rest is grey, the numbers are the table's."""

import matplotlib as mpl
import pandas as pd
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from ardm.base.errors import InputError
from ardm.book.charts import curves, scatter
from ardm.book.figures import LOOKS, OTHERS

FOUND = pd.DataFrame(
    [
        ("P2-self", 16, 90.0, 80.0, 95.0),
        ("P2-self", 4, 40.0, 35.0, 45.0),
        ("margin", 4, 1.0, 0.0, 2.0),
        ("one-way", 4, 2.0, 1.0, 4.0),
        ("one-way", 16, 13.0, 9.0, 18.0),
    ],
    columns=["rule", "nfe", "value", "low", "high"],
)


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_curves_name_some_rules_and_leave_the_others_grey(ax):
    curves(ax, FOUND, ["one-way", "P2-self"])
    handles, names = ax.get_legend_handles_labels()
    assert names == ["one-way", "P2-self"]
    line, _, (bars,) = handles[1]
    assert line.get_xydata().tolist() == [[4, 40], [16, 90]]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [[35, 45], [80, 95]]
    assert to_hex(line.get_color()) == to_hex(LOOKS["P2-self"][0])
    (grey,) = [line for line in ax.lines if to_hex(line.get_color()) == to_hex(OTHERS[0])]
    assert grey.get_xydata().tolist() == [[4, 1]]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "16"]


def test_a_mark_stands_at_the_two_numbers_of_its_rule(ax):
    loss = FOUND.assign(value=FOUND["value"] / 10, low=FOUND["low"] / 10, high=FOUND["high"] / 10)
    four, away = FOUND[FOUND["nfe"] == 4], loss[loss["nfe"] == 4].iloc[::-1]  # in another order
    scatter(ax, four, away, ["P2-self", "one-way"])
    (handle,), names = ax.get_legend_handles_labels()
    assert names == ["P2-self"]
    assert handle.lines[0].get_xydata().tolist() == [[40, 4]]
    across, up = (bars.get_segments()[0].tolist() for bars in handle.lines[2])
    assert (across, up) == ([[35, 4], [45, 4]], [[40, 3.5], [40, 4.5]])
    assert ax.lines[0].get_xydata().tolist() == [[1, 0.1]]
    (beside,) = ax.texts
    assert (beside.get_text(), beside.xy) == ("one-way", (2, 0.2))


def test_a_rule_that_is_not_there_is_an_error(ax):
    with pytest.raises(InputError, match="rule='oracle hide': choose P2-self or margin"):
        curves(ax, FOUND, ["oracle hide"])
    with pytest.raises(InputError, match="rule='P2-self': choose one-way"):
        scatter(ax, FOUND[FOUND["rule"] == "one-way"], FOUND[FOUND["nfe"] == 4], ["P2-self"])
