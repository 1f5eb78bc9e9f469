"""The pages that say what each published model and each published table is, written at every build from the files themselves."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ardm.base.resources import MODELS, REGISTRY, RESULTS
from ardm.experiments.columns import package
from ardm.experiments.doubts import doubts
from ardm.experiments.published import PUBLISHED, published_files
from ardm.experiments.results import facts, read
from ardm.experiments.store import facts_of

MODEL_PAGE, TABLE_PAGE = "book/models", "book/tables"  # as in _toc.yml

TOY = "Sentences of a law whose probabilities are known, drawn anew for every step ({doc}`../notebooks/00_quickstart`)."
TAUGHT_ON = {
    "agreement": TOY,
    "sudoku": "Solved 4×4 grids, all equally likely, drawn anew for every step.",
    "sudoku9": "Random symmetries of solved grids made for it, none of the public puzzles ({doc}`../notebooks/18_sudoku`).",
}
"""What a corpus is; of real text the registry says it."""

LAW = "It knows the words of the toy grammar and no English. A valid text of it says nothing about real text."
CHARACTERS = (
    "It is small, reads a few words at a time and writes letters, not sense: most of what it writes is no sentence. "
    "It is not for use on texts of people."
)
GUESSES = "It guesses and proves nothing: a grid that it fills may break the rules, and it does not say so."
CANNOT = {
    "agreement": LAW,
    "tinyshakespeare": CHARACTERS,
    "text8": CHARACTERS + " It has lower-case letters and the blank alone.",
    "sudoku9": GUESSES,
    "sudoku9-long": GUESSES + " It is `sudoku9`, trained longer, for `ardm arena --profile grids`.",
    "toy": LAW + " It is for the browser ({doc}`playground`): smaller than `agreement`, and no result rests on it.",
}
"""What a published denoiser cannot do, by its name."""

GATE_CANNOT = (
    "It reads the hidden states of the denoiser with key `{of}` and means nothing for any other. "
    "It says which token is doubtful, not which is right."
)
LICENCE = "MIT, as the package"


def parameters(path: Path) -> int:
    """How many numbers the model in the file has learned; means and spreads of signals are counted, not learned."""
    with safe_open(path, framework="pt") as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in file.keys() if not name.startswith("standard."))  # noqa: SIM118


def sha256(path: Path) -> str:
    """The checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def taught_on(corpus: str) -> str:
    """What a corpus is, in a sentence or two."""
    if corpus in TAUGHT_ON:
        return TAUGHT_ON[corpus]
    entry = json.loads(REGISTRY.read_text("utf8"))[corpus]
    return f"{entry['title']}. {entry['source']}; the text keeps its own terms."


def models(folder: Path = MODELS) -> str:
    """The page of the published models: a card each, and a table of those that the arena lends to a chapter."""
    lines = [
        "# Published models",
        "",
        f"The package comes with {len(PUBLISHED)} denoisers, each with its recommended gate. All are small and were trained on a",
        "CPU; with them the chapters run in minutes. What a card says is read from the model's file at every build. {doc}`rerun`",
        "says how each is made again.",
        "",
        "| Model | Parameters | Trained on |",
        "|---|---:|---|",
    ]
    lines += [
        f"| [{name}](#model-{name}) | {parameters(folder / f'{name}.safetensors'):,} | {recipe.corpus}, {recipe.length} tokens |"
        for name, recipe in PUBLISHED.items()
    ]
    for name in PUBLISHED:
        lines += ["", *_denoiser(name, folder), "", *_gate(name, folder)]
    return "\n".join([*lines, "", *_arena(folder / "arena")]) + "\n"


def _denoiser(name: str, folder: Path) -> list[str]:
    recipe = PUBLISHED[name]
    told = facts_of(folder / f"{name}.safetensors")
    shape = f"{recipe.depth} blocks, width {recipe.width}, {recipe.heads} heads"
    exported = [path for end in (".onnx", "-gate.onnx") if (path := folder / f"{name}{end}").is_file()]
    rows = {
        "What it is": f"a denoiser: a bidirectional transformer of {shape}",
        "Reads": f"at most {recipe.length} tokens of {len(told['words'])} words, and the mask",
        "Trained on": taught_on(recipe.corpus),
        "Training": f"{recipe.steps:,} steps of {recipe.batch} texts, {_made(told)}",
        "Loss on held-out texts": f"{told['validation_loss']:.3f} nats a token, hidden or not",
        "Cannot": CANNOT[name],
        **_file(folder / f"{name}.safetensors", told),
        **{f"In the browser: `{one.name}`": f"{one.stat().st_size:,} bytes, SHA-256 `{sha256(one)}`" for one in exported},
        "Load": f'`denoiser, recipe, facts = ardm.load_denoiser("{name}")`',
    }
    return [f"(model-{name})=", f"## {name}", "", *_card(rows)]


def _gate(name: str, folder: Path) -> list[str]:
    path = folder / f"{name}-gate.safetensors"
    told = facts_of(path)
    rows = {
        "What it is": _what(told),
        "Trained on": f"states of the denoiser [{name}](#model-{name}) on the same texts; label: {_label(told)}",
        "Training": f"{told['recipe']['steps']:,} steps of {told['recipe']['batch']} texts, {_made(told)}",
        "Loss at the end": f"{told['loss']:.3f} nats",
        "Cannot": GATE_CANNOT.format(of=told["of"]),
        **_file(path, told),
        "Load": f'`gate = ardm.load_gate("{name}")`',
    }
    return [f"(model-{name}-gate)=", f"### {name}-gate", "", *_card(rows)]


def _arena(folder: Path) -> list[str]:
    held = [(path, facts_of(path)) for path in published_files(folder)]
    lines = [
        "(models-arena)=",
        "## Models of the arena",
        "",
        "The arena trains a denoiser and its gates for every task and training. They do not come with the package: the same",
        "command makes them again. These few do, for the chapters that show a single run. A file is named after its key, and a",
        "store finds it by its recipe:",
        '`Store(folder, also=published_files(MODELS / "arena")).gate(recipe, denoiser)`. Limits and licence are those above.',
        "",
        "| Key | What it is | Trained on | Parameters | SHA-256 |",
        "|---|---|---|---:|---|",
    ]
    for path, told in sorted(held, key=lambda one: one[1]["kind"]):
        of = f"states of `{told['of']}`; label: {_label(told)}" if told["of"] else taught_on(told["recipe"]["corpus"])
        what = _what(told) if told["of"] else f"a denoiser of {told['recipe']['depth']} blocks, width {told['recipe']['width']}"
        lines.append(f"| `{told['key']}` | {what} | {of} | {parameters(path):,} | `{sha256(path)}` |")
    return lines


def _what(told: Mapping[str, Any]) -> str:
    """A gate, by its head."""
    recipe, head = told["recipe"], told["recipe"].get("head")
    signals = f"{len(recipe['signals'])} signals"
    if head is None:
        return f"a gate that learned on its own runs: {recipe['blocks']} blocks, width {recipe['width']}, {signals}"
    kind = {"attentive": "tokens see each other", "learned": "each token is judged alone"}[head["kind"]]
    return f"a gate: {head['kind']} head ({kind}), width {head['width']}, {signals}"


def _label(told: Mapping[str, Any]) -> str:
    recipe = told["recipe"]
    return (recipe["label"] if "label" in recipe else recipe["objective"]["label"]).replace("_", " ")


def _made(told: Mapping[str, Any]) -> str:
    made, took = told["provenance"], f"{told['seconds']:.0f} s"
    return f"seed {told['recipe']['seed']}; {took} on {made['cores']} cores of {made['cpu']}, at commit `{made['commit']}`"


def _file(path: Path, told: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Parameters": f"{parameters(path):,}",
        "Recipe key": f"`{told['key']}`",
        "File": f"`{path.name}`, {path.stat().st_size:,} bytes",
        "SHA-256": f"`{sha256(path)}`",
        "Licence": LICENCE,
    }


def _card(rows: Mapping[str, str]) -> list[str]:
    """A table of two columns, whose first row is its head."""
    head, *rest = (f"| **{name}** | {said} |" for name, said in rows.items())
    return [head, "|---|---|", *rest]


def tables(folder: Path = RESULTS) -> str:
    """The page of the published tables: rows, checksum, what made them, and folded their columns with meaning and unit."""
    described = package(folder)["resources"]
    lines = [
        "# Published tables",
        "",
        f"The package comes with {len(described)} tables. The chapters read them and play nothing of them again; `ardm arena` and",
        "`ardm ablations` make them again ({doc}`rerun`). `ardm/data/results/datapackage.json` says in a form for programs what",
        "stands here: it is a [Frictionless](https://specs.frictionlessdata.io/tabular-data-package/) data package. An empty cell",
        "or `nan` is a number that the task does not have.",
        "",
        "| Table | Rows | A row |",
        "|---|---:|---|",
    ]
    for one in described:
        lines.append(f"| [{one['name']}](#table-{one['name']}) | {_rows(folder / one['path']):,} | {one['description']} |")
    for one in described:
        lines += ["", *_table(one, folder)]
    return "\n".join(lines) + "\n"


def _rows(path: Path) -> int:
    with path.open(encoding="utf8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def _table(one: Mapping[str, Any], folder: Path) -> list[str]:
    name = one["name"]
    made = facts(folder, "arena" if name == "tuning" else name)
    versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
    commits = ", ".join(f"`{source['commit']}`" for source in made["provenance"])
    key = made["search_key"] if name == "tuning" else made["key"]
    return [
        f"(table-{name})=",
        f"## {one['title']}",
        "",
        f"{one['description'][0].upper()}{one['description'][1:]}. Licence: MIT.",
        "",
        *_card(
            {
                "File": f"`{one['path']}`, {one['bytes']:,} bytes, {_rows(folder / one['path']):,} rows",
                "SHA-256": f"`{one['hash'].removeprefix('sha256:')}`",
                "Key of all rows": f"`{key}`",
                "Made at": f"commits {commits}, with {versions}",
                "Read": f'`ardm.experiments.results.read("{name}")`',
            }
        ),
        *_folded(
            f"Its {len(one['schema']['fields'])} columns",
            "| Column | Meaning | Type, unit |",
            "|---|---|---|",
            *(f"| `{f['name']}` | {f['description']} | {_unit(f)} |" for f in one["schema"]["fields"]),
        ),
        *_doubts(name, folder),
    ]


def _folded(title: str, *lines: str) -> list[str]:
    """Lines that a click opens."""
    return ["", f":::{{admonition}} {title}", ":class: dropdown", "", *lines, ":::"]


def _doubts(name: str, folder: Path) -> list[str]:
    """What a table of matches should be doubted for, folded."""
    told = doubts(read(name, folder)) if name in ("arena", "final", "scale", "grids") else []
    return _folded("What to doubt in it", *(f"- {one}." for one in told)) if told else []


def _unit(field: Mapping[str, Any]) -> str:
    return f"{field['type']}, {field['unit']}" if "unit" in field else field["type"]
