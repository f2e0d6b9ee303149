"""Reads a stopped guest's memory, as image.json describes it: see tools/vm/facts.py."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

PAGE = 4096
PRESENT = 1
LARGE = 1 << 7
ADDRESS = ((1 << 52) - 1) & ~(PAGE - 1)
# Of the four levels of page tables: the lowest bit of an address that each one looks at.
SHIFTS = (39, 30, 21, 12)


def read_word(memory: BinaryIO, address: int, size: int) -> int:
    """Return the word of some bytes at a physical address."""
    memory.seek(address)
    return int.from_bytes(memory.read(size), "little")


def translate(memory: BinaryIO, tables: int, address: int) -> int | None:
    """Return the physical address of a virtual one, or None where nothing is mapped."""
    table = tables
    for shift in SHIFTS:
        entry = read_word(memory, table + (address >> shift & 511) * 8, 8)
        if not entry & PRESENT:
            return None
        if shift == SHIFTS[-1] or entry & LARGE:
            within = (1 << shift) - 1
            return entry & ADDRESS & ~within | address & within
        table = entry & ADDRESS
    raise AssertionError


def _place(memory: BinaryIO, facts: Mapping[str, int], number: int) -> int | None:
    """Return the physical address of a page's structure, or None where it has none."""
    offset = number * facts["pageStructSize"]
    if "pageTables" in facts:
        return translate(memory, facts["pageTables"], facts["pageStructs"] + offset)
    array = read_word(memory, facts["pageStructsPointer"], facts["wordSize"])
    return array - facts["kernelMap"] + offset


def free_ranges(memory: BinaryIO, facts: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """Yield the first page's number of each range of free pages, and how many they are."""
    size = facts["pageStructSize"]
    number, last = 0, read_word(memory, facts["maxPage"], facts["wordSize"])
    while number < last:
        place = _place(memory, facts, number)
        if place is None:
            number += 1
            continue
        memory.seek(place)
        structure = memory.read(size)
        (kind,) = struct.unpack_from("<I", structure, facts["typeOffset"])
        (order,) = struct.unpack_from("<I", structure, facts["orderOffset"])
        if kind & facts["freeMask"] == facts["freeValue"]:
            yield number, 1 << order
            number += 1 << order
        else:
            number += 1
