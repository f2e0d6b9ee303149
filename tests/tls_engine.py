"""The page's TLS engine in Wasmtime, for tests without a page."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime

from browsermount.network.tls import Engine

CODE = Path(__file__).resolve().parents[1] / "web" / "tls" / "tls.wasm"


@cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    engine = wasmtime.Engine()
    return engine, wasmtime.Module.from_file(engine, str(CODE))


class WasmtimeModule:
    """A :class:`browsermount.network.tls.Module`."""

    def __init__(self) -> None:
        engine, module = _compiled()
        self._store = wasmtime.Store(engine)
        kind = wasmtime.FuncType([wasmtime.ValType.i32(), wasmtime.ValType.i32()], [])
        random = wasmtime.Func(self._store, kind, self._random)
        self._exports: Any = wasmtime.Instance(self._store, module, [random]).exports(self._store)
        self._memory = self._exports["memory"]

    def _random(self, address: int, size: int) -> None:
        self.write(address, os.urandom(size))

    def call(self, name: str, *arguments: float) -> int:
        return self._exports[name](self._store, *arguments) or 0

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._memory.read(self._store, address, address + size))

    def write(self, address: int, data: bytes | memoryview) -> None:
        self._memory.write(self._store, bytes(data), address)

    @property
    def memory_size(self) -> int:
        """Bytes that it has."""
        size: int = self._memory.data_len(self._store)
        return size


def new_engine(saved: bytes = b"") -> Engine:
    """An engine with an authority of its own."""
    return Engine(WasmtimeModule(), saved=saved)
