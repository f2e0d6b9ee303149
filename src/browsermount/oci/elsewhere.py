"""Blobs at the addresses that their descriptors name: descriptor.md, property ``urls``."""

from __future__ import annotations

from collections.abc import Mapping

from browsermount.errors import FetchError
from browsermount.fetch import Fetcher, Response
from browsermount.oci.descriptor import Descriptor

NOT_FOUND = (404, 410)
"""The statuses with which a server says that it does not hold a blob."""

_SUCCESS = (200, 206)


async def get_elsewhere(
    fetcher: Fetcher, descriptor: Descriptor, headers: Mapping[str, str] | None
) -> Response | None:
    """Ask the addresses that a descriptor names for its blob, one after the other.

    Whoever wrote the manifest chose these addresses, so no credentials may be in ``headers``.

    Returns:
        The first successful response, or None where there is none.
    """
    for url in descriptor.urls:
        if not url.startswith(("https://", "http://")):
            continue
        try:
            response = await fetcher.get(url, headers=headers)
        except FetchError:
            continue
        if response.status in _SUCCESS:
            return response
        await response.aclose()
    return None
