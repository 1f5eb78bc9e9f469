"""Killed anywhere: a process and all that it started are ended by SIGKILL at random moments, and the same call goes on.

Nothing that was finished is computed again, nothing is lost, and at last there is bit for bit what an undisturbed run gives. Two
moments each by default; with ``ARDM_TESTS=full`` twenty, and a sweep besides. Trainings that are killed are tested with trainings.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open
from test_runs import make_project, write

HERE = Path(__file__).resolve().parent
FULL = os.environ.get("ARDM_TESTS") == "full"
MOMENTS = 20 if FULL else 2
PATHS = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / 'book')!r}]\nfrom pathlib import Path\n"

WORKS = {
    "matches": """
from test_arena import TINY
from ardm.experiments.arena import Arena
from ardm.experiments.work import Place
from dataclasses import replace
here = Path(sys.argv[1])
Arena(replace(TINY, rules=("one-way", "oracle hide"), seeds=1), Place(here, here / "models")).run(jobs=1)
""",
    "sweep": """
from test_ablations import TINY
from ardm.experiments.ablations import Ablations
from ardm.experiments.work import Place
here = Path(sys.argv[1])
Ablations(TINY, Place(here, here / "models"), ("combine",)).run(jobs=1)
""",
    "notebooks": """
from ardm.book.runs import execute_stale
here = Path(sys.argv[1])
execute_stale(sorted((here / "project" / "notebooks").glob("*.ipynb")), here / "executed", jobs=1)
""",
    "one notebook": """
from ardm.cli import main
here = Path(sys.argv[1])
notebook, out = here / "project" / "notebooks" / "a.ipynb", here / "out"
sys.exit(0 if (out / "run.json").exists() else main(["run", str(notebook), "--out", str(out)]))
""",
}


def prepare(folder: Path) -> Path:
    """A folder for one work: a small project with three notebooks, which some of them take."""
    notebooks = make_project(folder / "project")
    (folder / "project" / "ardm" / "data" / "registry.json").unlink()
    for name in "abc":
        write(
            notebooks / f"{name}.ipynb", f"import random\nrandom.seed('{name}')\nprint([random.random() for _ in range(steps)])"
        )
    return folder


def start(work: str, folder: Path) -> psutil.Popen:
    words = [sys.executable, "-c", PATHS + WORKS[work], str(folder)]
    cache = folder.with_name("cache")
    cache.mkdir(exist_ok=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "ARDM_DATA": str(cache)}
    return psutil.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def finish(work: str, folder: Path) -> None:
    child = start(work, folder)
    _, told = child.communicate(timeout=600)
    assert child.returncode == 0, told.decode()[-2000:]


def kill(child: psutil.Popen) -> None:
    """All of it at once, as a power cut would."""
    every = [child, *child.children(recursive=True)]
    for process in every:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(every, timeout=60)
    child.stderr.close()


def whole(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """The results that lie there: when each was written, and its bytes. What is hidden is no result."""
    files = (path for path in folder.rglob("*") if path.is_file() and "project" not in path.relative_to(folder).parts[:1])
    mine = (path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return {path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes()) for path in mine}


TIMES = ("seconds", "provenance")  # what another run has otherwise, at the same results


def told(path: Path, where: Path):
    """What a result says, without the seconds that it took."""
    if path.suffix == ".safetensors":
        with safe_open(where / path, framework="np") as file:
            return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118  not a dict
    if path.suffix == ".csv":
        return [
            {name: cell for name, cell in row.items() if name not in TIMES} for row in csv.DictReader((where / path).open())
        ]
    if path.suffix in (".json", ".ipynb"):
        return timeless(json.loads((where / path).read_text("utf8")))
    return (where / path).read_bytes()


def timeless(value):
    if isinstance(value, dict):
        kept = {
            name: one for name, one in value.items() if not any(word in name.lower() for word in TIMES) and name != "models"
        }
        return {name: timeless(one) for name, one in kept.items()}
    return [timeless(one) for one in value] if isinstance(value, list) else value


def results_of(work: str, there: dict[Path, tuple[int, bytes]]) -> dict[Path, tuple[int, bytes]]:
    """What no call makes again: models, cells, executed notebooks. Tables at the top are written by each call that ends."""
    if work == "one notebook" and Path("out/run.json") not in there:
        return {}  # its result is whole when run.json says so
    return {path: one for path, one in there.items() if path.parent != Path(".")}


@pytest.mark.parametrize("work", [work for work in WORKS if FULL or work != "sweep"])
def test_what_is_killed_goes_on_where_it_was(work, tmp_path):
    began = time.monotonic()
    undisturbed = prepare(tmp_path / "undisturbed")
    finish(work, undisturbed)
    seconds = time.monotonic() - began
    disturbed, chance, finished = prepare(tmp_path / "disturbed"), random.Random(work), {}
    for _ in range(MOMENTS):
        child = start(work, disturbed)
        try:
            child.wait(chance.uniform(0.2, 1.0) * seconds)
        except psutil.TimeoutExpired:
            kill(child)
        else:
            child.stderr.close()
        now = whole(disturbed)
        assert {path: now.get(path) for path in finished} == finished, "a finished result was computed again"
        finished = results_of(work, now)
    finish(work, disturbed)
    at_last = whole(disturbed)
    assert {path: at_last.get(path) for path in finished} == finished
    expected = whole(undisturbed)
    assert set(at_last) == set(expected) and len(expected) >= 2
    for path in expected:
        assert told(path, disturbed) == told(path, undisturbed), path


BUILD = """
import build, time
def slowly(source, work):
    html = work / "_build" / "html"
    for name in ("book/index", "notebooks/a"):
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / f"{name}.html").write_text("<html><head></head>")
        time.sleep(0.3)
        text = (source / "book/index.md").read_text()
        (html / f"{name}.html").write_text(f'<html><head></head><h1>T</h1><div class="cell_output">{text}</div>')
    (html / "index.html").write_text("")
    return html
build.vendor.vendor = lambda target: None
build.jupyter_book = slowly
build.build(Path(sys.argv[1]))
"""


def test_a_book_that_is_killed_while_it_is_built_is_the_earlier_one_or_none(tmp_path):
    from test_staging import notebook, printed, tree

    tree(tmp_path, a=notebook(printed()))
    (tmp_path / "pyproject.toml").touch()
    html, chance = tmp_path / "_build" / "html", random.Random(1)

    def build(text: str) -> psutil.Popen:
        (tmp_path / "book" / "index.md").write_text(f"# {text}\n")
        return psutil.Popen(
            [sys.executable, "-c", PATHS + BUILD, str(tmp_path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    began, first = time.monotonic(), build("version 0")
    assert first.wait(300) == 0, first.stderr.read().decode()[-2000:]
    seconds = time.monotonic() - began
    for number in range(1, MOMENTS + 1):
        child = build(f"version {number}")
        time.sleep(chance.uniform(0.5, 1.0) * seconds)
        kill(child)
        if html.exists():
            pages = [(html / f"{name}.html").read_text() for name in ("book/index", "notebooks/a")]
            said = {page.partition("# ")[2].partition("\n")[0] for page in pages}
            assert len(said) == 1 and all("Content-Security-Policy" in page for page in pages)
            assert json.loads((html / "build.json").read_text())["pages"] == ["book/index", "notebooks/a"]
    last = build("the last")
    assert last.wait(300) == 0, last.stderr.read().decode()[-2000:]
    assert "# the last" in (html / "book/index.html").read_text()
    assert sorted(path.name for path in (tmp_path / "_build").iterdir() if not path.name.startswith(".")) == [
        "executed",
        "html",
        "source",
    ]
