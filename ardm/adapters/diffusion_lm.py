"""Masked diffusion language models that bring code of their own, as LLaDA and Dream do, and text that they write block by block.

Needs the extra ``hf``. Such a model is a :class:`~ardm.adapters.masked_lm.MaskedLanguageModel` that says where its mask and its end
are in its config, may propose the end of a text, and is never asked about padding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ardm.adapters.masked_lm import MaskedLanguageModel, Tokenizer
from ardm.base.devices import pick_device
from ardm.base.errors import InputError, check_whole
from ardm.method.draw import Draw
from ardm.method.sampling import blank, refine
from ardm.method.types import Rule

__all__ = ["Blocks", "DiffusionLanguageModel", "Written", "generate", "load_diffusion"]

MOST = 2**16
"""Prompts of a call, and blocks of a text: both together number the rows that random numbers are drawn for, in 32 bits."""


class DiffusionLanguageModel(MaskedLanguageModel):
    """A masked diffusion language model as a :class:`~ardm.method.types.Denoiser`.

    Its mask and its special tokens are never proposed, but for ``ends``: a text may end. No attention mask is handed to the
    model, since each reads one in its own way: texts of a batch are of one length, and nothing in them is padding.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mask_id: int,
        never: Iterable[int] = (),
        ends: Iterable[int] = (),
        shift: bool = False,
    ) -> None:
        """``InputError`` for ids that the model's vocabulary does not have."""
        self.ends = frozenset(ends)
        super().__init__(_Whole(model), mask_id=mask_id, never=set(never) - self.ends, shift=shift)
        for number in self.ends:
            if not 0 <= number < self.vocab_size or number == mask_id:
                raise InputError(f"ends: {number} is no token of the model that a text may end with")

    @classmethod
    def of(
        cls, model: nn.Module, tokenizer: Tokenizer, *, shift: bool = False, framed: bool = False, ends: Iterable[int] = ()
    ) -> DiffusionLanguageModel:
        """The adapter of a model and its tokenizer, which ends texts where the tokenizer does, and at ``ends``.

        The mask is the tokenizer's, else that of the model's config. ``InputError`` where there is none, where the two do not
        belong together, and for ``framed``: what stands around a text is its prompt.
        """
        if framed:
            raise InputError("framed=True: a diffusion model is given its prompt instead")
        said = (tokenizer, getattr(model, "config", None), getattr(model, "generation_config", None))
        masks = [number for place in said if (number := getattr(place, "mask_token_id", None)) is not None]
        if not masks:
            raise InputError(
                f"neither {type(tokenizer).__name__} nor the model's config has a mask_token_id: give another model"
            )
        held = int(_Whole(model).config.vocab_size)
        if len(tokenizer) > held:
            raise InputError(f"the tokenizer has {len(tokenizer)} ids, the model {held}: load both from one place")
        end = getattr(tokenizer, "eos_token_id", None)
        never = [*tokenizer.all_special_ids, *range(len(tokenizer), held)]
        return cls(model, mask_id=masks[0], never=never, ends=[*([] if end is None else [end]), *ends], shift=shift)

    @property
    def longest(self) -> int | None:
        """Tokens that the model reads at once, where its config says so."""
        config: Any = self.model.config
        names = ("max_position_embeddings", "max_sequence_length")
        return next((int(n) for name in names if (n := getattr(config, name, None)) is not None), None)

    def between(self, before: Sequence[int], behind: Sequence[int]) -> DiffusionLanguageModel:
        """The same model for texts that stand between these ids of its own."""
        self.layer  # noqa: B018  found out once for all copies
        other = copy.copy(self)
        other.frame = tuple(torch.tensor(list(part), dtype=torch.long) for part in (before, behind))
        return other


class _Whole(nn.Module):
    """A model that is asked about whole texts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, getattr(model, "config", None)
        if not hasattr(self.config, "vocab_size"):
            raise InputError(f"{type(model).__name__} has no config.vocab_size: load a diffusion model of transformers")

    def get_output_embeddings(self) -> Any:
        find = getattr(self.model, "get_output_embeddings", None)
        return find() if callable(find) else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **how: Any) -> Any:
        """What the model says; ``InputError`` where it was asked for hidden states and gives none."""
        said: Any = self.model(input_ids=input_ids, **how)
        if how.get("output_hidden_states") and getattr(said, "hidden_states", None) is None:
            raise InputError(f"{type(self.model).__name__} gives no hidden states, which gates read")
        return said


def load_diffusion(
    name: str, *, shift: bool = False, trust_remote_code: bool = False, **how: Any
) -> tuple[DiffusionLanguageModel, Any]:
    """The denoiser and the tokenizer that transformers loads under a name, or from a folder, onto the device of choice.

    ``shift``: the model's logits at i predict the token at i + 1, as Dream's do and LLaDA's do not. ``trust_remote_code`` runs the
    code that the model brings: most such models do not load without it. ``how`` goes to ``from_pretrained``, such as
    ``dtype=torch.bfloat16``. ``InputError`` where transformers is missing or cannot load them.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise InputError("models of Hugging Face need transformers: pip install 'ardm[hf]'") from error
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model = AutoModel.from_pretrained(name, trust_remote_code=trust_remote_code, **how)
    except Exception as error:  # of any kind: what the model's own code says is among them
        raise InputError(
            f"transformers cannot load {name!r}: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    return DiffusionLanguageModel.of(model.to(pick_device()), tokenizer, shift=shift), tokenizer


@dataclass(frozen=True)
class Written:
    """A text behind its prompt: the model's ids, up to its end and without it; calls of the model; whether it came to its end."""

    ids: list[int]
    calls: int
    ended: bool


@dataclass(frozen=True)
class Blocks:
    """How a text grows: up to ``length`` tokens, in blocks of ``size``, each by ``steps`` calls of the model.

    A last block that is shorter has as many calls fewer.
    """

    length: int
    size: int = 32
    steps: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_whole(name, value, 1)

    def __len__(self) -> int:
        return math.ceil(self.length / self.size)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Of every block: its tokens, its calls, and the tokens behind it."""
        for start in range(0, self.length, self.size):
            size = min(self.size, self.length - start)
            yield size, math.ceil(self.steps * size / self.size), self.length - start - size


def generate(
    denoiser: DiffusionLanguageModel,
    prompts: Sequence[Sequence[int]],
    rule: Rule,
    blocks: Blocks,
    *,
    seed: int = 0,
    draw: Draw = Draw(),
    patience: int | None = None,
) -> list[Written]:
    """Write a text behind every prompt, block by block from left to right.

    The model reads the prompt, the blocks that are written, this one, and masks for those to come; the rule meets a block as a
    text of its own, in which it may revise what it wrote. What is written stays once the next block begins. Behind the end of a
    text nothing is computed. Texts are written one after the other, so that prompts of any length need no padding; the text
    behind one does not depend on those behind others.

    ``draw`` and ``patience`` as in :func:`~ardm.method.sampling.refine`. ``InputError`` for a prompt with a mask in it or with ids
    that the model does not have, and where prompt and text are more than the model reads.
    """
    if len(prompts) > MOST or len(blocks) > MOST:
        raise InputError(f"{len(prompts)} prompts, {len(blocks)} blocks: at most {MOST} of each at a time")
    for number, prompt in enumerate(prompts):
        _check_prompt(denoiser, number, prompt, blocks.length)

    def write(number: int) -> Written:
        ids: list[int] = []
        spent = 0
        for k, (size, calls, behind) in enumerate(blocks):
            here = denoiser.between([*prompts[number], *ids], [denoiser.mask_id] * behind)
            x = blank(1, size, denoiser.vocab_size, denoiser.device)
            row = torch.tensor([number + k * MOST])  # each block has numbers of its own, whatever other prompts there are
            trace = refine(here, rule, x, calls, seed=seed, draw=draw, patience=patience, first_row=row)
            spent += int(trace.calls)
            ids += here.ids_for(trace.x)[0].tolist()
            end = next((place for place, token in enumerate(ids) if token in denoiser.ends), None)
            if end is not None:
                return Written(ids[:end], spent, True)
        return Written(ids, spent, False)

    return [write(number) for number in range(len(prompts))]


def _check_prompt(denoiser: DiffusionLanguageModel, number: int, prompt: Sequence[int], length: int) -> None:
    for token in prompt:
        if token == denoiser.mask_id:
            raise InputError(f"prompt {number} holds the model's mask, {token}: to fill holes use ardm.adapters.gates.fill")
        if not 0 <= token < denoiser.vocab_size:
            raise InputError(f"prompt {number} holds {token}: the model's ids are 0 .. {denoiser.vocab_size - 1}")
    if denoiser.longest is not None and len(prompt) + length > denoiser.longest:
        raise InputError(
            f"prompt {number} of {len(prompt)} tokens and length={length}: the model reads at most {denoiser.longest} together"
        )
