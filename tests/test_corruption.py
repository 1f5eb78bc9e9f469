import pytest
import torch

from ardm.base.errors import InputError
from ardm.method.corruption import corrupt, mask_more, wrong_tokens

V = 5


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def x0():
    return torch.randint(V, (400, 50), generator=rng(1))


def test_rates_and_labels(x0):
    state = corrupt(x0, V, mask_rate=0.3, error_rate=0.2, generator=rng())
    assert state.is_mask.float().mean().item() == pytest.approx(0.3, abs=0.013)  # 4 standard errors
    assert state.is_error.float().mean().item() == pytest.approx(0.7 * 0.2, abs=0.010)
    assert torch.equal(state.is_mask, state.x == V)
    assert torch.equal(state.is_error, (state.x != V) & (state.x != x0))


def test_nothing_and_everything(x0):
    assert torch.equal(corrupt(x0, V, mask_rate=0.0, error_rate=0.0, generator=rng()).x, x0)
    assert (corrupt(x0, V, mask_rate=1.0, error_rate=0.0, generator=rng()).x == V).all()


def test_rates_by_sequence_and_by_position(x0):
    by_sequence = torch.linspace(0, 1, 400)[:, None]
    masks = corrupt(x0, V, mask_rate=by_sequence, error_rate=0.0, generator=rng()).is_mask.float().mean(1)
    assert (masks - by_sequence[:, 0]).abs().max() < 0.3
    by_position = torch.linspace(0, 1, 50).expand(400, 50)
    masks = corrupt(x0, V, mask_rate=by_position, error_rate=0.0, generator=rng()).is_mask.float().mean(0)
    assert (masks - by_position[0]).abs().max() < 0.11
    assert masks[0] == 0 and masks[-1] == 1


def test_wrong_tokens_are_all_the_others_alike():
    x0 = torch.full((1, 40_000), 2)
    seen = torch.bincount(wrong_tokens(x0, V, generator=rng())[0], minlength=V) / 40_000
    assert seen[2] == 0
    assert seen[[0, 1, 3, 4]].tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_mask_more_only_masks(x0):
    more = mask_more(x0, V, rate=0.5, generator=rng())
    hidden = more == V
    assert torch.equal(more[~hidden], x0[~hidden])
    assert hidden.float().mean().item() == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize(
    ("mask_rate", "error_rate", "named"), [(0.5, 1.0, "error_rate"), (0.5, -0.1, "error_rate"), (1.5, 0.1, "mask_rate")]
)
def test_rates_outside_the_unit_interval_are_refused(x0, mask_rate, error_rate, named):
    with pytest.raises(InputError, match=named):
        corrupt(x0, V, mask_rate=mask_rate, error_rate=error_rate, generator=rng())


def test_one_word_has_no_wrong_token():
    with pytest.raises(InputError, match="vocab_size=1"):
        wrong_tokens(torch.zeros(1, 1, dtype=torch.long), 1, generator=rng())
