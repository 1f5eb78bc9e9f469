"""What stands at the end of each notebook's page: how to run it again, with which parameters, and how long that takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from identity import Identity

from ardm.book.parameters import Parameter, schema

COLAB = "https://colab.research.google.com/github"
BINDER = "https://mybinder.org/v2/gh"
CODESPACES = "https://codespaces.new"


def command(name: str, parameters: Sequence[Parameter]) -> str:
    """The command that runs the notebook with the values of the page."""
    given = [f"-p {shlex.quote(f'{p.name}={text(p.default)}')}" for p in parameters]
    line = " ".join([f".venv/bin/ardm run {name}", *given])
    return line if len(line) < 90 else " \\\n    ".join([f".venv/bin/ardm run {name}", *given])


def text(value: object) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list):
        return ",".join(map(text, value))
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def box(name: str, parameters: Sequence[Parameter], seconds: float, machine: str, book: Identity, commit: str) -> dict:
    """A cell of text for the end of the page of notebook ``name``."""
    links = [_link("the notebook", f"../_sources/notebooks/{name}.ipynb")]
    if parameters:
        links.append(_link("JSON schema of its parameters", f"../_static/schemas/{name}.json"))
    lines = ["## Rerun this page", "", "```sh", command(name, parameters), "```", ""]
    if parameters:
        lines += ["| Parameter | Here | Values | Meaning |", "|---|---|---|---|"]
        lines += [f"| `{p.name}` | `{text(p.default)}` | {p.expected} | {p.help} |" for p in parameters]
        lines += [""]
    lines += [
        f"{_duration(seconds)} on {machine}. {' · '.join(links)}. {{doc}}`../book/rerun` says what the command needs.",
        "",
    ]
    if book.repository:
        lines += [f"On a machine of somebody else: {' · '.join(elsewhere(name, book, commit))}.", ""]
    return {"cell_type": "markdown", "id": "rerun-this-page", "metadata": {}, "source": "\n".join(lines)}


def elsewhere(name: str, book: Identity, commit: str) -> list[str]:
    """Links that open the notebook, or all of them, on a machine of somebody else; Codespaces takes the newest state."""
    commit = "HEAD" if commit == "unknown" else commit.removesuffix("+changes")
    return [
        _link("Colab", f"{COLAB}/{book.repository}/blob/gh-pages/_static/colab/{name}.ipynb"),
        _link("Binder", f"{BINDER}/{book.repository}/{commit}?labpath=notebooks/{name}.ipynb"),
        _link("Codespaces", f"{CODESPACES}/{book.repository}?quickstart=1"),
    ]


def _link(words: str, address: str) -> str:
    """A link as HTML: MyST would look for the file beside the source."""
    return f'<a href="{address}">{words}</a>'


def _duration(seconds: float) -> str:
    return f"It took {seconds:.0f} s" if seconds < 90 else f"It took {seconds / 60:.1f} min"


def times(runs: Sequence[tuple[str, float]], machine: str) -> str:
    """A table of how long each notebook took here."""
    rows = [f"| {{doc}}`../{page}` | {seconds:.0f} |" for page, seconds in runs]
    total = f"| all, one after the other | {sum(seconds for _, seconds in runs):.0f} |"
    return "\n".join([f"| Notebook | Seconds on {machine} |", "|---|---:|", *rows, total])


def write_files(name: str, parameters: Sequence[Parameter], notebook: Path, book: Identity, static: Path, commit: str) -> None:
    """The schema of the parameters, and where the repository is known the notebook for Colab, without outputs."""
    write(static / "schemas" / f"{name}.json", schema(parameters, name))
    if book.repository:
        write(static / "colab" / f"{name}.ipynb", in_colab(json.loads(notebook.read_text("utf8")), book.repository, commit))


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", "utf8")


def in_colab(notebook: dict, repository: str, commit: str) -> dict:
    """The notebook without outputs, its first cell fetching the project at its commit and installing what Colab lacks.

    It is installed as a whole, not as a link to its sources: a link is read when Python starts, and the kernel runs already.
    """
    checkout = f"!git -C ardm-book checkout --quiet {commit.removesuffix('+changes')}"
    lines = [
        f"!git clone --quiet --filter=blob:none https://github.com/{repository} ardm-book",
        *([checkout] if commit != "unknown" else []),  # without git here: the newest
        "%cd ardm-book/notebooks",
        "%pip install --quiet --no-deps ..",
        "%pip install --quiet pooch safetensors",
    ]
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "id": "colab",
        "metadata": {},
        "outputs": [],
        "source": "\n".join(lines),
    }
    plain = [{**old, "outputs": []} if old["cell_type"] == "code" else old for old in notebook["cells"]]
    return {**notebook, "cells": [cell, *plain]}
