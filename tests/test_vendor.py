"""What is fetched at build time: pinned by its checksum, and a clear word when it cannot be had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import vendor


@pytest.mark.parametrize("package", vendor.PACKAGES, ids=lambda package: package.name)
def test_a_package_with_another_checksum_is_refused(package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forged(package, folder: Path) -> Path:
        (folder / "archive.tgz").write_bytes(b"not it")
        return folder / "archive.tgz"

    monkeypatch.setattr(vendor, "fetch", forged)
    with pytest.raises(vendor.BookError, match=rf"{package.name} {package.version}: the archive's SHA-512"):
        vendor.put(package, tmp_path / "vendor" / package.name)
    assert not (tmp_path / "vendor" / package.name).exists()


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor, "npm_commands", lambda: [[sys.executable, "-c", "import sys; sys.exit('no network')"]])
    with pytest.raises(vendor.BookError, match=r"could not be fetched with npm \(no network\).*connect"):
        vendor.fetch(vendor.PACKAGES[0], tmp_path)


def test_the_command_says_in_one_line_what_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def blocked(target: Path) -> None:
        raise vendor.BookError("mathjax could not be fetched")

    monkeypatch.setattr(vendor, "vendor", blocked)
    assert vendor.main() == 1
    assert capsys.readouterr().err == "book: mathjax could not be fetched\n"
