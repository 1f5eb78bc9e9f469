"""What competes: every entry makes a rule that keeps the contract, and a file is all that a new rule takes."""

import sys
from pathlib import Path

import pytest
import torch
from steps import DOUBT, SURE, TIE, V, places, rng, seen

from ardm.base.errors import InputError
from ardm.base.fingerprint import modules_of
from ardm.method import rules
from ardm.method.entry import SCHEDULES, Entry, grid
from ardm.method.gate import LinearHead, OverwriteGate
from ardm.method.rules import HideThenRefill, OneWay, RandomGate, choose, entries
from ardm.method.schedule import Schedule
from ardm.method.selection import Selection

NEW_RULE = """
from ardm.method.entry import Entry
from ardm.method.schedule import nothing
from ardm.method.types import Action

__all__ = ["AllAtOnce"]


class AllAtOnce:
    def __call__(self, step, chance):
        return Action(write=step.is_mask, remask=nothing(step))


ENTRIES = (Entry(name="{name}", source="a test", group="plain", rule=AllAtOnce, like={like}),)
"""


def gate_of(entry):
    """A gate of the entry's signals, untrained; None where the rule takes none."""
    if entry.gate is None:
        return None
    signals = entry.gate.signals
    return OverwriteGate(LinearHead([1.0] * len(signals), beta_0=0.4), signals=signals).eval()


def settings(entry):
    """All that a match may ask of it: its defaults, every setting of every stage, and what it takes over from another."""
    model = entries()[entry.like] if entry.like else entry
    first = model.knobs[0]
    return [first, *model.knobs, *({**first, **how} for stage in model.stages[1:] for how in stage)]


def steps():
    """A first, a middle and a last step of a text with a given token, masks and visible tokens, and a middle one without masks."""
    x, q = [0, V, 1, 2, V, 1, 0, 3], [SURE, TIE, DOUBT, SURE, TIE, SURE, DOUBT, TIE]
    seen_so_far = {"written": [0.9] * 8, "before": [TIE] * 8, "overwrites": [0, 0, 1, 3, 0, 0, 0, 2]}
    for t, text in ((1, x), (4, x), (8, x), (5, [0, 3, 1, 2, 2, 1, 0, 3])):
        s = seen(text, q, t, 8, **(seen_so_far if t > 1 else {}))
        s.is_fixed[0, 2] = True  # a token that the denoiser doubts and the oracle calls wrong
        yield s


@pytest.mark.parametrize("name", entries())
def test_every_setting_makes_a_rule_that_keeps_the_contract(name):
    entry = entries()[name]
    for knobs in settings(entry):
        rule = entry.make(gate_of(entry), lambda x: x == 1, **knobs)
        for s in steps():
            action = rule(s, rng().at(s.t))
            assert action.write.shape == action.remask.shape == s.x.shape
            assert not (action.write & action.remask).any()
            assert not ((action.write | action.remask) & s.is_fixed).any()
            assert not (action.remask & s.is_mask).any()
            if not entry.revises:
                assert not ((action.write | action.remask) & ~s.is_mask).any()


def test_knobs_reach_the_rule():
    gate = OverwriteGate(LinearHead(), signals=("entropy", "margin", "confidence_change")).eval()
    rule = entries()["PRISM head"].make(gate, how="threshold", threshold=0.2, budget=3, order="left", written_by=0.4)
    assert isinstance(rule, HideThenRefill)
    assert rule.selection == Selection("threshold", 0.2, budget=3)
    assert rule.schedule == Schedule("left", 0.4)
    assert (rule.gate.combine, rule.finish) == ("gate_only", False)
    assert entries()["random gate"].make(k=4) == RandomGate(4, schedule=Schedule("random", 0.6))
    assert entries()["one-way"].make(gate, None) == OneWay()  # what it does not need it is not given
    with pytest.raises(TypeError, match="threshhold"):
        entries()["T2T threshold"].make(threshhold=0.3)


def test_the_documents_gate_has_unit_weights_and_learnt_moments():
    trained = OverwriteGate(LinearHead((5.0, 5.0, 5.0), beta_0=3.0))
    trained.standard["entropy"](torch.tensor([[2.0, 4.0]]))  # moments to be kept
    rule = entries()["document's gate"].make(trained.eval())
    assert rule.gate.head.beta.tolist() == [1, -1, -1] and rule.gate.head.beta_0 == 0
    assert rule.gate.standard["entropy"] is trained.standard["entropy"]
    assert rule.gate.combine == "noisy_or"


def test_the_shuffled_gate_hides_as_many_tokens_as_the_rule_it_plays_like():
    ours, control = entries()["attentive hide ratio"], entries()["shuffled gate"]
    knobs = {"how": "threshold", "threshold": 0.5, "budget": 2, "order": "surest", "written_by": 0.4}
    s = seen([0, V, 1, 2, V, 1, 0, 3], [SURE, TIE, DOUBT, SURE, TIE, SURE, DOUBT, TIE], 3, 8)
    chosen = ours.make(gate_of(ours), **knobs)(s, rng())
    anywhere = control.make(gate_of(control), **knobs)(s, rng())
    assert chosen.remask.sum() == anywhere.remask.sum() == 2
    assert places(chosen.write) == places(anywhere.write)
    assert control.stages == ()


def test_what_a_rule_needs_has_to_be_there():
    with pytest.raises(InputError, match="DDPD needs a trained gate"):
        entries()["DDPD"].make(k=4)
    with pytest.raises(InputError, match="oracle hide asks what is wrong"):
        entries()["oracle hide"].make()


def test_stages_of_tuning_by_hand():
    assert entries()["one-way"].stages == ()
    assert [len(stage) for stage in entries()["ReMDM loop"].stages] == [4]
    assert entries()["oracle hide"].stages == (SCHEDULES,)
    assert [len(stage) for stage in entries()["informed corrector"].stages] == [10, 9]
    assert grid(a=(1, 2), b=(3, 4)) == ({"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4})
    assert SCHEDULES[0] == {"order": "random", "written_by": 0.6}  # what a rule has by default
    assert Schedule(**SCHEDULES[0]) == Schedule()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"group": "rivals"}, "group='rivals': choose plain or field or"),
        ({"colour": "red"}, "colour='red'"),
        ({"mark": "oo"}, "mark='oo'"),
        ({"knobs": ()}, "x: no knobs"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        Entry(**{"name": "x", "source": "a test", "group": "plain", "rule": OneWay, **wrong})


def test_choose_by_name():
    assert [entry.name for entry in choose(["one-way", "DDPD"])] == ["one-way", "DDPD"]
    assert choose() == list(entries().values())
    assert choose([]) == []
    close = "learned hide ratio or learned hide budget or learned hide mismatch"
    for name, meant in (("learned hide", close), ("#", " or ".join(entries()))):  # what is near to nothing: all of them
        with pytest.raises(InputError) as told:
            choose([name])
        assert str(told.value) == f"no rule {name!r}: choose {meant}"
    with pytest.raises(InputError, match="no rule 'one way': choose one-way"):
        choose(["DDPD", "one way"])


def test_what_this_book_adds_is_said_once():
    ours = {name for name, entry in entries().items() if entry.group == "ours"}
    assert ours == {name for name, entry in entries().items() if entry.source == "this book"}
    assert "document's gate" not in ours and "attentive hide ratio" in ours


@pytest.fixture
def new_file(tmp_path, monkeypatch):
    """Writes one more file into the package of rules, as far as this test can see."""
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    before = set(sys.modules)

    def write(name="all at once", like=None):
        (tmp_path / "all_at_once.py").write_text(NEW_RULE.format(name=name, like=repr(like)), "utf8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]
    vars(rules).pop("all_at_once", None)


def test_one_file_is_all_that_a_new_rule_takes(new_file):
    assert "all at once" not in entries()
    new_file()
    entry = entries()["all at once"]
    assert entry.module == "ardm.method.rules.all_at_once"
    assert choose(["all at once"]) == [entry]
    from ardm.method.rules import AllAtOnce

    assert isinstance(entry.make(), AllAtOnce)
    assert places(entry.make()(next(steps()), rng()).write) == [1, 4]
    assert "AllAtOnce" in rules.__all__


def test_two_entries_of_one_name_are_refused(new_file):
    new_file(name="one-way")
    with pytest.raises(InputError, match=r"'one-way' stands in .*one_way and in .*all_at_once: rename one"):
        entries()


def test_an_entry_like_no_other_is_refused(new_file):
    new_file(like="one way")
    with pytest.raises(InputError, match="'all at once' plays like 'one way', which is no rule: choose one-way"):
        entries()


def test_a_name_that_no_file_offers_is_no_attribute():
    with pytest.raises(ImportError, match="HideThenRefil"):
        from ardm.method.rules import HideThenRefil  # noqa: F401


def test_what_the_package_offers_is_there():
    assert {"choose", "entries", "HideThenRefill"} < set(rules.__all__)
    assert all(hasattr(rules, name) for name in rules.__all__)


def test_what_is_missing_is_said_with_its_name():
    with pytest.raises(AttributeError, match=r"^ardm\.method\.rules has no 'HideThenRefil'$"):
        rules.HideThenRefil  # noqa: B018


def test_a_rule_depends_on_what_it_needs_and_on_no_training():
    files = [f"ardm.method.rules.{path.stem}" for path in Path(rules.__file__).parent.glob("*.py") if path.stem != "__init__"]
    assert len(files) > 15
    for file in files:
        assert not {name for name in modules_of(file) if name.startswith(("ardm.method.train", "ardm.method.sampling"))}
    assert "ardm.method.gate" not in modules_of("ardm.method.rules.one_way")
    for used_in_training in ("ardm.method.rules.hide", "ardm.method.rules.overwrite"):  # a new colour retrains no gate
        assert "ardm.method.entry" not in modules_of(used_in_training)
