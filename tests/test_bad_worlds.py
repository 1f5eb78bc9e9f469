"""Bad input of laws, grids and corpora, in a process of its own: there no checker of annotations speaks before the package does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_bad_input_is_one_line_that_names_the_argument():
    cases = Path(__file__).with_name("bad_worlds.py")
    words = [sys.executable, "-m", "pytest", "--noconftest", "-q", "-p", "no:cacheprovider", str(cases)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:]
    assert re.search(r"^1[5-9] passed", ran.stdout, re.MULTILINE), ran.stdout[-600:]
