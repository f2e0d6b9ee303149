"""The way from a reference to the source that it is about."""

from __future__ import annotations

from browsermount.fetch import Fetcher
from browsermount.oci.credentials import CredentialProvider
from browsermount.oci.image import Source
from browsermount.oci.layout import LayoutSource
from browsermount.oci.mirror import find_route
from browsermount.oci.registry import RegistrySource
from browsermount.reference import LayoutReference, Reference


def open_source(
    reference: Reference,
    fetcher: Fetcher,
    *,
    credentials: CredentialProvider | None = None,
    mirror: str | None = None,
) -> Source:
    """Return the source of the image that a reference names; nothing is fetched yet.

    Args:
        reference: See :func:`browsermount.reference.parse_reference`.
        fetcher: How bytes are fetched.
        credentials: Is asked when a registry wants to know who we are.
        mirror: Where registries are reached instead of at their own address; see
            :func:`browsermount.oci.mirror.find_route`.

    Raises:
        InvalidMirror: ``mirror`` cannot be read.
    """
    if isinstance(reference, LayoutReference):
        return LayoutSource(fetcher, reference)
    route = find_route(reference, mirror)
    return RegistrySource(fetcher, reference, route, credentials=credentials)
