"""The graph: what waits waits, what fails is named and tried once more, and nobody works twice in one folder."""

import itertools
import signal
import subprocess
import sys

import psutil
import pytest
from processes import ended, hear_interrupts, wait_for

from ardm.base.errors import InputError
from ardm.base.graph import Unit, UnitsFailed, run, time_left


def unit(name, *command, **more):
    return Unit(kind="play", name=name, command=command, says=f"the {name}", **more)


def test_units_wait_for_those_they_need_and_every_end_is_said(tmp_path):
    order = tmp_path / "order"
    units = [
        unit("last", "sh", "-c", f"echo last >>{order}", after=("first",)),
        unit("first", "sh", "-c", f"sleep 1; echo first >>{order}"),
    ]
    said = []
    run(units, tmp_path, jobs=2, say=said.append)
    assert order.read_text().split() == ["first", "last"]
    assert [line.split("  ")[0] for line in said] == ["[1/2] the first", "[2/2] the last"]
    assert "left" in said[0] and "left" not in said[1]


def test_of_units_that_wait_for_none_the_heavier_are_first(tmp_path):
    order = tmp_path / "order"
    weights = {"a": 2.0, "b": 30.0, "c": 1.0, "d": 400.0}
    run(
        [unit(name, "sh", "-c", f"echo {name} >>{order}", weight=weight) for name, weight in weights.items()],
        tmp_path,
        jobs=1,
        say=lambda _: None,
    )
    assert order.read_text().split() == ["d", "b", "a", "c"]


def test_units_that_ask_for_a_gpu_share_those_that_there_are(tmp_path):
    """With one GPU two of them never meet, while another unit runs beside them; with none they need not wait."""

    def most_at_once(gpus):
        log = tmp_path / f"log{gpus}"
        begin_and_end = f"echo 1 >>{log}; sleep 1; echo -1 >>{log}"
        units = [unit(name, "sh", "-c", begin_and_end, gpu=1) for name in ("a", "b")]
        run([*units, unit("c", "sleep", "1")], tmp_path, jobs=3, gpus=gpus, say=lambda _: None)
        running = list(itertools.accumulate(int(line) for line in log.read_text().split()))
        assert running[-1] == 0
        return max(running)

    assert [most_at_once(gpus) for gpus in (0, 1, 2)] == [2, 1, 2]


def test_a_unit_that_fails_is_tried_once_more_named_with_its_reason_and_stops_only_what_waits_for_it(tmp_path):
    tries = tmp_path / "tries"
    units = [
        unit("bad", "sh", "-c", f"echo try >>{tries}; echo 'ardm: the disk is full' >&2; exit 1"),
        unit("killed", "sh", "-c", "kill -9 $$"),
        unit("good", "touch", str(tmp_path / "good")),
        unit("waiting", "touch", str(tmp_path / "waiting"), after=("bad",)),
    ]
    with pytest.raises(UnitsFailed) as caught:
        run(units, tmp_path, jobs=2, say=lambda _: None)
    head, *why = str(caught.value).splitlines()
    assert head == "2 of 4 units failed, 1 that wait for them were not started; the same command goes on"
    assert why[0] == "the bad: the disk is full"
    assert why[1].startswith("the killed: its process was stopped by signal 9: one that needs more memory")
    assert tries.read_text().split() == ["try", "try"]
    assert (tmp_path / "good").exists() and not (tmp_path / "waiting").exists()


@pytest.fixture
def sleeping(tmp_path):
    """A process that calls the graph, in ``tmp_path``, and that of its one unit, which sleeps."""
    code = "import sys; from pathlib import Path; from ardm.base.graph import Unit, run\n"
    code += "sleeper = Unit(kind='play', name='s', command=('sh', '-c', 'echo $$ >pid; exec sleep 300'), says='s')\n"
    code += "run([sleeper], Path(sys.argv[1]), jobs=1)"

    caller = psutil.Popen([sys.executable, "-c", code, tmp_path], stderr=subprocess.DEVNULL, preexec_fn=hear_interrupts)
    pid = tmp_path / ".graph" / "pid"
    assert wait_for(lambda: pid.exists() and pid.read_text().strip())
    yield caller, psutil.Process(int(pid.read_text()))
    if caller.is_running():
        caller.kill()


def test_the_second_caller_in_a_folder_is_told_and_an_interrupt_stops_what_runs(sleeping, tmp_path):
    caller, sleeper = sleeping
    with pytest.raises(InputError, match="another call is at work in"):
        run([unit("other", "true")], tmp_path, jobs=1, say=lambda _: None)
    caller.send_signal(signal.SIGINT)
    assert caller.wait(120) != 0
    assert ended(sleeper)
    run([unit("other", "true")], tmp_path, jobs=1, say=lambda _: None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_nothing_goes_on_when_its_caller_is_gone(number, sleeping):
    """It was killed, or its terminal was closed."""
    caller, sleeper = sleeping
    snakemake = [child for child in caller.children() if "snakemake" in child.cmdline()]
    assert len(snakemake) == 1
    caller.send_signal(number)
    assert wait_for(lambda: ended(sleeper) and ended(snakemake[0]), 60)


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("moon", "no profile 'moon': name kubernetes, slurm, or a folder"),
        ("{folder}", "the executor nowhere is not installed"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_before_any_work(tmp_path, on, said):
    (tmp_path / "config.yaml").write_text("executor: nowhere\n")
    with pytest.raises(InputError, match=said):
        run([unit("one", "touch", str(tmp_path / "one"))], tmp_path, jobs=1, on=on.format(folder=tmp_path))
    assert not (tmp_path / "one").exists()


def test_time_left_by_hand():
    """Three units of weight 1 and one of 3: after the first three and 30 s as much again is left."""
    light, heavy = [unit(name, "true") for name in "abc"], unit("d", "true", weight=3.0)
    assert time_left(light, [*light, heavy], 30) == ", about 30 s left"
    assert time_left(light[:1], [*light, heavy], 60) == ", about 5 min left"
    assert time_left([*light, heavy], [*light, heavy], 60) == ""
