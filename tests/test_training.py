"""The training loop: what it computes by hand, in pieces, killed and gone on with; how it stops and warns."""

import json
import math
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from trainings import (
    BATCH,
    CPU,
    OWN,
    RECIPES,
    SMALL,
    STEPS,
    Deadly,
    Ending,
    Stopped,
    denoiser,
    plain,
    same,
    stopped,
    trained,
    training_of,
)

from ardm.base.errors import InputError
from ardm.base.processes import Alone
from ardm.base.streams import Lots, generator
from ardm.base.weights import read_facts, read_weights, write_weights
from ardm.experiments.store import Store, denoiser_made, facts_of, gate_made
from ardm.method import train_denoiser as denoisers
from ardm.method import training as loop
from ardm.method.denoiser import Transformer
from ardm.method.own_runs import OwnRuns
from ardm.method.train_denoiser import seen
from ardm.method.train_on_own_runs import train_on_own_runs
from ardm.method.training import Diverged, Run, _rows
from ardm.worlds.corpora import open_corpus

TESTS = Path(__file__).parent
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# ------------------------------------------------------------------------------------------------------- what it computes


def test_it_is_adamw_under_the_schedule_as_written_out_here():
    """The same training from torch's own parts, each step in the open: equal to the last bit."""
    corpus, data, losses = open_corpus("agreement", 9), generator(0, "denoiser data"), []
    torch.manual_seed(0)
    model = Transformer(SMALL.shape(corpus.vocab_size))
    weights = list(model.parameters())
    matrices, others = ([p for p in weights if (p.dim() >= 2) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=SMALL.rate, betas=(0.9, 0.98), fused=True)
    for k in range(STEPS):
        for group in adam.param_groups:
            group["lr"] = SMALL.rate * min(k + 1, 1 - 0.95 * k / STEPS)
        x0 = corpus.batch(BATCH, data)
        logits = model(seen(x0, corpus.vocab_size, SMALL, data)).logits
        loss = F.cross_entropy(logits.transpose(1, 2), x0)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        losses.append(loss.item())
    assert same((model.state_dict(), losses), plain("denoiser"))


@pytest.mark.parametrize("name", RECIPES)
def test_the_losses_of_parts_add_up_to_that_of_the_batch_and_so_do_gradients(name):
    """Whatever the parts, and though each has another number of tokens that count."""
    training = training_of(name)
    drawn = training.draw(3, Lots(training.data, 0, BATCH, BATCH), Alone())
    parameters = [p for p in training.model.parameters() if p.requires_grad]
    whole = training.loss(drawn, 1.0)
    expected = torch.autograd.grad(whole, parameters)
    for cuts in ((0, 2, 5), (0, 1, 4, 5)):
        parts = [training.loss(_rows(drawn, slice(a, b)), (b - a) / BATCH) for a, b in pairwise(cuts)]
        assert torch.stack(parts).sum().item() == pytest.approx(whole.item(), rel=1e-6)
        gradients = torch.autograd.grad(torch.stack(parts).sum(), parameters)
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "pieces"), [*((name, 2) for name in RECIPES), ("gate by ratio", BATCH)])
def test_a_training_in_pieces_is_the_same_to_rounding(name, pieces):
    assert trained(name, Run(pieces=pieces))[1] == pytest.approx(plain(name)[1], rel=1e-5)


def test_a_piece_has_at_least_a_text():
    for pieces in (0, BATCH + 1):
        with pytest.raises(InputError, match=f"pieces={pieces}: a process has 5 texts a step"):
            trained("denoiser", Run(pieces=pieces))


# ------------------------------------------------------------------------------------------------- stopped and gone on with


def test_killed_at_random_it_goes_on_to_the_same_weights_and_losses(tmp_path):
    """By SIGKILL: at random steps, and at random moments, while the checkpoint is written after every step."""
    subprocess.run([sys.executable, str(TESTS / "trainings.py"), "killed", str(tmp_path)], env=ONE_THREAD, check=True)
    for number, name in enumerate(RECIPES):
        ends = json.loads((tmp_path / f"{number}.ends").read_text())
        assert ends[0] == -signal.SIGKILL and ends[-1] == 0, (name, ends)
        found, losses = json.loads((tmp_path / f"{number}.json").read_text())
        weights, expected = plain(name)
        assert losses == expected, name
        assert found == {key: value.flatten().double().tolist() for key, value in weights.items()}, name


@pytest.mark.parametrize("name", RECIPES)
def test_a_checkpoint_holds_all_that_decides_what_follows(tmp_path, name):
    run = Run(tmp_path / "it.training", "it", every=0)
    stopped(name, run, 5)
    facts, tensors = read_weights(run.checkpoint)
    assert (facts["key"], facts["step"]) == ("it", 5) and len(tensors["losses"]) == 5
    if "gate" in name:  # the moments of its signals are among the weights
        assert any(key.endswith("standard.entropy.spread") and value > 0 for key, value in tensors.items())
    torch.manual_seed(99)
    assert same(trained(name, run), plain(name))
    run.end()
    assert list(tmp_path.iterdir()) == []


def test_it_may_go_on_in_pieces(tmp_path):
    run = Run(tmp_path / "it.training", every=0)
    stopped("joint gate", run, 5)
    losses = trained("joint gate", Run(run.checkpoint, pieces=2))[1]
    assert losses == pytest.approx(plain("joint gate")[1], rel=1e-5) and losses != plain("joint gate")[1]


def test_torchs_own_generator_is_put_back_too(tmp_path):
    class Loose(Ending):
        def batch(self, count, generator):
            return (super().batch(count, generator) + torch.randint(7, (count, 1))) % 47  # from the generator of no one

    torch.manual_seed(3)
    expected = trained("denoiser", corpus=Loose(open_corpus("agreement", 9)))
    run = Run(tmp_path / "it.training", every=0)
    torch.manual_seed(3)
    with pytest.raises(Stopped):
        trained("denoiser", run, Loose(open_corpus("agreement", 9), 5))
    torch.manual_seed(4)
    assert same(trained("denoiser", run, Loose(open_corpus("agreement", 9))), expected)


def test_it_takes_up_at_the_step_where_it_was(tmp_path):
    run = Run(tmp_path / "it.training", every=0)
    stopped("denoiser", run, 6)
    corpus = Ending(open_corpus("agreement", 9), STEPS - 6)
    losses = trained("denoiser", run, corpus)[1]
    assert len(losses) == STEPS and corpus.left == 0


def test_a_checkpoint_is_written_every_so_many_seconds(tmp_path, monkeypatch):
    clock, written = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(loop, "write_weights", lambda path, tensors, facts: written.append((facts["step"], facts["seconds"])))

    class Slow(Deadly):
        def batch(self, count, generator):
            clock[0] += 25
            return super().batch(count, generator)

    run = Run(tmp_path / "it.training")
    trained("denoiser", run, Slow(open_corpus("agreement", 9)))
    assert written == [(3, 75.0), (6, 150.0)] and run.seconds == 25 * STEPS


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


def another_model(path):
    facts, tensors = read_weights(path)
    write_weights(path, tensors, {**facts, "key": "other"})


def no_key(path):
    facts, tensors = read_weights(path)
    write_weights(path, tensors, {name: value for name, value in facts.items() if name != "key"})


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "it is cut off or damaged"),
        (one_bit, "it is cut off or damaged"),
        (another_model, "it is of another model"),
        (no_key, "it lacks 'key'"),
        (lambda path: path.write_bytes(b""), "it is cut off or damaged"),
    ],
)
def test_a_checkpoint_that_is_no_good_is_one_line_and_the_training_starts_anew(tmp_path, capsys, damage, why):
    run = Run(tmp_path / "it.training", "it", every=0)
    stopped("denoiser", run, 4)
    damage(run.checkpoint)
    again = Run(run.checkpoint, "it", every=0)
    assert same(trained("denoiser", again), plain("denoiser"))
    said = capsys.readouterr().err
    assert said == f"ardm: it.training is not gone on from, {why}: the training starts anew and will overwrite it\n"
    assert read_facts(run.checkpoint)["key"] == "it"  # the last one of the new training


def test_a_full_disk_stops_no_training(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loop, "write_weights", full)
    assert same(trained("denoiser", Run(tmp_path / "it.training", every=3600)), plain("denoiser"))
    assert capsys.readouterr().err == ""
    assert same(trained("denoiser", Run(tmp_path / "it.training", every=0)), plain("denoiser"))
    assert "it.training cannot be written (No space left on device): training goes on without" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["denoiser", "gate"])
def test_the_store_goes_on_and_leaves_the_model_alone(tmp_path, monkeypatch, which):
    expected, store = Store(tmp_path / "a", CPU), Store(tmp_path / "b", CPU, every=0.0)
    recipe = SMALL if which == "denoiser" else OWN
    made = denoiser_made(SMALL) if which == "denoiser" else gate_made(OWN, SMALL)
    get = {"denoiser": lambda store: store.denoiser(recipe), "gate": lambda store: store.gate(recipe, SMALL)}[which]
    store.denoiser(SMALL) if which == "gate" else None
    corpus = Ending(open_corpus("agreement", 9), 3)
    with monkeypatch.context() as patch:
        patch.setattr("ardm.experiments.store.open_corpus", lambda *_: corpus)
        with pytest.raises(Stopped):
            get(store)
    assert (tmp_path / "b" / f"{made.key}.training").is_file() and not store.file(made).is_file()
    (tmp_path / "b" / f".{made.key}.training.77.part").write_text("what a process that was killed in writing left")
    one, other = get(expected), get(store)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert {path.suffix for path in (tmp_path / "b").iterdir()} == {".safetensors"}
    facts = [facts_of(place.file(made)) for place in (expected, store)]
    for name in ("seconds", "provenance"):
        assert all(fact.pop(name) is not None for fact in facts)
    assert facts[0] == facts[1]


# ---------------------------------------------------------------------------------------------------- what stops and warns


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training_in_one_line(tmp_path, monkeypatch, value):
    real, calls = denoisers.denoising_loss, []

    def broken(logits, x0):
        calls.append(real(logits, x0))
        return calls[-1] * value if len(calls) == 5 else calls[-1]

    monkeypatch.setattr(denoisers, "denoising_loss", broken)
    run = Run(tmp_path / "it.training", "it", every=0)
    with pytest.raises(Diverged) as told:
        trained("denoiser", run)
    assert str(told.value) == (
        f"step 5 of 8: the loss is {value}, the last finite one is {calls[3].item():.4g} at step 4; "
        f"the last good checkpoint is {run.checkpoint}, of step 4: train with a lower rate than 0.002"
    )
    assert isinstance(told.value, InputError) and len(calls) == 5
    assert read_facts(run.checkpoint)["step"] == 4
    calls.clear()
    run = Run(every=0)
    monkeypatch.setattr(denoisers, "denoising_loss", lambda logits, x0: real(logits, x0) * value)
    with pytest.raises(Diverged, match=f"step 1 of 8: the loss is {value}, none before it is finite; there is no checkpoint"):
        trained("denoiser", run)


def test_on_a_gpu_where_losses_are_looked_at_together_the_first_bad_one_is_named():
    losses = [torch.tensor(1.0 + k) for k in range(40)]
    training = training_of("denoiser")
    keeper = loop._Keeper(training, loop.Optimiser(training.model, 0.002, STEPS), Run(), CPU)
    keeper.check(losses)
    losses[25], losses[30] = torch.tensor(math.nan), torch.tensor(math.inf)
    with pytest.raises(Diverged, match=r"^step 26 of 8: the loss is nan, the last finite one is 25 at step 25; there is no"):
        keeper.check(losses)
    losses[20] = torch.tensor(-math.inf)
    with pytest.raises(Diverged, match=r"^step 21 of 8: the loss is -inf, the last finite one is 20 at step 20"):
        keeper.check(losses)


def test_weights_that_are_no_numbers_are_no_checkpoint(tmp_path, monkeypatch):
    """A gradient may be infinite where its loss is not: the next loss says so, and the checkpoint before it is still there."""
    real = torch.nn.utils.clip_grad_norm_
    steps = []

    def broken(parameters, norm):
        steps.append(1)
        if len(steps) == 3:
            parameters[0].grad.fill_(math.inf)
        return real(parameters, norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    run = Run(tmp_path / "it.training", every=0)
    with pytest.raises(Diverged, match=r"step 4 of 8: the loss is nan, .* at step 3; the last good .*, of step 2"):
        trained("denoiser", run)
    assert all(value.isfinite().all() for value in read_weights(run.checkpoint)[1].values())


@pytest.mark.parametrize("end", [0, 1])
def test_a_gate_that_ends_at_0_or_1_is_warned_of_here_and_in_its_file(tmp_path, monkeypatch, end):
    recipe = OwnRuns(width=8, steps=25, batch=4, calls=2, rate=0.5)
    label = lambda x, truth: torch.full(x.shape, float(end))  # noqa: E731
    run = Run()
    says = rf"^the gate is stuck at {end}: over the last states that it learned on its mean p is "
    with pytest.warns(UserWarning, match=says):
        gate, _ = train_on_own_runs(
            denoiser(), open_corpus("agreement", 9), recipe, repaired=label, device=CPU, progress=False, run=run
        )
    (warning,) = run.warnings
    assert abs(float(warning.rpartition(" ")[2]) - end) < 0.001
    monkeypatch.setattr("ardm.experiments.store._teacher", lambda *_: label)
    with pytest.warns(UserWarning, match=says):
        Store(tmp_path, CPU).gate(recipe, SMALL)
    (told,) = facts_of(tmp_path / f"{gate_made(recipe, SMALL).key}.safetensors")["warnings"]
    assert told.startswith(f"the gate is stuck at {end}: ") and gate.training is False


def test_a_gate_that_says_both_is_not_warned_of(recwarn):
    for name in ("gate by ratio", "joint gate", "gate on own runs"):
        run = Run()
        trained(name, run)
        assert run.warnings == []
    assert not [warning for warning in recwarn if "stuck" in str(warning.message)]
