"""Puts the pieces together: a reference in, a 9P server out, progress events on the way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from browsermount.blobs.arena import Arena, FileArena
from browsermount.blobs.verify import Verifier, verified
from browsermount.errors import InvalidLayer
from browsermount.events import (
    EventSink,
    LayerProgress,
    LayerState,
    LayerSummary,
    Resolved,
    Resolving,
    TreeReady,
    ignore,
)
from browsermount.fetch import Fetcher, unstalled
from browsermount.layers.reader import LayerReader
from browsermount.ninep import Server
from browsermount.oci.config import ImageConfig
from browsermount.oci.credentials import CredentialProvider
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import ResolvedImage, Source, open_blob, resolve
from browsermount.oci.platform import RUNNABLE, Platform
from browsermount.oci.source import open_source
from browsermount.reference import parse_reference
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree, content_size, lookup
from browsermount.runtime.spec import ProcessOptions, etc_files, runtime_spec
from browsermount.runtime.user import resolve_user

PARALLEL_LAYERS = 3
"""How many layers are fetched at once, as by docker."""

_PROGRESS_STEP = 1 << 18
"""Bytes of a layer between two progress events."""


@dataclass(frozen=True, slots=True)
class Mount:
    """An image that is ready to be served.

    Attributes:
        image: What was mounted.
        tree: The 9P tree: ``/rootfs`` and ``/config``.
        rootfs: The merged root file system.
    """

    image: ResolvedImage
    tree: Tree
    rootfs: Inode

    def session(self) -> Server:
        """Return a new 9P server of the tree, for one client."""
        return Server(self.tree.root)


async def mount(
    image: str | Source,
    *,
    fetcher: Fetcher,
    base: str | None = None,
    credentials: CredentialProvider | None = None,
    mirror: str | None = None,
    new_arena: Callable[[], Arena] = FileArena,
    platforms: Sequence[Platform] = RUNNABLE,
    options: ProcessOptions | None = None,
    on_event: EventSink = ignore,
) -> Mount:
    """Fetch and verify an image and make its file system ready to be served.

    Args:
        image: What the person gave; see :func:`browsermount.reference.parse_reference`. Or
            a source, which str() gives the name of.
        fetcher: How bytes are fetched.
        base: The URL that a relative reference is relative to.
        credentials: Is asked when a registry wants to know who we are.
        mirror: Where registries are reached instead of at their own address; see
            :func:`browsermount.oci.mirror.find_route`.
        new_arena: Makes the place for one layer's decompressed stream.
        platforms: What can be run, the best first.
        options: What to start otherwise than the image's config says.
        on_event: Is called with each progress event.

    Raises:
        BrowsermountError: The image cannot be used; the class and code say why.
    """
    source = (
        open_source(
            parse_reference(image, base=base), fetcher, credentials=credentials, mirror=mirror
        )
        if isinstance(image, str)
        else image
    )
    on_event(Resolving(str(source)))
    resolved = await resolve(source, str(source), platforms)
    layers = resolved.manifest.layers
    on_event(
        Resolved(
            reference=resolved.reference,
            digest=str(resolved.digest),
            platform=str(resolved.platform),
            layers=tuple(LayerSummary(str(d.digest), d.size, d.media_type) for d in layers),
        )
    )
    readers = await _fetch_layers(source, layers, new_arena, on_event)
    tree = Tree()
    rootfs = tree.new_directory()
    tree.root.link(b"rootfs", rootfs)
    merger = Merger(tree, rootfs)
    for index, (descriptor, reader) in enumerate(zip(layers, readers, strict=True)):
        with _naming_layer(index, descriptor):
            merger.apply(reader.entries, reader.arena)
        reader.entries.clear()
    await _add_config(tree, rootfs, resolved.config, options or ProcessOptions())
    on_event(TreeReady(inodes=tree.inodes, size=content_size(inode for _, inode in rootfs.walk())))
    return Mount(resolved, tree, rootfs)


@contextmanager
def _naming_layer(index: int, descriptor: Descriptor) -> Iterator[None]:
    """Say in the errors that pass through which layer they are about."""
    try:
        yield
    except InvalidLayer as error:
        where = f"layer {index + 1} ({descriptor.digest})"
        raise InvalidLayer(f"{where}: {error.message}", hint=error.hint) from error


async def _fetch_layers(
    source: Source,
    layers: Sequence[Descriptor],
    new_arena: Callable[[], Arena],
    on_event: EventSink,
) -> list[LayerReader]:
    """Fetch all layers, some at a time, and return them in their order."""
    slots = asyncio.Semaphore(PARALLEL_LAYERS)

    async def fetch(index: int, descriptor: Descriptor) -> LayerReader:
        async with slots:
            with _naming_layer(index, descriptor):
                return await _fetch_layer(source, index, descriptor, new_arena(), on_event)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(i, layer)) for i, layer in enumerate(layers)]
    except BaseExceptionGroup as failures:
        # The first one is why the others were given up.
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _fetch_layer(
    source: Source, index: int, descriptor: Descriptor, arena: Arena, on_event: EventSink
) -> LayerReader:
    digest = str(descriptor.digest)

    def report(state: LayerState, current: int) -> None:
        on_event(LayerProgress(index, digest, state, current, descriptor.size))

    report(LayerState.DOWNLOADING, 0)
    reader = LayerReader(arena)
    verifier = Verifier(descriptor)
    response = await open_blob(source, descriptor)
    reported = 0
    damage: InvalidLayer | None = None
    async for chunk in verified(unstalled(response), verifier):
        if damage is None:
            try:
                reader.feed(chunk)
            except InvalidLayer as error:
                # If it is not even the right blob, that is the better thing to say.
                damage = error
        if verifier.received - reported >= _PROGRESS_STEP:
            reported = verifier.received
            report(LayerState.DOWNLOADING, reported)
            # Chunks that are there already must not keep everything else waiting.
            await asyncio.sleep(0)
    if damage is not None:
        raise damage
    report(LayerState.VERIFYING, descriptor.size)
    reader.close()
    report(LayerState.READY, descriptor.size)
    return reader


async def _add_config(
    tree: Tree, rootfs: Inode, config: ImageConfig, options: ProcessOptions
) -> None:
    """Add ``/config``, which says how the container is started."""
    user = resolve_user(
        config.user if options.user is None else options.user,
        await read_file(rootfs, b"etc/passwd"),
        await read_file(rootfs, b"etc/group"),
    )
    spec = runtime_spec(config, options, user)
    directory = tree.new_directory()
    tree.root.link(b"config", directory)
    files = {
        "config.json": json.dumps(spec, indent=1).encode(),
        "imageconfig.json": config.raw,
        **etc_files(options),
    }
    for name, data in files.items():
        directory.link(name.encode(), tree.new_file(data))


async def read_file(root: Inode, path: bytes) -> bytes | None:
    """Return a whole small file, or None where there is none.

    Symlinks are followed within ``root``; at most 1 MiB is read.

    Raises:
        OSError: The content cannot be had.
    """
    try:
        inode = lookup(root, path)
    except OSError:
        return None
    content = inode.content
    return await content.read(0, min(content.size, 1 << 20))
