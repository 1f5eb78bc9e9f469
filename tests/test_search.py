"""The search for a rule's knobs, on losses written down by hand."""

import json
from dataclasses import dataclass

import pytest

from ardm.experiments import play
from ardm.experiments.play import Parts, Tuner, search
from ardm.experiments.tasks import TASKS
from ardm.method.entry import SCHEDULES, Entry, grid

TASK = TASKS["parity"]
PARTS = Parts(denoiser=lambda x, time: None)


@dataclass(frozen=True)
class Told:
    """A rule that is nothing but its knobs."""

    a: int = 0
    schedule: object = None

    def __call__(self, step, chance):
        raise AssertionError("no run is made here")


def entry(**how) -> Entry:
    return Entry(name="told", source="", group="field", rule=Told, **how)


@pytest.fixture
def losses(monkeypatch):
    """``losses(f)``: from then on a run costs f(rule, seed); returns the list of what was played."""

    def say(loss):
        seen = []

        def outcome(task, denoiser, rule, start, *, nfe, seed):
            seen.append((rule, seed, len(start.x)))
            return {"loss": loss(rule, seed), "quality": 0.0, "overwrites": 0.0, "seconds": 0.0}

        monkeypatch.setattr(play, "outcome", outcome)
        return seen

    return say


def test_the_best_third_meets_more_texts_and_the_mean_over_all_of_them_decides(losses):
    """Settings 0 .. 5. On 10 texts 2 looks best and 4 next; on 30 more 2 falls back: (10 * .1 + 30 * .9) / 40 = .7."""
    first = {0: 0.5, 1: 0.6, 2: 0.1, 3: 0.7, 4: 0.2, 5: 0.8}
    then = {2: 0.9, 4: 0.4}
    seen = losses(lambda rule, seed: first[rule.a] if seed == 1 else then[rule.a])
    found = search(TASK, entry(knobs=grid(a=tuple(range(6)))), [Tuner(PARTS, 1, 10)], nfe=4, closer=[Tuner(PARTS, 2, 30)])
    assert found["best"] == {"a": 4}
    told = {json.loads(row["knobs"])["a"]: (row["count"], pytest.approx(row["loss"])) for row in found["tried"]}
    assert told == {0: (10, 0.5), 1: (10, 0.6), 2: (40, 0.7), 3: (10, 0.7), 4: (40, 0.35), 5: (10, 0.8)}
    assert [(rule.a, seed, texts) for rule, seed, texts in seen[6:]] == [(2, 2, 30), (4, 2, 30)]


def test_a_setting_outside_the_best_third_cannot_win_by_having_met_few_texts(losses):
    """The two that met more texts did badly there; the third one's .3 of 10 texts is not held against their 40."""
    first = {0: 0.3, 1: 0.2, 2: 0.1}
    losses(lambda rule, seed: first[rule.a] if seed == 1 else 0.9)
    found = search(TASK, entry(knobs=grid(a=(0, 1, 2))), [Tuner(PARTS, 1, 10)], nfe=4, closer=[Tuner(PARTS, 2, 30)])
    assert found["best"] == {"a": 2}


def test_the_first_stage_is_tried_again_with_the_schedule_that_was_found(losses):
    """Setting 0 is best in the default order, setting 1 in the order that wins."""

    def loss(rule, seed):
        if rule.schedule.order == "surest" and rule.schedule.written_by == 0.4:
            return 0.1 if rule.a == 1 else 0.2
        return 0.5 + 0.1 * rule.a

    plain = entry(knobs=grid(a=(0, 1)), scheduled=True)
    losses(loss)
    once = search(TASK, plain, [Tuner(PARTS, 1, 10)], nfe=4)
    assert once["best"] == {"a": 0, "order": "surest", "written_by": 0.4}
    assert len(once["tried"]) == 2 + len(SCHEDULES)
    again = search(TASK, plain, [Tuner(PARTS, 1, 10)], nfe=4, closer=[Tuner(PARTS, 2, 10)])
    assert again["best"] == {"a": 1, "order": "surest", "written_by": 0.4}
    assert len(again["tried"]) == 2 + len(SCHEDULES) + 1  # a=0 with this schedule was tried before


def test_tuners_weigh_by_their_texts(losses):
    losses(lambda rule, seed: {1: 0.0, 2: 1.0}[seed])
    found = search(TASK, entry(knobs=grid(a=(0, 1))), [Tuner(PARTS, 1, 30), Tuner(PARTS, 2, 10)], nfe=4)
    assert [row["loss"] for row in found["tried"]] == [0.25, 0.25]
    assert found["best"] == {"a": 0}  # of equals the first
