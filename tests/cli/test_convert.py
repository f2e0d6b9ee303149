"""``browsermount convert``: layers packed in another way hold the same, for us and for others."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from browsermount.cli import estargz, main
from tests.compare.known import FEATURES
from tests.compare.readers import mount_layout, read_mount, unpack_with_umoci
from tests.compare.records import differences
from tests.core.images import Layout, member, tar
from tests.fixtures import fixture

from .test_reading import write

LANDMARK = ".prefetch.landmark"


def converted(source: object, target: Path, *options: str) -> dict[str, Any]:
    """Convert an image and return its manifest, as skopeo reads it."""
    assert main(["convert", str(source), str(target), *options]) == 0
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{target}:latest"], capture_output=True, check=True
    ).stdout
    manifest: dict[str, Any] = json.loads(raw)
    return manifest


def check_same_tree(one: Path, other: Path) -> None:
    async def read(layout: Path):  # type: ignore[no-untyped-def]
        return await read_mount(await mount_layout(layout))

    text = differences(asyncio.run(read(one)), asyncio.run(read(other)))
    assert not text, f"\n{text}"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_other_compressions(compression: str, tmp_path: Path) -> None:
    source = fixture("features") / "layout"
    manifest = converted(source, tmp_path / "out", "-c", compression, "--level", "1")
    types = {layer["mediaType"] for layer in manifest["layers"]}
    assert types == {f"application/vnd.oci.image.layer.v1.tar+{compression}"}
    check_same_tree(source, tmp_path / "out")
    if compression == "gzip":
        # The archives are the same ones, so umoci finds in the new layers what it found before.
        expected = unpack_with_umoci(source, "features")
        found = unpack_with_umoci(tmp_path / "out", "latest")
        paths = {known.path for known in FEATURES}
        for path in paths:
            expected.pop(path), found.pop(path)
        assert not (text := differences(expected, found)), f"\n{text}"


def test_estargz_is_what_its_own_library_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estargz, "CHUNK_SIZE", 100_000)
    source = fixture("lazy") / "original"
    target = tmp_path / "out"
    manifest = converted(source, target, "-c", "estargz")
    config = json.loads((target / blob(manifest["config"])).read_bytes())
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"])
    for layer in manifest["layers"]:
        digest = layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"]
        command = [fixture("estargz-verify") / "estargz-verify", target / blob(layer), digest]
        verified = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert int(verified.split()[0]) > 0
    chunks = [row for row in rows(target / blob(manifest["layers"][0])) if row["type"] == "chunk"]
    assert chunks
    # What other tools read of it: the same files, and the digests in the config.
    extra = tmp_path / "unpacked"
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{target}:latest", extra], check=True)
    assert (extra / "bin" / "busybox").read_bytes()
    check_same_tree(source, target)


def blob(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def rows(layer: Path) -> list[dict[str, Any]]:
    import gzip

    stored = layer.read_bytes()
    toc = gzip.decompress(stored[int(stored[-51:][16:32], 16) : -51])
    found: list[dict[str, Any]] = json.loads(toc[512:].rstrip(b"\0"))["entries"]
    return found


def test_what_is_needed_first_is_at_the_start_of_its_layer(tmp_path: Path) -> None:
    source, target = fixture("lazy") / "original", tmp_path / "out"
    options = ["-c", "estargz", "--prefetch", "/bin/sh", "--prefetch", "bin/busybox"]
    manifest = converted(source, target, *options)
    found = [rows(target / blob(layer)) for layer in manifest["layers"]]
    names = [[row["name"].removeprefix("./").rstrip("/") for row in layer] for layer in found]
    (busybox,) = [layer for layer in names if "bin/busybox" in layer]
    assert busybox[: busybox.index(LANDMARK)][-2:] == ["bin/sh", "bin/busybox"]
    for layer in manifest["layers"]:
        digest = layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"]
        command = [fixture("estargz-verify") / "estargz-verify", target / blob(layer), digest]
        subprocess.run(command, capture_output=True, check=True)
    check_same_tree(source, target)


def test_what_is_needed_first_has_to_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = str(fixture("lazy") / "original"), str(tmp_path / "out")
    assert main(["convert", "-c", "estargz", "--prefetch", "/bin/nothing", source, target]) == 125
    assert "no layer has /bin/nothing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "index.json").exists()
    assert main(["convert", "-c", "gzip", "--prefetch", "/bin/busybox", source, target]) == 125
    assert "--compression estargz" in capsys.readouterr().err


def test_small_documents_stand_in_their_descriptors(tmp_path: Path) -> None:
    source, target = fixture("lazy") / "original", tmp_path / "out"
    manifest = converted(source, target, "-c", "estargz")
    (top,) = json.loads((target / "index.json").read_bytes())["manifests"]
    for descriptor in (top, manifest["config"]):
        assert base64.b64decode(descriptor["data"]) == (target / blob(descriptor)).read_bytes()


def test_estargz_of_estargz(tmp_path: Path) -> None:
    source = fixture("lazy") / "original"
    once = converted(source, tmp_path / "once", "-c", "estargz")
    twice = converted(tmp_path / "once", tmp_path / "twice", "-c", "estargz")
    assert [layer["digest"] for layer in once["layers"]] == [
        layer["digest"] for layer in twice["layers"]
    ]


def test_what_estargz_cannot_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, fields in enumerate(({"name": "\udcff"}, {"name": "x", "mtime": 10**12})):
        layer = tar(member(fields.pop("name"), b"", **fields))  # type: ignore[arg-type]
        write(Layout().add(layer), tmp_path / f"in{number}")
        target = str(tmp_path / f"out{number}")
        assert main(["convert", "-c", "estargz", str(tmp_path / f"in{number}"), target]) == 125
        error = capsys.readouterr().err
        assert "another compression" in error
        assert error.count("\n") == 1


def test_options_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(fixture("lazy") / "original"), str(tmp_path / "out")
    assert main(["convert", source, target, "--level", "3"]) == 125
    assert main(["convert", source, target, "-c", "gzip", "--level", "12"]) == 125
    assert "1 to 9" in capsys.readouterr().err
