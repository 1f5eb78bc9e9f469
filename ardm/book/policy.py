"""What a page may load and run: a Content-Security-Policy (W3C, CSP level 3) that each page carries in its head.

Nothing comes from another host. A script runs when it is a file of the book, or when its text, written in the page, was known
when the page was made: the policy lists the SHA-256 of each. Known are the scripts that Sphinx and its theme write round the text
and the widgets of this package. A script in the text itself that is neither is an error, so that what a notebook prints or a
corpus holds never gets into the list. Styles are free: formulas and figures set their own.

The words ``file:`` beside ``'self'`` are for pages opened from a disk, which some browsers say have no self; a page that came from
a server may load no file by them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

from ardm.base.errors import InputError

__all__ = ["guarded", "policy"]

OWN = "'self' file:"
DIRECTIVES = {
    "default-src": "'none'",
    "style-src": f"{OWN} 'unsafe-inline'",
    "img-src": f"{OWN} data: blob:",
    "font-src": f"{OWN} data:",
    "connect-src": f"{OWN} blob: data:",
    "form-action": OWN,
    "base-uri": "'none'",
}
SCRIPTS = {"", "text/javascript", "application/javascript", "module"}
"""The types of what a browser runs; of another type it is data."""
SAMPLER = "playground.js"
"""The one script that compiles WebAssembly."""
CHARSET = re.compile(r"<meta\s+charset=[^>]*>", re.IGNORECASE)
HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)


@dataclass
class _Found:
    """The scripts of a page by where they stand: round its text or in it."""

    files: list[str] = field(default_factory=list)
    inline: list[tuple[str, bool]] = field(default_factory=list)
    handlers: list[tuple[str, bool]] = field(default_factory=list)


class _Page(HTMLParser):
    def __init__(self, text: str, within: str) -> None:
        super().__init__(convert_charrefs=True)
        self.within = within
        self.found, self._depth, self._script = _Found(), 0, None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._depth += tag == self.within
        values, inside = dict(attrs), self._depth > 0
        if tag == "script" and "src" not in values and (values.get("type") or "").lower() in SCRIPTS:
            self._script = ""
        elif tag == "script":
            self.found.files.append((values.get("src") or "").rpartition("/")[2].partition("?")[0])
        self.found.handlers += [(value or "", inside) for name, value in attrs if name.startswith("on")]
        for name in ("href", "src", "action", "formaction", "xlink:href", "data"):
            if re.match(r"[\s\x00-\x1f]*javascript:", values.get(name) or "", re.IGNORECASE):
                self.found.handlers.append((values[name] or "", True))

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._script += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            self.found.inline.append((self._script, self._depth > 0))
            self._script = None
        self._depth -= tag == self.within


def policy(page: str, known: Callable[[str], bool], within: str = "article") -> str:
    """The policy for a page of HTML. ``known``: whether a script inside its text, which is all ``within`` that tag, may run.

    ``InputError`` names the beginning of a script in the text that is not known, and any attribute there that is a script.
    """
    found = _Page(page, within).found
    strange = [script for script, inside in found.inline if inside and not known(script)]
    strange += [script for script, inside in found.handlers if inside]
    if strange:
        raise InputError(f"a script in the text that nobody knows: {' '.join(strange[0].split())[:80]!r}; take it out")
    scripts = [OWN, *(["'wasm-unsafe-eval'"] if SAMPLER in found.files else [])]
    if found.handlers:
        scripts.append("'unsafe-hashes'")  # the attributes of the theme, by their hashes too
    texts = [script for script, _ in (*found.inline, *found.handlers)]
    scripts += dict.fromkeys(f"'sha256-{_hash(text)}'" for text in texts)
    told = {"default-src": DIRECTIVES["default-src"], "script-src": " ".join(scripts), **DIRECTIVES}
    return "; ".join(f"{name} {value}" for name, value in told.items())


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def guarded(page: str, known: Callable[[str], bool], within: str = "article") -> str:
    """The page with its policy in the head, before anything that it could run; ``InputError`` as :func:`policy` has it."""
    place = CHARSET.search(page) or HEAD.search(page)
    if place is None:
        raise InputError("a page without a head: it can hold no policy")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(policy(page, known, within), quote=False)}">'
    return f"{page[: place.end()]}\n{meta}{page[place.end() :]}"
