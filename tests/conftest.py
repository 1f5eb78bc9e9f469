"""Shape annotations are checked while tests run: jaxtyping reads them, beartype enforces them."""

from jaxtyping import install_import_hook

install_import_hook("ardm", "shapes.check")  # stays: modules of the package are imported later, by the tests
