"""Shape annotations are checked while tests run: jaxtyping reads them, beartype enforces them."""

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("ardm", "shapes.check")  # stays: modules of the package are imported later, by the tests

settings.register_profile("ardm", deadline=None)  # a slow machine is no failure
settings.load_profile("ardm")


@pytest.fixture
def no_corpora(tmp_path, monkeypatch):
    """No real text lies anywhere, for this process and for those it starts."""
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    monkeypatch.setenv("ARDM_DATA", str(nothing))
    monkeypatch.setenv("XDG_CACHE_HOME", str(nothing))
