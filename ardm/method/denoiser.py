"""The denoiser: a small bidirectional transformer that reads masks and visible tokens and predicts the clean token everywhere.

Its causal twin, of the same size, is the autoregressive model that left-to-right generation is measured with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardm.base.errors import InputError, at_least_one, check_whole
from ardm.method.types import Float, Head, Int, Prediction

__all__ = ["Block", "Shape", "Transformer", "units_of"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer. The defaults make about 0.35 M parameters: trained in minutes on two cores."""

    vocab_size: int  # V, the mask not counted
    length: int  # longest sequence, L
    width: int = 96  # D
    depth: int = 3  # blocks
    heads: int = 4
    causal: bool = False  # position i sees the tokens before it and nothing else
    grid: bool = False  # the sequence is a square grid: a position is a row, a column and a box

    def __post_init__(self) -> None:
        at_least_one(self, "vocab_size", "length", "width", "depth", "heads")
        if self.grid and math.isqrt(math.isqrt(self.length)) ** 4 != self.length:
            raise InputError(f"length={self.length}: a grid with boxes has 16, 81, 256 ... cells")
        if self.width % self.heads:
            raise InputError(f"width={self.width} is not a multiple of heads={self.heads}")

    @property
    def parameters(self) -> int:
        """How many numbers a transformer of these sizes learns."""
        with torch.device("meta"):  # shapes alone: no memory, no time
            return sum(parameter.numel() for parameter in Transformer(self).parameters())


def units_of(length: int) -> Int[Tensor, "L 3"]:
    """Row, column and box of each cell of a square grid, numbered through: ``[L, 3]``."""
    side = math.isqrt(length)
    box = math.isqrt(side)
    cell = torch.arange(length)
    row, column = cell // side, cell % side
    return torch.stack([row, side + column, 2 * side + row // box * box + column // box], dim=1)


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        check_whole("heads", heads, 1)
        if width % heads:
            raise InputError(f"width={width} is not a multiple of heads={heads}")
        self.heads = heads
        self.causal = causal
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        B, L, D = h.shape
        q, k, v = self.qkv(self.norm_attention(h)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        h = h + self.mix(attended.transpose(1, 2).reshape(B, L, D))
        return h + self.mlp(self.norm_mlp(h))


class Transformer(nn.Module):
    """A denoiser with learned positions. The mask is input id V and has no output.

    It is not told the diffusion time: how much is known shows in the sequence itself, and for masks the best prediction does not
    depend on it (Zheng et al. 2024, arXiv:2409.02908).

    With ``causal`` the tokens move one place to the right, behind a mask, and attention looks back only: the logits at i are
    those of P(x_i | x_1 .. x_(i-1)). Under :class:`~ardm.method.rules.LeftToRight` with T = n it then samples autoregressively.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(shape.vocab_size + 1, shape.width)
        self.position = nn.Parameter(torch.zeros(shape.length, shape.width))
        if shape.grid:
            self.register_buffer("units", units_of(shape.length), persistent=False)
            self.unit = nn.Parameter(torch.zeros(3 * math.isqrt(shape.length), shape.width))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.causal) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        self.readout = nn.Linear(shape.width, shape.vocab_size)
        for parameter in self.parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=0.02)

    @property
    def vocab_size(self) -> int:
        """V, the mask not counted."""
        return self.shape.vocab_size

    def forward(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        return self.read(self.token(x))

    def by_head(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        """The same prediction without its logits, by the last layer and what that reads: a denoiser for a large vocabulary."""
        return Prediction(hidden=self.states(self.token(x)), head=Head(self.readout.weight, self.readout.bias))

    def read(self, embedded: Float[Tensor, "B L D"]) -> Prediction:
        """The prediction for tokens given as embeddings, such as a mixture of two tokens in a relaxed overwrite."""
        h = self.states(embedded)
        return Prediction(logits=self.readout(h), hidden=h)

    def states(self, embedded: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """What the last layer reads."""
        L = embedded.shape[1]
        if self.shape.length < L:
            raise InputError(f"{L} tokens: this denoiser was built for at most {self.shape.length}")
        if self.shape.causal:
            begin = self.token.weight[-1].expand(len(embedded), 1, -1)
            embedded = torch.cat([begin, embedded[:, :-1]], dim=1)
        h = embedded + self.position[:L]
        if self.shape.grid:
            h = h + self.unit[self.units[:L]].sum(1)
        for block in self.blocks:
            h = block(h)
        return self.norm(h)
