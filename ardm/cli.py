"""The command ``ardm``. Each subcommand is one function and the few lines of ``_parser`` that declare it."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ardm import __version__, runs
from ardm.base.atomic import check_writable, write_whole
from ardm.base.errors import InputError
from ardm.base.provenance import provenance
from ardm.book.stated import GLUED
from ardm.book.parameters import non_default, parse_assignments, read_parameters, schema

__all__ = ["main"]

BAD_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, 1 failed run, 2 bad input, 130 interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # leave as Ctrl-C does: kernels stopped, no half file
    try:
        chosen = _parser().parse_args(arguments)
        chosen.command(chosen)
    except InputError as error:
        return _refuse(str(error), BAD_INPUT)
    except runs.RunFailed as error:
        return _refuse(str(error), FAILED)
    except KeyboardInterrupt:
        return _refuse("interrupted; nothing half-written was left", INTERRUPTED)
    return 0


def _refuse(message: str, status: int) -> int:
    print(f"ardm: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ardm", description="Run the notebooks of the book, train its models, play its arena.")
    parser.add_argument("--version", action="version", version=f"ardm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("run", help="run one notebook with parameters of your own")
    one.set_defaults(command=_run)
    one.add_argument("notebook", help="a path, a name such as 09_sampling, or the start of one such as 09")
    one.add_argument("-p", dest="assignments", metavar="NAME=VALUE", action="append", default=[], help="repeatable")
    one.add_argument("--out", type=Path, metavar="DIR", help="folder of the result (default: runs/NAME/PARAMETERS)")
    one.add_argument("--html", action="store_true", help="also write one HTML file, with formulas as TeX, without widgets")

    table = commands.add_parser("parameters", help="list the parameters of a notebook")
    table.set_defaults(command=_parameters)
    table.add_argument("notebook", help="as for run")
    table.add_argument("--schema", action="store_true", help="as a JSON schema")

    many = commands.add_parser("execute", help="execute the notebooks whose executed copy is out of date")
    many.set_defaults(command=_execute)
    many.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="as for run (default: all)")
    many.add_argument("--into", type=Path, metavar="DIR", help="folder of the executed copies (default: _build/executed)")
    many.add_argument("--jobs", type=int, metavar="N", help="notebooks at a time (default: one a core)")
    many.add_argument("--force", action="store_true", help="execute those that are up to date too")

    keep = commands.add_parser("record", help="copy the executed outputs into the stored notebooks")
    keep.set_defaults(command=_record)
    keep.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="as for run (default: all)")
    keep.add_argument("--from", dest="into", type=Path, metavar="DIR", help="folder of the executed copies")

    model = commands.add_parser("train", help="train a published denoiser or its gate again")
    model.set_defaults(command=_train)
    model.add_argument("name", metavar="NAME", help="agreement, tinyshakespeare, text8, sudoku9 or toy; NAME-gate for its gate")
    model.add_argument("--out", type=Path, metavar="DIR", help="folder of the weights (default: data/models)")

    graphs = commands.add_parser("export", help="write a published denoiser and its gate as ONNX graphs")
    graphs.set_defaults(command=_export)
    graphs.add_argument("name", metavar="NAME", help="as for train")
    graphs.add_argument("--out", type=Path, metavar="DIR", help="folder of the graphs (default: data/models)")

    fair = commands.add_parser("arena", help="play every rule on every task at equal calls and write tidy tables; resumable")
    fair.set_defaults(command=_arena)
    fair.add_argument(
        "--profile",
        choices=("small", "paper", "final", "scale", "scale-gpu"),  # ardm.experiments.match.PROFILES, which needs torch
        default="small",
        help="what the options start from (default: small)",
    )
    fair.add_argument("--tasks", "--task", type=_words, metavar="A,B", help="tasks (default: the profile's)")
    fair.add_argument("--rules", type=_words, metavar="A,B", help="rules (default: all)")
    fair.add_argument("--nfe", type=_numbers, metavar="4,8", help="calls of the denoiser per text (default: each task's)")
    fair.add_argument("--seeds", type=int, metavar="N", help="trainings")
    fair.add_argument("--count", type=int, metavar="N", help="texts a cell")
    fair.add_argument("--tuning", type=int, metavar="N", help="texts that a setting is tried on; 0 plays the defaults")
    fair.add_argument("--jobs", type=int, metavar="N", help="cells at a time (default: one a core)")
    fair.add_argument("--out", type=Path, metavar="DIR", help="folder of models, cells and tables (default: runs/arena)")
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        wrong = next(word for word in _words(text) if not word.strip("+-").isdigit())
        raise argparse.ArgumentTypeError(f"{wrong!r} is no whole number: separate them by commas, such as 4,8,16") from None


# Subcommands -------------------------------------------------------------------------------------------------------------


def _run(chosen: argparse.Namespace) -> None:
    notebook = _find(chosen.notebook)
    declared = read_parameters(notebook)
    values = parse_assignments(declared, chosen.assignments, notebook.stem)
    changed = non_default(declared, values)
    folder = chosen.out or _here(runs.project_root(notebook) / "runs" / notebook.stem / _folder_name(changed))
    output, summary = folder / f"{notebook.stem}.ipynb", folder / "run.json"
    check_writable(output)
    summary.unlink(missing_ok=True)  # its presence says that the run is whole
    result = runs.execute(notebook, output, values)
    print(output)
    if chosen.html:
        write_whole(output.with_suffix(".html"), _html(output, notebook))
        print(output.with_suffix(".html"))
    run = {
        "notebook": notebook.stem,
        "parameters": {parameter.name: parameter.default for parameter in declared} | values,
        "changed": changed,
        "key": result.key,
        "provenance": provenance(),
        "seconds": result.seconds,
    }
    write_whole(summary, json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def _parameters(chosen: argparse.Namespace) -> None:
    notebook = _find(chosen.notebook)
    declared = read_parameters(notebook)
    if chosen.schema:
        print(json.dumps(schema(declared, notebook.stem), ensure_ascii=False, indent=1))
        return
    if not declared:
        print(f"{notebook.stem} takes no parameters")
        return
    rows = [("name", "type", "default", "range", "meaning")]
    rows += [(p.name, p.type, json.dumps(p.default, ensure_ascii=False), p.range or "any", p.help) for p in declared]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _execute(chosen: argparse.Namespace) -> None:
    notebooks = _several(chosen.notebooks)
    runs.execute_stale(notebooks, _copies(chosen, notebooks), jobs=chosen.jobs, force=chosen.force)


def _record(chosen: argparse.Namespace) -> None:
    notebooks = _several(chosen.notebooks)
    for notebook in notebooks:
        runs.record(_copies(chosen, notebooks) / f"{notebook.stem}.ipynb", notebook)
    print(f"recorded the outputs of {len(notebooks)} notebooks")


def _train(chosen: argparse.Namespace) -> None:
    from ardm.base.devices import pick_device  # torch takes a second: only where it is needed
    from ardm.experiments.store import MODELS, publish_denoiser, publish_gate

    print(f"training {chosen.name} on {pick_device()}", file=sys.stderr)
    make, name = (publish_gate if chosen.name.endswith("-gate") else publish_denoiser), chosen.name.removesuffix("-gate")
    print(make(name, chosen.out or _here(MODELS)))


def _export(chosen: argparse.Namespace) -> None:
    from ardm.book.export import export_onnx
    from ardm.experiments.store import MODELS

    for path in export_onnx(chosen.name, chosen.out or _here(MODELS)):
        print(path)


def _arena(chosen: argparse.Namespace) -> None:
    from ardm.experiments.arena import arena  # torch takes a second
    from ardm.experiments.match import PROFILES

    given = {name: getattr(chosen, name) for name in ("tasks", "rules", "nfe", "seeds", "count", "tuning")}
    settings = replace(PROFILES[chosen.profile], **{name: value for name, value in given.items() if value is not None})
    folder = chosen.out or _here(runs.project_root(Path.cwd()) / "runs" / "arena")
    print(arena(settings, folder, jobs=chosen.jobs, say=lambda line: print(line, file=sys.stderr, flush=True)))


# Where things lie --------------------------------------------------------------------------------------------------------


def _library() -> Path:
    """The folder of the notebooks: that of the project around the current folder."""
    folder = runs.project_root(Path.cwd()) / "notebooks"
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: call ardm inside the project of the book")
    return folder


def _find(name: str) -> Path:
    """The notebook that a path, a stem or the start of a stem names."""
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in sorted(_library().glob("[!.]*.ipynb"))}
    wanted = Path(name).name.removesuffix(".ipynb")
    matches = [wanted] if wanted in known else [stem for stem in known if stem.startswith(wanted)]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise InputError(f"{name!r} may be {', '.join(matches)}: write more of it")
    close = difflib.get_close_matches(wanted, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known) or 'none'}."
    raise InputError(f"no notebook {name!r}: {hint}")


def _several(names: Sequence[str]) -> list[Path]:
    found = [_find(name) for name in names] or sorted(_library().glob("[!.]*.ipynb"))
    if not found:
        raise InputError(f"there is no notebook in {_library()}")
    return found


def _copies(chosen: argparse.Namespace, notebooks: Sequence[Path]) -> Path:
    return chosen.into or _here(runs.project_root(notebooks[0]) / "_build" / "executed")


def _here(path: Path) -> Path:
    """The path as seen from the current folder, so that messages stay short."""
    return Path(os.path.relpath(path))


def _folder_name(changed: Mapping[str, Any]) -> str:
    """``seed=1,steps=2000``, or ``defaults``. A name that cannot be a folder is cut and ends in a digest of the values."""
    if not changed:
        return "defaults"
    name = ",".join(f"{key}={_word(changed[key])}" for key in sorted(changed))
    safe = re.sub(r"[^\w.=,+-]", "-", name)[:100]
    if safe == name and not any(re.search("[=,+]", text) for text in changed.values() if isinstance(text, str)):
        return name
    return f"{safe}-{hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8]}"


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_word, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


# HTML --------------------------------------------------------------------------------------------------------------------

OFFLINE = "{% extends 'lab/index.html.j2' %}" + "".join(
    f"{{% block {name} %}}{{% endblock %}}"
    for name in ("html_head_js", "jupyter_widgets", "html_head_js_mathjax", "html_head_js_mermaidjs")
)


def _html(executed: Path, notebook: Path) -> str:
    """The executed notebook as one HTML file: images inside, no script or style from elsewhere."""
    try:
        import nbformat
        from jinja2 import DictLoader
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise InputError(f"--html needs {error.name}: pip install 'ardm[book]'") from error
    shown = nbformat.read(executed, as_version=4)
    for cell in shown.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not any(map(_is_glued, output.get("data", ())))]
    exporter = HTMLExporter(extra_loaders=[DictLoader({"offline": OFFLINE})], template_file="offline", embed_images=True)
    resources = {"metadata": {"name": notebook.stem, "path": str(notebook.resolve().parent)}}
    return exporter.from_notebook_node(shown, resources=resources)[0]


def _is_glued(kind: str) -> bool:
    return kind.startswith(GLUED)
