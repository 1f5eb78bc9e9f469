"""Shape annotations are checked while tests run: jaxtyping reads them, beartype enforces them."""

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("ardm", "shapes.check")  # stays: modules of the package are imported later, by the tests

settings.register_profile("ardm", deadline=None)  # a slow machine is no failure
settings.load_profile("ardm")


@pytest.fixture
def no_corpora(tmp_path_factory, monkeypatch):
    """No real text lies anywhere, for this process and for those it starts."""
    nothing = str(tmp_path_factory.mktemp("nothing"))
    monkeypatch.setenv("ARDM_DATA", nothing)
    monkeypatch.setenv("XDG_CACHE_HOME", nothing)
