"""What made a result: commit, versions, device, processor. No path and no time of day."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from ardm.base import __version__

__all__ = ["commit", "cores", "machine", "missing", "print_provenance", "provenance", "provenance_line"]

ROOT, UNKNOWN = Path(__file__).resolve().parents[2], "unknown"


def provenance() -> dict[str, str | int]:
    """What made a result: commit, versions, device, processor. No path and no time of day."""
    import numpy
    import torch

    from ardm.base.devices import pick_device

    device = pick_device()
    return {
        "commit": commit(),
        "ardm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],  # the local part names a build, not a version
        "numpy": numpy.__version__,
        "device": f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type,
        **machine(),
    }


def machine() -> dict[str, str | int]:
    """The processor's name, and how many of its cores this process may use."""
    return {"cpu": _cpu(), "cores": cores()}


def provenance_line() -> str:
    """The provenance as one line of plain text."""
    made = provenance()
    versions = " · ".join(f"{name} {made[name]}" for name in ("commit", "ardm", "python", "torch", "numpy", "device"))
    return f"{versions} · {made['cpu']}, {made['cores']} cores"


def print_provenance() -> None:
    """Print the line that ends a notebook."""
    print(provenance_line())


def _ask(*command: str, folder: Path | None = None) -> str:
    """What the command prints, or nothing when it is not there or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=20)
        return os.fsdecode(done.stdout).strip()  # it may be a path
    except (OSError, subprocess.SubprocessError):
        return ""


def commit(root: Path = ROOT) -> str:
    """The commit of the project, never of another repository that happens to lie around the package."""
    head = _head(root)
    if not head:
        return UNKNOWN
    changed = _git(root, "--no-optional-locks", "status", "--porcelain")
    return f"{head}+changes" if changed else head


def _head(root: Path) -> str:
    """The commit that the folder's files began as; nothing where the folder is no clone."""
    top, head = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "--short=12", "HEAD")
    return head if head and Path(top).resolve() == root else ""


def _git(root: Path, *words: str) -> str:
    """What git says in the folder, whoever owns it: a mounted one may be another's."""
    return _ask("git", "-c", f"safe.directory={root}", *words, folder=root)


def missing(root: Path = ROOT) -> str:
    """What a person is told when the commit is unknown; nothing when it is known."""
    if _head(root):
        return ""
    why = "no clone of its repository" if shutil.which("git") else "git is not installed"
    return f"the commit of the code is unknown ({why}): what is made now says so"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return _ask("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
