"""What tests of processes share."""

import signal
import time

import psutil


def wait_for(condition, seconds=120):
    """Whether the condition came to hold in so many seconds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


def ended(process):
    """Whether it runs no more, though nobody may have asked how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def hear_interrupts():
    """For a child of tests that run in the background, where a shell has them ignore Ctrl-C, and ``nohup`` a closed terminal."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
