"""Who the book is, for citations and links: title, version and date from ``CITATION.cff``, the address from the environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

LATEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "×": r"$\times$", "≥": r"$\geq$", "–": "--"}


@dataclass(frozen=True)
class Identity:
    """``address``: where the book is read, ending in a slash; ``repository``: ``owner/name`` on GitHub. Empty when not known."""

    title: str
    authors: tuple[str, ...]
    version: str
    date: str
    address: str = ""
    repository: str = ""

    def blob(self, commit: str, path: str) -> str:
        """The address of a file at a commit; empty where there is none to point to."""
        commit = commit.removesuffix("+changes")
        return f"https://github.com/{self.repository}/blob/{commit}/{path}" if self.repository and commit != "unknown" else ""


def identity(root: Path) -> Identity:
    """The book of the project at ``root``.

    ``ARDM_SITE`` is the address at which it will be read and ``ARDM_REPOSITORY`` its ``owner/name``; on GitHub's runners the
    second is known. Without an address the pages fill in the one they are read at.
    """
    cited = yaml.safe_load((root / "CITATION.cff").read_text("utf8"))
    address = os.environ.get("ARDM_SITE", "")
    return Identity(
        title=cited["title"],
        authors=tuple(author.get("name") or f"{author['given-names']} {author['family-names']}" for author in cited["authors"]),
        version=str(cited["version"]),
        date=str(cited["date-released"]),
        address=f"{address.rstrip('/')}/" if address else "",
        repository=os.environ.get("ARDM_REPOSITORY") or os.environ.get("GITHUB_REPOSITORY", ""),
    )


def latex(text: str) -> str:
    """Plain words with mathematics between dollar signs, as BibTeX takes them."""
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(part if k % 2 else "".join(LATEX.get(sign, sign) for sign in part) for k, part in enumerate(parts))


def bibtex(book: Identity, *, key: str, title: str, path: str, note: str = "") -> str:
    """A BibTeX entry for a part of the book; ``path`` is its place below the book's address."""
    year, month, _ = book.date.split("-")
    fields = {
        "author": " and ".join(f"{{{latex(author)}}}" for author in book.authors),
        "title": f"{{{latex(title)}}}",
        "howpublished": latex(book.title),
        "year": year,
        "month": str(int(month)),
        "note": f"Version {book.version}" + f", {latex(note)}" * bool(note),
        "url": book.address + path,
    }
    lines = [f"  {name:<12} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}"])
