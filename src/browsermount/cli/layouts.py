"""OCI image layouts as they are written: blob by blob, verified, and the index last."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from browsermount.blobs.verify import Verifier
from browsermount.cli.staging import Staging, new_folder
from browsermount.commit.image import LAYOUT, embedding
from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    HttpStatusError,
    InvalidImage,
    NetworkError,
    SizeMismatch,
)
from browsermount.events import EventSink, LayerProgress, LayerState
from browsermount.fetch import Response, unstalled
from browsermount.oci.descriptor import REF_NAME, Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import Source
from browsermount.oci.manifest import INDEX_TYPES, MAX_DOCUMENT_SIZE, OCI_TYPES
from browsermount.oci.platform import Platform

T = TypeVar("T")

PARALLEL_LAYERS = 3
"""How many layers are dealt with at once, as by docker."""

_MAX_DEPTH = 4
_ATTEMPTS = 4
_CHUNK = 1 << 20
_STEP = 1 << 18
_PASSING = (408, 429, 500, 502, 503, 504)


class LayoutWriter:
    """Writes into the directory of a layout, which is made where it is missing.

    What is there already stays, and what a blob that was broken off has brought so far is
    used when the same blob is fetched again. As a context, it leaves nothing at its end but
    that and what is complete.

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
        new_folder(directory, "blobs")
        new_folder(directory, "blobs", "sha256")
        self.staging = Staging(directory)

    def __enter__(self) -> LayoutWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.staging.close()

    def _is_layout(self) -> bool:
        # A pull that was broken off has made no index yet.
        return any((self._directory / name).exists() for name in ("index.json", "blobs"))

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or will be."""
        return self._directory / "blobs" / digest.algorithm / digest.encoded

    def add(self, data: bytes) -> Digest:
        """Write a blob that is in memory and return its digest."""
        digest = Digest.of(data)
        self._write(f"{digest.encoded}.json", data, self.path(digest))
        return digest

    def place(self, name: str, digest: Digest) -> None:
        """Move a complete file of :attr:`staging` to where the blob with this digest belongs."""
        new_folder(self._directory, "blobs", digest.algorithm)
        self.staging.place(name, self.path(digest))

    def _write(self, name: str, data: bytes, target: Path) -> None:
        """Write a file at once: who reads it sees all of it or none."""
        with self.staging.create(name) as file:
            file.write(data)
        self.staging.place(name, target)

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
            LayoutBusy: Another process is writing it.
        """
        with self.staging.alone():
            return self._finish(manifests, name)

    def _finish(self, manifests: Sequence[dict[str, Any]], name: str) -> Digest:
        path = self._directory / "index.json"
        index: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }
        if path.exists():
            try:
                index = json.loads(_read(path))
                others, before = list[Any](), list[Any]()
                for other in index["manifests"]:
                    is_same = (other.get("annotations") or {}).get(REF_NAME) == name
                    (before if is_same else others).append(other)
                kept = self._other_platforms(before, manifests)
            except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
                raise InvalidImage(f"{path} cannot be read, so nothing was added to it") from None
            index["manifests"] = others
            manifests = [*kept, *manifests]
        descriptor = manifests[0] if len(manifests) == 1 else self._add_index(manifests)
        annotations = {**descriptor.get("annotations", {}), REF_NAME: name}
        digest = Digest.parse(descriptor["digest"])
        content = _read(self.path(digest))
        index["manifests"].append({**embedding(descriptor, content), "annotations": annotations})
        self._write("oci-layout", LAYOUT, self._directory / "oci-layout")
        self._write("index.json", json.dumps(index, indent=2).encode() + b"\n", path)
        return digest

    def _add_index(self, manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Write an index of one image's manifests and return its descriptor."""
        entries = []
        for manifest in manifests:
            content = _read(self.path(Digest.parse(manifest["digest"])))
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
                found += self._flat(json.loads(_read(path))["manifests"], depth + 1)
        return found

    def _config_of(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        manifest = json.loads(_read(self.path(Digest.parse(descriptor["digest"]))))
        digest = Digest.parse(manifest["config"]["digest"])
        config: dict[str, Any] = json.loads(_read(self.path(digest)))
        return config


def _read(path: Path) -> bytes:
    """Read a document of the layout, which may have been prepared by somebody else.

    Raises:
        OSError: It is no file, or larger than a document may be.
    """
    if not path.is_file():
        raise OSError(errno.EINVAL, "Not a file", path)
    if path.stat().st_size > MAX_DOCUMENT_SIZE:
        raise OSError(errno.EFBIG, "Larger than a document may be", path)
    return path.read_bytes()


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
    _resumed: bool = False

    async def run(self) -> None:
        """Copy the blob, unless it is there.

        Raises:
            BrowsermountError: It cannot be had, or is not what it should be.
        """
        target = self.writer.path(self.descriptor.digest)
        # A pipe in its place would never end.
        if target.is_file() and self._is_right(target):
            self.report(self.descriptor.size)
            return
        attempt = 0
        while not await self._attempt(last=attempt == _ATTEMPTS - 1):
            await asyncio.sleep(2**attempt / 2)
            attempt += 1
        self.writer.place(self._name, self.descriptor.digest)

    async def _attempt(self, *, last: bool) -> bool:
        """Fetch the blob; False where it is worth another attempt, which is not the last."""
        while True:
            try:
                await self._fetch()
                return True
            except (NetworkError, HttpStatusError) as error:
                passing = not isinstance(error, HttpStatusError) or error.status in _PASSING
                if not passing or last:
                    raise
                return False
            except (DigestMismatch, SizeMismatch):
                self.writer.staging.discard(self._name)
                if not self._resumed:
                    raise
                # What was begun may be of another time, or of another person: from the start.

    @property
    def _name(self) -> str:
        return self.descriptor.digest.encoded

    def _is_right(self, path: Path) -> bool:
        verifier = Verifier(self.descriptor)
        try:
            _feed_file(verifier, path)
            verifier.finish()
        except BrowsermountError:
            return False
        return True

    async def _fetch(self) -> None:
        staging = self.writer.staging
        begun = staging.begun(self._name)
        try:
            have = 0 if begun is None else begun.seek(0, os.SEEK_END)
            if have >= self.descriptor.size:
                have = 0  # whatever it is, it cannot be gone on with
            headers = {"Range": f"bytes={have}-"} if have else None
            response = await self.source.get_blob(self.descriptor, headers=headers)
            if response.status == 206 and _starts_at(response.headers.get("content-range"), have):
                await self._receive(response, begun if have else None)
            elif response.status == 200:
                await self._receive(response, None)
            elif have:
                await response.aclose()
                staging.discard(self._name)
                await self._fetch()
            else:
                await response.aclose()
                raise self.source.failure(self.descriptor, response)
        finally:
            if begun is not None:
                begun.close()

    async def _receive(self, response: Response, begun: BinaryIO | None) -> None:
        """Write what comes into a new file, behind what was there before."""
        verifier = Verifier(self.descriptor)
        self._resumed = begun is not None
        reported = 0
        with self.writer.staging.create(self._name, begun=True) as file:
            if begun is not None:
                begun.seek(0)
                while chunk := begun.read(_CHUNK):
                    verifier.feed(chunk)
                    file.write(chunk)
                    await asyncio.sleep(0)
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

    # An image may have a layer several times.
    turns: defaultdict[Digest, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def copy(index: int, layer: Descriptor) -> None:
        digest = str(layer.digest)

        def report(current: int) -> None:
            state = LayerState.READY if current == layer.size else LayerState.DOWNLOADING
            on_event(LayerProgress(index, digest, state, current, layer.size))

        async with turns[layer.digest]:
            await Copy(writer, source, layer, report).run()

    await for_each_layer(layers, copy)
