"""Several processes that train one model: each its rows, together the losses of one."""

import json
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch
from trainings import BATCH, RECIPES, SMALL, plain, stopped, training_of

from ardm.base.errors import InputError
from ardm.base.processes import Alone, Together
from ardm.base.streams import Lots, generator
from ardm.base.weights import read_weights
from ardm.experiments.store import denoiser_made
from ardm.method.training import Run, _rows

TESTS = Path(__file__).parent
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def test_a_row_has_its_numbers_whoever_computes_it():
    whole = torch.rand(7, 3, generator=generator(0, "x"))
    parts = [Lots(generator(0, "x"), first, count, 7).uniform(count, 3) for first, count in ((0, 2), (2, 4), (6, 1))]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", RECIPES)
def test_the_rows_of_a_process_are_those_that_one_process_draws(name):
    """Texts, states, labels and uniform numbers of rows 2 to 4, drawn with the whole batch and drawn alone."""
    told = []

    class Telling(Alone):
        def whole(self, own, values):
            told.append(values.clone())
            return values

        def total(self, value):
            told.append(value.clone())
            return value

    class Told(Alone):
        def whole(self, own, values):
            return sums.pop(0)

        def total(self, value):
            return sums.pop(0)

    one, other = training_of(name), training_of(name)
    whole = one.draw(0, Lots(one.data, 0, BATCH, BATCH), Telling())
    sums = list(told)
    alone = other.draw(0, Lots(other.data, 2, 2, BATCH), Told())
    assert equal(_rows(whole, slice(2, 4)), alone) and not equal(_rows(whole, slice(1, 3)), alone)
    assert torch.equal(one.data.get_state(), other.data.get_state())


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-5, atol=1e-6)
    if isinstance(one, tuple):
        return all(equal(a, b) for a, b in zip(one, other, strict=True))
    if is_dataclass(one):  # what an object remembers beside its fields is not compared
        return all(equal(getattr(one, it.name), getattr(other, it.name)) for it in fields(one))
    return one == other


def test_two_processes_give_the_losses_of_one(tmp_path):
    """Five texts a step: three of them in one process, two in the other."""
    file = tmp_path / "losses.json"
    done = subprocess.run(
        [*TOGETHER, str(TESTS / "trainings.py"), "together", str(file)],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(file.read_text())
    assert found.pop("in pieces") == pytest.approx(found["gate by ratio"], abs=1e-5)
    for name, losses in found.items():
        assert losses == pytest.approx(plain(name)[1], abs=1e-5), name


TRAIN = """
import sys
from trainings import SMALL
from ardm.cli import main
from ardm.experiments import published
published.PUBLISHED["toy"] = SMALL
sys.exit(main(["train", "toy", "--out", sys.argv[1]]))
"""


def test_the_command_goes_on_from_the_checkpoint_of_one_and_writes_and_speaks_once(tmp_path):
    run = Run(tmp_path / "models" / "toy.training", denoiser_made(SMALL).key, every=0)
    run.checkpoint.parent.mkdir()
    stopped("denoiser", run, 3)
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    command = [*TOGETHER, str(script), str(tmp_path / "models")]
    env = {**ONE_THREAD, "PYTHONPATH": str(TESTS), "ARDM_DEVICE": "cpu"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(tmp_path / "models" / "toy.safetensors")]
    assert done.stderr.count("ardm: training toy on cpu, 2 processes\n") == 1
    assert done.stderr.count("3/8") == 1 and "starts anew" not in done.stderr
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["toy.safetensors"]
    facts, weights = read_weights(tmp_path / "models" / "toy.safetensors")
    assert (facts["key"], facts["processes"]) == (denoiser_made(SMALL).key, 2)
    one = plain("denoiser")[0]
    for name, value in weights.items():
        torch.testing.assert_close(value, one[name], rtol=1e-3, atol=1e-4)


def test_several_processes_without_fabric_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"^several processes are joined by Lightning Fabric: pip install 'ardm\[scale\]'$"):
        Together("cpu")


def test_the_rows_of_all_processes_are_the_batch_and_none_goes_without(monkeypatch):
    monkeypatch.setattr("ardm.base.processes._fabric", lambda device: None)
    for count in (1, 2, 3, BATCH):
        found = []
        for rank in range(count):
            monkeypatch.setenv("WORLD_SIZE", str(count))
            monkeypatch.setenv("RANK", str(rank))
            own = Together("cpu").lots(generator(0, "x"), BATCH)
            found += range(own.first, own.first + own.count)
            assert own.count >= BATCH // count
        assert found == list(range(BATCH))
    monkeypatch.setenv("WORLD_SIZE", "6")
    with pytest.raises(InputError, match="batch=5: 6 processes need at least as many texts a step; start fewer"):
        Together("cpu").lots(generator(0, "x"), BATCH)
