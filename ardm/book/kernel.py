"""The kernel of a run: this interpreter, and none of the settings that a user has for Jupyter, IPython and matplotlib.

A kernelspec of the name python3 elsewhere, a profile of IPython or a matplotlibrc would change what a notebook puts out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["NAME", "own_settings"]

NAME = "python3"
LAUNCH = ("-m", "ipykernel_launcher", "-f", "{connection_file}")


def own_settings(folder: Path, python: str = sys.executable) -> dict[str, str]:
    """The variables of a process that starts kernels of ``python``; what they name is put into ``folder``."""
    kernel, settings = folder / "kernels" / NAME, folder / "matplotlibrc"
    kernel.mkdir(parents=True)
    spec = {"argv": [python, *LAUNCH], "display_name": "Python 3 (ipykernel)", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), "utf8")
    settings.touch()
    return {
        "JUPYTER_PATH": str(folder),  # looked at before all other places
        "IPYTHONDIR": str(folder / "ipython"),
        "MATPLOTLIBRC": str(settings),
        "PYTHONSTARTUP": "",
    }
