"""The whole book as one PDF: every page of the built book printed by Chromium, joined in order, with an outline.

``python book/pdf.py`` reads ``_build/html`` and writes ``_build/book.pdf``, whole or not at all.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

from build import ROOT, STAMP
from pypdf import PdfReader, PdfWriter
from vendor import BookError

from ardm.base.atomic import write_whole

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless", "--disable-gpu", "--no-sandbox", "--no-pdf-header-footer", "--virtual-time-budget=60000"]


def browser() -> str:
    """The path of a Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise BookError("printing needs Chromium on the PATH: on Debian and Ubuntu install the package chromium")
    return found


def printed(page: Path, command: str, folder: Path) -> PdfReader:
    """One page as PDF. Formulas are typeset first: the browser waits for its scripts."""
    target = folder / "page.pdf"
    target.unlink(missing_ok=True)
    call = [command, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={target}", page.as_uri()]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=180)
    if not target.is_file():
        raise BookError(f"{page.name} could not be printed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return PdfReader(io.BytesIO(target.read_bytes()))


def heading(page: Path) -> str:
    """The title of a page, without marks."""
    found = re.search(r"<title>(.*?)(?: &#8212; .*?| — .*?)?</title>", page.read_text("utf8"), re.S)
    return unescape(found.group(1)).strip() if found else page.stem


def print_book(html: Path, target: Path) -> int:
    """Write the PDF; returns the number of its sheets."""
    if not (html / STAMP).is_file():
        raise BookError("there is no book in _build/html: run make book first")
    entries, command, book = json.loads((html / STAMP).read_text())["pages"], browser(), PdfWriter()
    with tempfile.TemporaryDirectory() as folder:
        for number, entry in enumerate(entries, 1):
            page = html / f"{entry}.html"
            print(f"[{number}/{len(entries)}] {entry}", flush=True)
            book.append(printed(page, command, Path(folder)), outline_item=heading(page))
    file = io.BytesIO()
    book.write(file)
    write_whole(target, file.getvalue())
    return len(book.pages)


def main() -> int:
    try:
        sheets = print_book(ROOT / "_build" / "html", ROOT / "_build" / "book.pdf")
    except BookError as error:
        print(f"pdf: {error}", file=sys.stderr)
        return 1
    print(f"pdf: {sheets} sheets; _build/book.pdf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
