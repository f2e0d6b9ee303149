"""OCI image layouts as they are written: blob by blob, verified, and the index last."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from browsermount.blobs.verify import Verifier
from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    HttpStatusError,
    InvalidImage,
    NetworkError,
    SizeMismatch,
)
from browsermount.events import EventSink, LayerProgress, LayerState
from browsermount.fetch import unstalled
from browsermount.oci.descriptor import REF_NAME, Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import Source
from browsermount.oci.manifest import INDEX_TYPES, OCI_TYPES
from browsermount.oci.platform import Platform

T = TypeVar("T")

PARALLEL_LAYERS = 3
"""How many layers are dealt with at once, as by docker."""

_EMBEDDED_SIZE = 1 << 14
"""Bytes of a document up to which it stands in the descriptor, too: that saves a request."""

_MAX_DEPTH = 4
_ATTEMPTS = 4
_CHUNK = 1 << 20
_STEP = 1 << 18
_PASSING = (408, 429, 500, 502, 503, 504)


class LayoutWriter:
    """Writes into the directory of a layout, which is made where it is missing.

    What is there already stays, and what a blob that was broken off has brought so far is
    used when the same blob is fetched again.

    Args:
        directory: The layout's.

    Raises:
        OSError: It cannot be written to, or is something else than a layout.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        if directory.is_dir() and any(directory.iterdir()) and not self._is_layout():
            raise InvalidImage(
                f"{directory} is not empty and holds no image layout",
                hint="Give another directory, or empty this one.",
            )
        directory.mkdir(parents=True, exist_ok=True)
        self._folder("blobs")
        self._folder("blobs", "sha256")

    def _folder(self, *names: str) -> Path:
        """Return a directory of the layout that is one itself: no link leads out of the layout."""
        folder = self._directory.joinpath(*names)
        if folder.is_symlink():
            raise InvalidImage(
                f"{folder} is a symbolic link, and nothing is written through those",
                hint="Remove it, or give another directory.",
            )
        folder.mkdir(exist_ok=True)
        return folder

    def _is_layout(self) -> bool:
        # A pull that was broken off has made no index yet.
        return any((self._directory / name).exists() for name in ("index.json", "blobs"))

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or will be."""
        return self._directory / "blobs" / digest.algorithm / digest.encoded

    def add(self, data: bytes) -> Digest:
        """Write a blob that is in memory and return its digest."""
        digest = Digest.of(data)
        _write(self.path(digest), data)
        return digest

    def add_file(self, path: Path, digest: Digest) -> None:
        """Move a file that has the given digest to where the blob belongs."""
        path.replace(self._folder("blobs", digest.algorithm) / digest.encoded)

    def temporary(self, name: str) -> Path:
        """Return the path of a file in the layout that is no blob yet.

        What is there is a file that only this name leads to, or nothing: whoever prepared the
        directory must not choose which file of the user is written to.
        """
        path = self._folder(".partial") / name
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                path.unlink()
        return path

    def finish(self, manifests: Sequence[dict[str, Any]], name: str) -> Digest:
        """Write the index: the image of these manifests is called ``name``.

        An image of that name for other platforms is joined with it.

        Args:
            manifests: Their descriptors, each with its platform.
            name: What the image is called.

        Returns:
            The digest of what the name stands for: of the manifest, or of an index of several.

        Raises:
            InvalidImage: There is an index already that cannot be read.
        """
        path = self._directory / "index.json"
        index: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }
        if path.exists():
            try:
                index = json.loads(path.read_bytes())
                others, before = list[Any](), list[Any]()
                for other in index["manifests"]:
                    is_same = (other.get("annotations") or {}).get(REF_NAME) == name
                    (before if is_same else others).append(other)
                kept = self._other_platforms(before, manifests)
            except (ValueError, KeyError, TypeError, AttributeError, OSError):
                raise InvalidImage(f"{path} cannot be read, so nothing was added to it") from None
            index["manifests"] = others
            manifests = [*kept, *manifests]
        descriptor = manifests[0] if len(manifests) == 1 else self._add_index(manifests)
        annotations = {**descriptor.get("annotations", {}), REF_NAME: name}
        digest = Digest.parse(descriptor["digest"])
        content = self.path(digest).read_bytes()
        index["manifests"].append({**embedding(descriptor, content), "annotations": annotations})
        _write(self._directory / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _write(path, json.dumps(index, indent=2).encode() + b"\n")
        with contextlib.suppress(OSError):
            (self._directory / ".partial").rmdir()
        return digest

    def _add_index(self, manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Write an index of one image's manifests and return its descriptor."""
        entries = []
        for manifest in manifests:
            content = self.path(Digest.parse(manifest["digest"])).read_bytes()
            entries.append(embedding(manifest, content))
        document = {"schemaVersion": 2, "mediaType": OCI_TYPES[0], "manifests": entries}
        data = json.dumps(document, indent=2).encode()
        return {"mediaType": OCI_TYPES[0], "digest": str(self.add(data)), "size": len(data)}

    def _other_platforms(
        self, before: Sequence[dict[str, Any]], manifests: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return what was there under a name and is for other platforms than the new manifests."""
        new = {str(Platform.from_document(m["platform"], "platform")) for m in manifests}
        kept = []
        for descriptor in self._flat(before):
            platform = descriptor.get("platform") or self._config_of(descriptor)
            known = Platform.from_document(platform, "platform")
            if known is not None and known.is_known and str(known) not in new:
                fields = ("os", "architecture", "variant", "os.features")
                said = {field: platform[field] for field in fields if platform.get(field)}
                rest = {k: v for k, v in descriptor.items() if k not in ("annotations", "data")}
                kept.append({**rest, "platform": said})
        return kept

    def _flat(self, descriptors: Sequence[dict[str, Any]], depth: int = 0) -> list[dict[str, Any]]:
        """Return the manifests that descriptors lead to, of which the blobs are there."""
        found = []
        for descriptor in descriptors:
            path = self.path(Digest.parse(descriptor["digest"]))
            if not path.exists():
                continue
            if descriptor.get("mediaType") not in INDEX_TYPES:
                found.append(descriptor)
            elif depth < _MAX_DEPTH:
                found += self._flat(json.loads(path.read_bytes())["manifests"], depth + 1)
        return found

    def _config_of(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        manifest = json.loads(self.path(Digest.parse(descriptor["digest"])).read_bytes())
        digest = Digest.parse(manifest["config"]["digest"])
        config: dict[str, Any] = json.loads(self.path(digest).read_bytes())
        return config


def embedding(descriptor: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Return a document's descriptor with the document in it, unless that is large.

    OCI image specification 1.1, descriptor.md, "data".
    """
    if len(content) > _EMBEDDED_SIZE:
        return descriptor
    return {**descriptor, "data": base64.b64encode(content).decode()}


def _write(path: Path, data: bytes) -> None:
    """Write a file at once: who reads it sees all of it or none."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open_new(new) as file:
            file.write(data)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def open_new(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a file for writing that is made anew, or one to append to that is no symbolic link.

    Raises:
        OSError: It cannot be made, or is a symbolic link.
    """
    if not append:
        path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_NOFOLLOW | (os.O_APPEND if append else os.O_CREAT | os.O_EXCL)
    return os.fdopen(os.open(path, flags, 0o666), "ab" if append else "wb")


@dataclass(slots=True)
class Copy:
    """The copying of one blob into a layout.

    Attributes:
        writer: The layout.
        source: Where the blob comes from.
        descriptor: The blob.
        report: Is called with the bytes that have come so far.
    """

    writer: LayoutWriter
    source: Source
    descriptor: Descriptor
    report: Callable[[int], None]

    async def run(self) -> None:
        """Copy the blob, unless it is there.

        Raises:
            BrowsermountError: It cannot be had, or is not what it should be.
        """
        target = self.writer.path(self.descriptor.digest)
        if target.exists() and self._is_right(target):
            self.report(self.descriptor.size)
            return
        partial = self.writer.temporary(self.descriptor.digest.encoded)
        for attempt in range(_ATTEMPTS):
            try:
                await self._fetch(partial)
                break
            except (NetworkError, HttpStatusError) as error:
                passing = not isinstance(error, HttpStatusError) or error.status in _PASSING
                if not passing or attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(2**attempt / 2)
            except (DigestMismatch, SizeMismatch):
                partial.unlink(missing_ok=True)
                raise
        self.writer.add_file(partial, self.descriptor.digest)

    def _is_right(self, path: Path) -> bool:
        verifier = Verifier(self.descriptor)
        try:
            _feed_file(verifier, path)
            verifier.finish()
        except BrowsermountError:
            return False
        return True

    async def _fetch(self, partial: Path) -> None:
        verifier = Verifier(self.descriptor)
        have = partial.stat().st_size if partial.exists() else 0
        if have >= self.descriptor.size:
            have = 0  # whatever it is, it cannot be gone on with
        headers = {"Range": f"bytes={have}-"} if have else None
        response = await self.source.get_blob(self.descriptor, headers=headers)
        if response.status == 206 and _starts_at(response.headers.get("content-range"), have):
            _feed_file(verifier, partial)
        elif response.status == 200:
            have = 0
        elif have:
            await response.aclose()
            partial.unlink()
            await self._fetch(partial)
            return
        else:
            await response.aclose()
            raise self.source.failure(self.descriptor, response)
        reported = 0
        with open_new(partial, append=have > 0) as file:
            async for chunk in unstalled(response):
                verifier.feed(chunk)
                file.write(chunk)
                if verifier.received - reported >= _STEP:
                    reported = verifier.received
                    self.report(reported)
                    await asyncio.sleep(0)
        if verifier.received < self.descriptor.size:
            raise NetworkError(f"the connection broke while reading {response.url}")
        verifier.finish()
        self.report(self.descriptor.size)


def _starts_at(content_range: str | None, offset: int) -> bool:
    return content_range is None or content_range.startswith(f"bytes {offset}-")


def _feed_file(verifier: Verifier, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            verifier.feed(chunk)


async def for_each_layer(
    layers: Sequence[Descriptor], work: Callable[[int, Descriptor], Awaitable[T]]
) -> list[T]:
    """Do something with all layers, some at a time, and return the results in their order."""
    slots = asyncio.Semaphore(PARALLEL_LAYERS)

    async def one(index: int, layer: Descriptor) -> T:
        async with slots:
            return await work(index, layer)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(i, layer)) for i, layer in enumerate(layers)]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def copy_layers(
    writer: LayoutWriter, source: Source, layers: Sequence[Descriptor], on_event: EventSink
) -> None:
    """Copy layers into a layout.

    Raises:
        BrowsermountError: One cannot be had, or is not what it should be.
    """

    async def copy(index: int, layer: Descriptor) -> None:
        digest = str(layer.digest)

        def report(current: int) -> None:
            state = LayerState.READY if current == layer.size else LayerState.DOWNLOADING
            on_event(LayerProgress(index, digest, state, current, layer.size))

        await Copy(writer, source, layer, report).run()

    await for_each_layer(layers, copy)
