"""A gate for somebody else's model: trained on the reader's own texts, kept with the model's checksum, used to fill and to repair.

Needs nothing but torch and safetensors; the model and its tokenizer come from the extra ``hf``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ardm.adapters.masked_lm import MaskedLanguageModel, Tokenizer
from ardm.base.atomic import check_writable
from ardm.base.errors import InputError
from ardm.base.provenance import provenance
from ardm.base.streams import HELD_OUT
from ardm.base.streams import generator as stream
from ardm.base.weights import read_weights, write_weights
from ardm.method.gate import OverwriteGate
from ardm.method.gate_recipe import Corrupted, EndToEnd, GateRecipe, Head, Rollout, Taught
from ardm.method.sampling import refine
from ardm.method.train_gate import new_gate
from ardm.method.types import Int, Rule

__all__ = ["Speaker", "TokenTexts", "checksum", "fill", "load_gate", "read_gate", "save_gate"]


class Speaker(Tokenizer, Protocol):
    """A tokenizer that also turns words into ids and ids into words: those of transformers do."""

    def __call__(self, text: Any, **options: Any) -> Any: ...
    def decode(self, ids: Any, **options: Any) -> str: ...


@dataclass(frozen=True)
class TokenTexts:
    """Windows of ``length`` ids of a reader's texts, as a :class:`~ardm.method.types.Corpus`; the last tenth is held out."""

    ids: Int[Tensor, " N"]
    length: int
    tokenizer: Speaker
    vocab_size: int
    name: str = "texts"

    def __post_init__(self) -> None:
        if len(self.ids) < 20 * self.length:
            raise InputError(f"{len(self.ids)} tokens of text: windows of {self.length} need at least {20 * self.length}")

    @classmethod
    def of(cls, text: str, length: int, tokenizer: Speaker, denoiser: MaskedLanguageModel) -> TokenTexts:
        """The windows of a text for a model. No special tokens are put in: a framed denoiser adds its own."""
        if length < 2:
            raise InputError(f"length={length}: a window has at least 2 tokens")
        ids = torch.tensor(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return cls(ids, length, tokenizer, denoiser.vocab_size)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.tokenizer.decode([number]) for number in range(self.vocab_size))

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        """Windows from the first nine tenths."""
        return self._windows(self.ids[: len(self.ids) * 9 // 10], count, generator)

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        """Windows from the last tenth."""
        return self._windows(self.ids[len(self.ids) * 9 // 10 :], count, stream(seed, HELD_OUT))

    def _windows(self, ids: Tensor, count: int, generator: torch.Generator) -> Tensor:
        starts = torch.randint(len(ids) - self.length + 1, (count, 1), generator=generator)
        return ids[starts + torch.arange(self.length)]

    def decode(self, x: Int[Tensor, " L"]) -> str:
        return self.tokenizer.decode(x.tolist())


def checksum(denoiser: MaskedLanguageModel) -> str:
    """SHA-256 of the model's weights, by name: equal wherever and in whichever file they lie."""
    digest = hashlib.sha256()
    for name, value in sorted(denoiser.model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_gate(path: Path, gate: OverwriteGate, recipe: GateRecipe, denoiser: MaskedLanguageModel, *, model: str) -> None:
    """Write a gate with its recipe and with the name and checksum of the model that it judges; whole or not at all."""
    check_writable(path)
    hidden = gate.head.hidden
    facts = {"model": model, "checksum": checksum(denoiser), "recipe": asdict(recipe), "hidden": hidden, "made": provenance()}
    write_weights(path, gate.state_dict(), facts)


def read_gate(path: Path) -> tuple[OverwriteGate, GateRecipe, dict[str, Any]]:
    """The gate in the file, in eval mode, with p = u; its recipe; and what else the file says, its model among it.

    ``InputError`` where the file is not whole or holds something else.
    """
    facts, weights = read_weights(path)
    try:
        recipe = _recipe(facts["recipe"])
        gate = new_gate(recipe, facts["hidden"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a gate of `ardm train-gate` ({error}): make it again") from error
    gate.load_state_dict(weights)
    return gate.eval().combined("gate_only"), recipe, facts


def load_gate(path: Path, denoiser: MaskedLanguageModel) -> OverwriteGate:
    """The gate in the file, ready for this model; ``InputError`` where it is not whole or was trained for another model."""
    gate, _, facts = read_gate(path)
    if facts.get("checksum") != checksum(denoiser):
        raise InputError(
            f"{path.name} was trained for another model, {facts.get('model')}: load that one, or train a gate for this"
        )
    return gate.to(denoiser.device)


def _recipe(told: dict[str, Any]) -> GateRecipe:
    """The recipe that a file names."""
    kinds = {"corrupted": Corrupted, "rollout": Rollout, "taught": Taught, "end to end": EndToEnd}
    states, objective = ({**told[part]} for part in ("states", "objective"))
    if objective.get("taught"):
        objective["taught"] = _of_kind(Taught, objective["taught"])
    parts = {"states": _of_kind(kinds[states["kind"]], states), "objective": _of_kind(kinds[objective["kind"]], objective)}
    return GateRecipe(**{**told, **parts, "head": Head(**told["head"]), "signals": tuple(told["signals"])})


def _of_kind(kind: type, told: dict[str, Any]) -> Any:
    return kind(**{name: value for name, value in told.items() if name != "kind"})


def fill(
    denoiser: MaskedLanguageModel,
    tokenizer: Speaker,
    texts: Sequence[str],
    rule: Rule,
    steps: int,
    *,
    seed: int = 0,
    revise: bool = False,
) -> list[str]:
    """The texts with their masks filled, in ``steps`` calls of the model; the rule decides what is taken back on the way.

    What is given stays, unless ``revise``: then only special tokens and padding are fixed, and given words may be replaced.
    Neighbours of one length are filled together, and nothing is padded: a rule may look at how long a text is. For a denoiser
    that adds no frame of its own.
    """
    read, filled = tokenizer(list(texts))["input_ids"], []
    for _, rows in groupby(range(len(read)), key=lambda row: len(read[row])):
        first, *others = rows
        x = denoiser.ids_of(torch.tensor([read[row] for row in (first, *others)])).to(denoiser.device)
        mask = x == denoiser.vocab_size
        special = torch.isin(x, torch.tensor(tokenizer.all_special_ids, device=denoiser.device))
        fixed = (special & ~mask if revise else ~mask) | denoiser.padding(x)
        trace = refine(denoiser, rule, x, steps, seed=seed, fixed=fixed, first_row=first)
        filled += [tokenizer.decode(row, skip_special_tokens=True) for row in denoiser.ids_for(trace.x).tolist()]
    return filled
