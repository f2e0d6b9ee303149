"""What a layer's media type says of it: whether a tar archive can be in it at all.

OCI image specification, layer.md, has tar archives only; tools use the same place for other things.
An unknown type says nothing: what is in the blob decides.
"""

from __future__ import annotations

import re

from browsermount.errors import InvalidLayer

_TAR = re.compile(
    r"application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?:gzip|zstd))?"
    r"|application/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.gzip|\.zstd)?"
)

_OTHERS = (
    (
        re.compile(r".*\+encrypted"),
        "is encrypted",
        "Decrypt the image first, for example with: skopeo copy --decryption-key KEY.pem "
        "docker://IMAGE oci:folder:latest",
    ),
    (
        re.compile(r".*\bnydus\b.*"),
        "is one of nydus, of which only a snapshotter of containerd can read files",
        "Name the image that it was made from.",
    ),
    (
        re.compile(r".*\b(?:squashfs|sif)\b.*"),
        "is a squashfs file system and no tar archive",
        "Build the image as an OCI image, for example with buildah or docker.",
    ),
    (
        re.compile(r".*\berofs\b.*"),
        "is an EROFS file system and no tar archive",
        "Name the image that it was made from.",
    ),
    (
        re.compile(r"application/wasm|.*[+.]wasm"),
        "is a program in WebAssembly and no file system",
        "Run it with a runtime for WebAssembly, such as wasmtime.",
    ),
)


def is_tar(media_type: str) -> bool:
    """Tell whether a media type is one of a layer that is a tar archive."""
    return _TAR.fullmatch(media_type) is not None


def check_readable(media_type: str) -> None:
    """Make sure that a layer's media type does not rule out that it can be read.

    Raises:
        InvalidLayer: It does; the message says what the layer is, the hint what to do.
    """
    if is_tar(media_type):
        return
    for pattern, what, hint in _OTHERS:
        if pattern.fullmatch(media_type.lower()):
            raise InvalidLayer(f"it {what}: its media type is {media_type[:150]!r}", hint=hint)
