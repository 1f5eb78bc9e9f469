"""The command ``ardm``. Each subcommand is one function: its signature and docstring are its options and its help."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypedDict, get_args

from cyclopts import App, CycloptsError, Parameter, Token

from ardm import __version__
from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError, check_choice
from ardm.base.graph import Unit, UnitsFailed, alone
from ardm.base.provenance import missing, provenance
from ardm.book import library, runs
from ardm.book.parameters import non_default, parse_assignments, read_parameters, schema

if TYPE_CHECKING:
    from ardm.book.parameters import Parameter as Declared
    from ardm.experiments.work import Experiment, Place

__all__ = ["main"]

BAD_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143
SUMMARY = "run.json"
MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EMFILE,
    errno.ENFILE,
}  # faults of the machine, not of the code

app = App(
    name="ardm",
    help="Run the notebooks of the book, train its models, play its arena.",
    version=f"ardm {__version__}",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),  # no --no-html beside --html
    suppress_keyboard_interrupt=False,
    exit_on_error=False,
    print_error=False,
    result_action="return_none",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, 1 failed run, 2 bad input, 130 interrupted."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _check_text(sys.argv[1:] if arguments is None else arguments)
        app(arguments)
    except (InputError, CycloptsError) as error:
        return _refuse(str(error), BAD_INPUT)
    except (runs.RunFailed, UnitsFailed) as error:
        _tell(str(error))
        return FAILED
    except KeyboardInterrupt:
        return _refuse("interrupted; nothing half-written was left", INTERRUPTED)
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        where = f": {error.filename}" if error.filename else ""
        return _refuse(f"{error.strerror}{where}; nothing half-written was left", FAILED)
    return 0


def _terminated(*_: Any) -> NoReturn:
    sys.exit(TERMINATED)  # leave as Ctrl-C does: kernels stopped, no half file


def _check_text(arguments: Sequence[str]) -> None:
    """Raise ``InputError`` for bytes that are no text, in an argument or in the current folder: no notebook could hold them."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        raise InputError("the current folder is gone: change to another") from None
    for what, text in (*(("argument", argument) for argument in arguments), ("current folder", here)):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"the {what} {text!r} has bytes that are no UTF-8: name it in UTF-8")


def _refuse(message: str, status: int) -> int:
    _tell(" ".join(message.split()))
    return status


def _tell(line: str) -> None:
    """Say the line beside the results, if there is one."""
    if line:
        print(f"ardm: {line}", file=sys.stderr, flush=True)


def _split(kind: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """The items of ``4,8`` or ``a, b``, each of the type that the tuple ``kind`` names."""
    item = get_args(kind)[0]
    words = [word.strip() for token in tokens for word in token.value.split(",") if word.strip()]
    if not words:
        raise ValueError("it is empty: name at least one, or leave the option out")
    for word in words:
        if item is int and not word.isdecimal():
            raise ValueError(f"{word!r} is no whole number: separate them by commas, such as 4,8,16")
    return tuple(map(item, words))


def _named(kind: type[Path], tokens: Sequence[Token]) -> Path:
    """A path that has a name: an empty one would be the folder of the call."""
    if not tokens[0].value:
        raise ValueError("it is empty: name a folder, or leave the option out")
    return kind(tokens[0].value)


COMMAS = Parameter(converter=_split, n_tokens=1)
Words = Annotated[tuple[str, ...], COMMAS]
Numbers = Annotated[tuple[int, ...], COMMAS]
Folder = Annotated[Path, Parameter(converter=_named, n_tokens=1)]


# Subcommands -------------------------------------------------------------------------------------------------------------


@app.command
def run(
    notebook: str,
    /,
    *,
    assignments: Annotated[tuple[str, ...], Parameter("-p", show_default=False)] = (),
    out: Folder | None = None,
    html: bool = False,
) -> None:
    """Run one notebook with parameters of your own.

    Args:
        notebook: a path, a name such as 09_sampling, or the start of one such as 09
        assignments: NAME=VALUE, one parameter; repeatable
        out: folder of the result (default: runs/NAME/PARAMETERS)
        html: also write one HTML file, with formulas as TeX, without widgets
    """
    path = library.find(notebook)
    declared = read_parameters(path)
    values = parse_assignments(declared, assignments, path.stem)
    changed = non_default(declared, values)
    folder = out or library.here(runs.project_root(path) / "runs" / path.stem / library.folder_name(changed))
    check_writable(folder / SUMMARY)
    with alone(folder):
        _run(path, declared, values, folder, html=html)


def _run(notebook: Path, declared: Sequence[Declared], values: dict[str, Any], folder: Path, *, html: bool) -> None:
    output, summary = folder / f"{notebook.stem}.ipynb", folder / SUMMARY
    if (held := _notebook_of(summary)) not in (None, notebook.stem):
        raise InputError(f"{folder} holds a run of {held}: choose another folder with --out")
    _tell(missing())
    summary.unlink(missing_ok=True)  # its presence says that the run is whole
    result = runs.execute(notebook, output, values)
    print(output)
    if html:
        from ardm.book.html import page

        write_whole(output.with_suffix(".html"), page(output, notebook))
        print(output.with_suffix(".html"))
    made = {
        "notebook": notebook.stem,
        "parameters": {parameter.name: parameter.default for parameter in declared} | values,
        "changed": non_default(declared, values),
        "key": result.key,
        "provenance": provenance(),
        "seconds": result.seconds,
    }
    write_whole(summary, json.dumps(made, indent=1, ensure_ascii=False) + "\n")


def _notebook_of(summary: Path) -> str | None:
    try:
        return json.loads(summary.read_text("utf8"))["notebook"]
    except (OSError, ValueError, KeyError):
        return None


@app.command
def parameters(notebook: str, /, *, as_schema: Annotated[bool, Parameter("--schema")] = False) -> None:
    """List the parameters of a notebook.

    Args:
        notebook: as for run
        as_schema: as a JSON schema
    """
    path = library.find(notebook)
    declared = read_parameters(path)
    if as_schema:
        print(json.dumps(schema(declared, path.stem), ensure_ascii=False, indent=1))
        return
    if not declared:
        print(f"{path.stem} takes no parameters")
        return
    rows = [("name", "type", "default", "range", "meaning")]
    rows += [(p.name, p.type, json.dumps(p.default, ensure_ascii=False), p.range or "any", p.help) for p in declared]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command
def execute(
    *notebooks: str,
    into: Folder | None = None,
    jobs: int | None = None,
    force: bool = False,
    why: bool = False,
) -> None:
    """Execute the notebooks whose executed copy is out of date.

    Args:
        notebooks: as for run (default: all)
        into: folder of the executed copies (default: _build/executed)
        jobs: notebooks at a time (default: one a core)
        force: execute those that are up to date too
        why: only say which are out of date, and why
    """
    found = library.several(notebooks)
    folder = into or library.copies(found)
    if why:
        reasons = {copy.stem: runs.why_stale(one, runs.recorded(copy)) for copy, one in runs.copies_of(found, folder).items()}
        print(*(f"{name}: {reason or 'up to date'}" for name, reason in reasons.items()), sep="\n")
        return
    runs.execute_stale(found, folder, jobs=jobs, force=force, say=partial(print, flush=True))


@app.command
def book(*, jobs: int | None = None, why: bool = False) -> None:
    """Execute the notebooks that are out of date, then build the pages: _build/html/index.html.

    Args:
        jobs: notebooks at a time (default: one a core)
        why: only say what is out of date, and why
    """
    found = library.several(())
    root, into = runs.project_root(found[0]), library.copies(found)
    build = [sys.executable, str(root / "book" / "build.py")]
    if why:
        return execute(into=into, why=True)
    if subprocess.run([sys.executable, str(root / "book" / "vendor.py")], check=False).returncode:
        raise runs.RunFailed("the book was not built: what its pages need could not be fetched")
    pages = Unit(kind="pages", name="pages", command=tuple(build), says="the pages")
    if not runs.execute_stale(found, into, jobs=jobs, then=[pages], say=partial(print, flush=True)):
        os.execv(sys.executable, build)
    return print("_build/html/index.html")


@app.command(show=False)
def execute_one(notebook: Path, output: Path, /) -> None:
    """Execute one notebook with its defaults; the graph starts it.

    Args:
        notebook: its path
        output: of the executed copy
    """
    runs.execute(notebook, output, progress=False)


@app.command
def record(*notebooks: str, copies: Annotated[Path | None, Parameter("--from", converter=_named, n_tokens=1)] = None) -> None:
    """Copy the executed outputs into the stored notebooks.

    Args:
        notebooks: as for run (default: all)
        copies: folder of the executed copies (default: _build/executed)
    """
    found = library.several(notebooks)
    runs.record(runs.copies_of(found, copies or library.copies(found)))
    print(f"recorded the outputs of {len(found)} notebooks")


@app.command
def train(name: str, /, *, out: Folder | None = None) -> None:
    """Train a published denoiser or its gate again. Stopped, it goes on by the same command; under torchrun devices share the work.

    Args:
        name: agreement, tinyshakespeare, text8, sudoku9, sudoku9-long or toy; NAME-gate for its gate; toy-repair for one taught
            by minimal repair
        out: folder of the weights (default: ardm/data/models)
    """
    from ardm.base.devices import pick_device  # torch takes a second: only where it is needed
    from ardm.base.processes import leads, processes
    from ardm.base.resources import MODELS
    from ardm.experiments.published import check_name, publish

    check_name(name, gates=True)
    device = pick_device()
    crew = processes(device.type)
    if leads():
        _tell(missing())
        _tell(f"training {name} on {device}" + f", {crew.count} processes" * (crew.count > 1))
    made = publish(name, out or library.here(MODELS), device=device)
    if leads():
        print(made)


class Reading(TypedDict, total=False):
    """How ``train-gate`` reads a model.

    Args:
        unframed: do not put the tokenizer's special tokens around a window
        shift: the model's logits at i predict the token at i + 1
        trust_remote_code: run the model's own code
        diffusion: a masked diffusion model, such as LLaDA: nothing is put around a window
    """

    unframed: bool
    shift: bool
    trust_remote_code: bool
    diffusion: bool


class Training(TypedDict, total=False):
    """How ``train-gate`` trains.

    Args:
        steps: optimiser steps (default: 300)
        batch: windows an optimiser step (default: 64)
        seed: of the training (default: 0)
    """

    steps: int
    batch: int
    seed: int


@app.command
def train_gate(
    model: str,
    /,
    *,
    texts: Folder,
    out: Folder = Path("gate.safetensors"),
    length: int = 64,
    signals_only: bool = False,
    training: Annotated[Training | None, Parameter("*")] = None,
    reading: Annotated[Reading | None, Parameter("*")] = None,
) -> None:
    """Train the recommended gate for a masked language model of Hugging Face, on texts of your own.

    Args:
        model: folder or name that transformers loads
        texts: a text file, UTF-8; its last tenth is held out
        out: file of the gate
        length: tokens of a window
        signals_only: a gate that reads no hidden states, for the scheduler of diffusers
    """
    from ardm.adapters import gates
    from ardm.experiments.ranking import told_apart
    from ardm.method.gate_recipe import RECOMMENDED
    from ardm.method.train_gate import train_gate as train

    check_writable(out)
    head = replace(RECOMMENDED.head, hidden=not signals_only)
    recipe, words, how = replace(RECOMMENDED, head=head, **(training or {})), _text(texts), dict(reading or {})
    denoiser, tokenizer = _denoiser(model, **how)
    corpus = gates.TokenTexts.of(words, length, tokenizer, denoiser)
    gate = train(denoiser, corpus, recipe, device=denoiser.device).gate
    gates.save_gate(out, gate, recipe, denoiser, model=model)
    found = told_apart(gate, denoiser, corpus, seed=recipe.seed, device=denoiser.device)
    print("wrong tokens of held-out texts told from right ones (1: always, 0.5: by chance):")
    print("\n".join(f"  {name:28s} {rank:.3f}" for name, rank in found.items()))
    print(out)


def _denoiser(model: str, *, diffusion: bool = False, unframed: bool = False, **how: bool) -> tuple[Any, Any]:
    """The model as a denoiser, and its tokenizer."""
    from ardm.adapters import diffusion_lm, masked_lm

    return diffusion_lm.load_diffusion(model, **how) if diffusion else masked_lm.load(model, framed=not unframed, **how)


def _text(path: Path) -> str:
    """A text file, whole."""
    try:
        return path.read_text("utf8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: convert it first") from None
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): name a text file") from None


@app.command
def export(name: str, /, *, out: Folder | None = None) -> None:
    """Write a published denoiser and its gate as ONNX graphs.

    Args:
        name: agreement, tinyshakespeare, text8, sudoku9, sudoku9-long or toy
        out: folder of the graphs (default: ardm/data/models)
    """
    from ardm.base.resources import MODELS
    from ardm.book.export import export_onnx

    for path in export_onnx(name, out or library.here(MODELS)):
        print(path)


@app.command
def bench(*, positions: int = 512, words: int = 50_257, width: int = 768, repeats: int = 7, out: Folder | None = None) -> None:
    """Time what deciding costs beside predicting: signals and a draw in several ways, each against one head matmul.

    Args:
        positions: tokens of all texts together, B x L
        words: size of the vocabulary, V
        width: of the hidden states, D
        repeats: rounds; every way is called once a round
        out: file of all figures, as JSON
    """
    from ardm.base.devices import pick_device
    from ardm.experiments.bench import Size, report
    from ardm.experiments.bench import bench as measure

    told = measure(Size(positions, words, width), repeats, pick_device())
    if out:
        write_whole(out, json.dumps(told, indent=1) + "\n")
    print(report(told))


class Changes(TypedDict, total=False):
    """What the options of ``arena`` and ``ablations`` change of a profile.

    Args:
        tasks: A,B (default: the profile's)
        rules: A,B (default: all)
        nfe: calls of the denoiser per text, such as 4,8 (default: each task's)
        seeds: trainings
        count: texts a cell
        tuning: texts that a setting is tried on; 0 plays the defaults
        denoiser_steps: optimiser steps of each denoiser (default: its recipe's)
        gate_steps: optimiser steps of each gate (default: its recipe's)
    """

    tasks: Annotated[Words, Parameter(alias="--task")]
    rules: Words
    nfe: Numbers
    seeds: int
    count: int
    tuning: int
    denoiser_steps: int
    gate_steps: int


class Doing(TypedDict, total=False):
    """How ``arena`` and ``ablations`` are done.

    Args:
        jobs: batches of cells at a time (default: one a core)
        on: a cluster: slurm, kubernetes, or the folder of a Snakemake profile
        gpus: trainings at a time, each with one GPU (default: those of this machine; on a cluster none)
        dry_run: only list what is missing or out of date
    """

    jobs: int
    on: str
    gpus: int
    dry_run: Annotated[bool, Parameter(alias="-n")]


@app.command
def arena(
    *,
    profile: str = "small",
    changes: Annotated[Changes | None, Parameter("*")] = None,
    doing: Annotated[Doing | None, Parameter("*")] = None,
    out: Folder | None = None,
) -> None:
    """Play every rule on every task at equal calls and write tidy tables; resumable.

    Args:
        profile: what the options start from: small, paper, final, scale, scale-gpu or grids
        out: folder of cells and tables (default: runs/arena); trained models lie beside it, in models
    """
    from ardm.experiments.arena import Arena
    from ardm.experiments.profiles import PROFILES

    check_choice("profile", profile, PROFILES)
    settings = replace(PROFILES[profile], **(changes or {}))
    _make(Arena(settings, _place(out or library.here(library.home() / "runs" / "arena"))), **(doing or {}))


@app.command
def ablations(
    *,
    profile: str = "small",
    axes: Words = (),
    changes: Annotated[Changes | None, Parameter("*")] = None,
    doing: Annotated[Doing | None, Parameter("*")] = None,
    out: Folder | None = None,
) -> None:
    """Change one thing of the gate at a time and write tidy tables; resumable.

    Args:
        profile: what the options start from: small or paper
        axes: A,B of ardm.experiments.ablations.AXES (default: all)
        out: folder of cells and tables (default: runs/ablations); trained models lie beside it, in models
    """
    from ardm.base.sheets import inert_table
    from ardm.experiments.ablations import AXES, PROFILES, Ablations
    from ardm.experiments.results import effects, read

    check_choice("profile", profile, PROFILES)
    settings = replace(PROFILES[profile], **(changes or {}))
    place = _place(out or library.here(library.home() / "runs" / "ablations"))
    if _make(Ablations(settings, place, axes or tuple(AXES)), **(doing or {})):
        table = inert_table(effects(read("ablations", place.folder))).to_csv(index=False, float_format="%.6g")
        write_whole(place.folder / "effects.csv", table)


@app.command
def real(*, seeds: int = 5, count: int = 20, out: Folder | None = None) -> None:
    """Play rules on the reaction model of rxnmapper and write a table; resumable, about an hour on one core.

    Args:
        seeds: times that gates are trained and texts are played
        count: texts a cell
        out: folder of cells, gates and table (default: runs/real)
    """
    from ardm.experiments.real_table import Setting, make

    _tell(missing())
    folder = out or library.here(library.home() / "runs" / "real")
    print(make(folder, Setting(seeds=seeds, count=count), say=partial(print, file=sys.stderr, flush=True)))


@app.command
def publish(name: str, folder: Path, /) -> None:
    """Take the tables of an experiment as those that the book reads, when they are whole and of today's code.

    Args:
        name: arena, final, scale, grids, ablations or real
        folder: where ardm arena, ardm ablations or ardm real left them
    """
    from ardm.experiments import real_table, results

    print(*(real_table.publish(folder) if name == "real" else results.publish(name, folder)), sep="\n")


def _place(folder: Path) -> Place:
    from ardm.experiments.work import Place

    return Place(folder, folder.parent / "models")


def _make(experiment: Experiment, *, dry_run: bool = False, **how: Any) -> bool:
    """Make the tables, or list what that would do; whether they were made."""
    _tell(f"looking for what is missing of {experiment.settings.seeds} trainings")  # of many it takes long
    if dry_run:
        open_ = experiment.open()
        for batch in open_:
            print(f"{batch.kind}: {batch.says}", *(f"  {job}" for job in batch.jobs), sep="\n")
        print(f"{sum(len(batch.jobs) for batch in open_)} jobs in {len(open_)} batches would be done")
        return False
    for folder in (experiment.place.folder, experiment.place.models):
        check_writable(folder / "any")
    _tell(missing())
    print(experiment.run(**how, say=partial(print, file=sys.stderr, flush=True)))
    return True


@app.command(show=False)
def work(folder: Path, batch: str, /, *, task: str | None = None) -> None:
    """Do the missing jobs of one batch of an experiment, here and now; the graph starts it.

    Args:
        folder: of the experiment
        batch: its name
        task: of the batch, if it has one
    """
    from ardm.experiments.make import asked

    asked(folder).work(batch, task)


@app.command
def again(folder: Path, key: str, /) -> None:
    """Do one job of an arena or of ablations again, here and now, and print what comes out; nothing is kept.

    Args:
        folder: of the arena or the ablations
        key: of the job: the column key of the table, or from the line that reports its failure
    """
    from ardm.experiments.make import asked

    print(asked(folder).again(key))
