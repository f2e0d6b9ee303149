"""Python's engine as the site has it makes its indirect calls through functions for each type."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tools.site.indirect_calls import UnknownCode, spread

I32 = 0x7F
CALL_INDIRECT = 0x11


def vector(*items: bytes) -> bytes:
    return bytes([len(items)]) + b"".join(items)


def sized(content: bytes) -> bytes:
    assert len(content) < 1 << 14
    return bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content


def module(*bodies: bytes) -> bytes:
    """Two functions that a table has, of one type, and others that get a number and an index."""
    one, two = bytes((0x60, 1, I32, 1, I32)), bytes((0x60, 2, I32, I32, 1, I32))
    sections = {
        1: vector(one, two),
        2: vector(b"\x01e\x01f\x00\x00"),
        3: vector(b"\0", b"\0", *[b"\x01"] * len(bodies)),
        4: vector(b"\x70\x00\x03"),
        5: vector(b"\x00\x01"),
        7: vector(
            *(b"\x01" + bytes([0x61 + i]) + b"\0" + bytes([3 + i]) for i in range(len(bodies)))
        ),
        9: vector(b"\0\x41\0\x0b" + vector(b"\x01", b"\x02", b"\x00")),
        10: vector(
            sized(bytes((0, 0x20, 0, 0x41, 1, 0x6A, 0x0B))),  # x + 1
            sized(bytes((0, 0x20, 0, 0x41, 2, 0x6C, 0x0B))),  # x * 2
            *map(sized, bodies),
        ),
    }
    return b"\0asm\1\0\0\0" + b"".join(bytes([n]) + sized(c) for n, c in sections.items())


INDIRECT = bytes((0x20, 0, 0x20, 1, CALL_INDIRECT, 0, 0))
SMALL = b"\0" + INDIRECT + b"\x0b"
# Behind all kinds of instructions, some with bytes in them that look like such a call.
VARIED = (
    b"\x01\x03\x7e"  # local variables
    + b"\x44\x11\x11\x11\x11\x11\x11\x11\x11\x1a"  # a constant
    + b"\x41\x91\xa2\x44\x1a"
    + b"\x02\x40\x20\x01\x0e\x02\x00\x00\x00\x0b"  # br_table
    + b"\x41\x00\x41\x00\x41\x04\xfc\x0a\x00\x00"  # memory.copy
    + b"\x41\x11\x41\x11\x41\x00\x1c\x01\x7f\x1a"  # select with a type
    + b"\x41\x00\x28\x02\x91\x02\x1a"
)


def results(code: bytes, folder: Path) -> str:
    """What its functions give for 5 and each index."""
    path = folder / "code.wasm"
    path.write_bytes(code)
    script = """
      const bytes = require("node:fs").readFileSync(process.argv[1]);
      const imports = { e: { f: (x) => x - 1 } };
      const { a, b } = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports;
      console.log([0, 1, 2].map((index) => [a(5, index), b(5, index)]).join(" "));
    """
    done = subprocess.run(["node", "-e", script, path], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_module_does_the_same(tmp_path: Path) -> None:
    original = module(SMALL, VARIED + INDIRECT + b"\x1a" + INDIRECT + b"\x0b")
    changed = spread(original)
    assert results(original, tmp_path) == results(changed, tmp_path) == "6,6 10,10 4,4"
    # Of three calls, one is left, which all come through.
    assert original.count(bytes((CALL_INDIRECT, 0, 0))) == 3
    assert changed.count(bytes((CALL_INDIRECT, 0, 0))) == 1


def test_what_is_neither_small_nor_the_largest_stays_as_it_is() -> None:
    large = b"\0" + b"\x01" * 600 + INDIRECT + b"\x0b"
    changed = spread(module(large, b"\0" + b"\x01" * 700 + INDIRECT + b"\x0b"))
    assert large in changed


def test_unknown_instructions_are_an_error() -> None:
    with pytest.raises(UnknownCode, match="0xfd"):
        spread(module(SMALL, b"\0\xfd\x0c" + bytes(16) + INDIRECT + b"\x1a" + INDIRECT + b"\x0b"))
