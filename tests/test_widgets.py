"""The player's page: its frames are the trace, and a hostile word stays text. That it moves is tested in the browser."""

import json
import re

import pytest
import torch
from test_figures import trace

from ardm.sampling import Trace
from ardm.types import InputError
from ardm.widgets import player


def frames(page: str) -> list:
    return json.loads(re.search(r"frames=(\[.*?\]), at=0", page, re.S).group(1).replace("<\\/", "</"))


def test_frames_are_the_trace():
    page = player(trace(), ("a", "b", "c"), id="p").data
    assert frames(page) == [
        [["_", "hidden"], ["a", ""], ["b", ""]],
        [["c", "new"], ["a", ""], ["_", "cover"]],
        [["c", "same"], ["b", "changed"], ["a", "new"]],
    ]


def test_words_cannot_leave_the_script():
    page = player(trace(), ("</script><b>", "b", "c"), id="p").data
    assert page.count("</script>") == 1
    assert frames(page)[0][1][0] == "</script><b>"


def test_nothing_from_outside_and_labelled_for_screen_readers():
    page = player(trace(), ("a", "b", "c"), id="p").data
    assert not re.search(r"https?://|src=|@import|url\(", page)
    assert 'aria-label="Step of the recorded sampling, 0 to 2"' in page


def test_a_trace_without_frames_is_refused():
    t = trace()
    bare = Trace(t.start, t.x, *(torch.zeros(1, dtype=torch.long),) * 7, t.overwritten)
    with pytest.raises(InputError, match="record=True"):
        player(bare, ("a", "b", "c"), id="p")
