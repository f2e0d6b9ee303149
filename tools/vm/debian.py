"""Debian packages, fetched into a directory without touching the system.

Everything that is not made from sources in this repository comes from Debian:
the kernel's source, libraries, the firmware.  An own state directory for apt lets
an amd64 machine fetch i386 packages without being told about the architecture,
and without root.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Archive:
    """The archive that this machine's apt is configured for, with its packages for a PC."""

    def __init__(self, directory: Path, architectures: Sequence[str] = ("amd64", "i386")) -> None:
        """Make an archive that keeps what it fetches in a directory.

        Args:
            architectures: Those whose packages are needed; the first one's are meant by names
                without an architecture.
        """
        self._directory = directory.resolve()
        self._architectures = architectures
        for name in ("state/lists/partial", "cache/archives/partial", "packages"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)

    def _apt(self, *arguments: str) -> None:
        settings = [
            *(f"APT::Architectures::={name}" for name in self._architectures),
            "APT::Sandbox::User=",
            f"Dir::State={self._directory / 'state'}",
            "Dir::State::status=/dev/null",
            f"Dir::Cache={self._directory / 'cache'}",
        ]
        options = [f"-o{setting}" for setting in settings]
        subprocess.run(
            ["apt-get", "-qq", *options, *arguments],
            cwd=self._directory / "packages",
            check=True,
        )

    def update(self) -> None:
        """Fetch the lists of packages; one that cannot be had is no error."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._apt("update")

    def fetch(self, package: str, version: str | None = None) -> Path:
        """Download a package, "name" or "name:i386".

        Args:
            version: default: the newest.
        """
        self._apt("download", f"{package}={version}" if version else package)
        name = package.partition(":")[0]
        files = [
            file
            for file in (self._directory / "packages").glob(f"{name}_*.deb")
            if version in (None, deb_version(file))
        ]
        return max(files, key=lambda file: file.stat().st_mtime)


def deb_version(deb: Path) -> str:
    """The version of a package file."""
    return _output(["dpkg-deb", "--field", str(deb), "Version"])


def unpack(deb: Path, directory: Path) -> None:
    """Unpack the files of a package file."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "-x", str(deb), str(directory)], check=True)


def installed_version(package: str) -> str:
    """The version of a package that is installed on this machine."""
    return _output(["dpkg-query", "--show", "--showformat=${Version}", package])


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
