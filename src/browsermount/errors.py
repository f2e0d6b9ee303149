"""Every error that a person sees.

Each has a ``code`` that programs can rely on, a ``message`` that says what is
wrong, and a ``hint`` that says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class BrowsermountError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        message: One sentence that says what is wrong, with the names involved.
        hint: What the person can do about it; may be empty.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_dict(self) -> dict[str, str]:
        """Return ``{"code", "message", "hint"}``, ready for JSON."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class InvalidReference(BrowsermountError):
    """The image reference that the person gave cannot be read."""

    code = "invalid-reference"


class InvalidMirror(BrowsermountError):
    """What was configured as a mirror or proxy of registries cannot be read."""

    code = "invalid-mirror"


class InvalidProxy(BrowsermountError):
    """What was configured as a proxy for the container's requests cannot be read."""

    code = "invalid-proxy"


class FetchError(BrowsermountError):
    """A request got no usable answer."""

    code = "fetch"


class NetworkError(FetchError):
    """The server could not be reached, or the connection broke or stalled."""

    code = "network"


class TooSlow(NetworkError):
    """The server sends so little that it would never come to an end."""


class CorsError(FetchError):
    """The server is there, but does not let pages of our origin read from it.

    Args:
        message: As for :class:`BrowsermountError`.
        hint: As for :class:`BrowsermountError`.
        missing: The response header that would help; ``preflight`` where the server does not
            answer the OPTIONS requests with which browsers ask for permission; ``redirect`` where
            it is not this server but the one to which it redirects that refuses.
        example: A configuration that lets the server send it; may be empty.
    """

    code = "cors"

    def __init__(self, message: str, *, hint: str = "", missing: str, example: str = "") -> None:
        super().__init__(message, hint=hint)
        self.missing = missing
        self.example = example

    def to_dict(self) -> dict[str, str]:
        """Return also ``missing`` and ``example``."""
        return {**super().to_dict(), "missing": self.missing, "example": self.example}


class AuthError(FetchError):
    """The server wants credentials that we do not have, or refuses those that we have."""

    code = "unauthorized"


class HttpStatusError(FetchError):
    """The server answered with a status that is not a success.

    Args:
        status: The HTTP status code.
        url: What was asked for.
        hint: As for :class:`BrowsermountError`.
    """

    code = "http-status"

    def __init__(self, status: int, url: str, *, hint: str = "") -> None:
        super().__init__(f"the server answered {status} for {url}", hint=hint)
        self.status = status
        self.url = url


class EncodedBlob(FetchError):
    """A blob that was changed for the transfer, so that it is not the bytes that were stored.

    Args:
        url: What was asked for.
    """

    code = "content-encoding"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the server says that it has compressed {url} for the transfer, so what comes is not "
            "the blob as it is stored",
            hint="Let it send blobs without the header Content-Encoding: in nginx by gzip off, in "
            "an object storage by removing it from the objects' metadata.",
        )


class ImageNotFound(BrowsermountError):
    """There is no image at the given place."""

    code = "image-not-found"


class InvalidImage(BrowsermountError):
    """What came is not an OCI image: a document is malformed or contradicts itself."""

    code = "invalid-image"


class NotAnImage(InvalidImage):
    """What came is an OCI artifact: a signature, a chart, a list of packages and so on."""


class InvalidPlatform(BrowsermountError):
    """The platform that the person asked for is none, or cannot be run."""

    code = "invalid-platform"


class InvalidMachine(BrowsermountError):
    """A text does not name a virtual machine."""

    code = "invalid-machine"


class NoMatchingPlatform(BrowsermountError):
    """The image is there, but not for a platform that can be run."""

    code = "no-matching-platform"


class SizeMismatch(BrowsermountError):
    """A blob is longer or shorter than its descriptor says."""

    code = "size-mismatch"


class DigestMismatch(BrowsermountError):
    """A blob's digest is not the one in its descriptor."""

    code = "digest-mismatch"


class InvalidLayer(BrowsermountError):
    """A layer's archive cannot be read."""

    code = "invalid-layer"


class InvalidProcess(BrowsermountError):
    """The image's config does not describe a process that can be started."""

    code = "invalid-process"


class StorageFull(BrowsermountError):
    """What has to be kept fits neither into the store nor into memory."""

    code = "no-room"


class InvalidState(BrowsermountError):
    """A saved session cannot go on here: it is damaged, or belongs to something else."""

    code = "state"


class InvalidArchive(BrowsermountError):
    """What a machine says that its container has changed is no layer."""

    code = "archive"
