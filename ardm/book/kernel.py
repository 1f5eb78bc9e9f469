"""The kernel of a run: this interpreter, and none of the settings that a user has for Jupyter, IPython and matplotlib.

A kernelspec of the name python3 elsewhere, a profile of IPython or a matplotlibrc would change what a notebook puts out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["NAME", "last_words", "own_settings"]

NAME = "python3"
LOG = "kernel.log"
LAUNCH = (
    "import os, runpy, sys;"
    " os.dup2(os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2);"
    " runpy.run_module('ipykernel_launcher', run_name='__main__', alter_sys=True)"
)
"""A cell's stderr goes to its notebook; what else there is, such as a kernel's own traceback, to the file that is named first."""


def own_settings(folder: Path, python: str = sys.executable) -> dict[str, str]:
    """The variables of a process that starts kernels of ``python``; what they name is put into ``folder``."""
    kernel, settings = folder / "kernels" / NAME, folder / "matplotlibrc"
    kernel.mkdir(parents=True)
    argv = [python, "-c", LAUNCH, str(folder / LOG), "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), "utf8")
    settings.touch()
    return {
        "JUPYTER_PATH": str(folder),  # looked at before all other places
        "IPYTHONDIR": str(folder / "ipython"),
        "MATPLOTLIBRC": str(settings),
        "PYTHONSTARTUP": "",
    }


def last_words(folder: Path) -> str:
    """The last line that a kernel with the settings in ``folder`` left outside its notebook, or nothing."""
    try:
        lines = (folder / LOG).read_text("utf8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
