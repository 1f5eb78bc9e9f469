"""Whole or absent: the old file stays until the new one is complete, and a failure leaves no trace.

A power cut cannot be played here. What is tested is the order of the calls that outlasts one, as POSIX has it: the content is on
the disk before the name is, the name before the writer goes on.
"""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ardm.base.atomic import whole, write_whole


def test_a_reader_of_the_old_file_never_sees_the_new_one_grow(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with path.open() as reader:
        write_whole(path, "new, and longer")
        assert reader.read() == "old"
    assert path.read_text() == "new, and longer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("trouble", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_removes_the_part(tmp_path, trouble):
    path = tmp_path / "a.bin"
    write_whole(path, b"old")

    def write_half():
        with whole(path) as part:
            part.write_bytes(b"half")
            raise trouble

    with pytest.raises(trouble):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_part_becomes_an_ordinary_file(tmp_path):
    path = tmp_path / "a.bin"
    before = os.umask(0o022)
    try:
        with whole(path) as part:
            part.chmod(0o600)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the system, in order: fsync of a file with its length, a rename, fsync of a folder."""
    asked, fsync, replace = [], os.fsync, Path.replace

    def heard_fsync(handle):
        what = os.fstat(handle)
        asked.append("fsync folder" if stat.S_ISDIR(what.st_mode) else f"fsync {what.st_size} bytes")
        fsync(handle)

    def heard_replace(self, target):
        asked.append(f"rename to {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", heard_fsync)
    monkeypatch.setattr(Path, "replace", heard_replace)
    return asked


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_writer_goes_on(tmp_path, calls):
    write_whole(tmp_path / "a.txt", "12345")
    assert calls == ["fsync 5 bytes", "rename to a.txt", "fsync folder"]


def test_a_file_that_does_not_reach_the_disk_takes_no_place(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def broken(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "passed_over"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_folder_is_asked_where_the_system_has_it(tmp_path, monkeypatch, number, passed_over):
    fsync = os.fsync

    def no_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    if passed_over:
        write_whole(tmp_path / "a.txt", "here")
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            write_whole(tmp_path / "a.txt", "here")
    assert (tmp_path / "a.txt").read_text() == "here"


def test_two_writers_of_one_file_leave_one_of_the_two_whole(tmp_path):
    """Threads have one process number, and so may processes on two machines that share the folder."""
    path, texts = tmp_path / "a.txt", ["a" * 50_000, "b" * 70_000]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: [write_whole(path, text) for _ in range(30)], texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
