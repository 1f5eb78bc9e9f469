"""Whole or absent: the old file stays until the new one is complete, and a failure leaves no trace."""

import os

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
            part.touch(mode=0o600)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
