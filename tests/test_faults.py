"""The disk and the clock at fault: a full disk, a folder that takes nothing, files cut off, times that say nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_runs import make_project, text_of, write

from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError
from ardm.book.runs import execute, recorded, why_stale


@pytest.fixture
def disk(tmp_path):
    """A disk of 256 kB, which only root can make; and what mounts it anew."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> None:
        words = ["mount", *options, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"NO SMALL DISK: only root can mount one ({done.stderr.strip()})")

    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(disk):
    folder, _ = disk
    write_whole(folder / "a.txt", "old")
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(folder / "a.txt", bytes(1_000_000))
    assert caught.value.errno == errno.ENOSPC
    assert (folder / "a.txt").read_text() == "old" and names(folder) == ["a.txt"]


def test_a_run_on_a_full_disk_is_one_line_and_leaves_no_result(disk, tmp_path):
    folder, _ = disk
    notebook = write(make_project(tmp_path / "project") / "01_toy.ipynb", "print('x' * 400_000)")
    (tmp_path / "project" / "ardm" / "data" / "registry.json").unlink()
    words = [sys.executable, "-m", "ardm", "run", str(notebook), "--out", str(folder / "out")]
    done = subprocess.run(words, cwd=notebook.parent, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith("ardm: No space left on device") and "Traceback" not in done.stderr
    assert not (folder / "out" / "run.json").exists() and not list((folder / "out").glob("*.ipynb"))


def test_a_read_only_folder_is_said_before_any_work(disk):
    folder, mount = disk
    write_whole(folder / "a.txt", "old")
    mount("-o", "remount,ro")
    with pytest.raises(InputError, match=r"^cannot write in the folder .*disk \(Read-only file system\): choose another"):
        check_writable(folder / "b.txt")
    with pytest.raises(OSError, match="Read-only file system"):
        write_whole(folder / "a.txt", "new")
    assert (folder / "a.txt").read_text() == "old"


@pytest.fixture
def executed(tmp_path, no_corpora):
    """A notebook and its executed copy."""
    notebook, copy = write(make_project(tmp_path / "project") / "a.ipynb", "print(steps)"), tmp_path / "executed" / "a.ipynb"
    execute(notebook, copy, progress=False)
    return notebook, copy


def other_number(held: bytes) -> bytes:
    """Another digit in what was printed, by one bit: the file is read as before."""
    assert held.count(b'"3\\n"') == 1
    return held.replace(b'"3\\n"', b'"7\\n"')


@pytest.mark.parametrize(
    "harm", [lambda held: held[: len(held) // 2], lambda held: b"", lambda held: b"\xff" + held[1:], other_number]
)
def test_an_executed_notebook_that_is_not_whole_is_executed_again(executed, harm):
    notebook, copy = executed
    assert why_stale(notebook, recorded(copy)) == ""
    copy.write_bytes(harm(copy.read_bytes()))
    assert why_stale(notebook, recorded(copy)) == "it was not executed yet"
    execute(notebook, copy, progress=False)
    assert why_stale(notebook, recorded(copy)) == "" and text_of(copy) == "3\n"


@pytest.mark.parametrize("when", [0, 4_000_000_000])
def test_a_clock_that_was_set_back_or_forth_makes_nothing_stale(executed, when):
    """What is out of date is decided by contents alone: the times of source and copy may say the opposite."""
    notebook, copy = executed
    for path, time in ((notebook, when), (copy, 4_000_000_000 - when)):
        os.utime(path, (time, time))
    assert why_stale(notebook, recorded(copy)) == ""
