"""The whole book as an EPUB: Sphinx's own builder over the staged sources, with nothing that asks the network.

``python book/epub.py`` reads ``_build/source``, which ``make book`` leaves, and writes ``_build/book.epub``, whole or not at all.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml
from build import ROOT
from identity import Identity, identity
from sphinx.application import Sphinx
from vendor import BookError

from ardm.base.atomic import write_whole

EXTENSIONS = [
    *("myst_nb", "sphinx_external_toc", "sphinx_design", "sphinx.ext.autodoc", "sphinxcontrib.bibtex"),
    *("first_use", "epub_pages"),  # ours
]


def settings(source: Path, book: Identity) -> dict:
    """What Sphinx is told: the settings of the pages that decide their text, and what an EPUB says of itself."""
    told = yaml.safe_load((source / "_config.yml").read_text("utf8"))
    shared = ("numfig", "autodoc_typehints", "python_use_unqualified_type_names", "bibtex_reference_style", "nb_merge_streams")
    return {
        **{name: told["sphinx"]["config"][name] for name in shared if name in told["sphinx"]["config"]},
        "extensions": EXTENSIONS,
        "exclude_patterns": [*told["exclude_patterns"], "book/_static"],  # the copies for Colab are no pages
        "external_toc_path": "_toc.yml",
        "bibtex_bibfiles": told["bibtex_bibfiles"],
        "myst_enable_extensions": told["parse"]["myst_enable_extensions"],
        "myst_substitutions": told["parse"]["myst_substitutions"],
        "nb_execution_mode": "off",
        "html_math_renderer": "mathml",
        "html_static_path": [str(Path(__file__).resolve().parent / "epub")],
        "suppress_warnings": ["epub.unknown_project_files", "epub.duplicated_toc_entry"],
        "project": told["title"],
        "author": told["author"],
        "version": book.version,
        "release": book.version,
        "copyright": told["copyright"],
        "language": "en",
        "epub_basename": "book",
        "epub_theme": "epub",
        "epub_title": told["title"],
        "epub_description": book.title,
        "epub_contributor": told["author"],
        "epub_publisher": told["author"],
        "epub_identifier": f"ardm-{book.version}",  # both: the two tables of contents must agree
        "epub_uid": f"ardm-{book.version}",
        "epub_show_urls": "no",
        "epub_tocdepth": 1,
        "epub_tocscope": "includehidden",  # the parts of Jupyter Book hide their lists
        "epub_use_index": False,
        "epub_site": book.address,
    }


def make(source: Path, target: Path, book: Identity) -> None:
    """Write the EPUB of the staged sources."""
    if not (source / "_toc.yml").is_file():
        raise BookError("there are no sources in _build/source: run make book first")
    with tempfile.TemporaryDirectory() as folder:
        out, trees = Path(folder, "epub"), Path(folder, "trees")
        sphinx = Sphinx(
            source, None, out, trees, "epub", settings(source, book), status=None, warningiserror=True, keep_going=True
        )
        sphinx.build()
        if sphinx.statuscode:
            raise BookError("Sphinx warned (see above)")
        write_whole(target, (out / "book.epub").read_bytes())


def main() -> int:
    try:
        make(ROOT / "_build" / "source", ROOT / "_build" / "book.epub", identity(ROOT))
    except BookError as error:
        print(f"epub: {error}", file=sys.stderr)
        return 1
    print("epub: _build/book.epub")
    return 0


if __name__ == "__main__":
    sys.exit(main())
