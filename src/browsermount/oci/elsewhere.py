"""Blobs at the addresses that their descriptors name: descriptor.md, property ``urls``."""

from __future__ import annotations

from collections.abc import Mapping

from browsermount.address import parse_address
from browsermount.errors import FetchError
from browsermount.fetch import Fetcher, Response
from browsermount.limits import MAX_BLOB_URLS
from browsermount.oci.descriptor import Descriptor

NOT_FOUND = (404, 410)
"""The statuses with which a server says that it does not hold a blob."""

_SUCCESS = (200, 206)


async def or_elsewhere(
    response: Response,
    fetcher: Fetcher,
    descriptor: Descriptor,
    headers: Mapping[str, str] | None,
) -> Response:
    """Return a response, or a better one from an address that the blob's descriptor names.

    The addresses are asked one after the other where the response says that there is no such
    blob.  Whoever wrote the manifest chose them, so no credentials may be in ``headers``.

    Returns:
        The first successful response, or the one that was given where there is none.
    """
    if response.status not in NOT_FOUND:
        return response
    for url in descriptor.urls[:MAX_BLOB_URLS]:
        try:
            parse_address(url)
            elsewhere = await fetcher.get(url, headers=headers)
        except (ValueError, FetchError):
            continue
        if elsewhere.status in _SUCCESS:
            await response.aclose()
            return elsewhere
        await elsewhere.aclose()
    return response
