import random

import numpy as np
import pytest
import torch

from ardm.base.streams import generator, seed_everything
from ardm.base.devices import pick_device
from ardm.base.errors import InputError


def test_one_call_seeds_all_three():
    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    seed_everything(7)
    first = numbers()
    seed_everything(7)
    assert numbers() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(numbers(), first, strict=True))


def test_streams_of_one_seed_are_unrelated_and_repeat():
    draws = {name: torch.rand(4, generator=generator(0, name)).tolist() for name in ("a", "b", "ab")}
    assert len({tuple(d) for d in draws.values()}) == 3
    assert torch.rand(4, generator=generator(0, "a")).tolist() == draws["a"]
    assert torch.rand(4, generator=generator(1, "a")).tolist() != draws["a"]


def test_the_cpu_can_be_asked_for_and_what_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("ARDM_DEVICE", raising=False)
    assert pick_device("cpu").type == "cpu"
    monkeypatch.setenv("ARDM_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    with pytest.raises(InputError, match=r"'tpu' is not here; choose one of auto, .*cpu"):
        pick_device("tpu")


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        seed_everything(seed)
