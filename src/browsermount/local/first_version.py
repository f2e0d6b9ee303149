"""What ``docker save`` wrote before version 1.10, described as its later ``manifest.json`` does.

A file ``repositories`` names images by the IDs of their uppermost layers; each layer is a folder
with ``layer.tar`` and ``json``, which names the layer below it.
https://github.com/moby/docker-image-spec/blob/main/v1.0.md
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from browsermount.errors import InvalidImage
from browsermount.oci.document import get, parse_object

_MAX_LAYERS = 1000


class FirstVersion:
    """The images of such an archive.

    Args:
        read: Returns a file of the archive.
        digest: Returns the digest of the plain archive in a layer's file.

    Attributes:
        configs: The images' configs, as later versions have them, by the names of their files.
    """

    def __init__(self, read: Callable[[str], bytes], digest: Callable[[str], str]) -> None:
        self._read = read
        self._digest = digest
        self.configs: dict[str, bytes] = {}

    def images(self) -> list[dict[str, Any]]:
        """Return what ``manifest.json`` would hold.

        Raises:
            InvalidImage: A file is missing or malformed.
        """
        what = "repositories"
        names: dict[str, list[str]] = {}
        for repository, tags in parse_object(self._read(what), what).items():
            if not isinstance(tags, dict):
                raise InvalidImage(f"{what}: the tags of {repository} are not an object")
            for tag in tags:
                identifier = get(tags, tag, str, what) or ""
                names.setdefault(identifier, []).append(f"{repository}:{tag}")
        return [self._image(identifier, tags) for identifier, tags in names.items()]

    def _image(self, identifier: str, names: list[str]) -> dict[str, Any]:
        layers: list[str] = []
        top: dict[str, Any] | None = None
        current: str | None = identifier
        while current:
            what = f"{current}/json"
            document = parse_object(self._read(what), what)
            top = document if top is None else top
            layers.insert(0, f"{current}/layer.tar")
            if len(layers) > _MAX_LAYERS:
                raise InvalidImage(f"{identifier} has more than {_MAX_LAYERS} layers")
            current = get(document, "parent", str, what)
        assert top is not None
        config = {key: top.get(key) for key in ("os", "architecture", "config", "created")}
        diff_ids = [self._digest(layer) for layer in layers]
        config["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
        name = f"{identifier}/config.json"
        self.configs[name] = json.dumps(config).encode()
        return {"Config": name, "RepoTags": names, "Layers": layers}
