"""What a guest may say that its container has changed."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from browsermount import limits
from browsermount.cli.commit import Commit
from browsermount.commit.layer import LayerFile
from browsermount.errors import InvalidArchive, InvalidImage
from browsermount.oci.descriptor import Descriptor


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1000
            tar.addfile(member, io.BytesIO(bytes(1000)))
    return data.getvalue()


def pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 999] for at in range(0, len(data), 999)]


def take(*parts: bytes, target: BinaryIO | None = None) -> tuple[Descriptor, str]:
    layer = LayerFile(target or io.BytesIO())
    for part in parts:
        layer.feed(part)
    return layer.finish()


def test_an_archive_in_pieces() -> None:
    target = io.BytesIO()
    descriptor, diff_id = take(*pieces(archive("a", "b/.wh.c")), target=target)
    assert descriptor.size == len(target.getvalue())
    assert diff_id != str(descriptor.digest)
    with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as tar:
        assert tar.getnames() == ["a", "b/.wh.c"]


@pytest.mark.parametrize(
    "data",
    [
        b"no archive at all " * 100,
        archive("a")[:700],
        archive("a")[:1536],
        b"",
        archive("a" * 5000),
    ],
)
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(InvalidArchive):
        take(*pieces(data))


@pytest.mark.parametrize("text", ["!!!!", "YQ", 5])
def test_what_is_no_base64(text: object, tmp_path: Path) -> None:
    commit = Commit(tmp_path / "layout", "new")
    with pytest.raises(InvalidArchive):
        commit.receive({"type": "archive", "data": text})
    commit.close()


def test_an_archive_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CHANGES", 5000)
    with pytest.raises(InvalidArchive, match="more than"):
        take(*pieces(archive("a", "b", "c", "d", "e")))


def test_nothing_is_left_of_what_was_not_complete(tmp_path: Path) -> None:
    commit = Commit(tmp_path / "layout", "new")
    commit.receive({"type": "archive", "data": base64.b64encode(archive("a")).decode()})
    with pytest.raises(InvalidArchive, match="I/O error"):
        commit.receive({"type": "archived", "failure": "read /etc/x: I/O error"})
    commit.close()
    assert not [path for path in (tmp_path / "layout").rglob("*") if path.is_file()]
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidImage):
        Commit(tmp_path, "new")
