"""Files that are whole or absent: nobody ever reads half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ardm.base.errors import InputError

__all__ = ["check_writable", "whole", "write_whole"]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the place of ``path`` when the block ends well, and goes when it does not."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.chmod(0o666 & ~_umask())  # some writers make their files private
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write the file at once; text as UTF-8."""
    with whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(output: Path) -> None:
    """Raise ``InputError`` unless a file can be put at ``output``; makes its folder."""
    folder = output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / f".{os.getpid()}.trial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InputError(f"cannot write in the folder {folder} ({error.strerror}): choose another, or free this one") from error
    if output.is_dir():
        raise InputError(f"{output} is a folder: remove it, or choose another place for the result")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
