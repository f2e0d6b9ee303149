"""Programs that translate other processors' programs in the machine: QEMU's user mode.

For an image of another processor, the 64-bit machine's kernel hands each
program to an interpreter, which is a file of the 9P tree: in
``/interpreters``, under the processor's name. The files are stored beside the
machine's, compressed with zstd, and are fetched only for images that need one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import urljoin

from browsermount.blobs.store import Store
from browsermount.blobs.verify import verify
from browsermount.errors import DigestMismatch, HttpStatusError, SizeMismatch
from browsermount.fetch import Fetcher, read_all
from browsermount.layers.compression import Zstd
from browsermount.layers.entry import FileType
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.platform import Platform
from browsermount.oci.variant import normalize
from browsermount.rootfs.content import BytesContent
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import Tree

DIRECTORY = b"interpreters"
"""Where the interpreters are in the 9P tree; tools/vm/init/interpreters.c has it, too."""

_TABLE = "interpreters.json"

_FIRST_INO = 1 << 30
"""Numbers of their own: whether they come before the image or after it is a matter of luck, and
the image's must be the same each time."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One program for the machine.

    Attributes:
        processor: Whose programs it runs, in the terms of uname(1), such as ``x86_64``.
        path: Its file, relative to the directory of the interpreters.
        descriptor: Of the file as it is stored; its platform is the one that images have.
    """

    processor: str
    path: str
    descriptor: Descriptor


def _load_table() -> tuple[Interpreter, ...]:
    document = json.loads(files("browsermount").joinpath(_TABLE).read_text("utf-8"))
    return tuple(
        Interpreter(
            processor=entry["processor"],
            path=entry["path"],
            descriptor=Descriptor.from_document(entry, _TABLE),
        )
        for entry in document["interpreters"]
    )


# Read at once: a memory snapshot of Python has no files of the package.
INTERPRETERS = _load_table()
"""All interpreters that there are."""


def interpreter_for(platform: Platform) -> Interpreter | None:
    """Return what an image of ``platform`` needs; None where it runs as it is."""
    architecture, _ = normalize(platform.architecture, platform.variant)
    for interpreter in INTERPRETERS:
        wanted = interpreter.descriptor.platform
        if wanted is not None and wanted.architecture == architecture:
            return interpreter
    return None


async def fetch(interpreter: Interpreter, fetcher: Fetcher, base: str, store: Store) -> bytes:
    """Fetch, verify and unpack an interpreter.

    Args:
        interpreter: Which one.
        fetcher: How bytes are fetched.
        base: The URL of the directory of the interpreters, with a slash at the end.
        store: Where it is kept.

    Raises:
        FetchError: It cannot be had.
        SizeMismatch, DigestMismatch: It is not the one that this version was made with.
    """
    descriptor = interpreter.descriptor
    key = f"{descriptor.digest.algorithm}-{descriptor.digest.encoded}.interpreter"
    data = await store.load(key)
    if data is not None:
        try:
            return _unpack(verify(data, descriptor))
        except (SizeMismatch, DigestMismatch):
            await store.remove(key)
    url = urljoin(base, interpreter.path)
    response = await fetcher.get(url)
    if response.status != 200:
        await response.aclose()
        raise HttpStatusError(
            response.status,
            url,
            hint="This file is a part of browsermount, needed for images of "
            f"{interpreter.descriptor.platform}: build or copy the site completely.",
        )
    data = verify(await read_all(response, descriptor.size + 1), descriptor)
    store.save_later(key, data)
    return _unpack(data)


def _unpack(data: bytes) -> bytes:
    return b"".join(Zstd().feed(data))


async def install(
    tree: Tree,
    interpreter: Interpreter,
    fetcher: Fetcher,
    base: str,
    store: Store | None = None,
) -> None:
    """Add what an image needs to a 9P tree, which may be served already.

    Args:
        tree: The mount's.
        interpreter: What the image needs: see :func:`interpreter_for`.
        fetcher: How bytes are fetched.
        base: The URL of the directory of the interpreters, with a slash at the end.
        store: Where they are kept; by default in memory.

    Raises:
        FetchError, SizeMismatch, DigestMismatch: As :func:`fetch`.
    """
    program = await fetch(interpreter, fetcher, base, store or Store())
    directory = Inode(_FIRST_INO, FileType.DIRECTORY)
    file = Inode(_FIRST_INO + 1, FileType.REGULAR, content=BytesContent(program))
    directory.link(interpreter.processor.encode(), file)
    tree.root.link(DIRECTORY, directory)
