"""Masked language models of Hugging Face as denoisers.

Needs the extra ``hf`` (transformers). Nothing is downloaded here: the reader loads a model and hands it over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ardm.base.errors import InputError
from ardm.method.types import Bool, Float, Int, Prediction

__all__ = ["NEVER", "MaskedLanguageModel", "Tokenizer"]

NEVER = -1e4
"""The logit of a token that is never proposed: next to nothing in any precision, and no infinity that would make a signal NaN."""


@runtime_checkable
class Tokenizer(Protocol):
    """What is asked of a tokenizer: those of transformers have it."""

    mask_token_id: int | None
    pad_token_id: int | None
    all_special_ids: list[int]

    def __len__(self) -> int: ...


class MaskedLanguageModel:
    """A masked language model as a :class:`~ardm.method.types.Denoiser`: it reads masks and words and predicts every place.

    Ids are those of the model but for the mask, which here is the one id above all others, ``V``: :meth:`ids_of` and
    :meth:`ids_for` go from the model's ids to these and back. The model's mask, its special tokens and its padding are never
    proposed. Padded positions are hidden from attention, so a padded text is predicted as it is alone; give them as ``fixed``
    to :func:`~ardm.method.sampling.refine`.

    ``shift``: for models whose logits at i predict the token at i + 1, as those that were tuned from an autoregressive one.
    The hidden states are those of the last layer. Such a model was trained on masks and never on errors: what it says of a
    visible token it says having seen it.
    """

    def __init__(
        self, model: nn.Module, *, mask_id: int, never: Iterable[int] = (), pad_id: int | None = None, shift: bool = False
    ) -> None:
        """``InputError`` for a mask, special token or padding that the model's vocabulary does not have."""
        self.model = model.eval()
        self.vocab_size = int(_config(model).vocab_size)
        self.mask_id, self.pad_id, self.shift = mask_id, pad_id, shift
        named = {"mask_id": [mask_id], "never": list(never), "pad_id": [] if pad_id is None else [pad_id]}
        for name, ids in named.items():
            for number in ids:
                if not 0 <= number < self.vocab_size:
                    raise InputError(f"{name}={number}: the model's {self.vocab_size} ids are 0 .. {self.vocab_size - 1}")
        self.never = torch.tensor(sorted({*named["mask_id"], *named["never"], *named["pad_id"]}))

    @classmethod
    def of(cls, model: nn.Module, tokenizer: Tokenizer, *, shift: bool = False) -> MaskedLanguageModel:
        """The adapter of a model and its tokenizer; ``InputError`` where there is no mask, or the two do not belong together."""
        if tokenizer.mask_token_id is None:
            raise InputError(f"{type(tokenizer).__name__} has no mask token: choose a masked language model")
        held = int(_config(model).vocab_size)
        if len(tokenizer) > held:
            raise InputError(f"the tokenizer has {len(tokenizer)} ids, the model {held}: load both from one place")
        special = [*tokenizer.all_special_ids, *range(len(tokenizer), held)]
        return cls(model, mask_id=tokenizer.mask_token_id, never=special, pad_id=tokenizer.pad_token_id, shift=shift)

    def ids_of(self, ids: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The model's ids as those of this denoiser: its mask becomes ``V``."""
        return torch.where(ids == self.mask_id, self.vocab_size, ids)

    def ids_for(self, x: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The ids of this denoiser as those of the model: ``V`` becomes its mask."""
        return torch.where(x == self.vocab_size, self.mask_id, x)

    def padding(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Where a text is padded."""
        return torch.zeros_like(x, dtype=torch.bool) if self.pad_id is None else x == self.pad_id

    @torch.no_grad()
    def __call__(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        """Logits ``[B, L, V]`` and the last layer's hidden states; ``InputError`` for texts longer than the model reads."""
        longest = getattr(_config(self.model), "max_position_embeddings", None)
        if longest is not None and x.shape[1] > longest:
            raise InputError(f"{x.shape[1]} tokens: this model reads at most {longest}")
        said: Any = self.model(input_ids=self.ids_for(x), attention_mask=(~self.padding(x)).long(), output_hidden_states=True)
        logits: Float[Tensor, "B L V"] = said.logits.float()
        hidden: Float[Tensor, "B L D"] = said.hidden_states[-1].float()
        if self.shift:  # the first place is predicted by nobody: what the model says behind it has to do
            logits, hidden = (torch.cat([part[:, :1], part[:, :-1]], dim=1) for part in (logits, hidden))
        if not logits.isfinite().all():
            raise InputError("the model's logits are not finite: load it in bfloat16 or float32")
        return Prediction(logits=logits.index_fill(-1, self.never.to(x.device), NEVER), hidden=hidden)


def _config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    if not hasattr(config, "vocab_size"):
        raise InputError(f"{type(model).__name__} has no config.vocab_size: load a masked language model of transformers")
    return config
