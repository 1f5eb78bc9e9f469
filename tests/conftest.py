"""Shape annotations are checked while tests run: jaxtyping reads them, beartype enforces them."""

import os

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("ardm", "shapes.check")  # stays: modules of the package are imported later, by the tests

settings.register_profile("ardm", deadline=None)  # a slow machine is no failure
settings.register_profile("full", parent=settings.get_profile("ardm"), max_examples=2000)
settings.load_profile("full" if os.environ.get("ARDM_TESTS") == "full" else "ardm")


@pytest.fixture
def no_corpora(tmp_path_factory, monkeypatch):
    """No real text lies anywhere, for this process and for those it starts."""
    nothing = str(tmp_path_factory.mktemp("nothing"))
    monkeypatch.setenv("ARDM_DATA", nothing)
    monkeypatch.setenv("XDG_CACHE_HOME", nothing)


def pytest_terminal_summary(terminalreporter):
    """Say on which devices the tests of devices ran, and which of CUDA and MPS is not on this machine."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    used = {value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "device"}
    if used:
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        missing = [name for name, here in there.items() if not here]
        away = f" (not on this machine: {', '.join(missing)})" if missing else ""
        terminalreporter.write_line(f"devices: {', '.join(['cpu', *sorted(used)])}{away}")
