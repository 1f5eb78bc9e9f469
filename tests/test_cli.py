"""The command line: bad input is one line and status 2, a run is whole or not there, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import hear_interrupts, wait_for
from test_runs import SLEEP, files, kernels, make_project, text_of, write

from ardm import InputError
from ardm.base.graph import UnitsFailed, alone
from ardm.book import library, runs
from ardm.cli import main
from ardm.experiments import published
from ardm.experiments.arena import Arena
from ardm.experiments.profiles import PROFILES
from ardm.method.train_denoiser import DenoiserRecipe
from ardm.worlds import registry

NAMES = "agreement, tinyshakespeare, text8, sudoku9, sudoku9-long, toy"  # of the published denoisers


@pytest.fixture
def notebooks(tmp_path, monkeypatch, no_corpora):
    """The folder of notebooks of a small project, as the current folder."""
    folder = make_project(tmp_path / "project")
    monkeypatch.setattr(registry, "names", lambda: ())
    monkeypatch.chdir(folder)
    before = signal.getsignal(signal.SIGTERM)
    yield folder
    signal.signal(signal.SIGTERM, before)


def ardm(folder: Path, *words: str, **options) -> subprocess.Popen:
    """``python -m ardm`` in a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "-m", "ardm", *words], cwd=folder, preexec_fn=hear_interrupts, **options)


def test_bad_parameters_are_one_line_with_status_2_and_nothing_runs(notebooks):
    write(notebooks / "05_training.ipynb", "open('it-ran', 'w')")
    child = ardm(notebooks, "run", "05_training", "-p", "step=2", "-p", "steps=11")
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert out == ""
    assert err == (
        "ardm: unknown parameter 'step' of 05_training: did you mean 'steps'? It takes steps; "
        "parameter 'steps' of 05_training is 11, not int in [1, 10].\n"
    )
    assert files(notebooks) == ["05_training.ipynb"]
    assert not (notebooks.parent / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "05_trainin_"], "no notebook '05_trainin_': did you mean 05_training?"),
        (["run", "zzz"], "no notebook 'zzz': there are 05_training, 06_gate, 06_more."),
        (["run", "06"], "'06' may be 06_gate, 06_more: write more of it"),
        (["run", "05", "--out", "06_gate.ipynb"], "cannot write in the folder 06_gate.ipynb"),
        (["run", "05", "-p", "stepps=2"], "did you mean 'steps'? It takes steps."),
        (["run", "05", "-p", "steps=many"], "parameter 'steps' of 05_training is 'many', not int in [1, 10]."),
        (["run", "05", "-p", "steps=0"], "parameter 'steps' of 05_training is 0, not int in [1, 10]."),
        (["run", "05", "-p", "steps"], "'steps' is not of the form name=value"),
        (["run", "05", "06"], "unused tokens: ['06']"),
        (["run", "05", "--outt", "x"], "unknown option: --outt. did you mean --out?"),
        (["run"], "parameter NOTEBOOK requires an argument"),
        (["walk"], 'unknown command "walk". Available commands: run, '),
        (["execute", "--jobs", "two"], 'invalid value for --jobs: unable to convert "two" into int'),
        (["arena", "--nfe", "4,x"], "--nfe: 'x' is no whole number: separate them by commas, such as 4,8,16"),
        (["arena", "--seeds", "3000000"], "seeds=3000000: it is at most 5000"),
        (
            ["run", "05", "-p", "steps=" + 5000 * "9"],
            f"parameter 'steps' of 05_training is '{79 * '9'}..., not int in [1, 10].",
        ),
        (["run", "05", "-p", 5000 * "x"], f"'{79 * 'x'}... is not of the form name=value"),
        (["run", "05", "-p", os.fsdecode(b"text=\xff")], r"the argument 'text=\udcff' has bytes that are no UTF-8"),
        (["run", os.fsdecode(b"\xff")], r"the argument '\udcff' has bytes that are no UTF-8"),
        (["run", "05", "--out", os.fsdecode(b"\xff")], r"the argument '\udcff' has bytes that are no UTF-8"),
        (
            ["train", "foo-gate"],
            f"unknown model 'foo-gate': choose one of {NAMES}, NAME-gate, toy-repair",
        ),
        (
            ["export", "nope"],
            f"unknown model 'nope': choose one of {NAMES}",
        ),
        (
            ["export", "toy-gate"],
            f"unknown model 'toy-gate': choose one of {NAMES}",
        ),
        (["arena", "--profile", "huge"], "profile='huge': choose small or paper"),
        (["execute", "--jobs", "0"], "jobs=0: it is at least 1"),
        (["record"], "is not an executed copy of 05_training"),
    ],
)
def test_every_other_bad_input_is_one_line_with_status_2(notebooks, capsys, monkeypatch, words, said):
    for name in ("05_training", "06_gate", "06_more"):
        write(notebooks / f"{name}.ipynb", "1")
    monkeypatch.setattr(runs, "_run_cells", lambda *_: pytest.fail("it ran"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ardm: ")
    assert said.lower() in err.lower()
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_run_is_found_by_its_prefix_named_by_its_parameters_and_summed_up_last(notebooks, capsys, monkeypatch):
    glued = "from IPython.display import display\ndisplay({'application/papermill.record/text/plain': 'x'}, raw=True)"
    picture = 'from IPython.display import SVG\nSVG(\'<svg xmlns="http://www.w3.org/2000/svg" id="drawn"/>\')'
    write(notebooks / "05_training.ipynb", "print('$a$', steps)", glued, picture)
    assert main(["run", "05", "-p", "steps=4", "--html"]) == 0
    out, err = capsys.readouterr()
    folder = notebooks.parent / "runs" / "05_training" / "steps=4"
    assert out.split() == ["../runs/05_training/steps=4/05_training.ipynb", "../runs/05_training/steps=4/05_training.html"]
    assert "not able to be represented" not in err
    assert files(folder) == ["05_training.html", "05_training.ipynb", "run.json"]
    assert text_of(folder / "05_training.ipynb") == "$a$ 4\n"
    summary = json.loads((folder / "run.json").read_text())
    assert list(summary) == ["notebook", "parameters", "changed", "key", "provenance", "seconds"]
    assert (summary["parameters"], summary["changed"]) == ({"steps": 4}, {"steps": 4})

    page = (folder / "05_training.html").read_text()
    assert "$a$ 4" in page
    assert "drawn" in page
    assert "<img" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=[\"'](?!data:)", page)
    assert not re.search(r"@import|url\(['\"]?(https?:)?//", page)

    # The same run again, failing this time: the old summary is gone before it begins.
    monkeypatch.setattr(runs, "_run_cells", lambda *_: pytest.fail("as planned"))
    with pytest.raises(pytest.fail.Exception, match="as planned"):
        main(["run", "05", "-p", "steps=4"])
    assert "run.json" not in files(folder)


def test_a_failing_cell_is_one_line_with_status_1(notebooks, capsys):
    write(notebooks / "05_training.ipynb", "1 / 0")
    assert main(["run", "05_training.ipynb", "--out", "out"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "ardm: 05_training failed in cell [2]: ZeroDivisionError: division by zero; "
        "the notebook up to there is out/05_training.failed.ipynb"
    )
    assert files(notebooks / "out") == ["05_training.failed.ipynb"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_result_and_no_kernel(notebooks, number, status):
    write(notebooks / "05_training.ipynb", f"open('started', 'w')\n{SLEEP}")
    child = ardm(notebooks, "run", "05", "--out", "out")
    assert wait_for((notebooks / "started").exists)
    assert len(kernels(notebooks)) == 1
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=120)  # a hang, not a slow machine
    assert child.returncode == status
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "ardm: interrupted; nothing half-written was left"
    assert files(notebooks / "out") == []
    assert wait_for(lambda: kernels(notebooks) == [])


@pytest.mark.parametrize("command", ["run", "arena"])
def test_an_interrupt_is_heard_while_the_command_is_still_loaded(notebooks, tmp_path, command):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "cyclopts.py").write_text("import time\nopen('started', 'w')\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path / "slow"), os.environ.get("PYTHONPATH", str(Path(library.__file__).parents[2]))])
    child = ardm(notebooks, command, env={**os.environ, "PYTHONPATH": path})
    assert wait_for((notebooks / "started").exists)
    os.kill(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert err == "ardm: interrupted; nothing was begun\n"


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_fault_of_the_machine_is_one_line_with_status_1(notebooks, capsys, monkeypatch, fault):
    def full(*_, **__):
        raise OSError(fault, os.strerror(fault), "here")

    write(notebooks / "05_training.ipynb", "1")
    monkeypatch.setattr(runs, "execute", full)
    assert main(["run", "05", "--out", "out"]) == 1
    assert capsys.readouterr().err == f"ardm: {os.strerror(fault)}: here; nothing half-written was left\n"


def test_help_names_every_profile_of_the_arena(capsys):
    """It names them itself, since reading them takes torch."""
    assert main(["arena", "--help"]) == 0
    words = re.findall(r"[\w-]+", capsys.readouterr().out)
    assert set(PROFILES) <= set(words)


def test_the_options_of_the_arena_change_its_profile(notebooks, capsys, monkeypatch):
    played = []

    def run(self, *, jobs=None, on=None, gpus=None, say):
        say("one cell")
        played.append((self.settings, self.place.folder, self.place.models, jobs, on, gpus))
        return self.place.folder / "arena.csv"

    monkeypatch.setattr(Arena, "run", run)
    assert main(["arena"]) == 0
    words = ["--profile", "paper", "--task", "agreement", "--nfe", "4,8", "--tuning", "0", "--jobs", "2", "--out", "x"]
    assert main(["arena", *words, "--on", "slurm", "--gpus", "3"]) == 0
    changed = dataclasses.replace(PROFILES["paper"], tasks=("agreement",), nfe=(4, 8), tuning=0)
    first = PROFILES["small"], Path("../runs/arena"), Path("../runs/models"), None, None, None
    assert played == [first, (changed, Path("x"), Path("models"), 2, "slurm", 3)]  # models lie beside the folder of the tables
    out, err = capsys.readouterr()
    assert out.split() == ["../runs/arena/arena.csv", "x/arena.csv"]
    assert err == "".join(f"ardm: looking for what is missing of {n} trainings\none cell\n" for n in (2, changed.seeds))


@pytest.mark.parametrize(
    "words", [["run", "05", "--out", ""], ["arena", "--tasks", ""], ["arena", "--out", ""], ["record", "--from", ""]]
)
def test_an_empty_value_is_refused(notebooks, capsys, words):
    assert main(words) == 2
    assert "it is empty: name" in capsys.readouterr().err


def test_a_folder_holds_one_run_at_a_time_and_of_one_notebook(notebooks, tmp_path, capsys):
    write(notebooks / "05_training.ipynb", "1")
    with alone(tmp_path / "out"):
        assert main(["run", "05", "--out", str(tmp_path / "out")]) == 2
    assert "another call is at work in" in capsys.readouterr().err
    (tmp_path / "out" / "run.json").write_text('{"notebook": "06_other"}')
    assert main(["run", "05", "--out", str(tmp_path / "out")]) == 2
    assert "holds a run of 06_other: choose another folder" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == {"notebook": "06_other"}


def test_many_trainings_are_said_before_they_are_looked_for(notebooks, capsys, monkeypatch):
    monkeypatch.setattr(Arena, "open", lambda self: pytest.fail("it looked"))
    with pytest.raises(pytest.fail.Exception, match="it looked"):
        main(["arena", "--seeds", "4999", "--dry-run"])
    assert capsys.readouterr().err == "ardm: looking for what is missing of 4999 trainings\n"


def test_a_current_folder_that_is_no_text_or_gone_is_one_line(tmp_path, capsys, monkeypatch):
    folder = tmp_path / os.fsdecode(b"b\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["parameters", "05"]) == 2
    said = rf"ardm: the current folder '{tmp_path}/b\udcff' has bytes that are no UTF-8: name it in UTF-8"
    assert capsys.readouterr().err == f"{said}\n"
    folder.rmdir()
    assert main(["parameters", "05"]) == 2
    assert capsys.readouterr().err == "ardm: the current folder is gone: change to another\n"


def test_what_the_pages_need_is_fetched_before_notebooks_run(notebooks, capsys, monkeypatch):
    write(notebooks / "05_training.ipynb", "1")
    (notebooks.parent / "book").mkdir()
    (notebooks.parent / "book" / "vendor.py").write_text("raise SystemExit(1)")
    monkeypatch.setattr(runs, "execute_stale", lambda *_, **__: pytest.fail("it ran"))
    assert main(["book"]) == 1
    assert capsys.readouterr().err == "ardm: the book was not built: what its pages need could not be fetched\n"


def test_units_that_failed_are_status_1(notebooks, capsys, monkeypatch):
    def run(*_, **__):
        raise UnitsFailed("2 of 9 units failed\none; other")

    monkeypatch.setattr(Arena, "run", run)
    assert main(["arena"]) == 1
    assert capsys.readouterr().err.endswith("\nardm: 2 of 9 units failed\none; other\n")


def test_help_is_quick_because_torch_is_not_loaded():
    code = "import sys; from ardm.cli import main; main(['arena', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("words", [["run", "05"], ["parameters", "05"], ["execute"], ["record"]])
def test_outside_the_project_a_command_that_needs_notebooks_says_so(tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"ardm: no notebooks in {tmp_path}/notebooks: call this inside a copy of the book's repository\n"
    )


def test_parameters_are_listed(notebooks, capsys):
    write(notebooks / "05_training.ipynb", "1")
    assert main(["parameters", "05"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "type", "default", "range", "meaning"]
    assert row.split() == ["steps", "int", "3", "in", "[1,", "10]", "steps"]


def test_parameters_are_written_as_a_schema(notebooks, capsys):
    write(notebooks / "05_training.ipynb", "1")
    assert main(["parameters", "05", "--schema"]) == 0
    steps = json.loads(capsys.readouterr().out)["properties"]["steps"]
    assert steps == {"default": 3, "description": "steps", "maximum": 10, "minimum": 1, "type": "integer"}


def test_execute_and_record_fill_the_stored_notebook(notebooks, capsys):
    notebook = write(notebooks / "05_training.ipynb", "print(steps)")
    assert main(["execute"]) == 0
    assert main(["execute"]) == 0
    assert "1 of 1 notebooks are up to date" in capsys.readouterr().out
    assert main(["record"]) == 0
    assert text_of(notebook) == "3\n"
    assert main(["execute"]) == 0  # recording changes no key
    assert "1 of 1 notebooks are up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "defaults"),
        ({"steps": 2000, "seed": 1}, "seed=1,steps=2000"),
        ({"nfe": [4, 8], "fast": True, "rate": 3e-4}, "fast=true,nfe=4+8,rate=0.0003"),
    ],
)
def test_a_folder_is_named_readably(changed, name):
    assert library.folder_name(changed) == name


def test_names_that_are_no_folder_stay_apart():
    values = ["a/b", "a-b", "a b", "../up", "a,seed=1", "x" * 300, "x" * 301]
    names = [library.folder_name({"text": value}) for value in values]
    assert len(set(names)) == len(values)
    assert all("/" not in name and len(name) < 120 for name in names)


def test_train_makes_a_model_where_it_is_told_and_names_what_it_does_not_know(tmp_path, capsys, monkeypatch):
    recipe = DenoiserRecipe(length=5, width=8, depth=1, heads=1, steps=1, batch=2)
    monkeypatch.setitem(published.PUBLISHED, "toy", recipe)
    assert main(["train", "toy", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/toy.safetensors\n"
    assert published.load_denoiser("toy", tmp_path)[1] == recipe
    monkeypatch.setitem(published.PUBLISHED, "toy", dataclasses.replace(recipe, length=6))
    with pytest.raises(InputError, match="made with length=5"):
        published.load_denoiser("toy", tmp_path)
    assert main(["train", "gpt"]) == 2
    assert "unknown model 'gpt': choose one of agreement, tinyshakespeare" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["train", "toy", "--out", str(blocked / "models")]) == 2
    assert "cannot write in the folder" in capsys.readouterr().err
