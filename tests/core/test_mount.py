"""The whole way: a layout behind a fetcher, mounted, read through 9P."""

import asyncio
import json
from typing import Any

import pytest

from browsermount.blobs import remote
from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    ImageNotFound,
    InvalidLayer,
    InvalidProcess,
    NetworkError,
    SizeMismatch,
)
from browsermount.events import Event, LayerProgress, LayerState
from browsermount.fetch import unstalled
from browsermount.mount import Mount, mount
from browsermount.ninep import wire
from browsermount.oci.digest import Digest
from browsermount.oci.given import GivenLayer, layer_of

from .client import Client
from .images import BASE, FakeFetcher, FakeResponse, Layout, hardlink, member, symlink, tar
from .loop import run

LAYERS = (
    tar(
        member("etc/"),
        member("etc/passwd", b"root:x:0:0::/root:/bin/sh\nwww:x:33:33::/srv:/bin/sh\n"),
        member("bin/sh", b"#!" * 5000, mode=0o755),
        member("gone", b""),
    ),
    tar(member(".wh.gone"), hardlink("bin/bash", "bin/sh"), member("big", b"big" * 200_000)),
)


def mounted(
    layout: Layout, events: list[Event] | None = None, **response: Any
) -> tuple[Mount, FakeFetcher]:
    fetcher = FakeFetcher(layout.index(), **response)
    on_event = [].append if events is None else events.append
    coroutine = mount(BASE, fetcher=fetcher, on_event=on_event)
    return run(coroutine), fetcher


def failure(layout: Layout, kind: type[BrowsermountError], **response: Any) -> BrowsermountError:
    with pytest.raises(kind) as caught:
        mounted(layout, **response)
    return caught.value


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("chunk", [100, 1 << 20])
def test_an_image_through_9p(compress: bool, chunk: int) -> None:
    layout = Layout().add(*LAYERS, compress=compress, config={"Cmd": ["sh"], "User": "www"})
    result, fetcher = mounted(layout, chunk=chunk)
    client = Client(result.tree.root)
    names = {entry.name for entry in client.readdir(b"rootfs")}
    assert names == {b".", b"..", b"etc", b"bin", b"big"}
    assert client.read(b"rootfs", b"big") == b"big" * 200_000
    assert client.read(b"rootfs", b"bin", b"bash") == b"#!" * 5000
    spec = json.loads(client.read(b"config", b"config.json"))
    assert spec["process"]["args"] == ["sh"]
    assert spec["process"]["user"] == {"uid": 33, "gid": 33, "additionalGids": [33]}
    assert json.loads(client.read(b"config", b"imageconfig.json"))["config"]["User"] == "www"
    assert b"localhost" in client.read(b"config", b"hosts")
    assert all(response.closed for response in fetcher.responses)
    assert len(fetcher.asked) == len(set(fetcher.asked))


def test_of_an_image_that_is_known_only_its_name_is_asked_for() -> None:
    """What is known of it is verified all the same."""
    layout = Layout().add(*LAYERS, config={"Cmd": ["sh"], "User": "www"})
    first, _ = mounted(layout)
    known = run(first.known())

    def asked(known: dict[str, bytes]) -> list[str]:
        fetcher = FakeFetcher(layout.index())
        again = run(mount(BASE, fetcher=fetcher, known=known))
        assert again.identity == first.identity
        spec = json.loads(Client(again.tree.root).read(b"config", b"config.json"))
        assert spec["process"]["user"]["uid"] == 33
        return [url.removeprefix(BASE) for url in fetcher.asked]

    # Two documents, two indexes, and what has the users.
    assert len(known) == 5
    assert asked(known) == ["index.json", "oci-layout"]
    for key, data in known.items():
        assert len(asked({**known, key: data[:-1] + bytes([data[-1] ^ 1])})) > 2


def test_events() -> None:
    events: list[Event] = []
    mounted(Layout().add(*LAYERS), events)
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["resolving", "resolved"]
    assert kinds[-1] == "tree"
    layers = [event for event in events if isinstance(event, LayerProgress)]
    for index in (0, 1):
        states = [event.state for event in layers if event.index == index]
        assert states[:2] == [LayerState.WAITING, LayerState.DOWNLOADING]
        assert states[-2:] == [LayerState.VERIFYING, LayerState.READY]
        currents = [event.current for event in layers if event.index == index]
        assert currents == sorted(currents)
        assert currents[-1] == layers[-1].total or index == 0
    for event in events:
        assert json.loads(json.dumps(event.to_dict()))["kind"] == event.kind


def test_symlinked_passwd() -> None:
    layer = tar(
        symlink("etc/passwd", "/usr/passwd"), member("usr/passwd", b"me:x:7:8::/me:/bin/sh\n")
    )
    result, _ = mounted(Layout().add(layer, config={"Cmd": ["sh"], "User": "me"}))
    spec = json.loads(Client(result.tree.root).read(b"config", b"config.json"))
    assert spec["process"]["user"]["uid"] == 7
    assert "HOME=/me" in spec["process"]["env"]


def test_no_layers() -> None:
    result, _ = mounted(Layout().add(config={"Entrypoint": ["/x"]}))
    assert Client(result.tree.root).readdir(b"rootfs")


def test_a_damaged_layer_is_told_by_its_digest() -> None:
    layout = Layout().add(*LAYERS)
    path = max(layout.files, key=lambda path: len(layout.files[path]))
    whole = layout.files[path]
    layout.files[path] = whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]
    assert path.rsplit("/", 1)[1] in failure(layout, DigestMismatch).message
    layout.files[path] = whole[:-1]
    failure(layout, SizeMismatch)
    layout.files[path] = whole + b"x"
    failure(layout, SizeMismatch)
    del layout.files[path]
    assert "missing" in failure(layout, ImageNotFound).message


def test_a_layer_that_is_no_archive() -> None:
    error = failure(Layout().add(LAYERS[0], b"rubbish" * 100, compress=False), InvalidLayer)
    assert "layer 2" in error.message
    error = failure(Layout().add(tar(hardlink("a", "b"))), InvalidLayer)
    assert "layer 1" in error.message


class Breaking(FakeFetcher):
    """Breaks each answer off that is longer than 2000 bytes."""

    after = 1500

    async def get(self, url: str, **headers: Any) -> FakeResponse:
        response = await super().get(url, **headers)
        if len(response.body) > 2000:
            response.breaks_after = self.after
        return response


def test_a_connection_that_breaks_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_DELAY", 0.0)
    layout = Layout().add(LAYERS[0], compress=False)
    events: list[Event] = []
    result = run(mount(BASE, fetcher=Breaking(layout.index()), on_event=events.append))
    assert Client(result.tree.root).read(b"rootfs", b"bin", b"sh") == b"#!" * 5000
    kinds = [event.kind for event in events]
    assert kinds.count("trouble") == kinds.count("recovered") > 2


def test_a_connection_that_breaks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(Breaking, "after", 0)
    layout = Layout().add(LAYERS[0], compress=False)
    with pytest.raises(NetworkError):
        run(mount(BASE, fetcher=Breaking(layout.index())))


def test_a_connection_that_stalls() -> None:
    class Stalling(FakeResponse):
        async def chunks(self):  # type: ignore[no-untyped-def]
            yield b"first"
            await asyncio.get_running_loop().create_future()

    async def read() -> None:
        async for _ in unstalled(Stalling(BASE), 0.01):
            pass

    with pytest.raises(NetworkError, match="nothing came"):
        run(read())


def test_a_user_that_is_not_there() -> None:
    error = failure(Layout().add(*LAYERS, config={"Cmd": ["sh"], "User": "who"}), InvalidProcess)
    assert error.to_dict()["code"] == "invalid-process"
    assert error.hint


def test_each_session_is_its_own() -> None:
    result, _ = mounted(Layout().add(*LAYERS))
    for _ in range(2):
        server = result.session()
        frame = server.handle(wire.Tversion(8192, b"9P2000.L").encode(wire.NOTAG))
        assert isinstance(frame, bytes)
        frame = server.handle(wire.Tattach(1, wire.NOFID, b"", b"", 0).encode(1))
        assert isinstance(frame, bytes)
        assert isinstance(wire.decode(frame)[1], wire.Rattach)


@pytest.mark.parametrize(
    ("media_type", "said", "hint"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "is encrypted", "decryption-key"),
        ("application/vnd.oci.image.layer.nydus.blob.v1", "nydus", "was made from"),
        ("application/vnd.sylabs.image.layer.v1.squashfs", "squashfs", "buildah"),
        ("application/vnd.stacker.image.layer.squashfs+zstd+verity", "squashfs", "buildah"),
        ("application/vnd.sylabs.sif.layer.v1.sif", "squashfs", "buildah"),
        ("application/vnd.erofs.layer.v1", "EROFS", "was made from"),
        ("application/vnd.wasm.content.layer.v1+wasm", "WebAssembly", "wasmtime"),
        ("application/wasm", "WebAssembly", "wasmtime"),
    ],
)
def test_layers_that_are_no_archives(media_type: str, said: str, hint: str) -> None:
    layout = Layout().add(LAYERS[0])
    manifest = json.loads(layout.files[blob_path(layout.manifests[0])])
    # A layer that can be read is there, too, so that it is an image all the same.
    manifest["layers"].append(layout.blob(b"whatever it is", media_type))
    layout.manifests = [layout.document(manifest, layout.manifests[0]["mediaType"])]
    error = failure(layout, InvalidLayer)
    assert error.message.startswith("layer 2 ")
    assert media_type in error.message
    assert said in error.message
    assert hint in error.hint


def test_a_layer_of_an_unknown_type_that_is_an_archive() -> None:
    layout = Layout().add(LAYERS[0])
    manifest = json.loads(layout.files[blob_path(layout.manifests[0])])
    manifest["layers"][0]["mediaType"] = "application/x-tarball"
    layout.manifests = [layout.document(manifest, layout.manifests[0]["mediaType"])]
    assert mounted(layout)[0].rootfs
    manifest["layers"].append(layout.blob(b"no archive", "application/x-model"))
    layout.manifests = [layout.document(manifest, layout.manifests[0]["mediaType"])]
    assert "whose media type is 'application/x-model'" in failure(layout, InvalidLayer).message


def blob_path(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def test_layers_that_lie_over_the_image() -> None:
    layout = Layout().add(*LAYERS)
    first = tar(member("etc/new", b"one" * 500_000), member(".wh.big"), member("etc/two", b"2"))
    second = tar(member("etc/.wh.two"), member("bin/sh", b"changed"), hardlink("bin/x", "bin/sh"))
    over = [layer_of(first), layer_of(second)]
    events: list[Event] = []
    coroutine = mount(BASE, fetcher=FakeFetcher(layout.index()), over=over, on_event=events.append)
    result = run(coroutine)
    client = Client(result.tree.root)
    assert {e.name for e in client.readdir(b"rootfs")} == {b".", b"..", b"etc", b"bin"}
    assert {e.name for e in client.readdir(b"rootfs", b"etc")} == {b".", b"..", b"passwd", b"new"}
    assert client.read(b"rootfs", b"etc", b"new") == b"one" * 500_000
    assert client.read(b"rootfs", b"bin", b"x") == b"changed"
    # They are no part of the image, but of what a session is bound to.
    assert {e.index for e in events if isinstance(e, LayerProgress)} == {0, 1}
    other = run(mount(BASE, fetcher=FakeFetcher(layout.index())))
    assert result.identity.split()[:3] == [other.identity.split()[0], *map(str, digests(over))]


def digests(layers: list[GivenLayer]) -> list[Digest]:
    return [layer.digest for layer in layers]


def test_a_layer_over_the_image_that_is_none() -> None:
    layout = Layout().add(*LAYERS)
    for data, kind in ((b"none" * 500, InvalidLayer), (tar(member("a"))[:600], InvalidLayer)):
        with pytest.raises(kind):
            run(mount(BASE, fetcher=FakeFetcher(layout.index()), over=[layer_of(data)]))
    changed = layer_of(tar(member("a", b"content")))
    wrong = GivenLayer(Digest.of(b"other"), changed.size, changed.read)
    with pytest.raises(DigestMismatch):
        run(mount(BASE, fetcher=FakeFetcher(layout.index()), over=[wrong]))
