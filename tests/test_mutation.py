"""What the book says of the mutation run: by hand, and of the run that is kept. The run itself is ``make test PROFILE=mutants``."""

import json
import tomllib
from pathlib import Path

import mutation
import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULT = json.loads((ROOT / mutation.RESULT).read_text("utf8"))


def test_the_share_by_hand():
    assert mutation.first(10, 10, 8) == "All 10 changes were tried; 8 were noticed, 80.0 %"
    assert mutation.first(1000, 10, 8).startswith("Of 1,000 changes a random sample of 10 was tried")
    for tried, noticed, interval in ((10, 8, "49.0 to 94.3 %"), (20, 20, "83.9 to 100.0 %")):  # Wilson's
        assert mutation.first(1000, tried, noticed).endswith(f"(95 % interval {interval})")


def test_the_table_has_a_line_for_each_module_and_one_for_all_rules():
    def counts(changes, tried, noticed):
        return {"changes": changes, "tried": tried, "noticed": noticed}

    found = {
        "ardm.method.gate": counts(4, 2, 1),
        "ardm.method.rules": counts(2, 2, 2),
        "ardm.method.rules.saber": counts(8, 6, 4),
    }
    assert mutation.by_module(found).splitlines()[2:] == [
        "| gate | 4 | 2 | 1 | 50.0 % |",
        "| rules (2 files) | 10 | 8 | 6 | 75.0 % |",
    ]


@pytest.mark.parametrize(
    ("was", "now", "shown"),
    [
        ("a < b", "a <= b", ("a < b", "a <= b")),
        ("one", "", ("one", "")),
        ("x" * 40 + "1" + "y" * 40, "x" * 40 + "22" + "y" * 40, ("…xxx1yyy…", "…xxx22yyy…")),
    ],
)
def test_of_a_long_line_the_change_is_shown(was, now, shown):
    assert mutation.differing(was, now, around=3) == shown


def test_a_change_that_was_not_noticed_stands_beside_its_reason():
    one = {"where": "ardm.method.gate.f", "was": "a | b", "now": "a & b", "why": "They never overlap."}
    row = mutation.not_noticed([one]).splitlines()[2]
    assert row == r"| `` gate.f `` | `` a \| b `` | `` a & b `` | They never overlap. |"


def test_every_change_that_the_kept_run_did_not_notice_has_a_reason():
    assert [one for one in RESULT["unnoticed"] if not one["why"].endswith(".")] == []


def test_the_kept_run_is_of_the_modules_that_are_named_and_noticed_enough():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["mutmut"]["only_mutate"]
    files = {path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)}
    named = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert set(RESULT["modules"]) <= named
    tried, noticed = (sum(one[count] for one in RESULT["modules"].values()) for count in ("tried", "noticed"))
    assert noticed / tried >= 0.85
    assert tried - noticed == len(RESULT["unnoticed"])
