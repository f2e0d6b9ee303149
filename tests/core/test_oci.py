"""Documents: index, manifest, config, and choosing an image among them."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from browsermount.blobs.verify import verify
from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    HttpStatusError,
    ImageNotFound,
    InvalidImage,
    InvalidPlatform,
    NetworkError,
    NoMatchingPlatform,
    SizeMismatch,
)
from browsermount.interpreters import interpreter_for
from browsermount.oci.choice import resolve
from browsermount.oci.config import parse_config
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.document import parse_object, parse_object_in_steps
from browsermount.oci.image import ResolvedImage
from browsermount.oci.layout import LayoutSource
from browsermount.oci.manifest import parse_manifest
from browsermount.oci.platform import RUNNABLE, Platform, choose_platforms
from browsermount.reference import LayoutReference, parse_reference
from browsermount.steps import finish

from .images import BASE, INDEX_TYPE, MANIFEST_TYPE, FakeFetcher, FakeResponse, Layout, tar
from .loop import run

AMD64 = Platform("linux", "amd64")


def layout_reference(text: str) -> LayoutReference:
    reference = parse_reference(text)
    assert isinstance(reference, LayoutReference)
    return reference


def resolved(files: dict[str, bytes], text: str = BASE, **response: Any) -> ResolvedImage:
    source = LayoutSource(FakeFetcher(files, **response), layout_reference(text))
    return run(resolve(source, text, RUNNABLE))


def failure(kind: type[BrowsermountError], files: dict[str, bytes], text: str = BASE) -> str:
    with pytest.raises(kind) as caught:
        resolved(files, text)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        None,
        12,
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "md5:" + "0" * 32,
        "sha256:../../../../etc/passwd",
        "sha256/" + "0" * 64,
    ],
)
def test_malformed_digest(text: object) -> None:
    with pytest.raises(InvalidImage):
        Digest.parse(text)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_digest_algorithms(algorithm: str) -> None:
    hasher = Digest(algorithm, "").hasher()
    hasher.update(b"abc")
    descriptor = Descriptor("", Digest.parse(f"{algorithm}:{hasher.hexdigest()}"), 3)
    assert verify(b"abc", descriptor) == b"abc"
    with pytest.raises(DigestMismatch):
        verify(b"abd", descriptor)
    with pytest.raises(SizeMismatch):
        verify(b"ab", descriptor)
    with pytest.raises(SizeMismatch):
        verify(b"abcd", descriptor)


def test_platform() -> None:
    assert Platform.parse("linux/arm/v7") == Platform("linux", "arm", "v7")
    assert str(Platform.parse("linux/386")) == "linux/386"
    for text in ("linux", "linux/", "a/b/c/d", ""):
        with pytest.raises(ValueError, match="not a platform"):
            Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "order", "not_at_all"),
    [
        ("linux/386", ["386", "i386", "i686"], ["amd64"]),
        ("linux/amd64", ["amd64", "amd64/v1", "x86_64"], ["amd64/v2", "386"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64"], ["amd64/v4", "amd64/x"]),
        ("linux/arm", ["arm/v7", "arm", "armhf", "arm/v6", "armel", "arm/v5"], ["arm/v8"]),
        ("linux/arm/v6", ["arm/6", "arm/v5"], ["arm", "arm/v7"]),
        ("linux/arm64", ["arm64", "aarch64", "arm64/v8", "arm64/v8.0"], ["arm64/v8.2", "arm"]),
        ("linux/arm64/v9", ["arm64/v9", "arm64/v8.2", "arm64"], ["arm64/v9.1"]),
        ("linux/riscv64", ["riscv64", "riscv64/rva20u64"], []),
        ("linux/riscv64/rva20u64", ["riscv64/rva20u64", "riscv64"], ["riscv64/rva22u64"]),
        ("Linux/AMD64", ["amd64"], []),
    ],
)
def test_variants(wanted: str, order: list[str], not_at_all: list[str]) -> None:
    there = Platform.parse(wanted)
    ranks = [Platform.parse(f"linux/{text}").rank(there) for text in order]
    assert ranks == sorted(rank for rank in ranks if rank is not None)
    assert ranks[0] == 0
    for text in not_at_all:
        assert not Platform.parse(f"linux/{text}").satisfies(there)
    assert not Platform.parse(f"windows/{order[0]}").satisfies(there)


def test_the_best_variant_is_chosen_wherever_it_stands() -> None:
    layout = Layout()
    for variant in ("v5", "v8", "v7", "v6"):
        layout.add(tar(), platform="linux/arm", config={"Cmd": [variant]})
        layout.manifests[-1]["platform"]["variant"] = variant
    source = LayoutSource(FakeFetcher(layout.index()), layout_reference(BASE))

    def cmd(*platforms: str) -> tuple[str, ...]:
        wanted = [Platform.parse(text) for text in platforms]
        return run(resolve(source, BASE, wanted)).config.cmd

    assert cmd("linux/arm") == ("v7",)
    assert cmd("linux/arm/v8") == ("v8",)
    assert cmd("linux/arm/v6") == ("v6",)
    assert cmd("linux/386", "linux/arm/v5", "linux/arm/v7") == ("v5",)


def test_documents_are_counted() -> None:
    layout = Layout()
    image = layout.image(tar())
    for _ in range(3):
        inner = {"schemaVersion": 2, "manifests": [image] * 20}
        image = layout.document(inner, INDEX_TYPE)
    layout.manifests = [image]
    assert "documents" in failure(InvalidImage, layout.index())


def test_the_runnable_platform_is_chosen() -> None:
    layout = Layout().add(tar(), platform="linux/arm64").add(tar(), config={"Cmd": ["it"]})
    image = resolved(layout.index())
    assert image.platform == Platform("linux", "386")
    assert image.config.cmd == ("it",)


def test_a_platform_that_only_the_config_says() -> None:
    layout = Layout().add(tar(), platform=None)
    assert resolved(layout.index()).platform == Platform("linux", "386")


def test_nested_index() -> None:
    layout = Layout()
    inner = {"schemaVersion": 2, "manifests": [layout.image(tar())]}
    layout.manifests = [layout.document(inner, INDEX_TYPE)]
    assert resolved(layout.index()).platform == Platform("linux", "386")


def test_an_index_within_itself_ends() -> None:
    layout = Layout()
    descriptor = layout.image(tar())
    for _ in range(9):
        inner = {"schemaVersion": 2, "manifests": [descriptor]}
        descriptor = layout.document(inner, INDEX_TYPE)
    layout.manifests = [descriptor]
    assert "nested" in failure(InvalidImage, layout.index())


def test_docker_media_types() -> None:
    layout = Layout()
    descriptor = layout.image(tar())
    path = f"blobs/{descriptor['digest'].replace(':', '/')}"
    manifest = json.loads(layout.files[path])
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest["mediaType"] = kind
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    layout.manifests = [layout.document(manifest, kind)]
    assert resolved(layout.index()).platform == Platform("linux", "386")


def test_embedded_data_is_used_and_verified() -> None:
    layout = Layout()
    descriptor = layout.image(tar())
    path = f"blobs/{descriptor['digest'].replace(':', '/')}"
    descriptor["data"] = base64.b64encode(layout.files.pop(path)).decode()
    layout.manifests = [descriptor]
    assert resolved(layout.index()).platform == Platform("linux", "386")
    descriptor["data"] = base64.b64encode(b"x" * descriptor["size"]).decode()
    failure(DigestMismatch, layout.index())
    descriptor["data"] = "?"
    assert "base64" in failure(InvalidImage, layout.index())


def test_no_matching_platform_lists_what_there_is() -> None:
    layout = Layout().add(tar(), platform="linux/arm").add(tar(), platform="windows/amd64")
    layout.add(tar(), platform="unknown/unknown")
    text = failure(NoMatchingPlatform, layout.index())
    assert "linux/arm, windows/amd64," in text
    assert "linux/386" in text
    assert "unknown" not in text


def test_names() -> None:
    layout = Layout()
    for name in ("one", "two"):
        layout.add(tar(), config={"Cmd": [name]}, name=name)
    assert resolved(layout.index(), f"{BASE}#two").config.cmd == ("two",)
    text = failure(ImageNotFound, layout.index())
    assert "one, two" in text
    assert "#one" in text
    assert "one, two" in failure(ImageNotFound, layout.index(), f"{BASE}#three")
    layout.add(tar(), config={"Cmd": ["latest"]}, name="latest")
    assert resolved(layout.index()).config.cmd == ("latest",)


def test_empty_index() -> None:
    assert "lists none" in failure(ImageNotFound, Layout().index())


def test_a_registry_that_is_written_like_a_layout() -> None:
    source = LayoutSource(FakeFetcher({}), layout_reference("https://host:5000/team/app:v1"))
    with pytest.raises(ImageNotFound) as caught:
        run(source.manifests())
    assert "host:5000/team/app:v1" in caught.value.hint
    assert "registry" not in failure(ImageNotFound, {})


def test_nothing_there() -> None:
    text = failure(ImageNotFound, {})
    assert "index.json" in text
    assert BASE in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"\n <html>", "HTML page"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"", "empty"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"hello", "'hello'"),
        (b"[" * 100_000, "nested"),
        (b'{"a": ' * 101, "nested"),
        (b'{"a": "\\"' + b"[" * 500 + b'"}', "schemaVersion"),
        # In UTF-16 the quote that looks escaped here is not, so that all would seem to be a text.
        ('["\\"", '.encode("utf-16-le") + ("[" * 100_000).encode("utf-16-le"), "not JSON"),
        (b'{"a": "\\\\", "b": ' + b"[" * 101, "nested"),
        (b'{"a": "\\\\\\"", "b": ' + b"[" * 101, "nested"),
        (b'{"a": "' + b"x" * (1 << 19) + b'", "b": ' + b"[" * 101, "nested"),
        (b"[]", "list instead of an object"),
        (b"\xef\xbb\xbf{}", "schemaVersion"),
        (b"{}", "schemaVersion"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (b'{"schemaVersion": 2}', "neither"),
        (b'{"schemaVersion": 2, "manifests": [], "layers": []}', "ambiguous"),
        (b'{"schemaVersion": 2, "manifests": 7}', "int instead of a list"),
        (b'{"schemaVersion": 2, "manifests": [1]}', "not an object"),
        (b'{"schemaVersion": 2, "manifests": [{"size": -1}]}', "size"),
        (b'{"schemaVersion": 2, "manifests": [{"size": true}]}', "bool"),
    ],
)
def test_not_a_layout(body: bytes, said: str) -> None:
    assert said in failure(InvalidImage, {**Layout().index(), "index.json": body})


def test_the_marker_file() -> None:
    files = Layout().add(tar()).index()
    del files["oci-layout"]
    assert resolved(files)
    files["oci-layout"] = b'{"imageLayoutVersion": "2.0.0"}'
    assert "2.0.0" in failure(InvalidImage, files)


def test_a_document_that_is_too_large() -> None:
    body = b" " * (5 << 20)
    assert "larger" in failure(InvalidImage, {"index.json": body, "oci-layout": b"{}"})
    layout = Layout().add(tar())
    layout.manifests[0]["size"] = 1 << 40
    assert "more than" in failure(InvalidImage, layout.index())


def test_a_damaged_or_missing_manifest() -> None:
    layout = Layout().add(tar())
    files = layout.index()
    path = f"blobs/{layout.manifests[0]['digest'].replace(':', '/')}"
    files[path] = files[path].replace(b"386", b"387")[:-1] + b" "
    failure(DigestMismatch, files)
    files[path] += b" "
    failure(SizeMismatch, files)
    del files[path]
    assert "missing" in failure(ImageNotFound, files)


def test_a_server_that_fails() -> None:
    class Failing(FakeFetcher):
        async def get(self, url: str, **_: Any) -> FakeResponse:
            return FakeResponse(url, 503)

    source = LayoutSource(Failing({}), layout_reference(BASE))
    with pytest.raises(HttpStatusError, match="503"):
        run(resolve(source, BASE, RUNNABLE))


def test_a_connection_that_breaks() -> None:
    with pytest.raises(NetworkError, match="broke"):
        resolved(Layout().add(tar()).index(), breaks_after=10)


def test_an_artifact_is_no_image() -> None:
    manifest = {
        "schemaVersion": 2,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:" + "0" * 64,
            "size": 2,
        },
        "layers": [],
    }
    with pytest.raises(InvalidImage, match="artifact"):
        parse_manifest(json.dumps(manifest).encode(), "it")


def test_a_manifest_that_is_not_what_its_descriptor_says() -> None:
    document = b'{"schemaVersion": 2, "manifests": []}'
    with pytest.raises(InvalidImage, match="is not the"):
        parse_manifest(document, "it", MANIFEST_TYPE)


def test_a_manifest_whose_names_are_mixed() -> None:
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    layout = Layout().add(tar(), config={"Cmd": ["it"]})
    layout.manifests[0]["mediaType"] = docker
    assert resolved(layout.index()).config.cmd == ("it",)
    document = b'{"schemaVersion": 2, "mediaType": "application/x", "manifests": []}'
    with pytest.raises(InvalidImage, match="says that it is"):
        parse_manifest(document, "it", INDEX_TYPE)


def test_config() -> None:
    document = {
        "os": "linux",
        "architecture": "386",
        "config": {"Env": ["A=b"], "User": "www", "WorkingDir": "/srv", "Cmd": None},
    }
    config = parse_config(json.dumps(document).encode(), "it")
    assert (config.env, config.user, config.working_dir, config.cmd) == (
        ("A=b",),
        "www",
        "/srv",
        (),
    )
    for wrong in ({"config": []}, {"config": {"Cmd": 7}}, {"config": {"Env": [1]}}, {"os": 1}):
        with pytest.raises(InvalidImage):
            parse_config(json.dumps(wrong).encode(), "it")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("linux/ARM64/v8", "linux/arm64/v8"),
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("arm64/v8", "linux/arm64/v8"),
        ("i386", "linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_a_platform_is_chosen(text: str, platform: str) -> None:
    assert [str(chosen) for chosen in choose_platforms(text)] == [platform]


def test_any_platform_is_chosen() -> None:
    assert [str(p) for p in choose_platforms("")][:2] == ["linux/amd64", "linux/amd64/v2"]
    layout = Layout()
    # Each is better than those before: what is exact, then what is not translated.
    for platform in ("linux/arm64", "linux/386", "linux/amd64"):
        layout.add(tar(), platform=platform)
        assert str(resolved(layout.index()).platform) == platform


@pytest.mark.parametrize("text", ["linux/s390x", "windows/amd64", "a/b/c/d", "linux/", "linux/arm"])
def test_a_platform_that_cannot_be_chosen(text: str) -> None:
    with pytest.raises(InvalidPlatform) as raised:
        choose_platforms(text)
    assert "linux/amd64" in raised.value.hint


@pytest.mark.parametrize(
    ("platform", "processor"),
    [
        ("linux/386", None),
        ("linux/amd64", None),
        ("linux/amd64/v3", None),
        ("linux/arm64/v8", "aarch64"),
        ("linux/riscv64", "riscv64"),
        ("linux/s390x", None),
    ],
)
def test_interpreters(platform: str, processor: str | None) -> None:
    interpreter = interpreter_for(Platform.parse(platform))
    assert (interpreter and interpreter.processor) == processor


def _texts(size: int) -> list[bytes]:
    """Documents that are longer than what is read at once, and what is none."""
    row = {"name": 'a\\"]}\u20ac\ud800', "list": [1, [2.5, None]], "object": {"a": [{}]}}
    many: list[Any] = [row] * (size // 80)
    good = {"version": 1, "entries": many, "empty": [], "none": {}, "other": [True, "x", many[:3]]}
    compact = json.dumps(good, separators=(",", ":")).encode()
    pretty = json.dumps(good, indent=2).replace("\n", "\r\n\t").encode()
    wrong = [compact[:-1], compact + b"x", compact[:-1] + b",}", compact.replace(b"[]", b"[,]")]
    wrong += [compact.replace(b'"empty":', b'"empty"'), compact.replace(b'"empty":', b"7:")]
    wrong += [compact.replace(b',"empty"', b'"empty"'), compact.replace(b"[]", b"[")]
    return [compact, pretty, b"\xef\xbb\xbf" + compact, b" " * size + b"{}", *wrong]


@pytest.mark.parametrize("number", range(12))
def test_reading_in_steps_is_as_reading_at_once(number: int) -> None:
    data = _texts(1 << 17)[number]

    def read(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except InvalidImage as error:
            return error.message

    at_once = read(lambda: parse_object(data, "it", keep_halves=True))
    assert read(lambda: finish(parse_object_in_steps(data, "it"))) == at_once
    assert isinstance(at_once, dict) == (number < 4)
