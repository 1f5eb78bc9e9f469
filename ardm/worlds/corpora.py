"""Corpora behind one interface: the exact law, Sudoku grids, and texts from a registry with addresses and checksums.

A text, or the list of Sudoku puzzles, is looked for, in this order: in the folder that ``ARDM_DATA`` names, in the cache of
earlier downloads, at its public address (through pooch). Whatever the way, its SHA-256 must be the registered one.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ardm.base.atomic import write_whole
from ardm.base.errors import InputError
from ardm.base.resources import REGISTRY
from ardm.base.streams import HELD_OUT
from ardm.base.streams import generator as rng
from ardm.method.types import Corpus, Int
from ardm.worlds.laws import LAWS, Law
from ardm.worlds.puzzles import GridCorpus, parse_grid, solved_table

__all__ = ["Corpus", "LawCorpus", "TextCorpus", "checksum", "locate", "names", "open_corpus", "public_puzzles", "text"]

GRIDS = "sudoku9"
PUZZLES = "sudoku10k"


@dataclass(frozen=True)
class LawCorpus:
    """Fresh draws from a law, for training and held out from streams that never meet.

    The texts themselves may: parity of 8 bits has 128, brackets of 12 have 132, Sudoku of side 4 has 288, and training sees all.
    """

    law: Law

    @property
    def name(self) -> str:
        return self.law.name

    @property
    def words(self) -> tuple[str, ...]:
        return self.law.words

    @property
    def length(self) -> int:
        return self.law.length

    @property
    def vocab_size(self) -> int:
        return self.law.vocab_size

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        return self.law.draw(count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        return self.law.sample(count, seed=seed, stream=HELD_OUT)

    def decode(self, x: Int[Tensor, " L"]) -> str:
        return self.law.decode(x)


@dataclass(frozen=True)
class TextCorpus:
    """Windows of ``length`` characters: the first 90 % of the text to train on, the last 10 % held out."""

    name: str
    words: tuple[str, ...]
    length: int
    train: Int[Tensor, " N"]
    validation: Int[Tensor, " M"]
    law: None = None

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        return self._windows(self.train, count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        return self._windows(self.validation, count, rng(seed, HELD_OUT))

    def _windows(self, ids: Tensor, count: int, generator: torch.Generator) -> Tensor:
        first = torch.randint(len(ids) - self.length + 1, (count, 1), generator=generator)
        return ids[first + torch.arange(self.length)]

    def decode(self, x: Int[Tensor, " L"]) -> str:
        return "".join((*self.words, "▒")[int(token)] for token in x)


def open_corpus(name: str, length: int) -> Corpus:
    """The named corpus in sequences of ``length`` tokens: a law by its name, ``sudoku9``, or a registered text."""
    if name in LAWS:
        return LawCorpus(LAWS[name](length))
    if name == GRIDS:
        if length != 81:
            raise InputError(f"length={length}: a grid of {GRIDS} has 81 cells; give length 81")
        return GridCorpus()
    if name == PUZZLES:
        raise InputError(f"{PUZZLES} is a list of puzzles, not a corpus: read it with public_puzzles, or open {GRIDS}")
    characters = text(name)
    if not 1 <= length <= len(characters) // 10:
        raise InputError(f"length={length}: {name} has {len(characters)} characters; take windows of 1 to a tenth of that")
    words = tuple(sorted(set(characters)))
    index = {character: i for i, character in enumerate(words)}
    ids = torch.tensor([index[character] for character in characters])
    cut = len(ids) * 9 // 10
    return TextCorpus(name, words, length, ids[:cut], ids[cut:])


def public_puzzles(count: int, *, seed: int = 0) -> tuple[Int[Tensor, "N 81"], Int[Tensor, "N 81"]]:
    """``count`` random puzzles (9 = empty) of the public list of 10,000, each with its one solution."""
    lines = text(PUZZLES).splitlines()[1:]
    if not 1 <= count <= len(lines):
        raise InputError(f"count={count}: the public list has {len(lines)} puzzles; take 1 to all of them")
    chosen = torch.randperm(len(lines), generator=rng(seed, "puzzles"))[:count]
    pairs = [lines[i].split(",") for i in chosen.tolist()]
    puzzles, solved = (torch.stack([parse_grid(grid) for grid in column]) for column in zip(*pairs, strict=True))
    return puzzles, solved


@cache
def _registry() -> dict[str, dict]:
    return json.loads(REGISTRY.read_text())


def names() -> tuple[str, ...]:
    """What the registry holds: the texts, and the list of puzzles behind :func:`public_puzzles`."""
    return tuple(_registry())


def checksum(name: str) -> str:
    """The registered SHA-256 of a text; nothing for a law or the grids, which are made by code."""
    return "" if name in LAWS or name == GRIDS else _entry(name)["sha256"]


def _entry(name: str) -> dict:
    if name not in _registry():
        texts = [known for known in names() if known != PUZZLES]
        raise InputError(f"unknown corpus {name!r}: choose {', '.join((*LAWS, GRIDS, *texts))}")
    return _registry()[name]


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("ardm"))


def _places(entry: dict) -> list[Path]:
    given = os.environ.get("ARDM_DATA")
    if given and not Path(given).is_dir():
        raise InputError(f"ARDM_DATA={given}: there is no such folder; name one that exists, or unset it")
    folders = [Path(given), _cache()] if given else [_cache()]
    return [folder / entry["file"] for folder in folders]


def locate(name: str) -> Path | None:
    """Where the text already lies on this machine, or None. Never touches the network."""
    return next((place for place in _places(_entry(name)) if place.is_file()), None)


@cache
def text(name: str) -> str:
    """The whole text, fetched when it is nowhere on this machine. Raises ``InputError`` when it cannot be had or is not itself."""
    entry = _entry(name)
    path = locate(name)
    content = path.read_bytes() if path else _fetch(name, entry)
    found = hashlib.sha256(content).hexdigest()
    if found != entry["sha256"]:
        raise InputError(
            f"{path or entry['url']}: SHA-256 {found[:12]}… is not the registered {entry['sha256'][:12]}…; remove it"
        )
    return content.decode("utf-8")


def _fetch(name: str, entry: dict) -> bytes:
    """Download once, check, cut to the registered part or solve the puzzles, and put it whole into the cache."""
    import pooch
    import requests

    quiet = pooch.get_logger()
    quiet.setLevel("ERROR")
    url = entry["url"]
    known_hash = f"sha256:{entry['download_sha256']}" if "download_sha256" in entry else None
    try:
        got = Path(pooch.retrieve(url, known_hash=known_hash, path=_cache(), fname=Path(url).name))
    except ValueError as error:  # pooch's word for a wrong checksum; it keeps nothing
        raise InputError(f"{url}: the download does not have the registered SHA-256; nothing was kept") from error
    except (OSError, requests.RequestException) as error:
        raise InputError(
            f"{name} is not here and {url} cannot be reached: put {entry['file']} (SHA-256 {entry['sha256'][:12]}…) into a folder "
            "and name it in ARDM_DATA"
        ) from error
    if "member" in entry:
        with zipfile.ZipFile(got) as archive, archive.open(entry["member"]) as member:
            content = member.read(entry["bytes"])
    else:
        content = got.read_bytes()
    if entry.get("convert") == "solve":
        got.unlink()  # unchecked until it is solved: a bad download must not stay
        content = solved_table(content.decode(errors="replace")).encode()
    target = _cache() / entry["file"]
    if target != got and hashlib.sha256(content).hexdigest() == entry["sha256"]:
        write_whole(target, content)
    return content
