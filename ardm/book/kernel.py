"""The kernel of a run: this interpreter, and none of the settings that a user has for Jupyter, IPython and matplotlib.

A kernelspec of the name python3 elsewhere, a profile of IPython or a matplotlibrc would change what a notebook puts out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["NAME", "own_settings"]

NAME = "python3"
LAUNCH = ("-m", "ipykernel_launcher", "-f", "{connection_file}")


@contextmanager
def own_settings() -> Iterator[dict[str, str]]:
    """The variables of a process that starts kernels of this name; what they name is there meanwhile."""
    with TemporaryDirectory(prefix="ardm-") as folder:
        kernel, settings = Path(folder) / "kernels" / NAME, Path(folder) / "matplotlibrc"
        kernel.mkdir(parents=True)
        spec = {"argv": [sys.executable, *LAUNCH], "display_name": "Python 3 (ipykernel)", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec), "utf8")
        settings.touch()
        yield {
            "JUPYTER_PATH": folder,  # looked at before all other places
            "IPYTHONDIR": str(Path(folder) / "ipython"),
            "MATPLOTLIBRC": str(settings),
            "PYTHONSTARTUP": "",
        }
