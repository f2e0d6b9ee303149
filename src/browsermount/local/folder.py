"""What skopeo writes to ``dir:``, fetched from as if it were an OCI image layout.

It is a folder with ``manifest.json``, which is the image's own manifest or index, and beside it
blobs that are named by the digits of their digest, and further manifests as
``<digits>.manifest.json``.
https://github.com/containers/image/blob/main/docs/containers-transports.5.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from browsermount.errors import InvalidImage
from browsermount.local.files import FileFetcher, FileResponse, OpenedBytes, respond
from browsermount.oci.digest import Digest
from browsermount.oci.document import get, parse_object
from browsermount.oci.manifest import MAX_DOCUMENT_SIZE, OCI_TYPES

_MANIFEST = "manifest.json"


def is_folder(path: Path) -> bool:
    """Tell whether a directory is one that skopeo has written, by the file that it leaves there."""
    return (path / _MANIFEST).is_file() and (path / "version").is_file()


class FolderFetcher:
    """A :class:`browsermount.fetch.Fetcher` of such a folder, whose own URL is the layout's.

    Raises:
        InvalidImage: Its manifest cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base = urlsplit(path.absolute().as_uri()).path + "/"
        manifest = path / _MANIFEST
        if manifest.stat().st_size > MAX_DOCUMENT_SIZE:
            raise InvalidImage(f"{manifest} is too large for a manifest")
        data = manifest.read_bytes()
        document = parse_object(data, str(manifest))
        is_index = "manifests" in document
        declared = get(document, "mediaType", str, str(manifest))
        digest = Digest.of(data)
        descriptor = {
            "mediaType": declared or OCI_TYPES[0 if is_index else 1],
            "digest": str(digest),
            "size": len(data),
        }
        index = {"schemaVersion": 2, "manifests": [descriptor]}
        self._made = {
            "index.json": json.dumps(index).encode(),
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            f"blobs/{digest.algorithm}/{digest.encoded}": data,
        }
        self._files = FileFetcher()

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FileResponse:
        """Answer with a file of the layout; one that there is not is answered with 404."""
        name = unquote(urlsplit(url).path.removeprefix(self._base))
        if (made := self._made.get(name)) is not None:
            return respond(url, OpenedBytes(made), len(made), headers)
        for file in (name.rpartition("/")[2], f"{name.rpartition('/')[2]}.manifest.json"):
            response = await self._files.get(
                (self._path / file).absolute().as_uri(), headers=headers
            )
            if response.opened is not None or response.status != 404:
                return response
        return FileResponse(url)
