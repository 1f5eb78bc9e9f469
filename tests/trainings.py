"""Tiny trainings of every kind, and processes that do them: killed on the way, or several together.

Run as a program it does what a test cannot do in its own process: ``killed FOLDER`` and, under torchrun, ``together FILE``.
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from ardm.base.processes import leads
from ardm.method.gate_recipe import FOUR, EndToEnd, GateRecipe, Head, Rollout, Taught
from ardm.method.own_runs import RATIO, SLOW, OwnRuns
from ardm.method.slow_teacher import SlowTeacher
from ardm.method.train_denoiser import DenoiserRecipe, _DenoiserTraining, train_denoiser
from ardm.method.train_gate import _GateTraining, train_gate
from ardm.method.train_on_own_runs import _OwnRunsTraining, train_on_own_runs
from ardm.method.train_unified import _UnifiedTraining, train_unified
from ardm.method.training import Run
from ardm.method.unified import Unified
from ardm.worlds.corpora import open_corpus

CPU = torch.device("cpu")
STEPS, BATCH = 8, 5
SMALL = DenoiserRecipe(length=9, width=16, depth=1, heads=2, steps=STEPS, batch=BATCH)
GATE = GateRecipe(head=Head("attentive", width=8), signals=FOUR, steps=STEPS, batch=BATCH)
OWN = OwnRuns(label=RATIO, width=8, steps=STEPS, batch=BATCH, calls=4)
BY_RATIO = Taught("likelihood_ratio", 0.4)
RECIPES = {
    "denoiser": SMALL,
    "causal denoiser": replace(SMALL, causal=True),
    "gate by ratio": replace(GATE, objective=BY_RATIO, stability=0.3, sparsity=0.1),
    "gate by the end of runs": replace(GATE, states=Rollout("hide", 3), objective=Taught("final")),
    "joint gate": replace(
        GATE, objective=EndToEnd(taught=BY_RATIO, weight=0.5, learn_prior=True), joint=True, states=Rollout()
    ),
    "gate on own runs": OWN,
    "gate of the slow teacher": replace(OWN, label=SLOW, calls=2),
    "unified gate": Unified(blocks=1, width=8, steps=STEPS, batch=BATCH, calls=4),
}


@dataclass
class Deadly:
    """A corpus that ends its process, as a machine that fails does, when a batch is asked for once too often."""

    corpus: object
    left: float = float("inf")

    def __getattr__(self, name):
        return getattr(self.corpus, name)

    def batch(self, count, generator):
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= count == BATCH
        return self.corpus.batch(count, generator)


class Stopped(Exception):
    """As far as this training goes."""


class Ending(Deadly):
    """A corpus that ends a training in this process, with an exception."""

    def batch(self, count, generator):
        if self.left <= 0:
            raise Stopped
        return super().batch(count, generator)


def stopped(name, run, steps):
    """Train until so many steps are done; a checkpoint after each lies there."""
    try:
        trained(name, run, Ending(open_corpus("agreement", 9), steps))
    except Stopped:
        return
    raise AssertionError(f"{name} was not stopped")


@cache
def denoiser():
    """Trained so far that its signals spread: standardised, those of an untrained one would be rounding made large."""
    recipe = replace(SMALL, steps=150, batch=16, rate=1e-2)
    return train_denoiser(recipe, open_corpus("agreement", 9), device=CPU, progress=False)[0]


def differs(x, truth):
    """A teacher that calls wrong what is not the true token."""
    return (x != truth).float()


def trained(name, run=None, corpus=None):
    """The weights by name and the losses of a training."""
    recipe, run = RECIPES[name], run or Run()
    corpus, how = corpus or open_corpus("agreement", 9), {"device": CPU, "progress": False, "run": run}
    if isinstance(recipe, DenoiserRecipe):
        model, losses = train_denoiser(recipe, corpus, **how)
        return model.state_dict(), losses
    if isinstance(recipe, Unified):
        gate, losses = train_unified(denoiser(), corpus, recipe, repaired=differs, **how)
        return gate.state_dict(), losses
    if isinstance(recipe, OwnRuns):
        teacher = SlowTeacher(denoiser(), corpus.vocab_size, runs=2, calls=4) if recipe.label == SLOW else None
        gate, losses = train_on_own_runs(denoiser(), corpus, recipe, repaired=teacher, **how)
        return gate.state_dict(), losses
    made = train_gate(denoiser(), corpus, recipe, **how)
    return {
        **made.gate.state_dict(),
        **{f"of.{name}": value for name, value in made.denoiser.state_dict().items()},
    }, made.losses


@cache
def plain(name):
    """What the training gives in one process that nobody stops."""
    return trained(name)


def training_of(name):
    """What is trained, at its first step; the label of own runs is whether a token is the true one."""
    recipe, corpus = RECIPES[name], open_corpus("agreement", 9)
    if isinstance(recipe, DenoiserRecipe):
        return _DenoiserTraining(recipe, corpus, CPU)
    if isinstance(recipe, OwnRuns):
        own = _UnifiedTraining if isinstance(recipe, Unified) else _OwnRunsTraining
        return own(denoiser(), corpus, recipe, differs, CPU)
    return _GateTraining(denoiser(), corpus, recipe, None, CPU)


def same(one, other):
    """Whether two trainings gave the same, bit for bit."""
    (a, losses), (b, others) = one, other
    return losses == others and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def killed(folder):
    """Each training killed four times, at random steps and at random moments, and ended; what came of it goes to files."""
    chance = random.Random(5)
    denoiser()  # made once, before the first fork
    for number, name in enumerate(RECIPES):
        checkpoint, ends = folder / f"{number}.training", []
        for steps, seconds in ((1 + chance.randrange(3), 60), (60, 0.02 + chance.random() / 10), (2, 60), (60, 60)):
            child = os.fork()
            if not child:
                weights, losses = trained(name, Run(checkpoint, name, every=0), Deadly(open_corpus("agreement", 9), steps))
                (folder / f"{number}.json").write_text(
                    json.dumps([{name: value.flatten().double().tolist() for name, value in weights.items()}, losses])
                )
                os._exit(0)
            end = time.monotonic() + seconds
            while not (done := os.waitpid(child, os.WNOHANG))[0]:
                if time.monotonic() > end:
                    os.kill(child, signal.SIGKILL)
                time.sleep(0.002)
            ends.append(os.waitstatus_to_exitcode(done[1]))
        (folder / f"{number}.ends").write_text(json.dumps(ends))


def together(file):
    """The losses of every training, written by the process that leads."""
    found = {name: trained(name)[1] for name in RECIPES}
    pieces = trained("gate by ratio", Run(pieces=2))[1]
    if leads():
        file.write_text(json.dumps({**found, "in pieces": pieces}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    {"killed": killed, "together": together}[sys.argv[1]](Path(sys.argv[2]))
