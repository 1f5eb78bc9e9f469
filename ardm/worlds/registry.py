"""Where the texts come from: the addresses, sizes and checksums of ``registry.json``, and the way from there to the checked bytes.

A file is looked for, in this order: in the folder that ``ARDM_DATA`` names, in the cache of earlier downloads, at its public
address (through pooch). Nothing but the registry is trusted: an address is HTTPS and leads to no other host than the registered
ones, no more bytes are taken than registered, whatever the way the SHA-256 is the registered one, and what is not is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError
from ardm.base.resources import REGISTRY

if TYPE_CHECKING:
    import requests

__all__ = ["Entry", "content", "entry", "locate", "names"]

REDIRECTS = 5
PATIENCE = 30  # seconds without a byte
PIECE = 1 << 16  # bytes at a time
SHA256 = re.compile(r"[0-9a-f]{64}")

Convert = Callable[[bytes], bytes]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A registered file. ``download_…`` is what its address gives; ``bytes`` and ``sha256`` are of what is made from that and kept.

    ``hosts``: to which the address may redirect, besides its own. ``member``: the file in a ZIP archive whose first ``bytes`` are
    taken. ``convert``: the name of what turns the download into the file. ``InputError`` where a value is not safe to follow.
    """

    name: str
    title: str
    source: str
    url: str
    download_bytes: int
    file: str
    bytes: int
    sha256: str
    download_sha256: str | None = None
    hosts: tuple[str, ...] = ()
    member: str | None = None
    convert: str | None = None

    def __post_init__(self) -> None:
        for field in ("file", "member"):
            if (name := getattr(self, field)) is not None and not _is_plain(name):
                raise self._wrong(field, "give the plain name of a file, without a folder")
        for field in ("bytes", "download_bytes"):
            if getattr(self, field) < 1:
                raise self._wrong(field, "give a number of bytes, at least 1")
        for field in ("sha256", "download_sha256"):
            if (given := getattr(self, field)) is not None and not SHA256.fullmatch(given):
                raise self._wrong(field, "give 64 hexadecimal digits")
        self.check_address(self.url)

    def _wrong(self, field: str, fix: str) -> InputError:
        return _wrong(self.name, field, getattr(self, field), fix)

    def check_address(self, url: str) -> None:
        """Raise ``InputError`` unless it is HTTPS at a host of this entry."""
        asked, own = urlsplit(url), urlsplit(self.url).hostname
        if asked.scheme != "https":
            raise InputError(f"{self.name}: {url} is not HTTPS; nothing was fetched from there")
        if not asked.hostname or asked.hostname not in (own, *self.hosts):
            raise InputError(f"{self.name}: {url} is at another host than {own}; nothing was fetched from there")


def _wrong(name: str, field: str, value: Any, fix: str) -> InputError:
    return InputError(f"the registry's {name} has {field}={value!r}: {fix}")


def _is_plain(name: str) -> bool:
    """Whether it names a file in the folder where it is looked for, on every system."""
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) is not None


@cache
def _entries() -> dict[str, Entry]:
    try:
        read = json.loads(REGISTRY.read_text("utf8"))
        return {name: _entry(name, values) for name, values in read.items()}
    except (ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{REGISTRY} is not the JSON of a registry ({error}): put the one of the package back") from error


def _entry(name: str, values: Any) -> Entry:
    known = {field.name for field in fields(Entry)} - {"name"}
    if strange := [field for field in values.keys() if field not in known]:  # noqa: SIM118  a list has no keys
        raise InputError(f"the registry's {name} has a field {strange[0]!r}: it has {', '.join(sorted(known))}")
    for field, value in values.items():
        kind = {"bytes": int, "download_bytes": int, "hosts": list}.get(field, str)
        if type(value) is not kind:  # True is no number of bytes
            raise _wrong(name, field, value, f"it is of the type {kind.__name__}")
    try:
        return Entry(name=name, **{**values, "hosts": tuple(values.get("hosts", ()))})
    except TypeError as error:
        raise InputError(f"the registry's {name} is not complete ({error})") from error


def names() -> tuple[str, ...]:
    """What the registry holds."""
    return tuple(_entries())


def entry(name: str) -> Entry:
    """The entry of that name; ``InputError`` lists those that there are."""
    if name not in _entries():
        raise InputError(f"{name!r} is not in the registry: choose {', '.join(names())}")
    return _entries()[name]


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("ardm"))


def locate(name: str) -> Path | None:
    """Where the file already lies on this machine, or None. Never touches the network."""
    given = os.environ.get("ARDM_DATA")
    if given and not Path(given).is_dir():
        raise InputError(f"ARDM_DATA={given}: there is no such folder; name one that exists, or unset it")
    places = [folder / entry(name).file for folder in ([Path(given), _cache()] if given else [_cache()])]
    return next((place for place in places if place.is_file()), None)


def content(name: str, converters: Mapping[str, Convert] | None = None) -> bytes:
    """The registered bytes, fetched when they are nowhere on this machine.

    ``converters``: what turns downloads into files, by the names that the registry gives them. Raises ``InputError`` when the file
    cannot be had or is not itself.
    """
    wanted = entry(name)
    if path := locate(name):
        return _read(wanted, path)
    made = _fetch(wanted, (converters or {})[wanted.convert] if wanted.convert else None)
    write_whole(_cache() / wanted.file, made)
    return made


def _read(wanted: Entry, path: Path) -> bytes:
    """A file that lies here, checked."""
    try:
        size = path.stat().st_size
        held = path.read_bytes() if size == wanted.bytes else b""  # one that is too long is not even read
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): make it readable, or remove it") from error
    if size != wanted.bytes:
        raise InputError(f"{path}: {size:,} bytes are not the registered {wanted.bytes:,}; remove it")
    _check_sum(wanted, held, path, "remove it")
    return held


def _check_sum(wanted: Entry, held: bytes, where: Path | str, then: str) -> None:
    if (found := hashlib.sha256(held).hexdigest()) != wanted.sha256:
        raise InputError(f"{where}: SHA-256 {found[:12]}… is not the registered {wanted.sha256[:12]}…; {then}")


# From the public address -------------------------------------------------------------------------------------------------


def _fetch(wanted: Entry, convert: Convert | None) -> bytes:
    """Download once, check, cut to the registered part or convert. What is loaded lies in a folder that goes again."""
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    known = f"sha256:{wanted.download_sha256}" if wanted.download_sha256 else None
    hand = f"put {wanted.file} (SHA-256 {wanted.sha256[:12]}…) into a folder and name it in ARDM_DATA"
    check_writable(_cache() / wanted.file)
    with TemporaryDirectory(dir=_cache(), prefix=".loading-", ignore_cleanup_errors=True) as folder:
        try:
            load = partial(_download, wanted)
            got = Path(pooch.retrieve(wanted.url, known_hash=known, path=folder, fname="download", downloader=load))
        except InputError:
            raise
        except ValueError as error:  # pooch's word for a wrong checksum
            raise InputError(f"{wanted.url}: the download does not have the registered SHA-256; nothing was kept") from error
        except requests.RequestException as error:
            raise InputError(f"{wanted.name} is not here and {wanted.url} cannot be reached: {hand}") from error
        made = _unpacked(wanted, got) if wanted.member else got.read_bytes()
    made = convert(made) if convert else made
    _check_sum(wanted, made, wanted.url, "nothing was kept")
    return made


def _session() -> requests.Session:
    import requests

    return requests.Session()


def _download(wanted: Entry, url: str, output: str, _pooch: object) -> None:
    """What the address gives, into the file ``output``: only from the entry's hosts, only by HTTPS, and only so many bytes."""
    with _session() as session:
        for _ in range(REDIRECTS + 1):
            wanted.check_address(url)
            asked = {"stream": True, "allow_redirects": False, "timeout": PATIENCE, "headers": {"Accept-Encoding": "identity"}}
            with session.get(url, **asked) as answer:
                if not answer.is_redirect:
                    answer.raise_for_status()
                    return _take(wanted, answer, Path(output))
                url = urljoin(url, answer.headers["location"])
    raise InputError(f"{wanted.url} redirects more than {REDIRECTS} times; nothing was kept")


def _take(wanted: Entry, answer: requests.Response, output: Path) -> None:
    size = 0
    with output.open("wb") as file:
        for piece in answer.iter_content(PIECE):
            size += len(piece)
            if size > wanted.download_bytes:
                raise InputError(
                    f"{wanted.url} gives more than the registered {wanted.download_bytes:,} bytes; nothing was kept"
                )
            file.write(piece)
    if size < wanted.download_bytes:
        raise InputError(f"{wanted.url} gave {size:,} of the registered {wanted.download_bytes:,} bytes; nothing was kept")


def _unpacked(wanted: Entry, archive: Path) -> bytes:
    """The registered part of the archive's member; nothing is unpacked into a file, and no more than is registered into memory."""
    try:
        with zipfile.ZipFile(archive) as held, held.open(wanted.member) as member:
            return member.read(wanted.bytes)
    except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, EOFError) as error:
        raise InputError(f"{wanted.url} is no ZIP archive with a member {wanted.member}; nothing was kept") from error
