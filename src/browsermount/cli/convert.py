"""``browsermount convert``: an image with its layers packed in another way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import click

from browsermount.blobs.verify import Verifier, verified
from browsermount.cli.estargz import write_estargz
from browsermount.cli.images import (
    Opening,
    image_argument,
    image_name,
    opened,
    opening_options,
    run_async,
)
from browsermount.cli.layouts import LayoutWriter, for_each_layer
from browsermount.cli.progress import progress
from browsermount.cli.pull import (
    all_platforms_option,
    check_all_platforms,
    find,
    pull,
)
from browsermount.commit.image import document, embedding
from browsermount.errors import InvalidImage
from browsermount.events import EventSink, LayerProgress, LayerState
from browsermount.fetch import unstalled
from browsermount.layers import estargz
from browsermount.layers.compression import Detecting
from browsermount.layers.entry import Entry
from browsermount.layers.media_type import check_readable
from browsermount.layers.tar import TarParser
from browsermount.local.unpacking import Expansion
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import ResolvedImage, Source, open_blob, read_document

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_STEP = 1 << 18
_UNCOMPRESSED_SIZE = "io.containers.estargz.uncompressed-size"
_LEVELS = {"estargz": 6, "gzip": 6, "zstd": 3}


@click.command("convert")
@image_argument
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "-c",
    "--compression",
    type=click.Choice(["keep", "estargz", "gzip", "zstd"]),
    default="keep",
    show_default=True,
    help="How the layers are packed.",
)
@click.option("--level", type=click.IntRange(1, 22), help="How hard the compressor tries.")
@click.option(
    "--prefetch",
    multiple=True,
    metavar="PATH",
    help="A file that is needed first; may be given more than once. Such files of estargz layers "
    "are fetched with one request as soon as the image is open.",
)
@click.option("--name", help="What the image is called in the layout; default: its tag, or latest.")
@all_platforms_option
@opening_options
def command(
    opening: Opening,
    image: str,
    directory: Path,
    compression: str,
    level: int | None,
    prefetch: tuple[str, ...],
    name: str | None,
    all_platforms: bool,
) -> None:
    """Copy an image with its layers packed anew.

    DIR is the directory of an OCI image layout, which is made where it is missing. An archive
    becomes a directory that a web server can hold. The files of eStargz layers are
    fetched when they are read, so that a container starts before its layers are there; zstd is
    smaller than gzip and faster to unpack. What is in DIR of the same image for other platforms
    stays: they become one index. The digest of what the name then stands for is written to standard
    output.

    \b
      browsermount convert my-image.tar my-image
      browsermount convert -c estargz docker.io/library/gcc:13 public/gcc
    """
    check_all_platforms(opening, all_platforms)
    if prefetch and compression != "estargz":
        raise click.UsageError("--prefetch needs --compression estargz")
    if compression == "keep":
        if level is not None:
            raise click.UsageError("--level needs a --compression other than keep")
        pulling = pull(opening, image, directory, name, all_platforms=all_platforms)
        click.echo(run_async(pulling).digest)
        return
    if level is None:
        level = _LEVELS[compression]
    elif compression != "zstd" and level > zlib.Z_BEST_COMPRESSION:
        raise click.UsageError(f"{compression} has the levels 1 to {zlib.Z_BEST_COMPRESSION}")
    form = _Form(
        compression, level, tuple(estargz.layer_path(os.fsencode(path)) for path in prefetch)
    )
    click.echo(run_async(_convert(opening, image, directory, form, name, all_platforms)))


@dataclass(frozen=True, slots=True)
class _Form:
    """How layers are packed: ``first`` are the names of what an eStargz layer begins with."""

    compression: str
    level: int
    first: tuple[bytes, ...]


async def _convert(
    opening: Opening,
    image: str,
    directory: Path,
    form: _Form,
    name: str | None,
    all_platforms: bool,
) -> str:
    with progress(quiet=opening.quiet) as on_event:
        async with opened(image) as (source, _):
            with LayoutWriter(directory) as writer:
                conversion = _Conversion(source, writer, form, on_event)
                documents = []
                for resolved in await find(source, opening, on_event, all_platforms=all_platforms):
                    documents.append(document(await _converted(conversion, resolved), resolved))
                conversion.check_found()
                return str(writer.finish(documents, name or image_name(image)))


async def _converted(conversion: _Conversion, image: ResolvedImage) -> Descriptor:
    """Write an image with new layers, and return the descriptor of its manifest."""
    source = conversion.source
    layers = await for_each_layer(image.manifest.layers, conversion.layer)
    config = _config(image, [layer.diff_id for layer in layers])
    annotations = json.loads(await read_document(source, image.descriptor)).get("annotations")
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": embedding(
            {
                "mediaType": _CONFIG_TYPE,
                "digest": str(conversion.writer.add(config)),
                "size": len(config),
            },
            config,
        ),
        "layers": [layer.document for layer in layers],
        **({"annotations": annotations} if annotations else {}),
    }
    data = json.dumps(manifest, indent=2).encode()
    return Descriptor(_MANIFEST_TYPE, conversion.writer.add(data), len(data))


def _config(image: ResolvedImage, diff_ids: list[str]) -> bytes:
    """Return the config with the digests of the archives that are in the new layers."""
    config: dict[str, Any] = json.loads(image.config.raw)
    if config.get("rootfs", {}).get("diff_ids") == diff_ids:
        return image.config.raw
    config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    return json.dumps(config).encode()


@dataclass(frozen=True, slots=True)
class _Layer:
    """A new layer: its descriptor as it stands in the manifest, and the digest of its archive."""

    document: dict[str, Any]
    diff_id: str


@dataclass(frozen=True, slots=True)
class _Conversion:
    source: Source
    writer: LayoutWriter
    form: _Form
    on_event: EventSink
    found: set[bytes] = field(default_factory=set)
    made: dict[Digest, _Layer] = field(default_factory=dict)
    turns: defaultdict[Digest, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    def check_found(self) -> None:
        """Raise an error when something is to come first that no layer has."""
        for name in self.form.first:
            if name not in self.found:
                raise InvalidImage(
                    f"no layer has /{os.fsdecode(name)}, which is to be fetched first",
                    hint="Give the path of the file itself: symbolic links are not followed. "
                    "`browsermount ls` shows what there is.",
                )

    async def layer(self, index: int, layer: Descriptor) -> _Layer:
        """Fetch a layer and write it anew, once where an image or several have it several times."""
        async with self.turns[layer.digest]:
            made = self.made.get(layer.digest)
            if made is None:
                made = self.made[layer.digest] = await self._write(index, layer)
        self._report(index, layer, LayerState.READY, layer.size)
        return made

    async def _write(self, index: int, layer: Descriptor) -> _Layer:
        name = f"{layer.digest.encoded}.{self.form.compression}"
        with self.writer.staging.create(name) as target:
            convert = self._estargz if self.form.compression == "estargz" else self._recompressed
            made = await convert(index, layer, target)
        self.writer.place(name, Digest.parse(made.document["digest"]))
        return made

    async def _recompressed(self, index: int, layer: Descriptor, target: BinaryIO) -> _Layer:
        compressor = _compressor(self.form.compression, self.form.level)
        plain, blob, size = hashlib.sha256(), hashlib.sha256(), 0

        def write(data: bytes) -> None:
            nonlocal size
            target.write(data)
            blob.update(data)
            size += len(data)

        async for data in self._plain(index, layer):
            plain.update(data)
            write(compressor.compress(data))
        write(compressor.flush())
        descriptor = {
            "mediaType": f"{_LAYER_TYPE}+{self.form.compression}",
            "digest": f"sha256:{blob.hexdigest()}",
            "size": size,
        }
        return _Layer(descriptor, f"sha256:{plain.hexdigest()}")

    async def _estargz(self, index: int, layer: Descriptor, target: BinaryIO) -> _Layer:
        parser, entries = TarParser(), list[Entry]()
        expansion = Expansion(layer.size)
        with tempfile.TemporaryFile(prefix="browsermount-") as archive:
            async for data in self._plain(index, layer):
                expansion.add(len(data))
                archive.write(data)
                if not parser.ended:
                    entries += parser.feed(data)
            parser.close()

            def read(entry: Entry, offset: int, size: int) -> bytes:
                return _read(archive, entry, offset, size)

            level, first = self.form.level, self.form.first
            made = write_estargz(target, entries, read, level=level, first=first)
            self.found.update({estargz.layer_path(entry.name) for entry in entries} & set(first))
        descriptor = {
            "mediaType": f"{_LAYER_TYPE}+gzip",
            "digest": made.digest,
            "size": made.size,
            "annotations": {
                estargz.DIGEST_ANNOTATION: made.toc_digest,
                _UNCOMPRESSED_SIZE: str(made.plain_size),
            },
        }
        return _Layer(descriptor, made.diff_id)

    async def _plain(self, index: int, layer: Descriptor) -> AsyncIterator[bytes]:
        """Iterate over the archive in a layer; the end is reached only if the layer is right."""
        check_readable(layer.media_type)
        verifier, decompressor = Verifier(layer), Detecting()
        reported = 0
        response = await open_blob(self.source, layer)
        async for chunk in verified(unstalled(response), verifier):
            for plain in decompressor.feed(chunk):
                yield plain
            if verifier.received - reported >= _STEP:
                reported = verifier.received
                self._report(index, layer, LayerState.DOWNLOADING, reported)
                await asyncio.sleep(0)
        decompressor.close()
        self._report(index, layer, LayerState.VERIFYING, layer.size)

    def _report(self, index: int, layer: Descriptor, state: LayerState, current: int) -> None:
        self.on_event(LayerProgress(index, str(layer.digest), state, current, layer.size))


def _read(archive: IO[bytes], entry: Entry, offset: int, size: int) -> bytes:
    """Return a part of a file; what lies between its segments is a hole."""
    content = bytearray(size)
    for segment in entry.segments:
        first = max(offset, segment.file_offset)
        last = min(offset + size, segment.file_offset + segment.size)
        if first < last:
            archive.seek(segment.stream_offset + first - segment.file_offset)
            content[first - offset : last - offset] = archive.read(last - first)
    return bytes(content)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _compressor(compression: str, level: int) -> _Compressor:
    if compression == "gzip":
        return zlib.compressobj(level, zlib.DEFLATED, 31)
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.ZstdCompressor(level=level)
    import zstandard

    return zstandard.ZstdCompressor(level=level).compressobj()
