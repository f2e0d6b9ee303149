"""The file of a saved session, as far as Python has to do with it: docs/sessions.md has all of it.

``web/vm/state-file.js`` writes it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO, cast

from browsermount.errors import InvalidState
from browsermount.machines import MachineKind
from browsermount.oci.image import ResolvedImage
from browsermount.oci.platform import Platform, read_platform
from browsermount.rootfs.trust import Certificate
from browsermount.runtime.spec import ProcessOptions

_MAGIC = b"bmstate\n"
_FORMAT = 1
_PREFIX = struct.Struct("<8sII32s")
_MAX_HEADER = 1 << 20
_MAX_SECTION = 1 << 26
_MAX_LAYER = 1 << 30
_MAX_KNOWN = 4 << 20
"""Bytes of what is known of an image that a state has at most: some hundredth of gzip layers."""
_AUTHORITY_KEY = 32
"""Bytes of an authority's secret key, before its certificate: tls/src/authority.rs."""
_LAYER = re.compile(r"layer\.\d{1,4}")
_KINDS = ("v86", "x64")


@dataclass(frozen=True, slots=True)
class SavedState:
    """What has to be known before the machine goes on.

    Attributes:
        kind: Whose state it is.
        memory_mib: The machine's memory.
        reference: The image that was started, as a person would give it.
        digest: Of its manifest.
        platform: The image's.
        options: How its process was started.
        server: What the host's 9P server and network stack have saved.
        layers: What lies over the image, the lowest first: tar archives.
        authority: What the page has saved of the authority that the container trusts; empty where
            that was not there yet, None where it trusts none.
    """

    kind: MachineKind
    memory_mib: int
    reference: str
    digest: str
    platform: Platform
    options: ProcessOptions
    server: dict[str, Any]
    layers: tuple[bytes, ...] = ()
    authority: bytes | None = None

    @property
    def certificate(self) -> Certificate | None:
        """What gives the authority's certificate, for the same files in the same places."""
        if self.authority is None:
            return None
        certificate = self.authority[_AUTHORITY_KEY:]

        async def give() -> bytes:
            if not certificate:
                raise InvalidState("the page had made no authority yet")
            return certificate

        return give


_OURS = "host"
"""The option that is not in a document: only what our own machine starts is ever saved."""


def session_header(image: ResolvedImage, reference: str, options: ProcessOptions) -> dict[str, Any]:
    """Return what the header of a session's file says of its image and process.

    Args:
        image: The image that runs.
        reference: How it can be found again, as a person would give it.
        options: How its process was started.
    """
    return {
        "image": {
            "reference": reference,
            "digest": str(image.digest),
            "platform": str(image.platform),
        },
        "process": process_document(options),
    }


def process_document(options: ProcessOptions) -> dict[str, Any]:
    """Return a process's options as JSON's types; :func:`read_state` reads them."""
    document = asdict(options)
    del document[_OURS]
    return document


def encode_known(known: Mapping[str, bytes]) -> dict[str, str]:
    """Return what is known of an image as a state has it: only so much as is worth it."""
    left = _MAX_KNOWN
    document = {}
    for key, data in known.items():
        if len(data) <= left:
            left -= len(data)
            document[key] = base64.b64encode(data).decode()
    return document


def decode_known(document: Mapping[str, str]) -> dict[str, bytes]:
    """Undo :func:`encode_known`."""
    return {key: base64.b64decode(data) for key, data in document.items()}


def read_state(file: BinaryIO) -> SavedState:
    """Read what is not the machine's in a file that can be sought in.

    Raises:
        InvalidState: It is no state, damaged, or of another version.
        OSError: It cannot be read.
    """
    first = file.read(_PREFIX.size)
    if len(first) < _PREFIX.size or not first.startswith(_MAGIC):
        raise InvalidState("it is not the file of a saved session")
    _, version, length, digest = _PREFIX.unpack(first)
    if version != _FORMAT:
        raise InvalidState("it was saved by another version")
    text = file.read(length) if length <= _MAX_HEADER else b""
    if hashlib.sha256(text).digest() != digest:
        raise _damaged("its header")
    try:
        header = json.loads(text)
        if "machine" not in header:
            raise InvalidState(
                "it has files alone, and nothing that runs",
                hint="Open it in the page, where its files are laid over the image.",
            )
        sections = list(_sections(file, header["sections"]))
        return _state(header, sections)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _damaged("its header") from None


def _damaged(what: str) -> InvalidState:
    return InvalidState(f"{what} is damaged", hint="Take another copy, or start the image anew.")


def _sections(file: BinaryIO, sections: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Iterate over the sections that are not the machine's business, verified."""
    for section in sections:
        name = section["name"]
        is_layer = _LAYER.fullmatch(name) is not None
        if name != "server" and not is_layer:
            file.seek(section["size"], 1)
            continue
        data = file.read(min(section["size"], _MAX_LAYER if is_layer else _MAX_SECTION))
        if hashlib.sha256(data).hexdigest() != section["sha256"]:
            raise _damaged(f"its part {name!r}")
        yield name, data


def _state(header: dict[str, Any], sections: list[tuple[str, bytes]]) -> SavedState:
    machine, image = header["machine"], header["image"]
    server = json.loads(dict(sections)["server"])
    authority = server.get("authority") if isinstance(server, dict) else None
    if machine["kind"] not in _KINDS or not isinstance(server, dict):
        raise ValueError
    return SavedState(
        kind=cast(MachineKind, machine["kind"]),
        memory_mib=int(machine["memoryMiB"]),
        reference=str(image["reference"]),
        digest=str(image["digest"]),
        platform=read_platform(str(image["platform"])),
        options=_options(header["process"]),
        server=server,
        layers=tuple(data for name, data in sections if name != "server"),
        authority=None if authority is None else base64.b64decode(authority, validate=True),
    )


def _options(document: dict[str, Any]) -> ProcessOptions:
    """Return options; lists have become tuples again, and types are what they were."""
    names = {field.name for field in fields(ProcessOptions)} - {_OURS}
    values = {name: document[name] for name in names}
    for name in ("entrypoint", "args", "env"):
        if values[name] is not None:
            values[name] = tuple(map(str, values[name]))
    values["hosts"] = tuple((str(name), str(address)) for name, address in values["hosts"])
    return ProcessOptions(**values)
