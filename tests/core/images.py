"""Layers, images and a server for them, all in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from browsermount.errors import NetworkError

BASE = "https://images.example/debian/"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


def member(name: str, data: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a tar member: a directory where the name ends with a slash, else a file."""
    info = tarfile.TarInfo(name.removesuffix("/"))
    info.type = fields.pop("type", tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
    info.mode = fields.pop("mode", 0o755 if name.endswith("/") else 0o644)
    info.pax_headers = fields.pop("pax", {})
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(data or b"")
    return info, data or b""


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Layout:
    """An OCI image layout; ``files`` by path."""

    files: dict[str, bytes] = field(default_factory=dict)
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def blob(self, data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
        digest = sha256(data)
        self.files[f"blobs/{digest.replace(':', '/')}"] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def document(self, document: object, media_type: str, **more: Any) -> dict[str, Any]:
        return self.blob(json.dumps(document).encode(), media_type, **more)

    def image(
        self,
        *layers: bytes,
        config: dict[str, Any] | None = None,
        platform: str | None = "linux/386",
        name: str | None = None,
        compress: bool = True,
    ) -> dict[str, Any]:
        """Add the blobs of an image and return its descriptor, with a platform and name."""
        os, architecture = (platform or "linux/386").split("/")
        document = {"os": os, "architecture": architecture, "config": config or {"Cmd": ["sh"]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.document(document, CONFIG_TYPE),
            "layers": [
                self.blob(gzip.compress(layer), f"{LAYER_TYPE}+gzip")
                if compress
                else self.blob(layer, LAYER_TYPE)
                for layer in layers
            ],
        }
        more: dict[str, Any] = {}
        if platform:
            more["platform"] = {"os": os, "architecture": architecture}
        if name:
            more["annotations"] = {"org.opencontainers.image.ref.name": name}
        return self.document(manifest, MANIFEST_TYPE, **more)

    def add(self, *layers: bytes, **options: Any) -> Layout:
        self.manifests.append(self.image(*layers, **options))
        return self

    def index(self) -> dict[str, bytes]:
        """Return all files, with the index of what was added."""
        index = {"schemaVersion": 2, "manifests": self.manifests}
        return {
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps(index).encode(),
            **self.files,
        }


@dataclass
class FakeResponse:
    url: str
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunk: int = 1000
    breaks_after: int | None = None
    closed: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        end = len(self.body) if self.breaks_after is None else self.breaks_after
        for start in range(0, end, self.chunk):
            yield self.body[start : min(end, start + self.chunk)]
        if self.breaks_after is not None:
            raise NetworkError(f"the connection broke while reading {self.url}")

    async def aclose(self) -> None:
        self.closed = True


Hook = Callable[[str, tuple[int, int] | None, bytes], FakeResponse | None]


class FakeFetcher:
    """Serves files below :data:`BASE`, with ranges; all else is not found.

    A hook gets the URL, the range asked for (both ends included) and the file, and may answer
    in its own way or raise.
    """

    def __init__(
        self, files: Mapping[str, bytes], *, hook: Hook | None = None, **response: Any
    ) -> None:
        self.files = dict(files)
        self.asked: list[str] = []
        self.ranges: list[tuple[int, int] | None] = []
        self.responses: list[FakeResponse] = []
        self.hook = hook
        self.response = response

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FakeResponse:
        asked = (headers or {}).get("Range")
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked) if asked else None
        span = (int(found[1]), int(found[2])) if found else None
        self.asked.append(url)
        self.ranges.append(span)
        response = self._answer(url, span)
        self.responses.append(response)
        return response

    def _answer(self, url: str, span: tuple[int, int] | None) -> FakeResponse:
        body = self.files.get(url.removeprefix(BASE))
        if body is None:
            return FakeResponse(url, 404, b"not found")
        if self.hook is not None and (answer := self.hook(url, span, body)) is not None:
            return answer
        if span is None:
            return FakeResponse(url, 200, body, **self.response)
        first, last = span
        if first >= len(body):
            return FakeResponse(url, 416, b"", {"content-range": f"bytes */{len(body)}"})
        part = body[first : last + 1]
        given = f"bytes {first}-{first + len(part) - 1}/{len(body)}"
        return FakeResponse(url, 206, part, {"content-range": given}, **self.response)
