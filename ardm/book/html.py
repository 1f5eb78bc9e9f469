"""An executed notebook as one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from ardm.base.errors import InputError
from ardm.book.policy import guarded
from ardm.book.stated import GLUED
from ardm.book.widgets import is_widget

__all__ = ["page"]

EMPTIED = ("html_head_js", "jupyter_widgets", "html_head_js_mathjax", "html_head_js_mermaidjs")  # blocks that load scripts
OFFLINE = "{% extends 'lab/index.html.j2' %}" + "".join(f"{{% block {name} %}}{{% endblock %}}" for name in EMPTIED)


def page(executed: Path, notebook: Path) -> str:
    """The executed copy of ``notebook`` as one HTML file: images inside, no script or style from elsewhere, formulas as TeX."""
    try:
        import nbformat
        from jinja2 import DictLoader
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise InputError(f"--html needs {error.name}: pip install 'ardm[book]'") from error
    shown = nbformat.read(executed, as_version=4)
    for cell in shown.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not _is_glued(output)]
    exporter = HTMLExporter(extra_loaders=[DictLoader({"offline": OFFLINE})], template_file="offline", embed_images=True)
    resources = {"metadata": {"name": notebook.stem, "path": str(notebook.resolve().parent)}}
    return guarded(exporter.from_notebook_node(shown, resources=resources)[0], is_widget, within="body")


def _is_glued(output: dict) -> bool:
    """Whether the output is text handed to the prose, which repeats a printed line."""
    return any(kind.startswith(GLUED) for kind in output.get("data", ()))
