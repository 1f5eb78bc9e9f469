"""Reading the published tables: means over trainings with their intervals, rules and variants compared training by training.

Needs pandas. The tables come with the package; ``ardm arena`` and ``make ablations`` make them again (``book/rerun.md``),
:func:`stale` says whether that is due, and :func:`publish` takes new ones over.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ardm.base import fingerprint
from ardm.base.atomic import write_whole
from ardm.base.errors import InputError, check_choice
from ardm.base.resources import RESULTS
from ardm.experiments import ablations
from ardm.experiments.cells import REAL, Played, Settings
from ardm.experiments.columns import write_package
from ardm.experiments.profiles import PROFILES
from ardm.experiments.statistics import Interval, mean_over_trainings, paired_difference, share
from ardm.method.rules import choose
from ardm.method.types import Bool

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

__all__ = [
    "RESULTS",
    "best_rival",
    "compare",
    "effects",
    "facts",
    "machines",
    "means",
    "outcomes",
    "paired",
    "percent",
    "publish",
    "read",
    "rivals",
    "select",
    "stale",
    "state",
    "summary",
    "take_over",
]

KEYS = ["task", "rule", "nfe"]
STRONG = "uniform refinement"  # the control that is strong enough to be a rival
PROFILE_OF = {"arena": "paper", "tuning": "paper", "final": "final", "scale": "scale", "grids": "grids"}
CALLS = 8  # ablations: the base with other numbers of calls is compared with the base with so many


def read(name: str = "arena", folder: Path = RESULTS) -> pd.DataFrame:
    """A published table: ``arena``, ``final``, ``scale``, ``grids`` or ``real`` (a row a cell), the arena's ``tuning`` (a row a
    setting tried), or ``ablations`` (a row a cell and number of calls).
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InputError("tables need pandas: pip install 'ardm[book]'") from error
    path = _published(f"{name}.csv", folder)
    content = path.read_bytes()
    published = _sums(name, folder).get(path.name)
    if published is not None and published != _digest(content):
        raise InputError(f"{path} is damaged (it is not the file that was published): {_how(name)}")
    try:
        return pd.read_csv(io.BytesIO(content), dtype={"outcomes": str, "start": str, "key": str})
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): {_how(name)}") from error


def facts(folder: Path = RESULTS, name: str = "arena") -> dict:
    """What made a table: settings, seconds, provenance. It has the table's name; that of ``tuning`` is the arena's."""
    path = _published(f"{name}.json", folder)
    try:
        return json.loads(path.read_text("utf8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}): {_how(name)}") from error


def _digest(content: bytes) -> str:
    """The SHA-256 of a table's file."""
    return hashlib.sha256(content).hexdigest()


def _sums(name: str, folder: Path) -> dict[str, str]:
    """The SHA-256 of the files that were published with a table; of none where it was published before that was kept."""
    try:
        return facts(folder, "arena" if name == "tuning" else name).get("sha256", {})
    except (OSError, ValueError):
        return {}  # whoever needs the facts is told


def _published(file: str, folder: Path) -> Path:
    path = folder / file
    if not path.is_file():
        raise InputError(f"no {file} in {folder.name}/: {_how(path.stem)}")
    return path


def _how(name: str) -> str:
    if name == "real":
        return "make it with `ardm real` and take it over with `ardm publish`"
    profile = PROFILE_OF.get(name)
    make = f"ardm arena --profile {profile}" if profile else "make ablations PROFILE=paper"
    return f"make it with `{make}` and take it over with `ardm publish`"


def publish(name: str, folder: Path, into: Path = RESULTS) -> list[Path]:
    """Take the tables that an experiment left in ``folder`` as the published ones of this name; returns where they now lie.

    ``name``: ``arena``, ``final``, ``scale``, ``grids`` or ``ablations``. ``InputError`` when they are not of today's code, not
    whole, or not those of their profile: nothing is taken over then. The JSON keeps the SHA-256 of the tables, which
    :func:`read` compares; the data package (:mod:`ardm.experiments.columns`) is written anew.
    """
    check_choice("name", name, ("arena", "final", "scale", "grids", "ablations"))
    made_as = "ablations" if name == "ablations" else "arena"
    if reasons := stale(made_as, folder):
        raise InputError(f"the tables in {folder} are not of today's code ({reasons[0]}): make them again first")
    told = facts(folder, made_as)
    if (profile := PROFILE_OF.get(name)) and Settings.of(told["settings"]) != PROFILES[profile]:
        raise InputError(f"the tables in {folder} were made with other settings than `ardm arena --profile {profile}` has")
    tables = {f"{name}.csv": _published(f"{made_as}.csv", folder)}
    if name == "arena":
        tables["tuning.csv"] = _published("tuning.csv", folder)
    return take_over(name, tables, told, into)


def take_over(name: str, tables: Mapping[str, Path], told: Mapping, into: Path = RESULTS) -> list[Path]:
    """Copy tables under their new names, and write what made them with their SHA-256 beside them; returns where all now lies.

    Whoever calls has looked whether they are whole and of today's code.
    """
    texts = {copy: file.read_text("utf8") for copy, file in tables.items()}
    sums = {copy: _digest(text.encode()) for copy, text in texts.items()}
    texts[f"{name}.json"] = json.dumps({**told, "sha256": sums}, indent=1) + "\n"
    for copy, text in texts.items():
        write_whole(into / copy, text)
    return [*(into / copy for copy in texts), write_package(into)]


def select(table: pd.DataFrame, **values: object) -> pd.DataFrame:
    """The rows with these values, by column: ``select(table, task="sudoku", nfe=[8, 16], rule=["one-way", "P2-self"])``.

    A list keeps its order: rows of its first value first. ``InputError`` for a value that no row has.
    """
    import pandas as pd

    for column, wanted in values.items():
        some = list(wanted) if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
        there = set(table[column])
        for value in some:
            if value not in there:
                raise InputError(
                    f"no row with {column} {value!r} among these: choose from {', '.join(map(str, table[column].unique()))}"
                )
        table = pd.concat([table[table[column] == value] for value in some])
    return table


def percent(found: pd.DataFrame) -> pd.DataFrame:
    """A frame with its ``value``, ``low``, ``high`` times 100: shares in per cent, differences in points, loss in hundredths."""
    return found.assign(**{name: 100 * found[name] for name in ("value", "low", "high")})


def means(table: pd.DataFrame, columns: Mapping[str, tuple[str, float]], by: str | Sequence[str] = "rule") -> pd.DataFrame:
    """Means over trainings with their intervals, side by side: a row for each ``by``, each cell an :class:`Interval`.

    ``columns``: by its name in the result, the column of the table and what its numbers are multiplied by:
    ``{"valid, %": ("quality", 100), "overwrites": ("overwrites", 1)}``. ``InputError`` where a row would be several cells.
    """
    import pandas as pd

    by = [by] if isinstance(by, str) else list(by)
    named = {}
    for name, (column, scale) in columns.items():
        found = summary(table, column).set_index(by)
        if not found.index.is_unique:
            others = [key for key in KEYS if key not in by and found.reset_index()[key].nunique() > 1]
            raise InputError(f"a row by {', '.join(by)} is several cells: select one {' and one '.join(others)} first")
        cells = [Interval(*row) for row in (scale * found[["value", "low", "high"]]).to_numpy().tolist()]
        named[name] = pd.Series(cells, index=found.index, dtype=object)
    return pd.DataFrame(named)


def summary(table: pd.DataFrame, column: str = "quality") -> pd.DataFrame:
    """Mean of a column over trainings, by task, rule and calls, with its 95 % interval: columns ``value``, ``low``, ``high``.

    Student's interval over the trainings. For ``quality`` with one outcome a text it is joined with Wilson's of all texts, since
    five trainings that all score 100 % have no spread.
    """
    import pandas as pd

    rows = []
    for key, part in table.groupby(KEYS, sort=False):
        found = mean_over_trainings(torch.tensor(part[column].to_numpy()))
        if column == "quality" and part["outcomes"].notna().all():
            pooled = share(torch.cat([outcomes(text, n) for text, n in zip(part["outcomes"], part["count"], strict=True)]))
            found = Interval(found.value, max(0.0, min(found.low, pooled.low)), min(1.0, max(found.high, pooled.high)))
        rows.append((*key, found.value, found.low, found.high, len(part)))
    return pd.DataFrame(rows, columns=[*KEYS, "value", "low", "high", "seeds"])


def outcomes(text: str, count: int) -> Bool[Tensor, " N"]:
    """The stored outcomes of a cell, one a text: was it right?"""
    bits = f"{int(text, 16):0{int(count)}b}"
    if len(bits) > count:
        raise InputError(f"outcomes {text!r} are more than {count} texts")
    return torch.tensor([bit == "1" for bit in bits])


def compare(table: pd.DataFrame, a: str, b: str, column: str = "quality") -> pd.DataFrame:
    """Rule ``a`` less rule ``b``, training by training, for each task and number of calls that both were played with.

    Where a task has no such column there is no row. ``InputError`` for a rule that the table does not know, and where one of the
    two lacks a training that the other has.
    """
    import pandas as pd

    for rule in (a, b):
        if rule not in set(table["rule"]):
            raise InputError(f"no rule {rule!r} in this table: it has {', '.join(table['rule'].unique())}")
    rows = []
    for (task, nfe), part in table.groupby(["task", "nfe"], sort=False):
        one, two = (part[part["rule"] == rule].set_index("seed")[column] for rule in (a, b))
        if len(one) and len(two) and not (one.isna().all() and two.isna().all()):
            found = paired(one, two, f"{a} and {b} on {task} with {nfe} calls")
            rows.append((task, nfe, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["task", "nfe", "value", "low", "high"])


def paired(one: pd.Series, two: pd.Series, what: str) -> Interval:
    """The paired difference of two columns whose index is the training, with its 95 % interval.

    ``InputError`` says ``what`` and names the first training that one of them lacks.
    """
    for seed in sorted({*one.index, *two.index}):
        for values in (one, two):
            if seed not in values.index or values.isna()[seed].any():
                raise InputError(f"{what}: training {seed} is missing on one side; play it, or leave it out on both")
    if not (one.index.is_unique and two.index.is_unique):
        raise InputError(f"{what}: a training is there twice; remove one")
    return paired_difference(torch.tensor(one.to_numpy(float)), torch.tensor(two.loc[one.index].to_numpy(float)))


def effects(table: pd.DataFrame, column: str = "quality") -> pd.DataFrame:
    """Each variant of the ablations less the base, training by training, with its interval, by task and number of calls.

    ``calls/N`` is the base itself with N calls, less the base with :data:`CALLS`. ``InputError`` where a training is missing.
    """
    import pandas as pd

    key, rows = ["variant", "task", "nfe"], []
    values = {at: part.set_index("seed")[column] for at, part in table.groupby(key, sort=False)}
    for (name, task, nfe), one in values.items():
        base = "base", task, CALLS if name == "base" else nfe
        if (name, task, nfe) == base:
            continue
        if base not in values:
            raise InputError(f"{name} on {task}: the base was not played with {base[2]} calls; play it")
        found = paired(one, values[base], f"{name} and the base on {task} with {nfe} calls")
        label = f"calls/{nfe}" if name == "base" else name
        rows.append((label.partition("/")[0], label, task, nfe, found.value, found.low, found.high, len(one)))
    return pd.DataFrame(rows, columns=["axis", "variant", "task", "nfe", "value", "low", "high", "seeds"])


def rivals(table: pd.DataFrame) -> list[str]:
    """The rules of a table that a gate is held against: those of the field, and a control that is as strong as they are."""
    named = choose(rule for rule in table["rule"].unique() if rule != REAL)
    return [entry.name for entry in named if entry.group == "field" or entry.name == STRONG]


def best_rival(table: pd.DataFrame, task: str, nfe: int, rivals: Sequence[str]) -> str:
    """The rival of lowest mean ``loss``: validity and fidelity weighed as in the tuning."""
    part = table[(table["task"] == task) & (table["nfe"] == nfe) & table["rule"].isin(rivals)]
    if part.empty:
        raise InputError(f"no rival was played on {task} with {nfe} calls")
    means = part.groupby("rule")["loss"].mean()
    return min(means.index, key=lambda rule: (math.inf if math.isnan(means[rule]) else means[rule], rule))


def machines(made: Mapping) -> str:
    """On which processors and devices a table was made, by the sources in its :func:`facts`."""
    given = made["provenance"]
    sources = [given] if isinstance(given, Mapping) else given  # tables without keys name one source
    return "; ".join(dict.fromkeys(f"{one['cpu']}, {one['device']}" for one in sources))


def state(name: str = "arena", folder: Path = RESULTS) -> str:
    """What a published table is: "of today's code", or that it is not and the first of the reasons that :func:`stale` finds."""
    reasons = stale(name, folder)
    return f"not of today's code ({reasons[0]})" if reasons else "of today's code"


def stale(name: str = "arena", folder: Path = RESULTS) -> list[str]:
    """Why a published table is not what its command would make today; nothing when it is. Trains and plays nothing.

    The keys of all cells and searches are made again from the settings in its JSON, those of the arena with the knobs in the table.
    """
    table, made = read(name, folder), facts(folder, name)
    if "key" not in table or "key" not in made:
        return [f"{name}.csv has no keys: it was made before cells had them"]
    try:
        settings = Settings.of(made["settings"])
    except InputError:
        return [f"{name}.json has other settings than there are today"]
    if name == "ablations":
        return _stale_ablations(table, made, settings)
    matches = {(task.name, entry.name, nfe): settings.search(task, entry, nfe) for task, entry, nfe in settings.matches()}
    knobs = {at: json.loads(part["knobs"].iloc[0]) for at, part in table.dropna(subset="knobs").groupby(KEYS, sort=False)}
    cells = settings.cells({search: knobs[at] for at, search in matches.items() if search and at in knobs})
    today = {(cell.at["task"], cell.at["rule"], cell.at["nfe"], cell.seed): cell.key for cell in cells}
    searches = sorted({search.key for search in matches.values() if search})
    return [
        *_changed_sources(made, [(cell.made["rule"], cell) for cell in cells]),
        *_changed("the cells", _keys(table, [*KEYS, "seed"]), today),
        *(["other searches than those that chose its knobs"] if fingerprint.digest(searches) != made["search_key"] else []),
    ]


def _stale_ablations(table: pd.DataFrame, made: Mapping, settings: Settings) -> list[str]:
    cells = ablations.cells(settings)
    today = {(cell.name, cell.task.name, cell.seed): cell.key for cell in cells}
    return [
        *_changed_sources(made, [(cell.name, cell) for cell in cells]),
        *_changed("the cells", _keys(table, ["variant", "task", "seed"]), today),
    ]


def _keys(table: pd.DataFrame, columns: list[str]) -> dict[tuple, str]:
    """The keys of a table by where its cells stand."""
    return dict(zip(table[columns].itertuples(index=False, name=None), table["key"], strict=True))


def _changed_sources(made: Mapping, cells: Sequence[tuple[str, Played]]) -> Iterable[str]:
    """Versions, corpora and code that are others today; cells by the name of what they play."""
    yield from _changed("the versions", made["versions"], fingerprint.versions())
    yield from _changed("the corpora", made["data"], {cell.task.recipe.corpus: cell.made["data"] for _, cell in cells})
    yield from _changed("the code", made["code"], {name: cell.made["code"] for name, cell in cells})


def _changed(what: str, held: Mapping, today: Mapping) -> Iterable[str]:
    """What differs between the table and today, in one line that names up to three."""
    other = [name for name in {**held, **today} if held.get(name) != today.get(name)]
    if other:
        named = ", ".join(" ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in other[:3])
        yield f"{what}: {len(other)} of {len(today)} are others than today, such as {named}"
