"""What the machine's process says, some of which are the guest's words."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from browsermount.cli.machine import Machine


def said(*lines: bytes) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        reader = asyncio.StreamReader(limit=1024)
        for line in lines:
            reader.feed_data(line)
        reader.feed_eof()
        nothing = cast(Any, None)
        return [m async for m in Machine(nothing, nothing, nothing, reader, nothing).messages()]

    return asyncio.run(asyncio.wait_for(read(), 10))


def test_lines_that_are_no_messages_are_left_out() -> None:
    end = b'{"type": "exit", "code": 3}\n'
    garbage = [b"\n", b"garbage\n", b"\xff\xfe\n", b"null\n", b"[]\n", b"1\n", b'"exit"\n', b"{}\n"]
    garbage += [b'{"type": 1}\n', b"[" * 1000 + b"\n", b'{"type": "exit"']
    assert said(*garbage[:-1], end, garbage[-1]) == [{"type": "exit", "code": 3}]


def test_a_line_that_is_too_long_hides_no_other() -> None:
    end = {"type": "exit", "code": 3}
    assert said(b"x" * 5000 + b"\n", b'{"type": "exit", "code": 3}\n') == [end]
