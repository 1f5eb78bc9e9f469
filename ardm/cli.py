"""The command ``ardm``. Each subcommand is one function: its signature and docstring are its options and its help."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypedDict, get_args

from cyclopts import App, CycloptsError, Parameter, Token

from ardm import __version__
from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError, check_choice
from ardm.base.provenance import provenance
from ardm.book import library, runs
from ardm.book.parameters import non_default, parse_assignments, read_parameters, schema

__all__ = ["main"]

BAD_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143

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
        app(arguments)
    except (InputError, CycloptsError) as error:
        return _refuse(str(error), BAD_INPUT)
    except runs.RunFailed as error:
        return _refuse(str(error), FAILED)
    except KeyboardInterrupt:
        return _refuse("interrupted; nothing half-written was left", INTERRUPTED)
    return 0


def _terminated(*_: Any) -> NoReturn:
    sys.exit(TERMINATED)  # leave as Ctrl-C does: kernels stopped, no half file


def _refuse(message: str, status: int) -> int:
    print(f"ardm: {' '.join(message.split())}", file=sys.stderr)
    return status


def _split(kind: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """The items of ``4,8`` or ``a, b``, each of the type that the tuple ``kind`` names."""
    item = get_args(kind)[0]
    words = [word.strip() for token in tokens for word in token.value.split(",") if word.strip()]
    for word in words:
        if item is int and not word.isdecimal():
            raise ValueError(f"{word!r} is no whole number: separate them by commas, such as 4,8,16")
    return tuple(map(item, words))


COMMAS = Parameter(converter=_split, n_tokens=1)
Words = Annotated[tuple[str, ...], COMMAS]
Numbers = Annotated[tuple[int, ...], COMMAS]


# Subcommands -------------------------------------------------------------------------------------------------------------


@app.command
def run(
    notebook: str,
    /,
    *,
    assignments: Annotated[tuple[str, ...], Parameter("-p", show_default=False)] = (),
    out: Path | None = None,
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
    output, summary = folder / f"{path.stem}.ipynb", folder / "run.json"
    check_writable(output)
    summary.unlink(missing_ok=True)  # its presence says that the run is whole
    result = runs.execute(path, output, values)
    print(output)
    if html:
        from ardm.book.html import page

        write_whole(output.with_suffix(".html"), page(output, path))
        print(output.with_suffix(".html"))
    made = {
        "notebook": path.stem,
        "parameters": {parameter.name: parameter.default for parameter in declared} | values,
        "changed": changed,
        "key": result.key,
        "provenance": provenance(),
        "seconds": result.seconds,
    }
    write_whole(summary, json.dumps(made, indent=1, ensure_ascii=False) + "\n")


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
def execute(*notebooks: str, into: Path | None = None, jobs: int | None = None, force: bool = False) -> None:
    """Execute the notebooks whose executed copy is out of date.

    Args:
        notebooks: as for run (default: all)
        into: folder of the executed copies (default: _build/executed)
        jobs: notebooks at a time (default: one a core)
        force: execute those that are up to date too
    """
    found = library.several(notebooks)
    runs.execute_stale(found, into or library.copies(found), jobs=jobs, force=force)


@app.command
def record(*notebooks: str, copies: Annotated[Path | None, Parameter("--from")] = None) -> None:
    """Copy the executed outputs into the stored notebooks.

    Args:
        notebooks: as for run (default: all)
        copies: folder of the executed copies (default: _build/executed)
    """
    found = library.several(notebooks)
    for notebook in found:
        runs.record((copies or library.copies(found)) / f"{notebook.stem}.ipynb", notebook)
    print(f"recorded the outputs of {len(found)} notebooks")


@app.command
def train(name: str, /, *, out: Path | None = None) -> None:
    """Train a published denoiser or its gate again.

    Args:
        name: agreement, tinyshakespeare, text8, sudoku9 or toy; NAME-gate for its gate
        out: folder of the weights (default: ardm/data/models)
    """
    from ardm.base.devices import pick_device  # torch takes a second: only where it is needed
    from ardm.base.resources import MODELS
    from ardm.experiments.published import publish

    print(f"training {name} on {pick_device()}", file=sys.stderr)
    print(publish(name, out or library.here(MODELS)))


@app.command
def export(name: str, /, *, out: Path | None = None) -> None:
    """Write a published denoiser and its gate as ONNX graphs.

    Args:
        name: as for train
        out: folder of the graphs (default: ardm/data/models)
    """
    from ardm.base.resources import MODELS
    from ardm.book.export import export_onnx

    for path in export_onnx(name, out or library.here(MODELS)):
        print(path)


class Changes(TypedDict, total=False):
    """What the options of ``arena`` change of a profile.

    Args:
        tasks: A,B (default: the profile's)
        rules: A,B (default: all)
        nfe: calls of the denoiser per text, such as 4,8 (default: each task's)
        seeds: trainings
        count: texts a cell
        tuning: texts that a setting is tried on; 0 plays the defaults
    """

    tasks: Annotated[Words, Parameter(alias="--task")]
    rules: Words
    nfe: Numbers
    seeds: int
    count: int
    tuning: int


@app.command
def arena(
    *,
    profile: str = "small",
    changes: Annotated[Changes | None, Parameter("*")] = None,
    jobs: int | None = None,
    out: Path | None = None,
) -> None:
    """Play every rule on every task at equal calls and write tidy tables; resumable.

    Args:
        profile: what the options start from: small, paper, final, scale or scale-gpu
        jobs: cells at a time (default: one a core)
        out: folder of cells and tables (default: runs/arena); trained models lie beside it, in models
    """
    from ardm.experiments.arena import CellsFailed
    from ardm.experiments.arena import arena as play
    from ardm.experiments.profiles import PROFILES

    check_choice("profile", profile, PROFILES)
    settings = replace(PROFILES[profile], **(changes or {}))
    folder = out or library.here(library.home() / "runs" / "arena")
    try:
        say = partial(print, file=sys.stderr, flush=True)
        print(play(settings, folder, models=folder.parent / "models", jobs=jobs, say=say))
    except CellsFailed as error:
        raise runs.RunFailed(str(error)) from error
