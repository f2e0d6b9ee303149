"""What the images of a layout are called, and which of them a person means.

Tools write names in two ways: the annotation ``org.opencontainers.image.ref.name`` holds what the
tool was given, a tag or a whole reference; containerd and Docker write the reference to
``io.containerd.image.name`` beside it, where only that tells images with equal tags apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from browsermount.errors import InvalidReference
from browsermount.oci.descriptor import REF_NAME, Descriptor
from browsermount.oci.digest import Digest
from browsermount.reference import RegistryReference, parse_reference

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation that holds the whole reference of an image."""

_SHORT_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{7,64})")


def name_of(descriptor: Descriptor) -> str | None:
    """Return what an image is called, as exactly as it is known."""
    return descriptor.annotations.get(CONTAINERD_NAME) or descriptor.ref_name or None


def tag_of(name: str) -> str:
    """Return the tag of an image's name; a name that is only a tag is its own."""
    reference = None if is_tag(name) else _read(name)
    return name if reference is None else reference.tag or ""


def repository_of(name: str) -> str | None:
    """Return the registry and repository of an image's name; None where it is only a tag."""
    reference = None if is_tag(name) else _read(name)
    return None if reference is None else f"{reference.registry}/{reference.repository}"


def is_tag(name: str) -> bool:
    """Tell whether a name says nothing of a repository."""
    return "/" not in name and ":" not in name and "@" not in name


def matching(descriptors: Sequence[Descriptor], wanted: str) -> tuple[Descriptor, ...]:
    """Return the images of a layout that a person means.

    In this order, the first that fits any: what is called just so; what ``wanted`` means as a
    reference, with registry and tag where they are left out; the repository with whatever tag,
    where ``wanted`` has none; the digest, of which the beginning will do.

    Args:
        descriptors: What the layout lists.
        wanted: Such as ``v1``, ``busybox``, ``docker.io/library/busybox:latest`` or ``sha256:…``.
    """
    exact = [d for d in descriptors if wanted in _names(d)]
    if exact:
        return tuple(exact)
    reference = _read(wanted)
    if reference is not None:
        named = [(d, _read(name)) for d in descriptors for name in _references(d)]
        same = [(d, n) for d, n in named if n and _repository(n) == _repository(reference)]
        found = [d for d, n in same if reference.tag and n.tag == reference.tag]
        if reference.digest is not None:
            found = [d for d in descriptors if d.digest == reference.digest]
        elif not found and _has_no_tag(wanted):
            found = [d for d, _ in same]
        if found:
            return tuple(d for d in descriptors if d in found)
    if (short := _SHORT_DIGEST.fullmatch(wanted)) is not None:
        return tuple(d for d in descriptors if d.digest.encoded.startswith(short[1]))
    return ()


def shown(digest: Digest) -> str:
    """Return how an image without a name is called: the beginning of its digest."""
    return f"{digest.algorithm}:{digest.encoded[:12]}"


def _names(descriptor: Descriptor) -> tuple[str, ...]:
    names = (descriptor.annotations.get(key) for key in (CONTAINERD_NAME, REF_NAME))
    return tuple(name for name in names if name)


def _references(descriptor: Descriptor) -> list[str]:
    """Return the names that are references and not just tags."""
    whole = descriptor.annotations.get(CONTAINERD_NAME)
    name = descriptor.ref_name
    # A name without a tag may be a repository, too, unless it is known to be a tag.
    others = [name] if name and not (whole and is_tag(name)) else []
    return ([whole] if whole else []) + others


def _read(name: str) -> RegistryReference | None:
    try:
        reference = parse_reference(name)
    except InvalidReference:
        return None
    return reference if isinstance(reference, RegistryReference) else None


def _repository(reference: RegistryReference) -> tuple[str, str]:
    return reference.registry, reference.repository


def _has_no_tag(name: str) -> bool:
    return ":" not in name.rpartition("/")[2]
