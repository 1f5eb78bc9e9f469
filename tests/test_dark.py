"""The dark theme of a figure: every colour that a figure uses stands out from the dark sheet, and from what lies under it."""

import re

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from ardm.book.dark import SHEET, contrast, darkened, moved, readable
from ardm.book.figures import EVENTS, FORMATS, LOOKS, _drawn, style
from ardm.method.entry import PALETTE

MARKS = sorted(
    {colour for colour, _ in LOOKS.values()} | set(PALETTE) | {"#262626", "#808080", "#999999", "#4292c6", "#08519c"}
)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21), ("#777777", "#ffffff", 4.48), ("#ffffff", "#0000ff", 8.59), ("#123456", "#123456", 1)],
)
def test_contrast_is_that_of_wcag(one, other, ratio):
    assert contrast(one, other) == contrast(other, one) == pytest.approx(ratio, abs=0.01)


@pytest.mark.parametrize(("sheet", "least"), [("#ffffff", 4.5), (SHEET, 4.5), (SHEET, 3)])
def test_a_colour_is_moved_only_as_far_as_it_must_be(sheet, least):
    for colour in PALETTE:
        found = readable(colour, sheet, least)
        assert contrast(found, sheet) >= least
        assert found == colour.lower() if contrast(colour, sheet) >= least else contrast(found, sheet) < least + 0.3
    assert readable("#ffffff", "#777777", 21) == "#000000"  # nothing reaches it: the end of the way


@pytest.mark.parametrize("colour", MARKS)
def test_marks_and_lines_stand_out_and_so_do_words_in_their_colour(colour):
    assert contrast(moved(colour), SHEET) >= 3
    assert contrast(moved(colour, 4.5), SHEET) >= 4.5


def hue(colour):
    return mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(colour))[0]


def test_colours_keep_their_hue_and_stay_apart():
    rules = [colour for colour in MARKS if mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(colour))[1] > 0.2]
    assert len({moved(colour) for colour in rules}) == len(rules) > 5
    for colour in rules:
        assert abs(hue(moved(colour)) - hue(colour)) < 0.02, colour


def test_tints_stay_tints_and_white_is_the_sheet():
    assert (moved("#ffffff"), moved("#FFFFFF")) == (SHEET, SHEET)
    for pale in ("#eeeeee", "#dddddd", "#d5e6f1", "#f3c6a5"):
        assert contrast(moved(pale), SHEET) == pytest.approx(contrast(pale, "#ffffff"), abs=0.05), pale
    assert abs(hue(moved("#d5e6f1")) - hue("#d5e6f1")) < 0.03


def test_the_word_in_a_cell_can_be_read():
    for event, (face, ink) in EVENTS.items():
        assert contrast(moved(face), moved(ink, 4.5)) >= 4.5, event


def svg(fig):
    style()
    picture = _drawn(fig, "fig-a", "svg", FORMATS["svg"])
    plt.close(fig)
    return picture, darkened(picture).decode()


def test_every_colour_of_a_drawing_is_moved_and_nothing_else():
    fig, ax = plt.subplots()
    ax.errorbar([1, 2], [1, 2], yerr=0.1, color="#0072B2", mfc="white", label="<script>alert(1)</script> & more")
    ax.bar([1], [1], color="black")
    ax.set_xlabel("words", color="black")
    ax.legend()
    light, dark = svg(fig)
    colours = set(re.findall(r"#[0-9a-f]{6}(?=[;\"])", dark))
    assert colours <= {moved(colour.decode()) for colour in re.findall(rb"#[0-9a-f]{6}", light)} | {moved("#000000")}
    assert "#ffffff" not in colours and "#000000" not in colours and moved("#0072b2") in colours
    assert re.match(r"<svg [^>]*fill=\"#dfdfdf\"", dark)  # what matplotlib leaves black
    assert "<script>" not in dark and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in dark
    for tag in ("path", "use", "text"):
        assert dark.count(f"<{tag} ") == light.decode().count(f"<{tag} "), tag
    assert darkened(light).decode() == dark


def test_words_in_grey_can_be_read():
    fig, ax = plt.subplots()
    ax.text(0, 0, "aside", color="#808080")
    ax.plot([0, 1], [0, 1], color="#808080")
    _, dark = svg(fig)
    (word,) = re.findall(r'<text style="[^"]*fill: (#\w+)[^>]*>aside', dark)
    assert contrast(word, SHEET) >= 4.5 > contrast(moved("#808080"), SHEET)


def test_a_heat_map_and_the_line_over_it_keep_their_colours():
    fig, (ax, plain) = plt.subplots(1, 2)
    image = ax.imshow(np.eye(3), cmap="viridis")
    fig.colorbar(image, ax=ax)
    ax.plot([0, 1], [0, 1], "--", color="#ffffff")
    plain.plot([0, 1], [0, 1], "--", color="#ffffff")
    light, dark = svg(fig)
    dashed = [re.findall(r"stroke-dasharray[^\"]*stroke: (#\w+)", text) for text in (light.decode(), dark)]
    assert dashed == [["#ffffff", "#ffffff"], ["#ffffff", SHEET]]
    assert dark.count("<image ") == light.count(b"<image ") > 0
    bands = [re.findall(r'<g id="QuadMesh.*?</g>', text) for text in (light.decode(), dark)]
    assert bands[0] == bands[1]
