"""Image configs: OCI image specification, config.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from browsermount.oci.document import get, parse_object, string_map, strings
from browsermount.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The parts of an image's config that decide how its process is started.

    Attributes:
        platform: What the image was built for; None where the config does not say.
        entrypoint, cmd: The arguments; ``entrypoint + cmd`` is what runs.
        env: ``NAME=value`` strings.
        user: ``user``, ``uid``, ``user:group`` and so on; empty for root.
        working_dir: The directory to start in; empty for ``/``.
        stop_signal: What asks the process to end, such as ``SIGTERM``; may be empty.
        labels: The image's labels.
        raw: The document as it was fetched.
    """

    platform: Platform | None = None
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    raw: bytes = b"{}"


def parse_config(data: bytes, what: str) -> ImageConfig:
    """Read an image config.

    Raises:
        InvalidImage: The document is not an object, or a property has the wrong type.
    """
    document = parse_object(data, what)
    config = get(document, "config", dict, what) or {}
    return ImageConfig(
        platform=Platform.from_document(document, what),
        entrypoint=_arguments(config, "Entrypoint", what),
        cmd=_arguments(config, "Cmd", what),
        env=strings(config, "Env", what),
        user=get(config, "User", str, what) or "",
        working_dir=get(config, "WorkingDir", str, what) or "",
        stop_signal=get(config, "StopSignal", str, what) or "",
        labels=string_map(config, "Labels", what),
        raw=data,
    )


def _arguments(config: dict[str, Any], key: str, what: str) -> tuple[str, ...]:
    """Return arguments; a single one may stand there as a string, as Docker reads it."""
    value = config.get(key)
    if isinstance(value, str):
        return (value,) if value else ()
    return strings(config, key, what)
