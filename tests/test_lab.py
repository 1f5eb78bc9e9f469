"""The explorers in JupyterLab: run in a kernel, moved in a browser, held against the package.

``make test PROFILE=lab`` installs JupyterLab and runs this; without it these tests are skipped and say so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from test_pages import chromium
from test_widgets import WEIGHTS, in_python

from ardm.method.prior import forced_overwrites
from ardm.method.rules import OneWay
from ardm.method.sampling import blank, refine
from ardm.worlds.laws import Oracle, agreement

CASE = {
    "logits": [[2.0, 1.0, -1.5], [0.0, 0.0, 0.0], [-4.0, 3.0, 0.5]],
    "before": [[1.0, 1.2, 0.0], [3.0, -3.0, 0.0], [-4.0, 3.0, 0.5]],
    "placed": [0, 2, 2],
}
ROWS = [
    {
        "task": task,
        "rule": "b",
        "nfe": 8,
        "quality": quality,
        "low": 0.4,
        "high": 0.95,
        "loss": 0.1,
        "overwrites": 1,
        "milliseconds": 2,
    }
    for task, quality in (("one", 0.5), ("two", 0.9))
]
CELLS = {
    "player": """
from ardm import OneWay, blank, refine
from ardm.worlds.laws import Oracle, agreement
from ardm.book.widgets import frontier_explorer, gate_explorer, player, prior_explorer
law = agreement(9)
trace = refine(Oracle(law), OneWay(), blank(1, 9, law.vocab_size), 5, seed=3, record=True)
player(trace, law.words, id="player")
""",
    "prior": "prior_explorer(id='prior', n=16, T=8)",
    "gate": f"gate_explorer(**{CASE!r}, words=['x', 'y', 'z'], id='gate', t=2, T=8, beta={WEIGHTS!r})",
    "frontier": f"""
import pandas as pd
quality = {{"one": "valid, %", "two": "valid, %"}}
frontier_explorer(pd.DataFrame({ROWS!r}), {{"b": "#000"}}, quality, id="frontier", task="one", nfe=8)
""",
}


READY = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of its own, in which one notebook with the explorers lies."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("LAB NOT CHECKED: jupyterlab is not installed: run make test PROFILE=lab")
    home = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code.strip()) for code in CELLS.values()],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    (home / "notebooks").mkdir()
    nbformat.write(notebook, home / "notebooks" / "explorers.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    }
    options = {
        "ServerApp.root_dir": home / "notebooks",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *(f"--{k}={v}" for k, v in options.items())]
    paths = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH")]))
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own, "PYTHONPATH": paths}, stdout=log, stderr=log)
    try:
        yield waited(f"http://127.0.0.1:{port}", token, server, home / "log")
    finally:
        server.terminate()
        server.wait(60)


def waited(address: str, token: str, server: subprocess.Popen, log: Path) -> str:
    """The address of the notebook once the server answers."""
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/api/status?token={token}", timeout=5)
        except OSError:
            time.sleep(0.2)
        else:
            return f"{address}/lab/tree/explorers.ipynb?token={token}"
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator:
    """The notebook in JupyterLab, all cells run as its menu does it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 3000})  # all cells in sight: others are not drawn
        page.set_default_timeout(240_000)  # a busy machine is no failure
        page.goto(lab)
        page.wait_for_function(READY)
        page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.wait_for_selector("#frontier circle")
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def test_the_player_steps_through_the_run_of_the_kernel(page):
    law = agreement(9)
    trace = refine(Oracle(law), OneWay(), blank(1, 9, law.vocab_size), 5, seed=3, record=True)
    steps = [" ".join([*law.words, "_"][token] for token, _ in step) for step in trace.history(0, law.vocab_size)]
    root = page.locator("#player")
    assert root.locator(".text").inner_text().strip() == steps[5]
    root.get_by_role("button", name="Back").click()
    assert root.locator(".text").inner_text().strip() == steps[4] != steps[5]
    root.locator(".bar input").fill("2")
    assert root.locator(".text").inner_text().strip() == steps[2]
    assert root.locator("output").inner_text().startswith("step 2 of 5")


def test_the_prior_forces_what_the_package_says(page):
    root = page.locator("#prior")
    for alpha in (1.25, 0.5):
        root.get_by_label("α, slope").fill(str(alpha))
        forced = float(root.locator(".stage").get_attribute("data-forced"))
        assert forced == pytest.approx(forced_overwrites(16, 8, alpha).sum().item(), rel=1e-5)


def test_the_gate_gives_the_p_of_the_package(page):
    root = page.locator("#gate")
    for combine in ("noisy_or", "gate_only"):
        root.get_by_label("how u and r make p").select_option(combine)
        shown = [json.loads(row.get_attribute("data-values"))["p"] for row in root.locator("tbody tr").all()]
        case = {**CASE, "t": 2, "T": 8, "alpha": 1.25, "delta": 0.0, "combine": combine}
        assert shown == pytest.approx([row["p"] for row in in_python(case)], abs=1e-6)


def test_the_table_tells_the_numbers_of_the_chosen_task(page):
    root = page.locator("#frontier")
    for row in ROWS:
        root.get_by_label("task").select_option(row["task"])
        root.locator("circle").focus()
        assert root.locator(".says").inner_text().startswith(f"b: {100 * row['quality']:.1f} %")
