"""Changes how a WebAssembly module makes its indirect calls, for a large function that has many.

V8 assumes of each indirect call that it goes on to call what it has called until then, and compiles
the function anew where that was wrong (https://v8.dev/blog/wasm-speculative-optimizations, since
Chromium 137).  The evaluation loop of CPython has hundreds of such calls, most of them in small
functions that V8 puts into it, and takes the optimising compiler a third of a second: it was
compiled four to eight times until a container's first prompt.  Here these calls go through one
function for each type of callee, of which V8 knows after a moment that it calls all kinds, and the
loop is compiled once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"\0asm\1\0\0\0"
_TYPES, _IMPORTS, _FUNCTIONS, _CODE = 1, 2, 3, 10
_FUNCTION_TYPE = 0x60
_VALUE_TYPES = frozenset({0x7F, 0x7E, 0x7D, 0x7C, 0x7B, 0x70, 0x6F})
_I32 = 0x7F
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)

_CALL, _CALL_INDIRECT, _LOCAL_GET, _END = 0x10, 0x11, 0x20, 0x0B
_BR_TABLE, _TYPED_SELECT, _MORE = 0x0E, 0x1C, 0xFC
_BYTES = {0x43: 4, 0x44: 8}
"""Instructions that are followed by a constant, and its size."""
_NUMBERS = {
    **dict.fromkeys((0x00, 0x01, 0x05, 0x0B, 0x0F, 0x19, 0x1A, 0x1B, 0xD1), 0),
    **dict.fromkeys((0x02, 0x03, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0C, 0x0D, 0x18), 1),
    **dict.fromkeys((_CALL, 0x12, *range(0x20, 0x27), 0xD0, 0xD2), 1),
    **dict.fromkeys((_CALL_INDIRECT, 0x13, *range(0x28, 0x3F)), 2),
    **dict.fromkeys((0x3F, 0x40, 0x41, 0x42), 1),
    **dict.fromkeys(range(0x45, 0xC5), 0),
}
"""How many numbers follow an instruction."""
_MORE_NUMBERS = {
    **dict.fromkeys(range(8), 0),
    **dict.fromkeys((8, 10, 12, 14), 2),
    **dict.fromkeys((9, 11, 13, 15, 16, 17), 1),
}
"""The same for those that have two bytes."""


INLINED = 500
"""Bytes of the largest function that V8 puts into others (its flag wasm-inlining-max-size)."""


class UnknownCode(Exception):
    """The module has something that is not known here."""


def spread(module: bytes) -> bytes:
    """Return a module that does the same.

    Raises:
        UnknownCode: It has types, imports or instructions that are not known here.
    """
    sections = list(_sections(module))
    contents = dict(sections)
    types = _types(contents[_TYPES])
    bodies = list(_bodies(contents[_CODE]))
    largest = max(range(len(bodies)), key=lambda index: len(bodies[index]))
    first = _imported_functions(contents.get(_IMPORTS, b"\0")) + len(bodies)
    callees: dict[tuple[int, int], int] = {}
    for index, body in enumerate(bodies):
        if (index == largest or len(body) <= INLINED) and _CALL_INDIRECT in body:
            bodies[index] = _rewritten(body, first, callees)
    added = [_with_index(types[kind]) for kind, _ in callees]
    bodies += [_caller(kind, table, len(types[kind][0])) for kind, table in callees]
    numbers = [_leb(len(types) + position) for position in range(len(callees))]
    changed = {
        _TYPES: _extended(contents[_TYPES], added),
        _FUNCTIONS: _extended(contents[_FUNCTIONS], numbers),
        _CODE: _leb(len(bodies)) + b"".join(_leb(len(body)) + body for body in bodies),
    }
    parts = [_MAGIC]
    for number, original in sections:
        content = changed.get(number, original)
        parts += [bytes([number]), _leb(len(content)), content]
    return b"".join(parts)


def _rewritten(body: bytes, first: int, callees: dict[tuple[int, int], int]) -> bytes:
    """Return a body with other calls.

    Args:
        body: The function's.
        first: The number of the first function that was added.
        callees: Types of callees and the tables that they are in, with the function for each.
            Gets more of them.
    """
    parts = []
    copied = 0
    for instruction in _instructions(body):
        if instruction.opcode == _CALL_INDIRECT:
            kind, table = instruction.numbers
            function = callees.setdefault((kind, table), first + len(callees))
            parts += [body[copied : instruction.start], bytes([_CALL]), _leb(function)]
            copied = instruction.end
    return b"".join((*parts, body[copied:]))


def _with_index(signature: tuple[bytes, bytes]) -> bytes:
    """Return the type of a function that takes the callee's index behind its parameters."""
    parameters, results = signature
    return b"".join(
        (
            bytes([_FUNCTION_TYPE]),
            _leb(len(parameters) + 1) + parameters + bytes([_I32]),
            _leb(len(results)) + results,
        )
    )


def _caller(kind: int, table: int, parameters: int) -> bytes:
    """Return the body of such a function."""
    gets = b"".join(bytes([_LOCAL_GET]) + _leb(index) for index in range(parameters + 1))
    return b"".join(
        (_leb(0), gets, bytes([_CALL_INDIRECT]), _leb(kind), _leb(table), bytes([_END]))
    )


# -- The binary format: https://webassembly.github.io/spec/core/binary/ --------------------------


class _Reader:
    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def left(self) -> bool:
        return self.position < len(self.data)

    def byte(self) -> int:
        self.position += 1
        return self.data[self.position - 1]

    def take(self, size: int) -> bytes:
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self) -> int:
        """Return a number without a sign; one with a sign is passed over all the same."""
        value = shift = 0
        while (byte := self.byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
        return value | byte << shift


def _leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    if not module.startswith(_MAGIC):
        raise UnknownCode("it is no WebAssembly module")
    reader = _Reader(module, len(_MAGIC))
    while reader.left:
        number = reader.byte()
        yield number, reader.take(reader.number())


def _extended(vector: bytes, items: list[bytes]) -> bytes:
    reader = _Reader(vector)
    count = reader.number()
    return _leb(count + len(items)) + vector[reader.position :] + b"".join(items)


def _types(section: bytes) -> list[tuple[bytes, bytes]]:
    """Return the parameters and results of each type."""
    reader = _Reader(section)
    found = []
    for _ in range(reader.number()):
        if reader.byte() != _FUNCTION_TYPE:
            raise UnknownCode("it has types that are no functions")
        parameters = reader.take(reader.number())
        results = reader.take(reader.number())
        if not _VALUE_TYPES.issuperset(parameters + results):
            raise UnknownCode("it has types of values that are not known")
        found.append((parameters, results))
    return found


def _imported_functions(section: bytes) -> int:
    reader = _Reader(section)
    functions = 0
    for _ in range(reader.number()):
        reader.take(reader.number())
        reader.take(reader.number())
        kind = reader.byte()
        if kind == _FUNCTION:
            functions += 1
            reader.number()
        elif kind == _TAG:
            reader.byte()
            reader.number()
        elif kind == _GLOBAL:
            reader.take(2)
        elif kind in (_TABLE, _MEMORY):
            if kind == _TABLE:
                reader.byte()
            bounded = reader.byte() & 1
            for _ in range(1 + bounded):
                reader.number()
        else:
            raise UnknownCode(f"it has imports of the kind {kind}")
    return functions


def _bodies(section: bytes) -> Iterator[bytes]:
    reader = _Reader(section)
    for _ in range(reader.number()):
        yield reader.take(reader.number())


@dataclass(frozen=True, slots=True)
class _Instruction:
    opcode: int
    numbers: tuple[int, ...]
    start: int
    end: int


def _instructions(body: bytes) -> Iterator[_Instruction]:
    reader = _Reader(body)
    for _ in range(reader.number()):  # the local variables
        reader.number()
        reader.byte()
    while reader.left:
        start = reader.position
        opcode = reader.byte()
        numbers: tuple[int, ...] = ()
        if opcode in _BYTES:
            reader.take(_BYTES[opcode])
        elif opcode == _BR_TABLE:
            numbers = tuple(reader.number() for _ in range(reader.number() + 1))
        elif opcode == _TYPED_SELECT:
            reader.take(reader.number())
        else:
            table = _NUMBERS
            if opcode == _MORE:
                table, opcode = _MORE_NUMBERS, reader.number()
            if opcode not in table:
                raise UnknownCode(f"the instruction {opcode:#x} at {start} of a function")
            numbers = tuple(reader.number() for _ in range(table[opcode]))
            if table is _MORE_NUMBERS:
                opcode |= _MORE << 8
        yield _Instruction(opcode, numbers, start, reader.position)
