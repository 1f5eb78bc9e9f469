"""A small arena on a real SLURM of one node: as the same on this machine, byte for byte, with a job killed on the way.

``make test PROFILE=cluster`` runs it, with Debian's ``slurm-wlm`` and ``munge``, as root, on a machine that belongs to no cluster.
"""

from __future__ import annotations

import csv
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from processes import wait_for

CONFIGURATION = Path("/etc/slurm/slurm.conf")  # where what runs inside a job looks for it
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
PROFILE = """executor: slurm
jobs: 2
latency-wait: 30
slurm-init-seconds-before-status-checks: 5
slurm-status-command: squeue
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A SLURM of one node on this machine, without accounting."""
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if absent := [name for name in PROGRAMS if shutil.which(name, path=search) is None]:
        pytest.fail(f"{', '.join(absent)} not found: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.fail("only root can start a SLURM")
    if CONFIGURATION.exists():
        pytest.fail(f"this machine belongs to a cluster: {CONFIGURATION}")
    folder = Path(mkdtemp(prefix="slurm-"))  # not below pytest's own, which is closed to others
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(secrets.token_bytes(1024))
    (folder / "key").chmod(0o400)
    socket = folder / "munge.socket"
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(
        f"""ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
AuthInfo=socket={socket}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MinJobAge=3600
NodeName=localhost CPUs={os.cpu_count()} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES State=UP
"""
    )
    munge = ["munged", "--force", f"--key-file={folder}/key", f"--socket={socket}", f"--pid-file={folder}/munged.pid"]
    daemons = [[*munge, f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"], ["slurmctld"], ["slurmd"]]
    try:
        for daemon in daemons:
            subprocess.run([shutil.which(daemon[0], path=search), *daemon[1:]], check=True)
        assert wait_for(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), 30), "the node is not idle"
        yield
    finally:
        for name in ("slurmd", "slurmctld", "munged"):
            if (folder / f"{name}.pid").is_file():
                os.kill(int((folder / f"{name}.pid").read_text()), 15)
        CONFIGURATION.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def arena(folder: Path, *how: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ardm", "arena", "--profile", "small", "--out", str(folder), *how]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def without_times(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as rows:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(rows)]


def test_an_arena_is_on_slurm_what_it_is_here_though_a_job_is_killed(cluster: None, tmp_path: Path) -> None:
    here, there, profile = tmp_path / "here" / "arena", tmp_path / "there" / "arena", tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE)
    rules = ("--tasks", "parity", "--rules", "one-way,T2M low-prob,attentive hide ratio,oracle hide")
    small = (*rules, "--seeds", "2", "--count", "20", "--tuning", "10")
    assert arena(here, *small, "--jobs", "2").wait() == 0

    run = arena(there, *small, "--on", str(profile))
    assert wait_for(lambda: running() or run.poll() is not None, 120), "no job was started"
    time.sleep(2)  # it is at work
    subprocess.run(["scancel", "--signal=KILL", "--full", running()[0]], check=True)
    out, told = run.communicate(timeout=900)
    assert run.returncode == 0, told
    assert out.strip() == str(there / "arena.csv")
    assert re.search(r"failed after \d+ s", told), "the killed job was not noticed"
    for table in ("arena.csv", "tuning.csv"):
        assert without_times(there / table) == without_times(here / table), table


def running() -> list[str]:
    return re.findall(r"^(\d+) R$", said("squeue", "--noheader", "--format=%i %t"), re.MULTILINE)


def test_an_interrupted_run_leaves_no_job_behind_and_goes_on(cluster: None, tmp_path: Path) -> None:
    profile, folder = tmp_path / "profile", tmp_path / "arena"
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE)
    few = ("--tasks", "parity", "--rules", "one-way", "--seeds", "2", "--count", "8", "--on", str(profile))
    run = arena(folder, *few)
    assert wait_for(lambda: " R" in said("squeue", "--noheader", "--format=%i %t"), 120), "no job was started"
    run.send_signal(2)
    assert run.wait(60) != 0
    assert wait_for(lambda: not re.search(r" (R|PD)$", said("squeue", "--noheader", "--format=%i %t"), re.MULTILINE), 60), (
        "jobs go on"
    )
    run = arena(folder, *few)
    _, told = run.communicate(timeout=900)
    assert run.returncode == 0, told
    assert len(without_times(folder / "arena.csv")) > 0


def test_what_a_cluster_says_of_a_job_that_it_refuses_is_said(cluster: None, tmp_path: Path) -> None:
    """One that asks for a GPU where there is none."""
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "config.yaml").write_text(PROFILE)
    few = ("--tasks", "parity", "--rules", "one-way", "--seeds", "1", "--count", "8", "--on", str(profile))
    run = arena(tmp_path / "arena", *few, "--gpus", "1")
    _, told = run.communicate(timeout=300)
    assert run.returncode != 0
    assert "Invalid generic resource" in told
