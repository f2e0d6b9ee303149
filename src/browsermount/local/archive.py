"""Archives of images, fetched from as if they were an OCI image layout on a server.

Two kinds are read: an OCI image layout in a tar archive, and what ``docker save`` writes, which
is described by its ``manifest.json``
(https://github.com/moby/docker-image-spec/blob/main/v1.2.md). Newer ones are both at once. The
oldest have ``repositories`` instead (:mod:`browsermount.local.first_version`).
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from browsermount.errors import ImageNotFound, InvalidImage, InvalidLayer, NetworkError
from browsermount.layers.compression import PREFIX_SIZE, Compression, Detecting, detect
from browsermount.local.files import FileResponse, Opened, OpenedBytes, OpenedFile, respond
from browsermount.local.first_version import FirstVersion
from browsermount.oci.descriptor import REF_NAME
from browsermount.oci.digest import Digest
from browsermount.oci.document import get, parse_object, strings
from browsermount.oci.manifest import MAX_DOCUMENT_SIZE

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_BLOB = re.compile(r"(?:\./)?(?:blobs/sha256/|sha256:)([0-9a-f]{64})")
"""A file that is named by its digest; others may be named by anything."""
_CHUNK = 1 << 20
_MAX_LINKS = 8


class ArchiveFetcher:
    """A :class:`browsermount.fetch.Fetcher` of what is in a tar archive.

    The archive's own URL is that of the layout; the file stays open and its blobs are read
    from where they lie in it. An archive that is compressed as a whole is unpacked into an
    unnamed temporary file first.

    Raises:
        ImageNotFound: The file is no archive of an image.
        InvalidImage: It is one, but damaged.
        NetworkError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._base = urlsplit(path.absolute().as_uri()).path + "/"
        try:
            self._file = _plain(path)
            self._members = _members(self._file)
        except (tarfile.TarError, InvalidLayer):
            raise ImageNotFound(
                f"{path} is not an archive of an image",
                hint="Give a file that was made by docker save, or an OCI archive.",
            ) from None
        except OSError as error:
            raise NetworkError(f"cannot read {path}: {error.strerror}") from error
        self._made: dict[str, Opened | bytes] = {}
        self._sizes: dict[str, int] = {}
        if "index.json" in self._members and not self._index_is_empty():
            return
        if "manifest.json" in self._members:
            self._make_layout(self._images())
        elif "repositories" in self._members:
            version = FirstVersion(self._document, self._layer_digest)
            images = version.images()
            self._made |= version.configs
            self._make_layout(images)
        elif "index.json" not in self._members:
            raise ImageNotFound(
                f"there is no image in {path}: it has neither index.json nor manifest.json",
                hint="Give a file that was made by docker save, or an OCI archive.",
            )

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FileResponse:
        """Answer with a file of the archive; one that is not in it is answered with 404."""
        name = unquote(urlsplit(url).path.removeprefix(self._base))
        if name in self._made:
            made = self._made[name]
            if isinstance(made, bytes):
                return respond(url, OpenedBytes(made), len(made), headers)
            return respond(url, made, self._sizes[name], headers)
        found = self._member(name)
        if found is None:
            return FileResponse(url)
        start, size = found
        return respond(url, OpenedFile(self._file, start, shared=True), size, headers)

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _member(self, name: str) -> tuple[int, int] | None:
        """Return where a member's bytes are; docker save stores equal layers as links."""
        for _ in range(_MAX_LINKS):
            info = self._members.get(name)
            if info is None:
                return None
            if info.isreg():
                return info.offset_data, info.size
            if info.issym():
                name = posixpath.normpath(posixpath.join(posixpath.dirname(name), info.linkname))
            elif info.islnk():
                name = _normal(info.linkname)
            else:
                return None
        return None

    # -- What docker save writes ---------------------------------------------------------------

    def _index_is_empty(self) -> bool:
        """Tell whether index.json lists nothing, as of an image that was saved by its ID."""
        document = parse_object(self._document("index.json"), f"{self._path}: index.json")
        return not document.get("manifests")

    def _images(self) -> list[Any]:
        what = f"{self._path}: manifest.json"
        # A list, and parse_object() wants what documents of images are elsewhere.
        document = parse_object(b'{"images":%s}' % self._document("manifest.json"), what)
        return get(document, "images", list, what) or []

    def _make_layout(self, images: list[Any]) -> None:
        """Describe images as a layout does.

        Args:
            images: What manifest.json holds, or would hold.
        """
        what = f"{self._path}: manifest.json"
        manifests: list[dict[str, Any]] = []
        for image in images:
            if not isinstance(image, dict):
                raise InvalidImage(f"{what}: an image is not an object")
            manifest = self._image(image, what)
            names = strings(image, "RepoTags", what) or (None,)
            manifests += [
                {**manifest, **({"annotations": {REF_NAME: name}} if name else {})}
                for name in names
            ]
        index = {"schemaVersion": 2, "manifests": manifests}
        self._made["index.json"] = json.dumps(index).encode()
        self._made["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'

    def _image(self, image: dict[str, Any], what: str) -> dict[str, Any]:
        """Make the manifest of an image and return its descriptor."""
        name = get(image, "Config", str, what) or ""
        config = self._document(name)
        digest = Digest.of(config)
        said = _BLOB.fullmatch(name)
        if said and said[1] != digest.encoded:
            raise InvalidImage(f"{self._path}: {name} is damaged: its digest is {digest}")
        document = parse_object(config, name)
        rootfs = get(document, "rootfs", dict, name) or {}
        diff_ids = strings(rootfs, "diff_ids", name)
        layers = strings(image, "Layers", what)
        if len(diff_ids) != len(layers):
            raise InvalidImage(
                f"{what} lists {len(layers)} layers, the image's config {len(diff_ids)}"
            )
        self._made[f"blobs/sha256/{digest.encoded}"] = config
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": str(digest), "size": len(config)},
            "layers": [
                self._layer(layer, Digest.parse(diff_id))
                for layer, diff_id in zip(layers, diff_ids, strict=True)
            ],
        }
        return {"mediaType": _MANIFEST_TYPE, **self._add(json.dumps(manifest).encode())}

    def _layer(self, name: str, diff_id: Digest) -> dict[str, Any]:
        """Return a layer's descriptor: its digest is the one that the config has for it."""
        found = self._member(_normal(name))
        if found is None:
            raise InvalidImage(f"{self._path} is not complete: the layer {name} is missing")
        start, size = found
        opened: Opened = OpenedFile(self._file, start, shared=True)
        compression = detect(opened.read_at(0, PREFIX_SIZE))
        if name.startswith("blobs/") and (said := _BLOB.fullmatch(name)):
            # A file of a layout, whose name is the digest of what is in it, packed or not.
            packed = "" if compression is Compression.NONE else f"+{compression.value}"
            digest = f"sha256:{said[1]}"
            return {"mediaType": _LAYER_TYPE + packed, "digest": digest, "size": size}
        if compression is not Compression.NONE:
            # The config says nothing of the compressed bytes, so plain ones are given out.
            try:
                unpacked, size = _unpack(opened, size)
            except InvalidLayer as error:
                raise InvalidImage(f"{self._path}: {name}: {error.message}") from None
            opened = OpenedFile(unpacked, shared=True)
        path = f"blobs/{diff_id.algorithm}/{diff_id.encoded}"
        self._made[path], self._sizes[path] = opened, size
        return {"mediaType": _LAYER_TYPE, "digest": str(diff_id), "size": size}

    def _layer_digest(self, name: str) -> str:
        """Return the digest of the plain archive in a layer's file."""
        found = self._member(_normal(name))
        if found is None:
            raise InvalidImage(f"{self._path} is not complete: the layer {name} is missing")
        opened, hasher = OpenedFile(self._file, found[0], shared=True), hashlib.sha256()
        for plain in _plain_chunks(opened, found[1]):
            hasher.update(plain)
        return f"sha256:{hasher.hexdigest()}"

    def _add(self, data: bytes) -> dict[str, Any]:
        digest = Digest.of(data)
        self._made[f"blobs/sha256/{digest.encoded}"] = data
        return {"digest": str(digest), "size": len(data)}

    def _document(self, name: str) -> bytes:
        if isinstance(made := self._made.get(name), bytes):
            return made
        found = self._member(_normal(name))
        if found is None:
            raise InvalidImage(f"{self._path} is not complete: {name or 'a config'} is missing")
        start, size = found
        if size > MAX_DOCUMENT_SIZE:
            raise InvalidImage(f"{self._path}: {name} has {size} bytes, too many for a document")
        return OpenedFile(self._file, start, shared=True).read_at(0, size)


def _members(file: BinaryIO) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        return {_normal(info.name): info for info in archive}


def _normal(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))


def _plain(path: Path) -> BinaryIO:
    """Open an archive, unpacked where it is compressed as a whole."""
    file = path.open("rb")
    start = file.read(PREFIX_SIZE)
    file.seek(0)
    if detect(start) is Compression.NONE:
        return file
    with file:
        unpacked, _ = _unpack(OpenedFile(file), path.stat().st_size)
    return unpacked


def _unpack(opened: Opened, size: int) -> tuple[BinaryIO, int]:
    """Decompress into an unnamed temporary file and return it with its length."""
    target = cast(BinaryIO, tempfile.TemporaryFile(prefix="browsermount-"))  # noqa: SIM115
    for plain in _plain_chunks(opened, size):
        target.write(plain)
    length = target.tell()
    target.seek(0)
    return target, length


def _plain_chunks(opened: Opened, size: int) -> Iterator[bytes]:
    """Iterate over what is decompressed."""
    decompressor = Detecting()
    for offset in range(0, size, _CHUNK):
        yield from decompressor.feed(opened.read_at(offset, min(_CHUNK, size - offset)))
    decompressor.close()
