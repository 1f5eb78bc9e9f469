"""A masked language model of chemical reactions that comes inside a Python package, as a denoiser.

`rxnmapper` (Schwaller et al. 2021, doi:10.1126/sciadv.abe4166; MIT) carries the ALBERT that its authors trained on the masked
tokens of 1.3 million reactions from patents. Only its files are used: its own code asks for transformers below 5.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import cache
from pathlib import Path

import torch

from ardm.adapters.masked_lm import MaskedLanguageModel
from ardm.base.errors import InputError

__all__ = ["INSTALL", "lacking", "load_reaction_model", "reaction_words"]

INSTALL = "pip install 'ardm[chem]' && pip install --no-deps rxnmapper==0.4.3"
"""What brings all that is needed: `rxnmapper` itself cannot be in the extra, since it asks for transformers below 5."""

FOLDER = Path("models", "transformers", "albert_heads_8_uspto_all_1310k")
WEIGHTS = "pytorch_model.bin"
SHA256 = "8541f3f500dae71abe678d546bd035ca946e2d1c819f6b2cf41a97faedd7e6a2"
NEEDED = ("rxnmapper", "rdkit", "transformers")


def lacking() -> str:
    """What is not installed and how to install it, in one line; nothing when all is here."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"the reaction model needs {' and '.join(absent)}: {INSTALL}" if absent else ""


def _folder() -> Path:
    """Where the model's files lie; ``InputError`` where something is not installed."""
    if why := lacking():
        raise InputError(why)
    spec = importlib.util.find_spec("rxnmapper")
    (place,) = spec.submodule_search_locations  # found, not imported: its code would not run here
    return Path(place) / FOLDER


@cache
def reaction_words() -> tuple[str, ...]:
    """The tokens of the model, by id: special ones first, then pieces of SMILES. ``InputError`` where it is not installed."""
    return tuple((_folder() / "vocab.txt").read_text("utf8").split())


@cache
def load_reaction_model() -> MaskedLanguageModel:
    """The model on the CPU, every text between ``[CLS]`` and ``[SEP]``; its special tokens are never proposed.

    ``InputError`` where it is not installed, or its weights are not those of version 0.4.3: they are a pickle, of which nothing
    but tensors is read.
    """
    folder = _folder()
    from transformers import AlbertConfig, AlbertForMaskedLM

    if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != SHA256:
        raise InputError(f"{WEIGHTS} of rxnmapper is not that of version 0.4.3: {INSTALL}")
    model = AlbertForMaskedLM(AlbertConfig(**json.loads((folder / "config.json").read_text("utf8"))))
    left = model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True), strict=False)
    foreign = [name for name in left.unexpected_keys if "pooler" not in name]
    if left.missing_keys or foreign:
        raise InputError(f"the weights do not fit the model ({', '.join([*left.missing_keys, *foreign])}): {INSTALL}")
    words = reaction_words()
    special = [number for number, word in enumerate(words) if word in SPECIAL or word.startswith("[unused")]
    begin, end = ([words.index(word)] for word in ("[CLS]", "[SEP]"))
    mask = words.index("[MASK]")
    return MaskedLanguageModel(model, mask_id=mask, never=special, pad_id=words.index("[PAD]"), frame=(begin, end))


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
