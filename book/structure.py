"""The page "The code in one picture": what is drawn and counted there is read from the code each time the book is built.

``picture`` draws the wings, their modules and who imports whom; ``walk`` draws what one step of sampling does to a token;
``lines`` counts. The order of the wings is that of the contract in ``pyproject.toml`` which forbids the other direction.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import grimp

PACKAGE = "ardm"
PAGE = "book/code"
PICTURE, WALK = "code-wings.svg", "code-step.svg"

WIDTH = 360  # of both drawings: what a phone shows at full size
LETTER = 6.7  # width of a letter of the modules' names, at most: monospaced, of size 11
INK, PALE = "#222222", "#f1f3f5"
COLOURS = (
    "#5f6368",
    "#a0417a",
    "#0072b2",
    "#7a5c00",
    "#00795a",
    "#b34700",
    "#333333",
)  # a wing each, on white at least 4.5 : 1
FONT = "font-family='ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace'"


# -------------------------------------------------------------------------------------------------------------- the code


@dataclass(frozen=True)
class Wing:
    """A part of the package: its name, its modules without the package's name, and their lines together."""

    name: str
    modules: tuple[str, ...]
    lines: int


@dataclass(frozen=True)
class Structure:
    """The wings from top to bottom, and how many imports lead from one to another."""

    wings: tuple[Wing, ...]
    arrows: dict[tuple[str, str], int] = field(default_factory=dict)


def order(root: Path) -> list[str]:
    """The wings from top to bottom, as the contract of the imports lists them; ``ardm.__main__`` only calls ``ardm.cli``."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "wings")
    return [name.removeprefix(f"{PACKAGE}.") for name in layers if not name.endswith("__")]


def lines(root: Path) -> dict[str, int]:
    """The length of every file of the package, by the name under which it is imported."""
    files = {path: path.relative_to(root).with_suffix("").parts for path in sorted((root / PACKAGE).rglob("*.py"))}
    return {
        ".".join(parts).removesuffix(".__init__"): len(path.read_text("utf8").splitlines()) for path, parts in files.items()
    }


def structure(root: Path) -> Structure:
    """The wings of the package and the imports between them; grimp reads the sources and runs none of them."""
    names, length = order(root), lines(root)
    imports = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)

    def inside(wing: str) -> list[str]:
        return [name for name in length if name == f"{PACKAGE}.{wing}" or name.startswith(f"{PACKAGE}.{wing}.")]

    def shown(wing: str) -> tuple[str, ...]:
        modules = [name.removeprefix(f"{PACKAGE}.{wing}").removeprefix(".") or wing for name in inside(wing)]
        return tuple(name for name in modules if len(modules) == 1 or name != wing)

    wings = tuple(Wing(name, shown(name), sum(length[module] for module in inside(name))) for name in names)
    arrows = {}
    for importer in names:
        for imported in names:
            found = sum(
                imports.direct_import_exists(importer=one, imported=other)
                for one in inside(importer)
                for other in inside(imported)
                if importer != imported
            )
            if found:
                arrows[importer, imported] = found
    return Structure(wings, arrows)


# ----------------------------------------------------------------------------------------------------------- the drawings


def text(x: float, y: float, words: str, *, size: float = 11, fill: str = INK, style: str = "") -> str:
    return f"<text x='{x:g}' y='{y:g}' font-size='{size:g}' fill='{fill}' {style}>{escape(words)}</text>"


def box(x: float, y: float, width: float, height: float, *, fill: str = "white", stroke: str = "none") -> str:
    return f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='4' fill='{fill}' stroke='{stroke}'/>"


def line(path: str, colour: str, *, head: bool = False) -> str:
    """A line along an SVG path; a ``head`` points right or left, to where the path ends."""
    end = f" marker-end='url(#head-{colour[1:]})'" if head else ""
    return f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='1.5' stroke-linecap='square'{end}/>"


def svg(height: float, parts: Iterable[str]) -> str:
    """A drawing on a white sheet, so that it reads alike in both themes."""
    heads = "".join(
        f"<marker id='head-{colour[1:]}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='6' markerHeight='6' orient='auto'>"
        f"<path d='M0 0 L8 4 L0 8 z' fill='{colour}'/></marker>"
        for colour in dict.fromkeys((*COLOURS, INK))
    )
    size = f"width='{WIDTH * 1.25:g}' height='{height * 1.25:g}' viewBox='0 0 {WIDTH} {height:g}'"
    sheet = f"<rect width='{WIDTH}' height='{height:g}' fill='white'/>"
    body = "\n".join([f"<defs>{heads}</defs>", sheet, *parts])
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>\n{body}\n</svg>\n"


@dataclass(frozen=True)
class Stop:
    """One thing that happens to a token in a step.

    ``code``: how it is called. ``says``: what it does. ``file``: where it stands, below ``ardm/method/``. ``calls``: the function
    or method there that does it; both are empty for the denoiser, which the caller brings. ``hands``: what goes on to the next.
    """

    code: str
    says: tuple[str, ...]
    file: str = ""
    calls: str = ""
    hands: str = ""


STOPS: tuple[tuple[Stop, ...], ...] = (
    (
        Stop(
            "denoiser(x, time)",
            ("reads the whole text; time falls from 1 to 1/T",),
            hands="log q of every word",
        ),
    ),
    (Stop("draw(log_q, uniform)", ("one uniform number becomes one word",), "draw.py", "Draw.__call__", "proposal"),),
    (
        Stop("schedule(step, ...)", ("a mask:", "write it now, or wait?"), "schedule.py", "Schedule.__call__", "write, remask"),
        Stop("revise(step, ...)", ("a visible token:", "keep, replace or hide?"), "rules/", "HideThenRefill.revise"),
    ),
    (
        Stop(
            "_advance(state, ...)",
            ("write: the proposal; remask: the mask;", "else: what was there"),
            "sampling.py",
            "_advance",
            "new x",
        ),
    ),
    (Stop("tally.add(step, ...)", ("calls, words written, changed, hidden again",), "sampling.py", "_Tally.add"),),
)
"""What ``refine`` does at every step, in this order; what stands side by side is one rule: a schedule and a reviser."""

HIGH, DROP, LOOP = 46, 30, 344  # of a stop's box; to the next one; where the line back to the first runs


def walk(stops: Sequence[Sequence[Stop]] = STOPS) -> str:
    """One step of ``refine`` from top to bottom, and the line back up to the next step."""
    parts, y, right = [], 26.0, 322.0
    middle = right / 2
    parts += [
        text(middle, 12, "x: a word, or the mask", style="text-anchor='middle'"),
        line(f"M{middle} 16 V{y:g}", INK, head=True),
    ]
    first, last = y, y
    for row in stops:
        width = (right - 2 - 8 * (len(row) - 1)) / len(row)
        tall = HIGH + 13 * (len(row[0].says) - 1) + 13 * (len(row) > 1)
        for k, stop in enumerate(row):
            x = 2 + k * (width + 8)
            parts += [box(x, y, width, tall, fill=PALE, stroke=COLOURS[5])]
            parts += [text(x + 8, y + 16, stop.code, fill=COLOURS[5], style="font-weight='bold'")]
            parts += [text(x + 8, y + 33 + 13 * j, words, size=10) for j, words in enumerate(stop.says)]
            at = (x + 8, y + tall - 8, "") if len(row) > 1 else (x + width - 8, y + 16, "text-anchor='end'")
            if stop.file:
                parts += [text(at[0], at[1], stop.file, size=9, fill=COLOURS[0], style=at[2])]
        last, y = y + tall / 2, y + tall
        if row[0].hands:
            parts += [line(f"M{middle} {y:g} V{y + DROP - 1:g}", INK, head=True), text(middle + 8, y + 19, row[0].hands)]
            y += DROP
    back = f"M{right:g} {last:g} H{LOOP} V{first + HIGH / 2:g} H{right + 1:g}"
    parts += [line(back, INK, head=True)]
    turn = f"transform='rotate(-90 {LOOP + 12} {(first + last) / 2:g})' text-anchor='middle'"
    parts += [text(LOOP + 12, (first + last) / 2, "next step, t + 1 of T", style=turn)]
    return svg(y + 4, parts)


def rows(modules: Sequence[str], width: float) -> list[list[tuple[float, str]]]:
    """Modules set in rows of at most ``width``: in each row their names and where they begin. A package begins a row."""
    packages = sorted({module.rpartition(".")[0] for module in modules} - {""})
    groups = [[module for module in modules if "." not in module and module not in packages]]
    groups += [
        [f"{package}/", *(module.removeprefix(f"{package}.") for module in modules if module.startswith(f"{package}."))]
        for package in packages
    ]
    found: list[list[tuple[float, str]]] = []
    for group in groups:
        x = width  # so that the first begins a row
        for word in group:
            needed = LETTER * len(word) + 8
            if x + needed > width:
                found.append([])
                x = 0.0
            found[-1].append((x, word))
            x += needed + 4
    return found


EDGE, INNER = 278, 232  # right edge of the wings' boxes; how wide the modules' names may run
LANE, HEAD, ROW, STEP, GAP = 14, 24, 20, 15, 14


def picture(code: Structure) -> str:
    """The wings one below the other. Each has a line in the margin which runs down to the wings it imports from."""
    colours = {wing.name: colour for wing, colour in zip(code.wings, COLOURS, strict=True)}
    lanes = {wing.name: EDGE + 12 + LANE * (len(code.wings) - 2 - k) for k, wing in enumerate(code.wings)}
    parts, ends, starts, y = [], {}, {}, 4.0
    for wing in code.wings:
        into = [importer for importer, imported in code.arrows if imported == wing.name]
        into.sort(key=lanes.__getitem__)
        out = any(importer == wing.name for importer, _ in code.arrows)
        placed = rows(wing.modules, INNER)
        height = HEAD + max(ROW * len(placed), STEP * (len(into) + out)) + 6
        colour = colours[wing.name]
        files = f"{len(wing.modules)} files" if len(wing.modules) > 1 else "1 file"
        parts += [box(2, y, EDGE - 2, height, stroke=colour)]
        parts += [text(10, y + 16, wing.name, size=13, fill=colour, style="font-weight='bold'")]
        about = f"{files}, {wing.lines} lines"
        parts += [text(EDGE - 8, y + 16, about, size=10, style="text-anchor='end'")]
        for number, row in enumerate(placed):
            top = y + HEAD + ROW * number
            for x, word in row:
                width = LETTER * len(word) + 8
                parts += [
                    box(8 + x, top, width, 17, fill=PALE),
                    text(8 + x + width / 2, top + 12, word, style="text-anchor='middle'"),
                ]
        for number, importer in enumerate(into):
            ends[importer, wing.name] = y + HEAD + STEP * number + 8
        starts[wing.name] = y + height - 9
        y += height + GAP
    for wing in code.wings:
        reached = [end for (importer, _), end in ends.items() if importer == wing.name]
        if reached:
            parts += [line(f"M{EDGE} {starts[wing.name]:g} H{lanes[wing.name]} V{max(reached):g}", colours[wing.name])]
    for (importer, imported), end in ends.items():
        colour, count = colours[importer], str(code.arrows[importer, imported])
        parts += [line(f"M{lanes[importer]} {end:g} H{EDGE + 1}", colour, head=True)]
        parts += [text(EDGE - 5, end + 4, count, size=10, fill=colour, style="text-anchor='end'")]
    return svg(y - GAP + 4, parts)


def told(code: Structure) -> str:
    """The picture in words, for those who do not see it."""
    named = "; ".join(f"{wing.name}: {', '.join(wing.modules)}" for wing in code.wings)
    below = [wing.name for wing in code.wings]
    arrows = ", ".join(f"{one} {count} from {other}" for (one, other), count in code.arrows.items())
    return f"{len(below)} boxes from top to bottom, with the modules in them. {named}. Imports: {arrows}."


# -------------------------------------------------------------------------------------------------------------- the page

READING = (
    "types",
    "inputs",
    "signals",
    "draw",
    "head",
    "belief",
    "sampling",
    "schedule",
    "selection",
    "prior",
    "denoiser",
    "gate",
    "rules.scheduled",
    "rules.scores",
    "rules.hide",
    "rules.overwrite",
    "corruption",
    "losses",
    "optimise",
    "training",
    "train_denoiser",
    "labels",
    "gate_recipe",
    "states",
    "lessons",
    "train_gate",
)
"""Modules of the method in an order in which each needs only those before it."""


def parsed(module: str, root: Path) -> ast.Module:
    """The code of a module or of a package's own file."""
    path = root.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf8"))


def first_sentence(module: str, root: Path) -> str:
    """What a module says of itself in the first sentence of its docstring, as Markdown."""
    return sentence(ast.get_docstring(parsed(f"{PACKAGE}.{module}", root)) or "")


def sentence(said: str) -> str:
    """The first sentence of a docstring, as Markdown."""
    first = re.split(r"(?<=[.])\s", said.partition("\n\n")[0].replace("\n", " "))[0]
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first).replace("``", "`")


def reading(root: Path, order: Sequence[str] = READING) -> str:
    """A table of the modules to read, how long each is, and what it says of itself."""
    length = {module: lines(root)[f"{PACKAGE}.method.{module}"] for module in order}
    table = ["| | File in `ardm/method` | Lines | What it is |", "|---:|---|---:|---|"]
    for number, module in enumerate(order, 1):
        link = f"{{py:mod}}`{module.replace('.', '/')}.py <{PACKAGE}.method.{module}>`"
        table += [f"| {number} | {link} | {length[module]} | {first_sentence(f'method.{module}', root)} |"]
    return "\n".join([*table, f"| | together | {sum(length.values())} | |"])


def wings(code: Structure, root: Path) -> str:
    """A table of the wings, from top to bottom, and what each says of itself."""
    rows = [f"| {wing.name} | {first_sentence(wing.name, root)} |" for wing in code.wings]
    return "\n".join(["| Wing | What it is |", "|---|---|", *rows])


def names_of(code: ast.Module) -> list[str]:
    """What a module says it offers: its ``__all__``, sorted."""
    offered = next(node for node in code.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    return sorted(ast.literal_eval(offered.value))


def nouns(root: Path) -> str:
    """A table of what the package offers by short names: where each is defined, and what it says of itself."""
    table = ["| Name | Defined in | What it is |", "|---|---|---|"]
    code = parsed(PACKAGE, root)
    imports = [node for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module or "" for node in imports for alias in node.names}
    for name in names_of(code):
        module = homes[name]
        node = next(node for node in parsed(module, root).body if getattr(node, "name", "") == name)
        table += [f"| {{py:obj}}`{name} <{module}.{name}>` | `{module}` | {sentence(ast.get_docstring(node) or '')} |"]
    return "\n".join(table)


def image(file: str, alt: str) -> str:
    return f"```{{image}} _static/{file}\n:alt: {alt}\n```"


def assemble(root: Path, static: Path) -> dict[str, str]:
    """Draw into the static folder of the staged sources; returns what the page takes its pictures and tables from, by name."""
    code = structure(root)
    (static / PICTURE).write_text(picture(code), "utf8")
    (static / WALK).write_text(walk(), "utf8")
    step = "; then ".join(" beside ".join(f"{stop.code}, {' '.join(stop.says)}" for stop in row) for row in STOPS)
    return {
        "picture": image(PICTURE, told(code)),
        "step": image(WALK, f"What happens to a token in one step, from top to bottom: {step}; and back to the first."),
        "wings": wings(code, root),
        "reading": reading(root),
        "nouns": nouns(root),
    }
