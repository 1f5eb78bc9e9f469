"""``pyproject.toml``, ``environment.yml`` and ``requirements.lock`` say the same."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import ardm

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
LOCK = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")]

# What conda gives and pip does not: the interpreter, and tools that pyproject.toml cannot name.
CONDA_ONLY = {"python", "pip", "make", "git", "nodejs"}
# Extras that no reader of the book needs.
NOT_FOR_READERS = {"dev", "slurm", "kubernetes", "scale"}  # who has a cluster adds its extra


def direct() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def locked() -> dict[str, list[Requirement]]:
    pins: dict[str, list[Requirement]] = {}
    for line in LOCK:
        requirement = Requirement(line)
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is no pin"
    return specifier.version


def differences(conda: list, project: dict) -> list[str]:
    """What an environment made from ``environment.yml`` has more or less than one made by ``make``."""
    found = []
    names = {re.split(r"[ <>=!~]", line, maxsplit=1)[0] for line in conda if isinstance(line, str)}
    found += [f"{name}: in environment.yml, not in pyproject.toml" for name in sorted(names - CONDA_ONLY)]
    python = next((line.removeprefix("python") for line in conda if isinstance(line, str) and line.startswith("python")), "")
    if python != project["requires-python"]:
        found.append(f"python{python}, but pyproject.toml requires python{project['requires-python']}")
    (pip,) = (item["pip"] for item in conda if isinstance(item, dict))
    wanted = set(project["optional-dependencies"]) - NOT_FOR_READERS
    extras: set[str] = set()
    for line in pip:
        if match := re.fullmatch(r"-e \.\[([\w,]+)\]", line):
            extras |= set(match.group(1).split(","))
        elif line != "-c requirements.lock":
            found.append(f"{line}: in environment.yml, not in pyproject.toml")
    found += [f"extra {name}: in pyproject.toml, not in environment.yml" for name in sorted(wanted - extras)]
    found += [f"extra {name}: in environment.yml, not in pyproject.toml" for name in sorted(extras - wanted)]
    if "-c requirements.lock" not in pip:
        found.append("environment.yml does not take the versions of requirements.lock")
    return found


def test_conda_and_make_install_the_same_set() -> None:
    assert differences(CONDA, PROJECT) == []


@pytest.mark.parametrize(
    ("conda", "said"),
    [
        (["python>=3.11", "numpy", {"pip": ["-c requirements.lock", "-e .[book,test,lab]"]}], "numpy: in environment.yml"),
        (["python>=3.11", {"pip": ["-c requirements.lock", "-e .[book,test,lab]", "rich"]}], "rich: in environment.yml"),
        (["python>=3.11", {"pip": ["-c requirements.lock", "-e .[book,test]"]}], "extra lab: in pyproject.toml"),
        (["python>=3.11", {"pip": ["-c requirements.lock", "-e .[book,test,lab,more]"]}], "extra more: in environment.yml"),
        (["python>=3.9", {"pip": ["-c requirements.lock", "-e .[book,test,lab]"]}], "python>=3.9"),
        (["python>=3.11", {"pip": ["-e .[book,test,lab]"]}], "does not take the versions"),
    ],
)
def test_each_difference_is_seen(conda: list, said: str) -> None:
    project = {
        "requires-python": ">=3.11",
        "optional-dependencies": {"book": [], "test": [], "lab": [], "dev": []},
    }
    found = differences(conda, project)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: requirement.name)
def test_the_lock_pins_each_direct_dependency_within_its_range(requirement: Requirement) -> None:
    pins = locked().get(canonicalize_name(requirement.name), [])
    assert pins, f"{requirement.name} is not in requirements.lock: run make lock"
    for pin in pins:
        assert requirement.specifier.contains(version_of(pin)), f"{pin} is outside {requirement}: run make lock"


def test_the_lock_holds_pins_without_local_versions() -> None:
    assert [line for line in LOCK if Version(version_of(Requirement(line))).local] == []
    assert "+" not in "".join(LOCK)


def test_the_lock_leaves_torch_its_own_libraries() -> None:
    assert [line for line in LOCK if re.match(r"nvidia|triton|cuda", line)] == []


def test_one_version_per_package_and_interpreter() -> None:
    for name, pins in locked().items():
        assert len(pins) == 1 or all(pin.marker for pin in pins), f"{name} is pinned twice"


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert citation["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']} - {citation['date-released']}" in changelog
    assert ardm.__version__ == PROJECT["version"]


def hashed() -> dict[str, tuple[set[str], list[str]]]:
    """Of each package in requirements.sha256 its versions and its checksums."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    for block in re.split(r"\n(?=\w)", (ROOT / "requirements.sha256").read_text()):
        if block.startswith("#"):
            continue
        pin, *sums = block.replace("\\", "").strip().split("\n")
        requirement = Requirement(pin.strip())
        versions, known = found.setdefault(canonicalize_name(requirement.name), (set(), []))
        versions.add(version_of(requirement))
        known += [line.strip() for line in sums]
    return found


def wanted(names: list[str], groups: dict[str, list[str]]) -> set[str]:
    """What a requirement of these groups, installed here, asks for, directly or not, on this machine."""
    waiting = [Requirement(line) for name in names for line in groups[name]]
    found: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        for extra in {"", *one.extras}:
            if (key := (canonicalize_name(one.name), extra)) in found:
                continue
            found.add(key)
            asked = [Requirement(line) for line in distribution(one.name).requires or ()]
            waiting += [it for it in asked if it.marker is None or it.marker.evaluate({"extra": extra})]
    return {name for name, _ in found} - {"ardm"}


def test_all_that_make_installs_has_checksums_of_the_locked_version() -> None:
    """Found by walking through what is installed, from the groups that `make` names."""
    groups = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    sums, pins = hashed(), locked()
    missing = {name for name in wanted(["", "book", "test"], groups) if name not in sums}
    assert missing == set()
    apart = {name for name, (versions, _) in sums.items() if name in pins and not versions <= {*map(version_of, pins[name])}}
    assert apart == set()
    assert all(known and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", it) for it in known) for _, known in sums.values())


def test_what_comes_alone_has_checksums_too() -> None:
    (alone,) = re.findall(r"^FILES_ALONE := (.*)$", (ROOT / "Makefile").read_text(), re.M)
    for pin in map(Requirement, alone.split()):
        assert hashed()[canonicalize_name(pin.name)][0] == {version_of(pin)}
