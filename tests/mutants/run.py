"""Would the tests notice a wrong change? mutmut changes one thing of one function at a time, and a test has to fail.

``make test PROFILE=mutants`` runs it and says at the end how many changes were noticed, module by module, and which were not. What
was found is kept in ``mutants/``, so a run that was stopped goes on where it was. Three things differ from mutmut as it comes:
functions under decorators that only wrap are changed too, a change is met by the tests that are about its module (of those the ones
that reach the function, the fastest first), and changes are taken in a random order with a fixed seed, so that a part is a sample.

mutmut asks a test once which functions it reaches. Where an existing test was changed to reach others, remove ``mutants/``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import libcst as cst
import mutmut.__main__ as tool
from mutmut import __version__
from mutmut.mutation import file_mutation
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.workers.isolation import ForkServerRunner

RESULT = Path(__file__).with_name("result.json")
LEAST = 0.85
"""The share of changes that has to be noticed."""

NOTICED = ("killed", "timeout", "segfault")
UNTRIED = (None, 2, 255)
"""How a mutant ends that was not tried: not yet, interrupted, or pytest did not find a test; mutmut takes that for a timeout."""

CASES = 20
"""Of a test with more cases so many are taken, evenly spread."""

WRAPPING = {"property", "cached_property", "torch.no_grad()"}

Found = dict[Path, SourceFileMutationData]


def module(path: Path) -> str:
    """The module in a file."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def tests_about(path: Path) -> tuple[str, ...]:
    """The files of the tests that are about a module."""
    names = ("rules", "rivals", "entries") if path.parent.name == "rules" else (path.stem,)
    checks = ("bad_input",) if path.stem in ("gate", "prior", "sampling", "selection") else ()
    return tuple(f"tests/test_{name}.py" for name in (*names, *checks, "devices"))


def change_under_decorators() -> None:
    """Let mutmut change functions under decorators that only wrap: the sampling loop stands under one."""
    skip, arrange = file_mutation.MutationVisitor._skip_node_and_children, file_mutation.function_trampoline_arrangement

    def wrapped(node: cst.CSTNode) -> bool:
        if not isinstance(node, cst.FunctionDef) or not node.decorators:
            return False
        return WRAPPING.issuperset(cst.Module([]).code_for_node(one.decorator) for one in node.decorators)

    def skip_others(visitor: file_mutation.MutationVisitor, node: cst.CSTNode) -> bool:
        return not wrapped(node) and skip(visitor, node)

    def arrange_bare(function: cst.FunctionDef, *rest: object, **named: object) -> tuple:
        before, (outer, *copies), after, names = arrange(function, *rest, **named)
        if wrapped(function):
            copies = [copy.with_changes(decorators=[]) for copy in copies]
        return before, [outer, *copies], after, names

    file_mutation.MutationVisitor._skip_node_and_children = skip_others
    file_mutation.function_trampoline_arrangement = arrange_bare


def chosen(tests: Iterable[str], files: tuple[str, ...]) -> list[str]:
    """Those of the tests that stand in these files, the fastest first."""
    cases: dict[str, list[str]] = {}
    for test in sorted(tests):
        if test.startswith(files):
            cases.setdefault(test.partition("[")[0], []).append(test)
    some = [test for one in cases.values() for test in one[:: -(-len(one) // CASES)]]
    return sorted(some, key=lambda test: state().duration_by_test[test])


def choose_tests() -> None:
    """Let mutmut run of the tests that reach a function those that are about its module."""
    submit, clean = ForkServerRunner.submit, ForkServerRunner.run_clean_tests
    about = {module(path): tests_about(path) for path in walk_mutatable_files()}
    anywhere = tuple(file for files in about.values() for file in files)

    def submit_those(runner: ForkServerRunner, name: str, tests: Iterable[str], *rest: object) -> None:
        submit(runner, name, chosen(tests, about[name.rpartition(".")[0]]), *rest)

    ForkServerRunner.submit = submit_those
    ForkServerRunner.run_clean_tests = lambda runner, tests: clean(runner, chosen(tests, anywhere))


def say_lines() -> None:
    """Say in plain lines how far the run is, where mutmut turns a spinner."""
    said: set[object] = set()

    def say_once(what: object, line: str) -> None:
        if what not in said:
            said.add(what)
            print(line, flush=True)

    def say_count(data: dict[str, SourceFileMutationData], **_: object) -> None:
        counts = Counter(outcome_of(code) for one in data.values() for code in one.exit_code_by_key.values())
        tried = counts["noticed"] + counts["missed"]
        say_once(tried // 25, f"{tried} of {sum(counts.values())} changes tried, {counts['noticed']} noticed")

    tool.print_status = lambda text, **_: say_once(text, text)
    tool.print_stats = say_count


def outcome_of(code: int | None) -> str:
    """What became of a mutant: untried, noticed or missed."""
    if code in UNTRIED:
        return "untried"
    return "noticed" if status_by_exit_code[code] in NOTICED else "missed"


def found() -> Found:
    """What is known of the mutants of every module that has any."""
    data = {path: SourceFileMutationData(path=path) for path in sorted(walk_mutatable_files())}
    for one in data.values():
        one.load()
    return {path: one for path, one in data.items() if one.exit_code_by_key}


def in_turn(data: Found, most: int | None, again: bool) -> list[str]:
    """The mutants to try now, those not tried yet or those not noticed: ``most`` of them, of each module its share."""
    turn = []
    for path, one in data.items():
        names = sorted(one.exit_code_by_key)
        random.Random(f"0 {path.as_posix()}").shuffle(names)
        turn += [((place + 0.5) / len(names), name, outcome_of(one.exit_code_by_key[name])) for place, name in enumerate(names)]
    return [name for _, name, outcome in sorted(turn) if outcome == ("missed" if again else "untried")][:most]


def changed(name: str, path: Path) -> dict[str, str]:
    """One mutant: the function, and its lines without and with the change."""
    lines = get_diff_for_mutant(name, path=path).splitlines()[3:]
    was, now = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    function = name.rpartition(".")[2].rpartition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return {"where": f"{module(path)}.{function}", "was": was, "now": now}


def result(data: Found, known: dict) -> dict:
    """What the run says, module by module, and each change that was not noticed, with the reason that is ``known`` of it."""
    why = {(one["where"], one["was"], one["now"]): one["why"] for one in known.get("unnoticed", ())}
    modules, unnoticed = {}, []
    for path, one in data.items():
        outcomes = {name: outcome_of(code) for name, code in one.exit_code_by_key.items()}
        counts = Counter(outcomes.values())
        tried = counts["noticed"] + counts["missed"]
        modules[module(path)] = {"changes": len(outcomes), "tried": tried, "noticed": counts["noticed"]}
        unnoticed += [changed(name, path) for name, outcome in outcomes.items() if outcome == "missed"]
    for one in unnoticed:
        one["why"] = why.get(tuple(one.values()), "")
    from ardm.base.provenance import commit, provenance  # not earlier: what is imported before a run is not changed in it

    first = {count: sum(one[count] for one in modules.values()) for count in ("changes", "tried", "noticed")}
    made = {**provenance(), "commit": commit(Path.cwd()), "mutmut": __version__, "date": date.today().isoformat()}
    return {"made": made, "first": first, "modules": modules, "unnoticed": unnoticed}


def say(outcome: dict) -> float:
    """Print the outcome; the share of changes that were noticed."""
    for one in outcome["unnoticed"]:
        print(f"\n{one['where']}\n    - {one['was']}\n    + {one['now']}" + (f"\n    {one['why']}" if one["why"] else ""))
    print()
    tried, noticed = 0, 0
    for name, counts in outcome["modules"].items():
        tried, noticed = tried + counts["tried"], noticed + counts["noticed"]
        print(f"{name:45} {counts['noticed']:5} of {counts['tried']} noticed, {counts['changes'] - counts['tried']} not tried")
    share = noticed / max(1, tried)
    print(f"{'together':45} {noticed:5} of {tried} noticed, {share:.1%}; {LEAST:.0%} are asked for")
    return share


def main() -> None:
    """Try the changes, and end with an error where too few were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="so many at a time")
    parser.add_argument("--most", type=int, help="no more than so many, of each module its share: a sample")
    parser.add_argument("--again", action="store_true", help="those that were not noticed, once more")
    parser.add_argument("--say", action="store_true", help="only say what was found so far")
    parser.add_argument("--record", action="store_true", help="write what was found to result.json, for the book")
    given = parser.parse_args()
    change_under_decorators()
    choose_tests()
    say_lines()
    if not given.say:
        with tool.CatchOutput(spinner_title="Changing functions"):
            Path("mutants").mkdir(exist_ok=True)
            tool.copy_src_dir()
            tool.create_mutants(given.jobs)
        if turn := in_turn(found(), given.most, given.again):
            place = {name: i for i, name in enumerate(turn)}
            tool.estimated_worst_case_time = place.__getitem__  # by which mutmut sorts what it tries
            tool._run(turn, given.jobs)
    known = json.loads(RESULT.read_text("utf8")) if RESULT.is_file() else {}
    outcome = result(found(), known)
    share = say(outcome)
    if given.record:
        if given.again:  # tests that were written for what was missed notice it now, and say nothing of the changes not tried
            outcome["first"] = known["first"]
        RESULT.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n", "utf8")
    if share < LEAST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
