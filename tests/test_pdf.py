"""The book as one file: every page in order, formulas and outline in it, and a clear word when something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pdf
import pytest
from pypdf import PdfReader
from test_pages import skip


def small_book(folder: Path) -> Path:
    html = folder / "html"
    (html / "notebooks").mkdir(parents=True)
    for name, title in (("index", "First page"), ("notebooks/a", "Second &amp; last")):
        late = "setTimeout(() => document.body.append('written by a script'), 500)"
        body = f"<h1>{title}</h1><p>Text of {name}.</p><script>{late}</script>"
        (html / f"{name}.html").write_text(
            f"<html><head><title>{title} &#8212; The book</title></head><body>{body}</body></html>"
        )
    (html / pdf.STAMP).write_text(json.dumps({"pages": ["index", "notebooks/a"]}))
    return html


def test_all_pages_are_printed_in_order_with_an_outline(tmp_path: Path, capsys) -> None:
    if not any(map(shutil.which, pdf.BROWSERS)):
        skip("no Chromium on the PATH prints the book (install the package chromium)")
    target = tmp_path / "book.pdf"
    assert pdf.print_book(small_book(tmp_path), target) == 2
    reader = PdfReader(target)
    assert [entry.title for entry in reader.outline] == ["First page", "Second & last"]
    texts = [sheet.extract_text() for sheet in reader.pages]
    assert "Text of index." in texts[0] and "Text of notebooks/a." in texts[1]
    assert all("written by a script" in text for text in texts)
    assert "[2/2] notebooks/a" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.pdf", "html"]


def test_without_a_book_or_a_browser_the_error_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(pdf.BookError, match="run make book first"):
        pdf.print_book(tmp_path, tmp_path / "book.pdf")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(pdf.BookError, match="install the package chromium"):
        pdf.print_book(small_book(tmp_path), tmp_path / "book.pdf")
    assert not (tmp_path / "book.pdf").exists()
