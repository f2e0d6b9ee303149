"""The TLS engine in the page: an instance that JavaScript makes (``web/mount/tls.js``)."""

from __future__ import annotations

import base64
from typing import Any

from pyodide.ffi import JsException

from browsermount.network.tls import Engine, TlsError


class _PageModule:
    """A :class:`browsermount.network.tls.Module` on a ``TlsModule``."""

    def __init__(self, module: Any) -> None:
        # Looked up once: each lookup of a method makes a proxy.
        self._call = module.call
        self._view = module.view

    def call(self, name: str, *arguments: float) -> int:
        """Call an export.

        Raises:
            TlsError: It has broken down.
        """
        try:
            return int(self._call(name, *arguments))
        except JsException as error:
            raise TlsError(f"the page's TLS engine has failed: {error.message}") from error

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of its memory."""
        data: bytes = self._view(address, size).to_bytes()
        return data

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write into its memory."""
        if data:
            self._view(address, len(data)).assign(data)


def new_engine(module: Any, saved: str = "") -> Engine:
    """Return an engine.

    Args:
        module: A ``TlsModule``.
        saved: The authority of a saved session, in base64; by default it has a new one.

    Raises:
        ValueError: What was saved is no authority.
    """
    return Engine(_PageModule(module), saved=base64.b64decode(saved))
