"""What the virtual machine says to the command line: whatever is in it may have written it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest

from browsermount.cli import run
from browsermount.cli.machine import Machine, MachineFailure
from browsermount.cli.run import _follow, _Sessions, _Signals, _Streams


@pytest.fixture(autouse=True)
def without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "raw", lambda: nullcontext(lambda: None))


def followed(data: bytes) -> int:
    async def work() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        nothing: Any = None
        machine = Machine(nothing, nothing, nothing, reader, nothing)
        return await _follow(machine, _Signals(), _Streams(False, False), _Sessions(), None)

    return asyncio.run(work())


def test_an_exit_code() -> None:
    assert followed(b'{"type": "odd"}\n{"type": "exit", "code": 7}\n') == 7


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[]",
        b"{}",
        b'{"type": 1}',
        b'{"type": "exit"}',
        b'{"type": "exit", "code": "7"}',
        b'{"type": "exit", "code": -1}',
        b'{"type": "exit", "code": 256}',
        b'{"type": "exit", "code": true}',
        b'{"type": "error", "message": "m"}',
        b"\xff",
        b"x" * (1 << 20),
        b"",
    ],
    ids=range(13),
)
def test_garbage_is_no_exit_code(line: bytes) -> None:
    """What is no message is left out; one that says nothing that can be believed ends us."""
    with pytest.raises(MachineFailure):
        followed(line + b"\n" if line else b"")
