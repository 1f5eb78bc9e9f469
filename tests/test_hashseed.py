"""Nothing depends on the order in which Python holds its sets: the same bits under any PYTHONHASHSEED."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import hashlib, sys, torch
from pathlib import Path
import IPython.display, matplotlib
matplotlib.use("Agg")
IPython.display.display = lambda *_, **__: None
from ardm import OneWay, refine
from ardm.base import fingerprint
from ardm.book.figures import publish, rewriting
from ardm.experiments.store import denoiser_made
from ardm.method.rules import entries
from ardm.method.sampling import blank
from ardm.method.train_denoiser import DenoiserRecipe, train_denoiser
from ardm.worlds.corpora import open_corpus
from ardm.worlds.laws import LAWS
from ardm.worlds.puzzles import complete

LENGTHS = {"agreement": 9, "permutation": 6, "latin": 9, "sudoku": 16}
recipe = DenoiserRecipe(corpus="agreement", length=9, width=16, steps=3, batch=4)
corpus = open_corpus("agreement", 9)
model, losses = train_denoiser(recipe, corpus, device=torch.device("cpu"))
trace = refine(model, OneWay(), blank(3, 9, corpus.vocab_size), 4, seed=1, record=True)
fig, table = rewriting(trace, corpus.words)
publish(fig, id="fig-a", caption="Some words here.", alt="Some words here.", data=table, folder=Path(sys.argv[1]))
said = {f"law {name}": law(LENGTHS.get(name, 12)).sample(20, seed=3).tolist() for name, law in LAWS.items()}
said |= {"grids": complete(2, seed=1).tolist(), "rules": list(entries()), "key": denoiser_made(recipe).key}
said |= {"code": fingerprint.code("ardm.method.sampling"), "losses": losses, "text": trace.x.tolist()}
said |= {f"weight {name}": value.tolist() for name, value in model.state_dict().items()}
said |= {path.name: path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())}
for name, value in said.items():
    print(name, hashlib.sha256(repr(value).encode()).hexdigest())
"""


def test_tables_figures_models_and_texts_are_the_same_under_any_hash_seed(tmp_path):
    told = []
    for seed in ("0", "1", "4242"):
        (tmp_path / seed).mkdir()
        words = [sys.executable, "-c", CODE, str(tmp_path / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "ARDM_DEVICE": "cpu"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told.append(done.stdout.splitlines())
    assert len(told[0]) > 30
    assert told[0] == told[1] == told[2]
