"""Every device that is there does the main paths and agrees with the CPU; one without float64 is there on every machine."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from conftest import pytest_terminal_summary
from no_float64 import without_float64

from ardm.base.devices import double, pick_device, widest
from ardm.base.errors import InputError
from ardm.base.streams import Chance
from ardm.experiments.play import Parts, play
from ardm.experiments.scores import LawFidelity, Repair, Validity
from ardm.experiments.starts import Infill, OwnErrors, PlantedErrors
from ardm.experiments.store import Store, untrained_gate
from ardm.experiments.task import Task
from ardm.method.denoiser import Transformer
from ardm.method.draw import Draw
from ardm.method.gate import SIGNALS
from ardm.method.gate_recipe import Corrupted, EndToEnd, GateRecipe, Head, Rollout, Taught
from ardm.method.labels import leave_one_out
from ardm.method.likelihood import bits_per_token
from ardm.method.own_runs import OWN_RUNS, OwnRuns
from ardm.method.rules import entries
from ardm.method.sampling import blank, noise, observe, refine
from ardm.method.schedule import ORDERS
from ardm.method.states import held_out_states
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser, validation_loss
from ardm.method.train_gate import train_gate
from ardm.worlds.corpora import TextCorpus, open_corpus
from ardm.worlds.judge import TextScorer
from ardm.worlds.laws import Oracle, markov
from ardm.worlds.puzzles import GridCorpus, in_conflict, is_valid_grid, plant_errors

CPU = torch.device("cpu")
HERE = [
    "no-float64",
    *(["mps"] if torch.backends.mps.is_available() else []),
    *(["cuda"] if torch.cuda.is_available() else []),
]
SMALL = DenoiserRecipe(length=9, width=16, depth=1, heads=2, steps=4, batch=8)
GATES = {
    "attentive": GateRecipe(head=Head("attentive", width=8), signals=tuple(SIGNALS), objective=Taught("likelihood_ratio")),
    "linear": GateRecipe(head=Head("linear"), states=Corrupted(own_errors=1.0), stability=0.1, sparsity=0.1),
    "final": GateRecipe(states=Rollout("hide", steps=3), objective=Taught("final")),
    "end to end": GateRecipe(states=Rollout(steps=3), objective=EndToEnd(taught=Taught(), weight=1.0, learn_prior=True)),
    "joint": GateRecipe(objective=EndToEnd("straight_through", edit="hide"), joint=True),
}
"""Every head, state, label and objective that there is."""


@pytest.fixture(params=HERE)
def device(request, record_property):
    """A device other than the CPU; the summary of the run names those that were used."""
    record_property("device", request.param)
    if request.param == "no-float64":
        with without_float64() as pretended:
            yield pretended
    else:
        yield torch.device(request.param)


def small_gate(recipe):
    return GateRecipe(**{**vars(recipe), "steps": 2, "batch": 4})


@cache
def trained():
    """A denoiser of the CPU."""
    return train_denoiser(SMALL, open_corpus("agreement", 9), device=CPU, progress=False)


def on(device):
    """The same denoiser elsewhere."""
    model = Transformer(trained()[0].shape).eval()
    model.load_state_dict(trained()[0].state_dict())
    return model.to(device)


def close(there, here, tolerance=1e-4):
    assert there.device.type != "cpu" and there.shape == here.shape
    assert torch.allclose(there.cpu().double(), here.double(), rtol=tolerance, atol=tolerance)


def test_what_has_no_float64_refuses_it_and_mixes_with_nothing():
    """The stand-in does what the real device does."""
    with without_float64() as mps:
        x = torch.ones(3, device=mps)
        assert x.device == (x + 1).device == torch.zeros_like(x).device == mps and x.cpu().device == CPU
        for wide in (
            x.double,
            lambda: x.to(torch.float64),
            lambda: x.sum(dtype=torch.float64),
            lambda: torch.zeros(3, dtype=torch.float64, device=x.device),
            lambda: torch.arange(3.0, dtype=torch.float64).to(mps),
            x.numpy,
        ):
            with pytest.raises(TypeError, match=r"float64|numpy"):
                wide()
        for mixed in (lambda: x + torch.ones(3), lambda: torch.stack([x, torch.ones(3)]), lambda: torch.ones(3)[x > 0]):
            with pytest.raises(RuntimeError, match="one device"):
                mixed()
        assert double(x).dtype == torch.float32 == widest(mps)
        assert (x * torch.tensor(2.0, dtype=torch.float64))[torch.tensor([0])].tolist() == [2.0]  # both are allowed
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(3, device="mps" if "mps" not in HERE else "meta").tolist()
    assert double(torch.ones(3)).dtype == torch.float64 == widest("cpu") == widest("cuda")


def test_random_numbers_are_those_of_the_cpu(device):
    here, there = (Chance(3, "choices", torch.arange(4, device=where)).at(2) for where in (CPU, device))
    exact = 0.0 if widest(device) == torch.float64 else 2.0**-24
    assert (there.uniform(50).cpu().double() - here.uniform(50)).abs().max() <= exact
    close(there.gumbel(50), here.gumbel(50))
    assert torch.equal(noise(3, 20, 7, seed=1, device=device).cpu(), noise(3, 20, 7, seed=1))


@pytest.mark.parametrize("draw", [Draw(), Draw(0.7, top_k=5), Draw(1.2, top_p=0.8), Draw(0.0)], ids=str)
def test_draws_are_those_of_the_cpu(device, draw):
    log_q = torch.randn(50, 9, 47, generator=torch.Generator().manual_seed(0)).mul(3).log_softmax(-1)
    uniform = Chance(0, "proposals", torch.arange(50)).uniform(9)
    there = draw(log_q.to(device), uniform.to(device, widest(device)))
    assert (there.cpu() == draw(log_q, uniform)).double().mean() > 0.995


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_denoiser_trains_as_on_the_cpu(device, precision):
    if precision == "bfloat16" and device.type == "mps":
        pytest.skip("autocast is that of a real device")
    corpus, recipe = open_corpus("agreement", 9), DenoiserRecipe(**{**vars(SMALL), "precision": precision})
    model, losses = train_denoiser(recipe, corpus, device=device, progress=False)
    assert next(model.parameters()).device.type == device.type
    assert losses == pytest.approx(trained()[1], rel=1e-3 if precision == "float32" else 0.02)
    here = validation_loss(trained()[0], corpus, SMALL, device=CPU)
    assert validation_loss(model, corpus, SMALL, device=device) == pytest.approx(here, rel=0.01)


@pytest.mark.parametrize("name", GATES)
def test_a_gate_trains_as_on_the_cpu(device, name):
    corpus, recipe = open_corpus("agreement", 9), small_gate(GATES[name])
    there = train_gate(on(device), corpus, recipe, device=device, progress=False)
    here = train_gate(on(CPU), corpus, recipe, device=CPU, progress=False)
    if widest(device) == torch.float64:
        assert there.losses == pytest.approx(here.losses, rel=0.02)
    else:  # its uniform numbers take one random word in place of two, so it trains on other states
        assert len(there.losses) == len(here.losses)
        assert sum(there.losses) == pytest.approx(sum(here.losses), rel=0.3)
    assert next(there.gate.parameters()).device.type == device.type
    step, x0 = held_out_states(on(device), corpus, count=16, seed=0, device=device)[0]
    assert there.gate(step).logit_p.shape == x0.shape


def test_a_gate_learns_on_its_own_runs_on_any_device(device, tmp_path):
    recipe = replace(OWN_RUNS["repair"], width=8, steps=2, batch=4, calls=3)
    there, here = (Store(tmp_path / where.type, where).gate(recipe, SMALL) for where in (device, CPU))
    assert next(there.parameters()).device.type == device.type
    for name, value in here.state_dict().items():
        assert there.state_dict()[name].shape == value.shape and there.state_dict()[name].isfinite().all()


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals_are_those_of_the_cpu(device, signal):
    x = open_corpus("agreement", 9).held_out(8)
    x[:, ::3] = 47
    uniform, steps = torch.full(x.shape, 0.5, dtype=torch.float64), {}
    for where in (CPU, device):
        given = {"t": 3, "T": 8, "uniform": uniform.to(where, widest(where))}
        before = observe(on(where), torch.full_like(x, 47).to(where), **given)
        steps[where] = observe(on(where), x.to(where), **given, before=before.now)
    close(SIGNALS[signal](steps[device]), SIGNALS[signal](steps[CPU]))


def task_of(name, score_by, **how):
    return Task(name=name, title=name, recipe=SMALL, score_by=score_by, causal=False, **how)


TASKS = {
    "blank": task_of("blank", LawFidelity(".")),
    "infill": task_of("infill", Validity(), start_from=Infill(clues=(2, 4))),
    "planted": task_of("planted", Repair(), start_from=PlantedErrors(wrong=(1, 3))),
    "own": task_of("own", Repair(), start_from=OwnErrors(hidden=0.5)),
}


def untrained(recipe):
    """A gate of the recipe as it is before its training."""
    small = recipe if isinstance(recipe, OwnRuns) else small_gate(recipe)
    return untrained_gate(small, SMALL.width, open_corpus("agreement", 9).vocab_size)


@cache
def weights_of(recipe):
    if isinstance(recipe, OwnRuns):  # what it learns plays no part here
        return untrained(recipe).state_dict()
    gate = train_gate(on(CPU), open_corpus("agreement", 9), small_gate(recipe), device=CPU, progress=False).gate
    return gate.state_dict()


def parts(entry, device):
    """The denoiser, and the gate that the rule asks for, both trained on the CPU."""
    if entry.gate is None:
        return Parts(on(device), device=device)
    gate = untrained(entry.gate)
    gate.load_state_dict(weights_of(entry.gate))
    return Parts(on(device), gate.to(device).eval(), device)


RULES = [name for name, entry in entries().items() if not entry.causal]


ORDERED = [("random gate", {"order": order}) for order in ORDERS]


@pytest.mark.parametrize(("name", "knobs"), [*((name, {}) for name in RULES), *ORDERED])
def test_every_rule_writes_the_texts_of_the_cpu(device, name, knobs):
    """From nothing and from a text with errors. Rounding moves a number across an edge now and then: one text in ten may differ."""
    entry, equal = entries()[name], []
    for task in (TASKS["blank"], TASKS["planted"]):
        traces = {}
        for where in (CPU, device):
            given, start = parts(entry, where), task.start(16, seed=1, device=where)
            rule = entry.make(given.gate, start.wrong, **entry.knobs[0], **knobs)
            run = refine(given.denoiser, rule, start.x, 4, seed=2, fixed=start.fixed, record=True, patience=3)
            traces[where.type] = run
        there, here = traces[device.type], traces["cpu"]
        assert there.x.device.type == device.type
        equal.append((there.x.cpu() == here.x).all(-1))
        assert (there.overwritten.cpu() == here.overwritten).double().mean() > 0.9
        close(there.score("entropy")[0], here.score("entropy")[0])
    assert torch.cat(equal).double().mean() >= 0.9


@pytest.mark.parametrize("name", TASKS)
def test_a_match_is_played_and_scored_as_on_the_cpu(device, name):
    """Start, run and scores, with the rule that asks the law what is wrong and the one with a trained gate."""
    for rule in ("one-way", "oracle hide", "attentive hide ratio"):
        entry = entries()[rule]
        rows = [play(TASKS[name], entry, parts(entry, where), {}, nfe=4, seed=1, count=32) for where in (CPU, device)]
        here, there = ({key: value for key, value in row.items() if isinstance(value, float)} for row in rows)
        del here["seconds"], there["seconds"]
        assert there == pytest.approx(here, abs=0.1, nan_ok=True)
        if name != "own":
            assert rows[0]["start"] == rows[1]["start"]


def test_laws_grids_and_bits_are_those_of_the_cpu(device):
    law, grids = markov(4), plant_errors(GridCorpus().held_out(4), 5, generator=torch.Generator().manual_seed(0))
    x = torch.tensor([[0, 3, 1, 3], [3, 3, 3, 2]])
    close(Oracle(law)(x.to(device), 1.0).logits, Oracle(law)(x, 1.0).logits)
    assert torch.equal(law.nearest(x.to(device)).cpu(), law.nearest(x))
    text = law.sample(6, seed=0)
    assert torch.equal(law.log_prob(text.to(device)), law.log_prob(text))
    assert torch.equal(in_conflict(grids.to(device)).cpu(), in_conflict(grids))
    assert torch.equal(is_valid_grid(grids.to(device)).cpu(), is_valid_grid(grids))
    bits = [bits_per_token(Oracle(law, 0.0), text.to(where), 3, seed=0, repeats=2) for where in (CPU, device)]
    assert torch.allclose(bits[1].double(), bits[0], atol=1e-5)
    close(leave_one_out(Oracle(law), text.to(device), 3), leave_one_out(Oracle(law), text, 3))
    assert refine(Oracle(law), entries()["one-way"].make(), blank(2, 4, 3, device), 3, seed=0).x.device.type == device.type


def test_a_sample_on_the_device_is_scored_as_text(device):
    ids = torch.randint(5, (900,), generator=torch.Generator().manual_seed(0))
    scorer = TextScorer.of(TextCorpus("small", tuple("abc d"), 8, ids, ids.flip(0)), order=2)
    x = ids[:80].reshape(10, 8)
    assert scorer.score(x.to(device)) == scorer.score(x)


def test_a_store_trains_on_the_device_and_its_files_load_anywhere(device, tmp_path):
    recipe = small_gate(GATES["attentive"])
    made = Store(tmp_path, device).gate(recipe, SMALL)
    read = Store(tmp_path, CPU).gate(recipe, SMALL)
    assert next(made.parameters()).device.type == device.type
    for one, other in zip(made.state_dict().values(), read.state_dict().values(), strict=True):
        assert torch.equal(one.cpu(), other)


def test_the_summary_of_a_run_names_the_devices_that_it_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    used = [SimpleNamespace(user_properties=[("device", name)]) for name in ("cuda", "no-float64", "cuda")]
    for reports, expected in ((used, ["devices: cpu, cuda, no-float64 (not on this machine: mps)"]), ([], [])):
        lines = []
        stats = {"passed": [SimpleNamespace(user_properties=[("rows", 3)]), *reports], "warnings": [object()]}
        pytest_terminal_summary(SimpleNamespace(stats=stats, write_line=lines.append))
        assert lines == expected


def test_the_cpu_can_be_asked_for_and_what_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("ARDM_DEVICE", raising=False)
    assert pick_device("cpu").type == "cpu"
    monkeypatch.setenv("ARDM_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    with pytest.raises(InputError, match=r"'tpu' is not here; choose one of auto, .*cpu"):
        pick_device("tpu")


@pytest.mark.parametrize(("cuda", "mps", "first"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_the_fastest_device_is_picked(monkeypatch, cuda, mps, first):
    monkeypatch.delenv("ARDM_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device().type == pick_device("auto").type == first
