"""The denoiser: a small bidirectional transformer that reads masks and visible tokens and predicts the clean token everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ardm.types import Float, InputError, Int, Prediction, at_least_one

__all__ = ["Shape", "Transformer"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer. The defaults make about 0.35 M parameters: trained in minutes on two cores."""

    vocab_size: int  # V, the mask not counted
    length: int  # longest sequence, L
    width: int = 96  # D
    depth: int = 3  # blocks
    heads: int = 4

    def __post_init__(self) -> None:
        at_least_one(self, "vocab_size", "length", "width", "depth", "heads")
        if self.width % self.heads:
            raise InputError(f"width={self.width} is not a multiple of heads={self.heads}")


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        B, L, D = h.shape
        q, k, v = self.qkv(self.norm_attention(h)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)  # no causal mask: every token sees every token
        h = h + self.mix(attended.transpose(1, 2).reshape(B, L, D))
        return h + self.mlp(self.norm_mlp(h))


class Transformer(nn.Module):
    """A denoiser with learned positions. The mask is input id V and has no output.

    It is not told the diffusion time: how much is known shows in the sequence itself, and for masks the best prediction does not
    depend on it (Zheng et al. 2024, arXiv:2409.02908).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Embedding(shape.vocab_size + 1, shape.width)
        self.position = nn.Parameter(torch.zeros(shape.length, shape.width))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width)
        self.readout = nn.Linear(shape.width, shape.vocab_size)
        for parameter in self.parameters():
            if parameter.dim() >= 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, x: Int[Tensor, "B L"], time: float = 1.0) -> Prediction:
        return self.read(self.token(x))

    def read(self, embedded: Float[Tensor, "B L D"]) -> Prediction:
        """The prediction for tokens given as embeddings, such as a mixture of two tokens in a relaxed overwrite."""
        L = embedded.shape[1]
        if self.shape.length < L:
            raise InputError(f"{L} tokens: this denoiser was built for at most {self.shape.length}")
        h = embedded + self.position[:L]
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        return Prediction(logits=self.readout(h), hidden=h)
