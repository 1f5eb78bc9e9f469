"""Shape annotations are checked while tests run: jaxtyping reads them, beartype enforces them."""

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("ardm", "shapes.check")  # stays: modules of the package are imported later, by the tests

settings.register_profile("ardm", deadline=None)  # a slow machine is no failure
settings.load_profile("ardm")
