"""``run --commit``: what a container has changed becomes a layer, and an image with it.

The guest makes the archive, whiteouts included. It is taken for untrusted: it has to be one that
any layer could be, and no longer than there are bounds for.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from browsermount.cli.layouts import LayoutWriter, copy_layers
from browsermount.commit.image import documents
from browsermount.commit.layer import LayerFile, no_layer
from browsermount.errors import InvalidArchive
from browsermount.events import ignore
from browsermount.oci.image import ResolvedImage, Source, read_document

_MAKER = "browsermount run --commit"
_CHANGES = "changes"
"""What the layer's file is called until its digest is known."""


class Commit:
    """An image of a layout that gets the changes of a container.

    Args:
        directory: The layout's.
        name: What the image is called there.

    Raises:
        BrowsermountError, OSError: It cannot be written to.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._writer = LayoutWriter(directory)
        self._name = name
        self._file = self._writer.staging.create(_CHANGES)
        self._layer = LayerFile(self._file)
        self._complete = False

    def receive(self, message: dict[str, Any]) -> int:
        """Take a message of the machine's; see web/vm/runner.mjs.

        Returns:
            How many files no layer can have: with the last message, else 0.

        Raises:
            InvalidArchive: What was changed cannot be had.
        """
        if message["type"] == "archive" and not self._complete:
            self._layer.feed(_plain(message.get("data")))
        elif message["type"] == "archived":
            if "failure" in message:
                raise InvalidArchive(f"the container's files cannot be had: {message['failure']}")
            self._complete = True
            left_out = message.get("leftOut")
            return left_out if isinstance(left_out, int) else 0
        return 0

    async def finish(self, source: Source, image: ResolvedImage) -> str:
        """Write the image, and return the digest of what is called by its name.

        Args:
            source: Where the layers of the container's image are.
            image: The container's image.

        Raises:
            BrowsermountError, OSError: It cannot be written, or the layers cannot be had.
        """
        if not self._complete:
            raise InvalidArchive("the machine ended before it said what the container has changed")
        layer, diff_id = self._layer.finish()
        self._file.close()
        self._writer.place(_CHANGES, layer.digest)
        await copy_layers(self._writer, source, image.manifest.layers, ignore)
        manifest = await read_document(source, image.descriptor)
        made = documents(image, manifest, [(layer, diff_id)], _MAKER)
        self._writer.add(made.config)
        self._writer.add(made.manifest)
        return str(self._writer.finish([made.descriptor], self._name))

    def close(self) -> None:
        """Leave nothing behind that is not complete."""
        self._file.close()
        self._writer.staging.close()


def _plain(text: object) -> bytes:
    """Return a piece of the archive, which comes in base64."""
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except binascii.Error as error:
        raise no_layer(error) from None
