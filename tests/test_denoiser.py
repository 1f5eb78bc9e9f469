import pytest
import torch
from torch import nn

from ardm.denoiser import Shape, Transformer
from ardm.types import InputError

SHAPE = Shape(vocab_size=11, length=8, width=16, depth=2, heads=4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Transformer(SHAPE).eval()


def test_shapes_and_no_logit_for_the_mask(model):
    out = model(torch.full((3, 8), 11))
    assert out.logits.shape == (3, 8, 11)
    assert out.hidden.shape == (3, 8, 16)


def test_every_token_sees_every_token(model):
    """Bidirectional: the gradient of any output reaches any input position."""
    x = torch.randint(12, (1, 8))
    embedded = model.token(x).detach().requires_grad_()
    model.token.forward = lambda _: embedded
    for i in range(8):
        (grad,) = torch.autograd.grad(model(x).logits[0, i].square().sum(), embedded)
        assert (grad[0].abs().sum(-1) > 0).all()


def test_positions_matter_and_sequences_do_not_mix(model):
    x = torch.randint(12, (4, 8), generator=torch.Generator().manual_seed(1))
    one_by_one = torch.cat([model(row[None]).logits for row in x])
    assert torch.allclose(model(x).logits, one_by_one, atol=1e-5)
    assert not torch.allclose(model(x.flip(1)).logits.flip(1), model(x).logits, atol=1e-3)


def test_attention_is_torchs_own(model):
    """A block equals a pre-norm layer of torch's encoder with the same weights."""
    block = model.blocks[0]
    layer = nn.TransformerEncoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.qkv.weight,
            "self_attn.in_proj_bias": block.qkv.bias,
            "self_attn.out_proj.weight": block.mix.weight,
            "self_attn.out_proj.bias": block.mix.bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[2].weight,
            "linear2.bias": block.mlp[2].bias,
            "norm1.weight": block.norm_attention.weight,
            "norm1.bias": block.norm_attention.bias,
            "norm2.weight": block.norm_mlp.weight,
            "norm2.bias": block.norm_mlp.bias,
        }
    )
    h = torch.randn(2, 8, 16)
    assert torch.allclose(block(h), layer(h), atol=1e-5)


def test_the_default_is_a_third_of_a_million_parameters():
    assert sum(p.numel() for p in Transformer(Shape(47, 32)).parameters()) == pytest.approx(0.35e6, rel=0.05)


def test_bad_shapes_are_named(model):
    with pytest.raises(InputError, match="width=10 is not a multiple of heads=4"):
        Shape(5, 5, width=10)
    with pytest.raises(InputError, match="depth=0"):
        Shape(5, 5, depth=0)
    with pytest.raises(InputError, match="9 tokens"):
        model(torch.zeros(1, 9, dtype=torch.long))
