"""Images on this machine: layout directories and archives made by real tools."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from browsermount.errors import BrowsermountError, ImageNotFound, InvalidImage
from browsermount.fetch import read_all
from browsermount.local import open_local
from browsermount.local.files import FileFetcher, FileResponse
from browsermount.mount import mount, read_file
from tests.compare.readers import mount_layout, read_mount
from tests.compare.records import Records, differences
from tests.core.images import Layout, member, tar
from tests.fixtures import fixture

from .test_reading import write

LAYERS = (tar(member("first", b"1" * 3000)), tar(member("second", b"2" * 70_000)))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local") / "layout"
    write(Layout().add(*LAYERS, LAYERS[0], name="latest"), folder)
    return folder


def copied(target: str) -> None:
    source = f"oci:{fixture('configs')}/layout:cmd-exec"
    command = ["skopeo", "--override-arch", "386", "copy", "-q", source, target]
    subprocess.run(command, check=True)


def check_copy(path: Path, name: str | None = None) -> None:
    """Compare the image in an archive with what it was made from."""

    async def read() -> tuple[Records, Records]:
        with open_local(path, name) as source:
            copy = await read_mount(await mount(source, fetcher=FileFetcher()))
        return copy, await read_mount(await mount_layout(fixture("configs") / "layout", "cmd-exec"))

    copy, original = asyncio.run(read())
    assert len(copy) > 5
    assert not (text := differences(original, copy)), text


def contents(path: Path, name: str | None = None) -> list[bytes | None]:
    async def read() -> list[bytes | None]:
        with open_local(path, name) as source:
            mounted = await mount(source, fetcher=FileFetcher())
            return [await read_file(mounted.rootfs, name) for name in (b"first", b"second")]

    return asyncio.run(read())


EXPECTED = [b"1" * 3000, b"2" * 70_000]


def test_a_directory(layout: Path) -> None:
    assert contents(layout) == EXPECTED
    assert contents(layout, "latest") == EXPECTED
    with pytest.raises(ImageNotFound, match="no file or directory"):
        contents(layout / "no")
    with pytest.raises(ImageNotFound, match="no OCI image layout"):
        contents(layout / "blobs")


def test_an_oci_archive(tmp_path: Path) -> None:
    copied(f"oci-archive:{tmp_path / 'image.tar'}:latest")
    check_copy(tmp_path / "image.tar")


def test_what_docker_save_writes(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    copied(f"docker-archive:{path}:example.org/it:v1")
    check_copy(path)
    check_copy(path, "example.org/it:v1")
    with pytest.raises(ImageNotFound, match="no image with the name"):
        contents(path, "other")


@pytest.mark.parametrize("program", [["gzip"], ["zstd", "-q"]])
def test_an_archive_that_is_compressed(tmp_path: Path, program: list[str]) -> None:
    copied(f"docker-archive:{tmp_path / 'image.tar'}:it:latest")
    with (tmp_path / "image.tar").open("rb") as plain, (tmp_path / "packed").open("wb") as packed:
        subprocess.run([*program, "-c"], stdin=plain, stdout=packed, check=True)
    check_copy(tmp_path / "packed")


def saved(path: Path, change: Callable[[dict[str, bytes], list[dict[str, object]]], None]) -> Path:
    """Write an archive as older versions of docker save do, after a change."""
    import hashlib

    diff_ids = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in LAYERS]
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "386",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    files = {name: config, "a/layer.tar": LAYERS[0], "b/layer.tar": LAYERS[1]}
    images: list[dict[str, object]] = [
        {"Config": name, "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}
    ]
    change(files, images)
    members = [member(file, data) for file, data in files.items()]
    path.write_bytes(tar(*members, member("manifest.json", json.dumps(images).encode())))
    return path


def test_layers_that_are_packed_in_the_archive(tmp_path: Path) -> None:
    def change(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
        files["a/layer.tar"] = gzip.compress(LAYERS[0])

    assert contents(saved(tmp_path / "x", change)) == EXPECTED


def damage_config(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
    name = next(iter(files))
    files[name] += b" "


def damage_layer(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
    files["b/layer.tar"] = files["b/layer.tar"].replace(b"222", b"223", 1)


def drop_layer(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
    del files["b/layer.tar"]


def drop_entry(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
    images[0]["Layers"] = ["a/layer.tar"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage_config, "is damaged"),
        (damage_layer, "has the digest"),
        (drop_layer, "b/layer.tar is missing"),
        (drop_entry, "1 layers"),
    ],
)
def test_damaged_archives(
    tmp_path: Path,
    change: Callable[[dict[str, bytes], list[dict[str, object]]], None],
    message: str,
) -> None:
    with pytest.raises(BrowsermountError, match=message):
        contents(saved(tmp_path / "x", change))


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not an archive" * 100)
    with pytest.raises(ImageNotFound, match="not an archive"):
        contents(tmp_path / "text")
    (tmp_path / "plain.tar").write_bytes(LAYERS[0])
    with pytest.raises(ImageNotFound, match="neither"):
        contents(tmp_path / "plain.tar")
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        archive.addfile(*_member("manifest.json", b'[{"Config": "no"}]'))
    with pytest.raises(InvalidImage, match="not complete"):
        contents(tmp_path / "odd.tar")


def _member(name: str, data: bytes):  # type: ignore[no-untyped-def]
    import io

    info, data = member(name, data)
    return info, io.BytesIO(data)


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        (None, 200, b"0123456789"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
    ],
)
def test_ranges(tmp_path: Path, wanted: str | None, status: int, body: bytes) -> None:
    path = tmp_path / "ten bytes"
    path.write_bytes(b"0123456789")

    async def get() -> tuple[FileResponse, bytes]:
        headers = {"Range": wanted} if wanted else {}
        response = await FileFetcher().get(path.as_uri(), headers=headers)
        return response, await read_all(response, 100)

    response, data = asyncio.run(get())
    assert (response.status, data) == (status, body)
    if status == 206:
        assert response.headers["content-range"].endswith("/10")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    response = asyncio.run(FileFetcher().get((tmp_path / "no").as_uri()))
    assert response.status == 404
