"""Files of weights: what was written is what is read, or one line says that it is not."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ardm.base.errors import InputError
from ardm.base.weights import read_facts, read_weights, write_weights

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3, dtype=torch.int64), "c": torch.zeros(0, 4)}


@pytest.fixture
def path(tmp_path):
    write_weights(tmp_path / "it.safetensors", WEIGHTS, {"key": "k", "words": ["ä"]})
    return tmp_path / "it.safetensors"


def test_what_was_written_is_read(path):
    facts, weights = read_weights(path)
    assert facts == read_facts(path) and (facts["key"], facts["words"]) == ("k", ["ä"])
    assert {name: value.tolist() for name, value in weights.items()} == {n: v.tolist() for n, v in WEIGHTS.items()}
    assert {name: value.dtype for name, value in weights.items()} == {n: v.dtype for n, v in WEIGHTS.items()}


@pytest.mark.parametrize("bit", range(8))
def test_one_bit_that_flipped_is_seen(path, bit):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1 << bit  # among the numbers of the last tensors
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"it\.safetensors is damaged \([ab] is not what was written\): remove it, and make"):
        read_weights(path)


def test_a_tensor_that_nobody_vouches_for_is_refused(path):
    with safe_open(path, framework="pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
    save_file({**weights, "d": torch.ones(1)}, path, metadata=metadata)
    with pytest.raises(InputError, match=r"damaged \(d is not what was written\)"):
        read_weights(path)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_that_was_cut_off_is_named(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=r"it\.safetensors is not a whole model"):
        read_facts(path)
