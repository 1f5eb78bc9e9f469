import pytest
import torch
from torch import nn

from ardm.base.errors import InputError
from ardm.method.denoiser import Shape, Transformer, units_of
from ardm.method.rules import LeftToRight
from ardm.method.sampling import blank, refine

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


@pytest.mark.parametrize("shape", [Shape(47, 32), Shape(5, 7, 8, 2, 2, causal=True), Shape(9, 81, 12, 1, 2, grid=True)])
def test_parameters_are_counted_without_making_them(shape):
    assert shape.parameters == sum(p.numel() for p in Transformer(shape).parameters())
    assert Shape(27, 256, 12288, 96, 96).parameters > 100e9  # more than any memory here holds


def test_bad_shapes_are_named(model):
    with pytest.raises(InputError, match="width=10 is not a multiple of heads=4"):
        Shape(5, 5, width=10)
    with pytest.raises(InputError, match="depth=0"):
        Shape(5, 5, depth=0)
    with pytest.raises(InputError, match="9 tokens"):
        model(torch.zeros(1, 9, dtype=torch.long))


def test_a_causal_model_sees_the_tokens_before_and_nothing_else():
    torch.manual_seed(0)
    model = Transformer(Shape(11, 8, width=16, depth=2, causal=True)).eval()
    x = torch.randint(11, (1, 8), generator=torch.Generator().manual_seed(2))
    q = model(x).logits
    for j in range(8):
        other = x.clone()
        other[0, j] = (other[0, j] + 1) % 11
        moved = (model(other).logits - q).abs().amax(-1)[0] > 1e-6
        assert moved.tolist() == [i > j for i in range(8)]
    assert torch.allclose(model(torch.full((1, 8), 11)).logits[:, 0], q[:, 0])  # the first one sees the mask that begins


def test_left_to_right_on_a_causal_model_samples_the_product_of_its_conditionals():
    """Over all 27 texts of three tokens: the sampled shares are those that one causal pass over each text gives."""
    torch.manual_seed(0)
    model = Transformer(Shape(3, 3, width=16, depth=1, causal=True)).eval()
    for parameter in model.parameters():
        parameter.data *= 8  # far from uniform
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    p = model(every).logits.log_softmax(-1).gather(-1, every[..., None]).sum((1, 2)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert p.max() > 0.1
    x = refine(model, LeftToRight(), blank(20000, 3, 3), 3, seed=0).x
    share = torch.bincount(x @ torch.tensor([9, 3, 1]), minlength=27) / 20000
    assert torch.allclose(share, p, atol=4 * 0.5 / 20000**0.5)


def test_units_of_a_grid_by_hand():
    units = units_of(16)
    assert units[0].tolist() == [0, 4, 8]
    assert units[5].tolist() == [1, 5, 8]  # row 1, column 1, first box
    assert units[10].tolist() == [2, 6, 11]
    assert units_of(81)[40].tolist() == [4, 13, 22]  # the middle cell
    for kind in units.T:
        assert torch.bincount(kind - kind.min()).tolist() == [4, 4, 4, 4]


def test_a_grid_model_learns_units_and_refuses_what_is_no_grid():
    torch.manual_seed(0)
    model = Transformer(Shape(4, 16, width=8, depth=1, heads=2, grid=True))
    model(torch.full((1, 16), 4)).logits.sum().backward()
    assert model.unit.grad.abs().sum(-1).gt(0).all()
    with pytest.raises(InputError, match="length=36"):
        Shape(4, 36, grid=True)
