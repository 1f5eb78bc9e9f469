"""Anyone's machine: one small table, made in awkward places, is the same table to the last digit.

Circumstances are tried together, as many as go together, and with ``ARDM_TESTS=full`` each alone.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FULL = os.environ.get("ARDM_TESTS") == "full"
TABLE = [
    *("arena", "--profile", "small", "--tasks", "parity", "--rules", "one-way", "--nfe", "4", "--seeds", "1"),
    *("--count", "4", "--tuning", "0", "--denoiser-steps", "3"),
]


@dataclass
class Place:
    """Where the package lies, and how its command is called."""

    root: Path
    tree: Path = field(init=False)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    before: list[str] = field(default_factory=list)
    """Words before the command."""
    mounts: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree = self.root / "ardm-book"

    def lay(self) -> None:
        """A copy of what the command needs, as a download without git has it."""
        for name in ("ardm", "book"):
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / name, self.tree / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", self.tree)

    def mount(self, at: Path, *options: str) -> None:
        at.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *options, str(at)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"NO MOUNT: only root can make one ({done.stderr.strip()})")
        self.mounts.append(at)

    def leave(self) -> None:
        for at in reversed(self.mounts):
            subprocess.run(["umount", "-l", str(at)], check=True)

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "PYTHONPATH": str(self.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*self.before, sys.executable, "-m", "ardm", *map(str, words)]
        return subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, encoding="utf8", check=False)


def spaces(place: Place) -> None:
    place.tree = place.root / "Büro & Co (neu), 100 %" / "ardm book"


def no_git(place: Place) -> None:
    """A ZIP of the sources, on a machine without git."""
    only = place.root / "bin"
    only.mkdir()
    for folder in reversed(place.environment["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            if not program.name.startswith("git"):
                (only / program.name).unlink(missing_ok=True)
                (only / program.name).symlink_to(program)
    place.environment["PATH"] = str(only)


def within_another_repository(place: Place) -> None:
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another"]):
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        subprocess.run(["git", *who, *words], cwd=place.root, check=True)


def posix(place: Place) -> None:
    """A locale that knows ASCII alone."""
    place.environment |= {"LANG": "C", "LC_ALL": "POSIX"}


def no_home(place: Place) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        place.environment.pop(name, None)


def home_that_takes_nothing(place: Place) -> None:
    no_home(place)
    place.environment["HOME"] = "/proc/nobody"


def masked(place: Place) -> None:
    place.before += ["sh", "-c", 'umask 077; exec "$@"', "sh"]


def noexec(place: Place) -> None:
    """Programs of a temporary folder may not be run."""
    at = place.root / "temporary"
    place.mount(at, "-t", "tmpfs", "-o", "noexec", "tmpfs")
    place.environment["TMPDIR"] = str(at)


def no_network(place: Place) -> None:
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("NO PLACE WITHOUT A NETWORK: only root can make one")
    place.before[:0] = ["unshare", "-n"]


def proxy(place: Place) -> None:
    """One that nobody answers at."""
    place.environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")


def one_core(place: Place) -> None:
    if shutil.which("taskset") is None:
        pytest.skip("NO TASKSET on this machine")
    place.before[:0] = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


def read_only(place: Place) -> None:
    place.lay()
    place.mount(place.tree, "--bind", str(place.tree))
    subprocess.run(["mount", "-o", "remount,bind,ro", str(place.tree)], check=True)


def another_user(place: Place) -> None:
    """One who may read all there is and write in his own folder alone."""
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    words += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NO OTHER USER: only root can become one")
    place.before[:0] = words
    os.chown(place.root, 65534, 65534)
    no_home(place)


Circumstance = Callable[[Place], None]
ALONE: tuple[Circumstance, ...] = (
    *(spaces, no_git, within_another_repository, posix, no_home, home_that_takes_nothing, masked, noexec, no_network),
    *(proxy, one_core, read_only, another_user),
)
TOGETHER: tuple[tuple[Circumstance, ...], ...] = (
    (spaces, posix, masked, noexec, no_network, proxy, one_core, home_that_takes_nothing),
    (within_another_repository, another_user, posix),
    (no_git, read_only, no_home),
)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    for folder in tmp_path.parents:  # another user has to get here
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    yield made
    made.leave()


def rows(out: Path) -> list[dict[str, str]]:
    """The table but for the seconds that it took."""
    with (out / "arena.csv").open(encoding="utf8", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> list[dict[str, str]]:
    """The table of a usual place."""
    out = tmp_path_factory.mktemp("usual") / "out"
    place = Place(ROOT.parent)
    place.tree = ROOT
    done = place.call(*TABLE, "--jobs", 1, "--out", out)
    assert done.returncode == 0, done.stderr
    return rows(out)


CASES = [*TOGETHER, *((one,) for one in ALONE if FULL)]


@pytest.mark.parametrize("circumstances", CASES, ids=lambda case: " and ".join(one.__name__ for one in case))
def test_a_table_is_the_same_in_awkward_places(place, usual, circumstances):
    for circumstance in circumstances:
        circumstance(place)
    if not place.tree.exists():
        place.lay()
    done = place.call(*TABLE, "--jobs", 1, "--out", place.root / "out")
    assert done.returncode == 0, done.stderr
    assert rows(place.root / "out") == usual
    told = json.loads((place.root / "out" / "arena.json").read_text("utf8"))
    assert told["provenance"]


def test_in_a_tree_that_takes_nothing_it_is_said_where_to_write_instead(place):
    """The default folder of results lies in the tree; nothing is computed first."""
    read_only(place)
    done = place.call(*TABLE)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "ardm: cannot write in the folder runs/arena (Read-only file system): choose another, or free this one"
    )
