"""Images on this machine: layout directories and archives made by real tools."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from browsermount.cli.images import local_path, opened
from browsermount.errors import BrowsermountError, ImageNotFound, InvalidImage, InvalidReference
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


@pytest.mark.parametrize("program", [["gzip"], ["zstd", "-q"], ["bzip2"], ["xz", "-0"]])
def test_an_archive_that_is_compressed(tmp_path: Path, program: list[str]) -> None:
    copied(f"docker-archive:{tmp_path / 'image.tar'}:it:latest")
    with (tmp_path / "image.tar").open("rb") as plain, (tmp_path / "packed").open("wb") as packed:
        subprocess.run([*program, "-c"], stdin=plain, stdout=packed, check=True)
    check_copy(tmp_path / "packed")


def saved(path: Path, change: Callable[[dict[str, bytes], list[dict[str, object]]], None]) -> Path:
    """Write an archive as older versions of docker save do, after a change."""
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
    # As programs write it that name it by its digest for sure; see rename_config.
    name = next(iter(files))
    images[0]["Config"] = f"sha256:{name.removesuffix('.json')}"
    files[f"sha256:{name.removesuffix('.json')}"] = files[name] + b" "


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


@pytest.mark.parametrize("name", ["config.json", f"{'0' * 64}.json", "sha256:DIGEST"])
def test_configs_of_other_tools(tmp_path: Path, name: str) -> None:
    def rename_config(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
        before = next(iter(files))
        after = name.replace("DIGEST", before.removesuffix(".json"))
        files[after] = files.pop(before)
        images[0]["Config"] = after

    assert contents(saved(tmp_path / "x", rename_config)) == EXPECTED


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_an_image_that_was_saved_by_its_id(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    def as_containerd(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
        config, *layers = list(files)
        blobs = [files.pop(config), *(pack(files.pop(layer)) for layer in layers)]
        names = [f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" for blob in blobs]
        files |= dict(zip(names, blobs, strict=True))
        images[0] |= {"Config": names[0], "Layers": names[1:]}
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        files["index.json"] = b'{"schemaVersion": 2, "manifests": null}'

    path = saved(tmp_path / "x", as_containerd)
    assert contents(path) == EXPECTED

    def damaged(files: dict[str, bytes], images: list[dict[str, object]]) -> None:
        as_containerd(files, images)
        files[str(images[0]["Layers"][1])] += b"\0"  # type: ignore[index]

    with pytest.raises(BrowsermountError, match=r"longer|digest"):
        contents(saved(tmp_path / "y", damaged))


def first_version(path: Path, **changes: bytes | None) -> Path:
    """Write an archive as docker save did before manifest.json."""
    top = {"id": "b", "parent": "a", "os": "linux", "architecture": "386", "config": {"Cmd": ["x"]}}
    files: dict[str, bytes | None] = {
        "repositories": b'{"busybox": {"latest": "b", "1.0": "b"}, "base": {"v1": "a"}}',
        "a/json": b'{"id": "a", "os": "linux", "architecture": "386", "config": {"Cmd": ["y"]}}',
        "a/layer.tar": LAYERS[0],
        "a/VERSION": b"1.0",
        "b/json": json.dumps(top).encode(),
        "b/layer.tar": LAYERS[1],
        **changes,
    }
    path.write_bytes(tar(*(member(n, data) for n, data in files.items() if data is not None)))
    return path


def test_the_oldest_archives(tmp_path: Path) -> None:
    path = first_version(tmp_path / "x")
    assert contents(path, "busybox") == EXPECTED
    assert contents(path, "busybox:1.0") == EXPECTED
    assert contents(path, "base:v1") == [EXPECTED[0], None]
    with pytest.raises(ImageNotFound, match=r"base:v1, busybox:1\.0, busybox:latest"):
        contents(path)
    with pytest.raises(InvalidImage, match=r"a/layer\.tar is missing"):
        contents(first_version(tmp_path / "y", **{"a/layer.tar": None}), "busybox")
    loop = b'{"id": "a", "parent": "a"}'
    with pytest.raises(InvalidImage, match="more than"):
        contents(first_version(tmp_path / "z", **{"a/json": loop}), "busybox")


def test_a_folder_of_skopeo(tmp_path: Path) -> None:
    copied(f"dir:{tmp_path / 'image'}")
    check_copy(tmp_path / "image")


def test_a_folder_of_skopeo_for_all_platforms(tmp_path: Path) -> None:
    source = f"oci:{fixture('platforms')}/nested"
    # skopeo reads no index within an index: the inner one is copied.
    nested = json.loads((fixture("platforms") / "nested/index.json").read_bytes())
    layout = tmp_path / "layout"
    shutil.copytree(fixture("platforms") / "nested", layout)
    digest = nested["manifests"][0]["digest"].removeprefix("sha256:")
    (layout / "index.json").write_bytes((layout / "blobs/sha256" / digest).read_bytes())
    source = f"oci:{layout}"
    command = ["skopeo", "copy", "-q", "--all", source, f"dir:{tmp_path / 'image'}"]
    subprocess.run(command, check=True)

    async def which() -> bytes | None:
        with open_local(tmp_path / "image") as source:
            mounted = await mount(source, fetcher=FileFetcher())
            return await read_file(mounted.rootfs, b"which")

    assert asyncio.run(which()) == b"386\n"


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("./l", "l", None),
        ("./l#v1", "l", "v1"),
        ("./l:v1", "l", "v1"),
        ("oci:l:v1", "l", "v1"),
        ("oci:l", "l", None),
        ("dir:l", "l", None),
        ("docker-archive:x.tar:alpine:3.20", "x.tar", "alpine:3.20"),
        ("docker-archive:x.tar#alpine:3.20", "x.tar", "alpine:3.20"),
        ("x.tar:alpine:3.20", "x.tar", "alpine:3.20"),
        ("./x.tar#host:5000/a@sha256:1", "x.tar", "host:5000/a@sha256:1"),
        ("./odd:name#tar", "odd:name#tar", None),
        ("./odd:name#tar:v1", "odd:name#tar", "v1"),
        ("./no:v1", "no", "v1"),
        ("/no#v1:2", "/no", "v1:2"),
        ("~/x:y", "HOME/x", "y"),
    ],
)
def test_names_of_local_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, path: str, name: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "HOME")
    (tmp_path / "l").mkdir()
    (tmp_path / "l/index.json").touch()
    for file in ("x.tar", "odd:name#tar"):
        (tmp_path / file).touch()
    assert local_path(text) == (Path(path), name)


def test_names_of_images_that_are_not_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "debian").mkdir()
    (tmp_path / "debian/index.json").touch()
    # Who pulls debian:12 into debian and does it once more wants what is new.
    for text in ("debian:12", "alpine", "a/b:c", "docker://debian"):
        assert local_path(text) is None
    assert local_path("debian") == (Path("debian"), None)


@pytest.mark.parametrize("image", ["docker-daemon:alpine:3.20", "containers-storage:alpine"])
def test_places_that_are_read_by_other_tools(image: str) -> None:
    with pytest.raises(InvalidReference) as raised:
        asyncio.run(_opened(image))
    assert " save -o image.tar" in raised.value.hint


async def _opened(image: str) -> None:
    async with opened(image):
        pass


def test_hints_can_be_typed(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first_version(tmp_path / "x.tar")
    with pytest.raises(ImageNotFound) as raised:
        contents(Path("x.tar"))
    assert raised.value.hint.endswith(": ./x.tar#base:v1")
    typed = local_path(raised.value.hint.rpartition(" ")[2])
    assert typed is not None
    assert contents(*typed) == [EXPECTED[0], None]
    shutil.copytree(layout, "copy")
    manifest = json.loads(Path("copy/index.json").read_bytes())["manifests"][0]["digest"]
    Path("copy/blobs", *manifest.split(":")).unlink()
    with pytest.raises(ImageNotFound, match=r"is missing from \./copy$"):
        contents(Path("copy"))


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
