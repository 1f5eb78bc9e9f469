"""Files that are whole or absent: nobody ever reads half of one, and what was said to be written outlasts a power cut."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ardm.base.errors import InputError

__all__ = ["check_writable", "whole", "write_whole"]

NO_FOLDERS = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.EBADF, errno.ENOTSUP}
"""What is said of a folder that may be written to but not read, and where the system or the file system has no fsync of folders."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the place of ``path`` when the block ends well, and goes when it does not.

    The content is on the disk before the name is, and the name before the block ends: flush, fsync, rename, fsync of the folder. A
    process that is killed leaves at most a hidden file that ends in ``.part``, which nobody reads.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # its own on every machine that shares the folder
    try:
        part.touch()
        mode = part.stat().st_mode
        yield part
        part.chmod(mode)  # some writers make their files private
        _onto_disk(part)
        part.replace(path)
        _onto_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write the file at once; text as UTF-8."""
    with whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def _onto_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; a folder that the system cannot ask is passed over."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not path.is_dir() or error.errno not in NO_FOLDERS:
            raise


def check_writable(output: Path) -> None:
    """Raise ``InputError`` unless a file can be put at ``output``; makes its folder."""
    folder = output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".{secrets.token_hex(4)}.trial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"cannot write in the folder {folder} ({error.strerror}): choose another, or free this one") from error
    if output.is_dir():
        raise InputError(f"{output} is a folder: remove it, or choose another place for the result")
