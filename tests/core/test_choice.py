"""Which image is meant, among artifacts, absent platforms and images of the same name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from browsermount.errors import BrowsermountError, ImageNotFound, NoMatchingPlatform, NotAnImage
from browsermount.oci.choice import available, resolve
from browsermount.oci.config import parse_config
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import ResolvedImage
from browsermount.oci.layout import LayoutSource
from browsermount.oci.manifest import parse_manifest
from browsermount.oci.names import repository_of, tag_of
from browsermount.oci.platform import ANYTHING, RUNNABLE, Platform, read_platform
from browsermount.reference import LayoutReference

from .images import (
    BASE,
    CONFIG_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    FakeFetcher,
    Layout,
    member,
    tar,
)
from .loop import run

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
EMPTY = "application/vnd.oci.empty.v1+json"


def chosen(
    layout: Layout, name: str | None = None, platforms: Any = RUNNABLE, **response: Any
) -> ResolvedImage:
    source = LayoutSource(FakeFetcher(layout.index(), **response), LayoutReference(BASE, name))
    return run(resolve(source, BASE, platforms))


def which(layout: Layout, name: str | None = None, platforms: Any = RUNNABLE) -> str:
    return chosen(layout, name, platforms).config.cmd[0]


def failure(kind: type[BrowsermountError], layout: Layout, *arguments: Any) -> str:
    with pytest.raises(kind) as caught:
        chosen(layout, *arguments)
    return f"{caught.value.message} | {caught.value.hint}"


def image(layout: Layout, cmd: str, platform: str = "linux/386", **more: Any) -> dict[str, Any]:
    data = tar(member(cmd, cmd.encode()))
    return {**layout.image(data, platform=platform, config={"Cmd": [cmd]}), **more}


def manifest_of(layout: Layout, descriptor: dict[str, Any]) -> dict[str, Any]:
    path = f"blobs/{descriptor['digest'].replace(':', '/')}"
    document: dict[str, Any] = json.loads(layout.files[path])
    return document


def remove(layout: Layout, descriptor: dict[str, Any]) -> None:
    del layout.files[f"blobs/{descriptor['digest'].replace(':', '/')}"]


def index_of(layout: Layout, *manifests: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": list(manifests)}
    return layout.document(document, INDEX_TYPE, **more)


# -- What is listed and not there -----------------------------------------------------------------


@pytest.mark.parametrize("part", ["manifest", "config", "layer"])
@pytest.mark.parametrize("nested", [True, False])
def test_a_platform_that_is_listed_and_not_there(part: str, nested: bool) -> None:
    layout = Layout()
    absent, there = image(layout, "386"), image(layout, "amd64", "linux/amd64")
    manifest = manifest_of(layout, absent)
    remove(
        layout,
        {"manifest": absent, "config": manifest["config"], "layer": manifest["layers"][0]}[part],
    )
    layout.manifests = [index_of(layout, absent, there)] if nested else [absent, there]
    assert which(layout) == "amd64"
    assert which(layout, None, [Platform("linux", "amd64")]) == "amd64"
    text = failure(NoMatchingPlatform, layout, None, [Platform("linux", "386")])
    assert "lists an image for linux/386, but holds only that for linux/amd64" in text


def test_an_index_that_is_not_there() -> None:
    layout = Layout()
    absent = index_of(layout, image(layout, "lost"))
    remove(layout, absent)
    layout.manifests = [absent, image(layout, "there")]
    assert which(layout) == "there"
    layout.manifests = [absent]
    assert "missing" in failure(ImageNotFound, layout)


def test_the_only_image_is_not_there() -> None:
    layout = Layout()
    layout.manifests = [image(layout, "it")]
    remove(layout, layout.manifests[0])
    assert "missing" in failure(ImageNotFound, layout)


def test_layers_are_looked_for_only_where_there_is_a_choice() -> None:
    layout = Layout()
    layout.manifests = [image(layout, "it")]
    fetcher = FakeFetcher(layout.index())
    run(resolve(LayoutSource(fetcher, LayoutReference(BASE)), BASE, RUNNABLE))
    assert (0, 0) not in fetcher.ranges
    assert len(fetcher.asked) == 4


# -- What is no image -----------------------------------------------------------------------------


def artifact(layout: Layout, kind: str) -> dict[str, Any]:
    """Add an artifact as a tool writes it, and return its descriptor."""
    layer = layout.blob(b"{ }", "application/spdx+json")
    empty = layout.blob(b"{}", EMPTY)
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "layers": [layer]}
    more: dict[str, Any] = {}
    if kind == "oci-1.1":
        document |= {"artifactType": "application/spdx+json", "config": empty}
        more["artifactType"] = "application/spdx+json"
    elif kind == "oci-1.1-untold":
        document |= {"artifactType": "application/spdx+json", "config": empty}
    elif kind == "oci-1.1-layer":
        document |= {"artifactType": "application/spdx+json", "config": empty}
        document["layers"] = [empty]
    elif kind == "helm":
        document["config"] = layout.blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    elif kind == "wasm":
        document["config"] = layout.blob(b"{}", "application/vnd.wasm.config.v0+json")
        document["layers"] = [layout.blob(b"\0asm", "application/wasm")]
    elif kind == "soci":
        soci = "application/vnd.amazon.soci.index.v2+json"
        document |= {"artifactType": soci, "config": empty}
        more |= {"artifactType": soci, "platform": {"os": "linux", "architecture": "386"}}
    elif kind == "soci-untold":
        document["config"] = layout.blob(b"{}", "application/vnd.amazon.soci.index.v1+json")
        more["platform"] = {"os": "linux", "architecture": "386"}
    elif kind in ("cosign", "cosign-with-platform"):
        config = {"os": "", "architecture": "", "rootfs": {"type": "layers", "diff_ids": []}}
        if kind == "cosign-with-platform":
            config |= {"os": "linux", "architecture": "386"}
        signature = "application/vnd.dev.cosign.simplesigning.v1+json"
        document["config"] = layout.document(config, CONFIG_TYPE)
        document["layers"] = [layout.blob(b"{}", signature)]
    elif kind in ("attestation", "attestation-unmarked", "attestation-without-platform"):
        config = {"os": "unknown", "architecture": "unknown", "config": {}}
        document["config"] = layout.document(config, CONFIG_TYPE)
        document["layers"] = [layout.blob(b"{}", "application/vnd.in-toto+json")]
        if kind != "attestation-without-platform":
            more["platform"] = {"os": "unknown", "architecture": "unknown"}
        if kind == "attestation":
            more["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    elif kind == "nydus":
        boot = layout.blob(b"x", f"{LAYER_TYPE}+gzip")
        blob = layout.blob(b"y", "application/vnd.oci.image.layer.nydus.blob.v1")
        config = {"os": "linux", "architecture": "386", "config": {"Cmd": ["nydus"]}}
        document["config"] = layout.document(config, CONFIG_TYPE)
        document["layers"] = [blob, boot]
        features = ["nydus.remoteimage.v1"]
        more["platform"] = {"os": "linux", "architecture": "386", "os.features": features}
    elif kind == "malformed":
        document["config"] = layout.blob(b"{}", CONFIG_TYPE)
        document["layers"] = 7
    elif kind == "lost":
        document["config"] = {**empty, "digest": "sha256:" + "4" * 64}
    else:
        assert kind == "index"
        inner = {"schemaVersion": 2, "artifactType": "application/x-list", "manifests": []}
        return layout.document(inner, INDEX_TYPE)
    return layout.document(document, MANIFEST_TYPE, **more)


KINDS = [
    "oci-1.1",
    "oci-1.1-untold",
    "oci-1.1-layer",
    "helm",
    "wasm",
    "soci",
    "soci-untold",
    "cosign",
    "cosign-with-platform",
    "attestation",
    "attestation-unmarked",
    "attestation-without-platform",
    "nydus",
    "malformed",
    "lost",
    "index",
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", [None, "sha256-0.sig"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_artifact_beside_an_image(
    kind: str, nested: bool, name: str | None, first: bool
) -> None:
    layout = Layout()
    other, it = artifact(layout, kind), image(layout, "it")
    if name:
        other.setdefault("annotations", {})[REF_NAME] = name
        it["annotations"] = {REF_NAME: "v1"}
    both = [other, it] if first else [it, other]
    layout.manifests = [index_of(layout, *both)] if nested else both
    assert which(layout) == "it"
    assert which(layout, None, (*RUNNABLE, ANYTHING)) == "it"


@pytest.mark.parametrize("kind", ["oci-1.1", "helm", "wasm", "soci", "cosign", "index"])
def test_an_artifact_alone_is_named(kind: str) -> None:
    layout = Layout()
    layout.manifests = [artifact(layout, kind)]
    assert "an artifact of the type 'application/" in failure(NotAnImage, layout)


def test_a_type_of_artifact_that_is_an_images() -> None:
    # descriptor.md: what the descriptor of an image says there is the media type of its config.
    layout = Layout()
    layout.manifests = [image(layout, "it", artifactType=CONFIG_TYPE)]
    assert which(layout) == "it"


# -- Names ----------------------------------------------------------------------------------------


def saved(*names: str) -> Layout:
    """Return what docker save writes of several images."""
    layout = Layout()
    for name in names:
        tag = name.rpartition(":")[2]
        annotations = {CONTAINERD_NAME: f"docker.io/library/{name}", REF_NAME: tag}
        layout.manifests.append(image(layout, name, annotations=annotations))
    return layout


@pytest.mark.parametrize(
    "name", ["app-b", "app-b:latest", "library/app-b", "docker.io/library/app-b:latest"]
)
def test_names_as_people_write_them(name: str) -> None:
    assert which(saved("app-a:latest", "app-b:latest", "app-b:v1"), name) == "app-b:latest"


def test_several_images_with_the_same_tag() -> None:
    layout = saved("app-a:latest", "app-b:latest")
    text = failure(ImageNotFound, layout)
    assert "docker.io/library/app-a:latest, docker.io/library/app-b:latest" in text
    assert f"{BASE}#docker.io/library/app-a:latest" in text
    assert "app-a:latest, docker" in failure(ImageNotFound, layout, "latest")
    assert "There are: docker.io/library/app-a" in failure(ImageNotFound, layout, "app-c")


def test_names_of_older_archives() -> None:
    layout = Layout()
    for name in ("busybox:1.36", "busybox:latest", "example.org/team/app:v2"):
        layout.manifests.append(image(layout, name, annotations={REF_NAME: name}))
    assert which(layout, "busybox") == "busybox:latest"
    assert which(layout, "docker.io/library/busybox:1.36") == "busybox:1.36"
    assert which(layout, "example.org/team/app") == "example.org/team/app:v2"
    failure(ImageNotFound, layout, "team/app")
    # Of one repository, the latest is meant; of several, nobody knows.
    failure(ImageNotFound, layout)
    layout.manifests.pop()
    assert which(layout) == "busybox:latest"


def test_one_image_with_two_names() -> None:
    layout = Layout()
    for tag in ("v1", "v2"):
        layout.manifests.append(image(layout, "it", annotations={REF_NAME: tag}))
    assert which(layout) == "it"
    assert which(layout, "v2") == "it"


@pytest.mark.parametrize("annotations", [None, {REF_NAME: "latest"}])
def test_images_that_no_name_tells_apart(annotations: dict[str, str] | None) -> None:
    layout = Layout()
    for cmd in ("one", "two"):
        more = {"annotations": annotations} if annotations else {}
        layout.manifests.append(image(layout, cmd, **more))
    digests = [d["digest"] for d in layout.manifests]
    text = failure(ImageNotFound, layout)
    assert "several images" in text
    for digest, cmd in zip(digests, ("one", "two"), strict=True):
        assert which(layout, digest) == cmd
        assert which(layout, digest[:19]) == cmd
        assert which(layout, f"app@{digest}") == cmd
        if annotations is None:
            assert digest[:19] in text


def test_equals_in_an_index_are_one_image() -> None:
    layout = Layout()
    layout.manifests = [index_of(layout, image(layout, "first"), image(layout, "second"))]
    assert which(layout) == "first"


def test_parts_of_names() -> None:
    assert (tag_of("v1"), repository_of("v1")) == ("v1", None)
    assert (tag_of("a/b"), repository_of("a/b")) == ("latest", "docker.io/a/b")
    assert (tag_of("h:5000/b:c"), repository_of("h:5000/b:c")) == ("c", "h:5000/b")


# -- Documents as old tools write them ------------------------------------------------------------


@pytest.mark.parametrize(
    "media_type",
    ["application/octet-stream", "application/json", "text/html", "text/plain; charset=utf-8", ""],
)
def test_old_types_of_configs(media_type: str) -> None:
    layout = Layout()
    descriptor = image(layout, "it")
    manifest = manifest_of(layout, descriptor)
    manifest["config"]["mediaType"] = media_type
    layout.manifests = [layout.document(manifest, MANIFEST_TYPE)]
    assert which(layout) == "it"
    manifest["artifactType"] = "application/x-thing"
    layout.manifests = [layout.document(manifest, MANIFEST_TYPE)]
    assert "application/x-thing" in failure(NotAnImage, layout)


@pytest.mark.parametrize("platform", [{}, {"os": "", "architecture": ""}, {"os": "linux"}])
@pytest.mark.parametrize("in_index", [True, False])
def test_an_image_that_does_not_say_its_platform(platform: dict[str, str], in_index: bool) -> None:
    layout = Layout()
    config = layout.document({**platform, "config": {"Cmd": ["it"]}}, CONFIG_TYPE)
    layer = layout.blob(tar(member("x", b"")), LAYER_TYPE)
    manifest = {"schemaVersion": 2, "config": config, "layers": [layer]}
    it = layout.document(manifest, MANIFEST_TYPE)
    if in_index:
        it["platform"] = platform
    layout.manifests = [it]
    assert chosen(layout).platform == Platform("linux", "amd64")
    assert which(layout, None, (*RUNNABLE, ANYTHING)) == "it"
    i386 = Platform("linux", "386")
    assert chosen(layout, None, [i386]).platform == i386
    # Beside one that says it, that is meant.
    layout.manifests = [index_of(layout, it, image(layout, "known", "linux/arm64"))]
    assert which(layout) == "known"


def test_nulls_and_strings_where_there_should_be_none() -> None:
    document = {
        "os": "linux",
        "architecture": "386",
        "config": {"Labels": {"a": None, "b": "c"}, "Cmd": "run it", "Entrypoint": "", "Env": None},
    }
    config = parse_config(json.dumps(document).encode(), "it")
    assert config.labels == {"a": "", "b": "c"}
    assert (config.cmd, config.entrypoint) == (("run it",), ())
    layout = Layout()
    descriptor = {**image(layout, "it"), "annotations": {"x": None}}
    assert Descriptor.from_document(descriptor, "it").annotations == {"x": ""}
    manifest = {**manifest_of(layout, descriptor), "annotations": None}
    assert parse_manifest(json.dumps(manifest).encode(), "it")


# -- Platforms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "platform",
    ["linux/mips64le", "windows/amd64", "freebsd/amd64", "wasi/wasm", "linux/amd64/v4"],
)
def test_any_platform_can_be_looked_into(platform: str) -> None:
    layout = Layout()
    wanted = Platform.parse(platform)
    descriptor = image(layout, "it", f"{wanted.os}/{wanted.architecture}")
    if wanted.variant:
        descriptor["platform"]["variant"] = wanted.variant
    layout.manifests = [descriptor]
    assert chosen(layout, None, (*RUNNABLE, ANYTHING)).platform == wanted
    assert chosen(layout, None, [wanted]).platform == wanted
    text = failure(NoMatchingPlatform, layout)
    assert f"is there for {platform}, but only images for linux/amd64, linux/amd64/v2" in text
    text = failure(NoMatchingPlatform, layout, None, [Platform("linux", "s390x")])
    assert f"is there for {platform}, not for linux/s390x, which was asked for" in text
    assert "can be run" not in text


def test_what_can_be_run_is_looked_into_first() -> None:
    layout = Layout()
    layout.manifests = [
        index_of(layout, image(layout, "first", "linux/mips64le"), image(layout, "386"))
    ]
    assert which(layout, None, (*RUNNABLE, ANYTHING)) == "386"
    assert chosen(layout).platforms == (Platform("linux", "mips64le"), Platform("linux", "386"))


def test_available_images() -> None:
    layout = Layout()
    layout.manifests = [
        artifact(layout, "attestation"),
        artifact(layout, "attestation-unmarked"),
        image(layout, "it", annotations={REF_NAME: "v1"}),
    ]
    found = run(available(LayoutSource(FakeFetcher(layout.index()), LayoutReference(BASE))))
    assert [(c.name, str(c.platform)) for c in found] == [("v1", "linux/386")]


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("amd64", "linux/amd64"),
        ("X86_64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("arm64/v8", "linux/arm64/v8"),
        ("armhf", "linux/arm"),
        ("armel", "linux/arm/v6"),
        ("amd64/v3", "linux/amd64/v3"),
        ("windows/amd64", "windows/amd64"),
        ("wasi/wasm", "wasi/wasm"),
        ("linux/arm/v7", "linux/arm/v7"),
    ],
)
def test_platforms_as_people_write_them(text: str, platform: str) -> None:
    assert str(read_platform(text)) == platform


@pytest.mark.parametrize("text", ["linux", "windows", "", "a/b/c/d", "linux/", "/amd64"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ValueError, match=r"no processor|not a platform"):
        read_platform(text)
