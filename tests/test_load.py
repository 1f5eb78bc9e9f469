"""Loads larger than the book's: what memory they take, above what was there, in a process of their own.

Each bound is a sum of what has to be held, worked out beside it, and half as much again for what comes and goes. With
``ARDM_TESTS=full`` all are tried, else those that take seconds. Tiles of logits are handed back to the system, which the C library
of Linux does only when it is told to; otherwise small results between them keep it from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

FULL = os.environ.get("ARDM_TESTS") == "full"
MEGA = 1_000_000
HANDED_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144"}

MEASURED = r"""
import json, re, resource, torch
from pathlib import Path
torch.set_num_threads(1)
from ardm import OneWay, HideThenRefill, blank, refine
{before}
def peak():  # of this program; what getrusage says begins with the memory of who started it
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
held = peak()
{load}
print(json.dumps([peak() - held, said]))
"""

SPEAKER = """
class Speaker:
    vocab_size = {V}
    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.words = torch.randn({V} + 1, 16, generator=g)
        self.head = Head(torch.randn({V}, 16, generator=g))
    def __call__(self, x, time=1.0):
        hidden = self.words[x] + self.words[x.roll(1, 1)]
        return Prediction(hidden=hidden, head=self.head, state=hidden)
"""
"""A denoiser that knows its neighbour, whose last layer is read in tiles."""

LOADS = {
    # The logits of 512 positions would be 262 MB; a tile of them is 1 MB, and a mass a tile and position in double 0.5 MB.
    "a vocabulary of 128,000 words": (
        "from ardm.method.types import Head, Prediction\n" + SPEAKER.format(V=128_000) + "speaker = Speaker()",
        "trace = refine(speaker, OneWay(), blank(1, 512, 128_000), 3, seed=0)\nsaid = int(trace.x.max()) < 128_000",
        60 * MEGA,
        True,
    ),
    # A step holds some tens of numbers a position, 4,096 of them of eight bytes: what matters is that 1,024 steps add nothing.
    "a text of 4,096 tokens in 1,024 calls": (
        "from ardm.method.types import Head, Prediction\n" + SPEAKER.format(V=64) + "speaker = Speaker()",
        "trace = refine(speaker, OneWay(), blank(1, 4096, 64), 1024, seed=0)\nsaid = int(trace.calls) == 1024",
        60 * MEGA,
        False,
    ),
    # Ten million ids of eight bytes; a batch is views of them, copied.
    "ten million tokens of text": (
        "from ardm.adapters.gates import TokenTexts\nfrom ardm.base.streams import generator",
        "ids = torch.randint(50_000, (10_000_000,))\n"
        "texts = TokenTexts(ids, 128, None, 50_000)\n"
        "rng = generator(0, 'load')\n"
        "said = all(texts.batch(256, rng).shape == (256, 128) for _ in range(200))",
        120 * MEGA,
        True,
    ),
    # A job is a few names, numbers and a key, some kilobytes.
    "ten thousand cells": (
        "from pathlib import Path\n"
        "from ardm.experiments.arena import Arena\n"
        "from ardm.experiments.cells import Settings\n"
        "from ardm.experiments.work import Place\n"
        "import ardm.experiments.make",
        "place = Place(Path('/nonexistent/a'), Path('/nonexistent/b'))\n"
        "arena = Arena(Settings(seeds=12), place)\n"
        "said = sum(len(batch.jobs) for batch in arena.batches()) > 10_000",
        100 * MEGA,
        False,
    ),
}


def measured(load: str, before: str = "") -> tuple[int, object]:
    """Bytes that a load took at its peak, above what was held before, and what it said."""
    code, environment = MEASURED.format(before=before, load=load), {**os.environ, **HANDED_BACK}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took, said = json.loads(done.stdout)
    return took, said


@pytest.mark.parametrize("name", [name for name, (*_, always) in LOADS.items() if always or FULL])
def test_a_load_stays_within_its_bound(name):
    before, load, bound, _ = LOADS[name]
    took, said = measured(load, before)
    assert said is True
    assert took < bound, f"{took / MEGA:.0f} MB of {bound / MEGA:.0f}"


def test_the_measure_sees_what_is_held():
    """A table of logits for as many positions and words breaks the bound that the streamed reading keeps."""
    bound = LOADS["a vocabulary of 128,000 words"][2]
    took, said = measured("x = torch.ones(512, 128_000)\nsaid = float(x.sum()) > 0")
    assert said is True and took > bound
