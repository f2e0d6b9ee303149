"""Puts the pieces together: a reference in, a 9P server out, progress events on the way."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from functools import cached_property

from browsermount import limits
from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.caching import CachingSource, document_key
from browsermount.blobs.store import Store
from browsermount.errors import BrowsermountError, InvalidLayer
from browsermount.events import (
    EventSink,
    LayerSummary,
    Notice,
    Recovered,
    Resolved,
    Resolving,
    TreeReady,
    Trouble,
    ignore,
)
from browsermount.fetch import Fetcher
from browsermount.layers.media_type import check_readable, is_tar
from browsermount.ninep import Server
from browsermount.oci.choice import resolve
from browsermount.oci.config import ImageConfig
from browsermount.oci.credentials import CredentialProvider
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.given import GivenLayer, GivenSource
from browsermount.oci.image import ResolvedImage, Source, read_document
from browsermount.oci.platform import RUNNABLE, Platform
from browsermount.oci.source import open_source
from browsermount.reference import parse_reference
from browsermount.rootfs.content import StreamContent
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree, content_size, fingerprint, lookup
from browsermount.rootfs.trust import Certificate, add_authority
from browsermount.runtime.spec import ProcessOptions, etc_files, runtime_spec
from browsermount.runtime.user import resolve_user
from browsermount.streams.early import EarlyLayers
from browsermount.streams.opener import LayerOpener
from browsermount.streams.stream import LayerStream
from browsermount.streams.traffic import Traffic

_log = logging.getLogger(__name__)

_USERS = (b"etc/passwd", b"etc/group")
"""What a process's user is looked up in."""

_MAX_PIECES = 64 << 10
"""Bytes of a layer that are worth to be had at hand: for more, a request takes no longer."""

CACHE_SIZE = 128 << 20
"""Bytes of decompressed layers that are held in memory at most."""


class Mount:
    """An image that is ready to be served.

    Attributes:
        image: What was mounted.
        tree: The 9P tree: ``/rootfs`` and ``/config``.
        rootfs: The merged root file system.
        traffic: What its layers make of the network.
    """

    def __init__(
        self,
        image: ResolvedImage,
        tree: Tree,
        rootfs: Inode,
        *,
        traffic: Traffic,
        store: Store,
        opener: LayerOpener,
        streams: Sequence[LayerStream],
        over: Sequence[tuple[Digest, LayerStream]] = (),
        tasks: Iterable[asyncio.Task[None]] = (),
    ) -> None:
        self.image = image
        self.tree = tree
        self.rootfs = rootfs
        self.traffic = traffic
        self._store = store
        self._opener = opener
        self._streams = streams
        self._over = over
        self._tasks: set[asyncio.Task[None]] = set()
        for task in tasks:
            self._keep(task)

    def session(self) -> Server:
        """Return a new 9P server of the tree, for one client."""
        return Server(self.tree.root)

    @cached_property
    def identity(self) -> str:
        """What a client's session on the tree is bound to: the image, and how it is numbered.

        It is to be asked for when all of the tree is there. The first time takes a look at each
        inode.
        """
        digests = (self.image.digest, *(digest for digest, _ in self._over))
        return f"{' '.join(map(str, digests))} {fingerprint(self.tree.root)}"

    async def manifest(self) -> bytes:
        """Return the image's manifest, verified.

        Raises:
            BrowsermountError: It cannot be had any more.
        """
        return await read_document(self._opener.source, self.image.descriptor)

    def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """Iterate over the bytes of one of the image's layers, which are not verified.

        Raises:
            BrowsermountError: They cannot be had.
        """
        return self._opener.blob(descriptor)

    async def known(self) -> dict[str, bytes]:
        """Return what :func:`mount` takes to mount the image with hardly a request.

        It is the image's documents, its layers' indexes as far as they are held, and what is read
        of the layers before there is a container.

        Raises:
            BrowsermountError, OSError: Some of it cannot be had any more.
        """
        known = {
            document_key(descriptor): await read_document(self._opener.source, descriptor)
            for descriptor in (self.image.descriptor, self.image.manifest.config)
        }
        layers = self.image.manifest.layers
        known.update(filter(None, [await self._opener.index(layer) for layer in layers]))
        for path in _USERS:
            with suppress(FileNotFoundError, NotADirectoryError):
                content = lookup(self.rootfs, path).content
                for layer, stream in zip(layers, self._streams, strict=True):
                    if isinstance(content, StreamContent) and content.stream is stream:
                        at = content.start, content.size
                        pieces = await self._opener.pieces(layer, stream, *at)
                        if sum(map(len, pieces.values())) <= _MAX_PIECES:
                            known.update(pieces)
        return known

    def start_fill(self) -> None:
        """Begin to fetch all that is not held yet, whenever nobody reads."""
        self._keep(asyncio.ensure_future(self._fill()))

    async def close(self) -> None:
        """Give up all requests, and let what was fetched be kept."""
        for task in self._tasks:
            task.cancel()
        for stream in self._distinct():
            await stream.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store.commit()

    def _distinct(self) -> list[LayerStream]:
        """Return the streams, each once: an image may have a layer more than once."""
        return list(dict.fromkeys((*self._streams, *(stream for _, stream in self._over))))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fill(self) -> None:
        # Of a container that goes on nothing was asked yet: what is typed at its prompt is first.
        self.traffic.begin()
        for descriptor, stream in zip(self.image.manifest.layers, self._streams, strict=True):
            await self._opener.settle(descriptor, stream)
        for number, stream in enumerate(self._streams):
            try:
                if not await stream.fill():
                    return  # there is no room
                # What is said to be here is there on the next visit too, however soon that is.
                await self._store.commit()
                self._opener.report_held(number, self.image.manifest.layers[number], stream)
            except BrowsermountError as error:
                # Nobody has asked for it: if somebody does, there will be another try.
                _log.info("fetching in advance has stopped: %s", error)
                return


async def mount(
    image: str | Source,
    *,
    fetcher: Fetcher,
    base: str | None = None,
    credentials: CredentialProvider | None = None,
    mirror: str | None = None,
    store: Store | None = None,
    cache: BufferCache | None = None,
    platforms: Sequence[Platform] = RUNNABLE,
    options: ProcessOptions | None = None,
    allow_unverified: bool = False,
    authority: Certificate | None = None,
    tree: Tree | None = None,
    over: Sequence[GivenLayer] = (),
    known: Mapping[str, bytes] | None = None,
    starts: bool = True,
    early: EarlyLayers | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_event: EventSink = ignore,
) -> Mount:
    """Make an image's file system ready to be served, verified and as lazily as it allows.

    Args:
        image: What the person gave; see :func:`browsermount.reference.parse_reference`. Or
            a source, which str() gives the name of.
        fetcher: How bytes are fetched.
        base: The URL that a relative reference is relative to.
        credentials: Is asked when a registry wants to know who we are.
        mirror: Where registries are reached instead of at their own address; see
            :func:`browsermount.oci.mirror.find_route`.
        store: Where what was fetched is kept; by default in memory.
        cache: Where decompressed parts are held; by default at most :data:`CACHE_SIZE` bytes.
        platforms: What can be run, the best first.
        options: What to start otherwise than the image's config says.
        allow_unverified: Whether to read a layer lazily by a table of contents of its own that
            the manifest has no digest of.
        authority: Gives the certificate of an authority that the container is to trust.
        tree: What the image is added to; by default a new one. A client that has a session on
            it already must not look for the image's directories before the mount is there.
        over: Layers that lie over the image's, the lowest first: what containers have changed.
        known: What :meth:`Mount.known` has given, of whoever is trusted to say where things are
            in the layers and what their digests are; with this it is verified, as all else.
        starts: Whether a container is going to be started: not one that goes on, and has read
            what is needed first.
        early: Has layers that come already. They are kept by :meth:`Mount.start_fill`.
        sleep: Waits for some seconds; with 0, until others have had their turn.
        on_event: Is called with each progress event, also later, while the image is read.

    Raises:
        BrowsermountError: The image cannot be used; the class and code say why.
    """
    store = store or Store()
    cache = cache or BufferCache(CACHE_SIZE)
    source = (
        open_source(
            parse_reference(image, base=base), fetcher, credentials=credentials, mirror=mirror
        )
        if isinstance(image, str)
        else image
    )
    source = CachingSource(
        source,
        store,
        lambda error: on_event(
            Notice(f"{error.message}: the image is the one that was seen the last time")
        ),
        known,
    )
    traffic = Traffic(
        lambda error, lost: on_event(Trouble(error.message, error.hint, lost)),
        lambda: on_event(Recovered()),
    )
    opener = LayerOpener(
        source,
        store,
        cache,
        traffic,
        on_event,
        allow_unverified=allow_unverified,
        early=early,
        known=known,
        sleep=sleep,
    )
    # While it is asked for which image it is; where it is another one, that was for nothing.
    reading = asyncio.ensure_future(opener.read_known())
    try:
        resolved = await find_image(source, platforms, on_event)
        await reading
    finally:
        reading.cancel()
    layers = resolved.manifest.layers
    prefetches: list[asyncio.Task[None]] = []

    def prefetch(stream: LayerStream) -> None:
        """Fetch what the image's maker thought to be needed first, while others are opened."""
        if starts and stream.index.prefetch:
            prefetches.append(asyncio.ensure_future(stream.prefetch(stream.index.prefetch)))

    tree = tree or Tree()
    rootfs = tree.new_directory()
    tree.root.link(b"rootfs", rootfs)
    try:
        streams = await _open_layers(opener, layers, prefetch)
        laid_over = tuple(layer.descriptor for layer in over)
        laid = await _open_layers(
            LayerOpener(
                GivenSource(over),
                Store(limit=0),  # they are at hand
                cache,
                traffic,
                ignore,
                sleep=sleep,
            ),
            laid_over,
            prefetch,
        )
        _check_members((*streams, *laid))
        merger = Merger(tree, rootfs)
        for index, (descriptor, stream) in enumerate(
            zip((*layers, *laid_over), (*streams, *laid), strict=True)
        ):
            with _naming_layer(index, descriptor):
                for _ in merger.steps(stream.index.entries, stream):
                    await sleep(0)
            await sleep(0)
    except BaseException:
        for task in prefetches:
            task.cancel()
        await asyncio.gather(*prefetches, return_exceptions=True)
        raise
    for stream in (*streams, *laid):
        stream.index.entries.clear()
    mounted = Mount(
        resolved,
        tree,
        rootfs,
        traffic=traffic,
        store=store,
        opener=opener,
        streams=streams,
        over=[(layer.digest, stream) for layer, stream in zip(over, laid, strict=True)],
        tasks=prefetches,
    )
    try:
        options = options or ProcessOptions()
        variables: Sequence[str] = ()
        if authority is not None:
            given = (*resolved.config.env, *options.env)
            variables = add_authority(tree, rootfs, given, authority)
        await _add_config(tree, rootfs, resolved.config, options, variables)
    except BaseException:
        await mounted.close()
        raise
    on_event(TreeReady(inodes=tree.inodes, size=content_size(inode for _, inode in rootfs.walk())))
    return mounted


async def find_image(
    source: Source, platforms: Sequence[Platform], on_event: EventSink = ignore
) -> ResolvedImage:
    """Find the image for the first of ``platforms`` that there is one for, and say so.

    Raises:
        BrowsermountError: See :func:`browsermount.oci.choice.resolve`.
    """
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
    return resolved


def _check_members(streams: Sequence[LayerStream]) -> None:
    """Refuse an image whose members are too many, a layer that comes twice counted twice."""
    costs = {stream: sum(e.cost for e in stream.index.entries) for stream in dict.fromkeys(streams)}
    if sum(costs[stream] for stream in streams) > limits.MAX_METADATA:
        raise InvalidLayer(
            f"the members of all layers take more than {limits.MAX_METADATA >> 20} MiB of memory",
            hint="Build the image with fewer files, or squash its layers.",
        )


@contextmanager
def _naming_layer(index: int, descriptor: Descriptor) -> Iterator[None]:
    """Say in the errors that pass through which layer they are about."""
    try:
        yield
    except InvalidLayer as error:
        where = f"layer {index + 1} ({descriptor.digest})"
        if not is_tar(descriptor.media_type) and descriptor.media_type not in error.message:
            where += f", whose media type is {descriptor.media_type[:150]!r}"
        raise InvalidLayer(f"{where}: {error.message}", hint=error.hint) from error


async def _open_layers(
    opener: LayerOpener,
    layers: Sequence[Descriptor],
    on_open: Callable[[LayerStream], None],
) -> list[LayerStream]:
    """Open all layers at once and return them in their order.

    Args:
        on_open: Is called with each stream as soon as it is open, once where a layer comes twice.
    """
    first: dict[Digest, int] = {}
    for index, descriptor in enumerate(layers):
        first.setdefault(descriptor.digest, index)

    async def open_layer(index: int) -> LayerStream:
        with _naming_layer(index, layers[index]):
            check_readable(layers[index].media_type)
            stream = await opener.open(index, layers[index])
        on_open(stream)
        return stream

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {index: group.create_task(open_layer(index)) for index in first.values()}
    except BaseExceptionGroup as failures:
        # The first one is why the others were given up.
        raise failures.exceptions[0] from None
    streams = [tasks[first[descriptor.digest]].result() for descriptor in layers]
    for index in range(len(layers)):
        if index not in tasks:  # the same layer once more
            opener.report_held(index, layers[index], streams[index])
    return streams


async def _add_config(
    tree: Tree,
    rootfs: Inode,
    config: ImageConfig,
    options: ProcessOptions,
    variables: Sequence[str],
) -> None:
    """Add ``/config``, which says how the container is started."""
    passwd, group = await asyncio.gather(*(read_file(rootfs, path) for path in _USERS))
    user = resolve_user(config.user if options.user is None else options.user, passwd, group)
    spec = runtime_spec(config, options, user, variables)
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
        BrowsermountError: The content cannot be had.
    """
    try:
        inode = lookup(root, path)
    except OSError:
        return None
    content = inode.content
    try:
        return await content.read(0, min(content.size, 1 << 20))
    except OSError as error:
        if isinstance(error.__cause__, BrowsermountError):
            raise error.__cause__ from None
        raise
