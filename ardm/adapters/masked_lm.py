"""Masked language models of Hugging Face as denoisers.

Needs the extra ``hf`` (transformers). Nothing is downloaded here: the reader loads a model and hands it over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ardm.base.devices import pick_device
from ardm.base.errors import InputError
from ardm.method.types import NEVER, Bool, Float, Head, Int, Prediction

__all__ = ["MaskedLanguageModel", "Tokenizer", "load"]


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
    ``frame``: ids that stand before and behind every text, such as BERT's ``[CLS]`` and ``[SEP]``: they are added to each call
    and their predictions left out, so that a text is free from its first token to its last. In a framed text
    nothing is padding.

    The hidden states are those of the last layer. Such a model was trained on masks and never on errors: what it says of a
    visible token it says having seen it.

    Predictions are given by the model's output embedding and what it reads, so that ``[B, L, V]`` is never made; by logits where
    :attr:`layer` is None.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mask_id: int,
        never: Iterable[int] = (),
        pad_id: int | None = None,
        shift: bool = False,
        frame: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> None:
        """``InputError`` for a mask, special token or padding that the model's vocabulary does not have."""
        self.model = model.eval()
        self.vocab_size = int(_config(model).vocab_size)
        self.mask_id, self.pad_id, self.shift = mask_id, pad_id, shift
        self.frame = tuple(torch.tensor(list(part), dtype=torch.long) for part in frame)
        pad = [] if pad_id is None else [pad_id]
        named = {"mask_id": [mask_id], "never": list(never), "pad_id": pad, "frame": [*frame[0], *frame[1]]}
        for name, ids in named.items():
            for number in ids:
                if not 0 <= number < self.vocab_size:
                    raise InputError(f"{name}={number}: the model's {self.vocab_size} ids are 0 .. {self.vocab_size - 1}")
        self.never = torch.tensor(sorted({*named["mask_id"], *named["never"], *named["pad_id"]}))

    @classmethod
    def of(cls, model: nn.Module, tokenizer: Tokenizer, *, shift: bool = False, framed: bool = False) -> MaskedLanguageModel:
        """The adapter of a model and its tokenizer; ``InputError`` where there is no mask, or the two do not belong together.

        ``framed``: every text stands between the special tokens that the tokenizer puts around one.
        """
        if tokenizer.mask_token_id is None:
            raise InputError(f"{type(tokenizer).__name__} has no mask token: choose a masked language model")
        held = int(_config(model).vocab_size)
        if len(tokenizer) > held:
            raise InputError(f"the tokenizer has {len(tokenizer)} ids, the model {held}: load both from one place")
        special = [*tokenizer.all_special_ids, *range(len(tokenizer), held)]
        frame = _frame(tokenizer) if framed else ((), ())
        pad = tokenizer.pad_token_id
        return cls(model, mask_id=tokenizer.mask_token_id, never=special, pad_id=pad, shift=shift, frame=frame)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(iter(self.model.parameters())).device

    def ids_of(self, ids: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The model's ids as those of this denoiser: its mask becomes ``V``."""
        return torch.where(ids == self.mask_id, self.vocab_size, ids)

    def ids_for(self, x: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The ids of this denoiser as those of the model: ``V`` becomes its mask."""
        return torch.where(x == self.vocab_size, self.mask_id, x)

    def padding(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Where a text is padded: nowhere, if it is framed."""
        framed = any(len(part) for part in self.frame)
        return torch.zeros_like(x, dtype=torch.bool) if self.pad_id is None or framed else x == self.pad_id

    @cached_property
    @torch.no_grad()
    def layer(self) -> nn.Linear | None:
        """The model's output embedding, if its logits are what that layer makes of its input and nothing else is done to them.

        Found out by two short calls. None where the model names no such layer, does not call it, or changes what comes out.
        """
        find = getattr(self.model, "get_output_embeddings", None)
        layer = find() if callable(find) else None
        if type(layer) is not nn.Linear or len(layer.weight) != self.vocab_size:
            return None
        ids = torch.full((1, 2), self.mask_id, device=self.device)
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        plain: Any = self.model(**given)
        try:
            _, state = _heard(self.model, layer, given)
        except (RuntimeError, ValueError, IndexError):  # a model that cannot do with no position
            return None
        logits = layer(state)
        near = 8 * torch.finfo(logits.dtype).eps
        return layer if torch.allclose(logits, plain.logits.to(logits.dtype), rtol=near, atol=near, equal_nan=True) else None

    @torch.no_grad()
    def __call__(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        """What the model says, and its last layer's hidden states; ``InputError`` for texts longer than it reads."""
        before, behind = (part.to(x.device).expand(len(x), -1) for part in self.frame)
        here = slice(before.shape[1], before.shape[1] + x.shape[1])
        padding = self.padding(x)
        ids = torch.cat([before, self.ids_for(x), behind], dim=1)
        longest = getattr(_config(self.model), "max_position_embeddings", None)
        if longest is not None and ids.shape[1] > longest:
            raise InputError(f"{ids.shape[1]} tokens: this model reads at most {longest}")
        attended = torch.nn.functional.pad(~padding, (before.shape[1], behind.shape[1]), value=True)
        given = {"input_ids": ids, "attention_mask": attended.long(), "output_hidden_states": True}
        layer = self.layer
        said: Any
        said, state = (self.model(**given), None) if layer is None else _heard(self.model, layer, given)
        parts: list[Tensor] = [said.logits.float() if state is None else state, said.hidden_states[-1].float()]
        if self.shift:  # the first place is predicted by nobody: what the model says behind it has to do
            parts = [torch.cat([part[:, :1], part[:, :-1]], dim=1) for part in parts]
        told, hidden = (part[:, here] for part in parts)
        bias = None if layer is None or layer.bias is None else layer.bias.detach()
        if not (told.isfinite().all() and (bias is None or bias.isfinite().all())):
            raise InputError("the model's logits are not finite: load it in bfloat16 or float32")
        never = self.never.to(x.device)
        if layer is None:
            return Prediction(logits=told.index_fill(-1, never, NEVER), hidden=hidden)
        forbidden = torch.zeros(self.vocab_size, dtype=torch.bool, device=x.device).index_fill(0, never, True)
        return Prediction(hidden=hidden, head=Head(layer.weight.detach(), bias, forbidden), state=told)


def _heard(model: nn.Module, layer: nn.Linear, given: dict[str, Any]) -> tuple[Any, Float[Tensor, "B L E"]]:
    """What the model gives, and what its last layer would have read: it is handed no position, and so makes no logits."""
    heard = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        heard.append(args[0])
        return (args[0][..., :0, :],)

    hook = layer.register_forward_pre_hook(keep)
    try:
        said = model(**given)
    finally:
        hook.remove()
    if len(heard) != 1 or heard[0].shape[:-1] != given["input_ids"].shape:
        raise ValueError("the output embedding is not called once for every position")
    return said, heard[0]


def load(
    name: str, *, shift: bool = False, framed: bool = False, trust_remote_code: bool = False
) -> tuple[MaskedLanguageModel, Any]:
    """The denoiser and the tokenizer that transformers loads under a name, or from a folder, onto the device of choice.

    ``InputError`` where transformers is missing or cannot load them. ``trust_remote_code`` runs what code the model brings.
    """
    try:
        from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise InputError("models of Hugging Face need transformers: pip install 'ardm[hf]'") from error
    logging.disable_progress_bar()
    kind = AutoModel if trust_remote_code else AutoModelForMaskedLM
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model = kind.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:  # of any kind: what a file says that is not what it is named for
        raise InputError(
            f"transformers cannot load {name!r}: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    return MaskedLanguageModel.of(model.to(pick_device()), tokenizer, shift=shift, framed=framed), tokenizer


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and behind a text."""
    plain, whole = (tokenizer("a", add_special_tokens=more)["input_ids"] for more in (False, True))
    at = next((k for k in range(len(whole)) if whole[k : k + len(plain)] == plain), 0)
    return whole[:at], whole[at + len(plain) :]


def _config(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    if not hasattr(config, "vocab_size"):
        raise InputError(f"{type(model).__name__} has no config.vocab_size: load a masked language model of transformers")
    return config
