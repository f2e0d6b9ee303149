"""A layer being read: compressed bytes in, entries out, the plain stream kept in an arena."""

from __future__ import annotations

from browsermount.blobs.arena import Arena
from browsermount.errors import InvalidLayer
from browsermount.layers.compression import Detecting
from browsermount.layers.entry import Entry
from browsermount.layers.tar import TarParser


class LayerReader:
    """Takes a layer's blob in chunks and gathers its entries.

    Args:
        arena: Where the decompressed stream goes; entries point into it.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.entries: list[Entry] = []
        self._decompressor = Detecting()
        self._tar = TarParser()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the blob.

        Raises:
            InvalidLayer: They are not what a layer is made of.
        """
        for plain in self._decompressor.feed(data):
            if self._tar.ended:
                continue  # padding after the end mark: checked by the decompressor, not kept
            self.arena.append(plain)
            self.entries += self._tar.feed(plain)

    def close(self) -> None:
        """Say that the blob has ended.

        Raises:
            InvalidLayer: It ended too early.
        """
        try:
            self._decompressor.close()
            self._tar.close()
        except InvalidLayer as error:
            error.hint = error.hint or "Build the image once more, or copy it once more."
            raise
