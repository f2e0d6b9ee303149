"""Write web/page/character-widths.js: how many columns the C library gives each character.

What a shell believes of the cursor comes from its C library's ``wcwidth()``; glibc and musl both
take it from Unicode, character by character. The terminal has to agree with it.
"""

from __future__ import annotations

import ctypes
import locale
import sys
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "web" / "page" / "character-widths.js"

_LAST = 0x10FFFF
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

_TEXT = """\
// Written by tools/character_widths.py: do not edit.

/**
 * Pairs of numbers to the base 36: how many characters follow the last range, and how many are in
 * this one.
 */
export const NO_COLUMN =
  "{none}";

export const TWO_COLUMNS =
  "{two}";
"""


def widths() -> Iterator[tuple[int, int]]:
    """Iterate over all characters that the C library knows, with their columns."""
    locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    wcwidth = ctypes.CDLL(None).wcwidth
    for code in range(0x20, _LAST + 1):
        if (columns := wcwidth(ctypes.c_wchar(chr(code)))) >= 0:
            yield code, columns


def packed(codes: list[int]) -> str:
    """Return ascending numbers as the file has them."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1]:
            ranges[-1][1] += 1
        else:
            ranges.append([code, code + 1])
    numbers, last = list[int](), 0
    for start, end in ranges:
        numbers += (start - last, end - start)
        last = end
    return " ".join(map(_base_36, numbers))


def _base_36(number: int) -> str:
    text = _DIGITS[number % 36]
    while number := number // 36:
        text = _DIGITS[number % 36] + text
    return text


def generated() -> str:
    """Return what the file should hold."""
    known = list(widths())
    none, two = ([code for code, columns in known if columns == wanted] for wanted in (0, 2))
    return _TEXT.format(none=packed(none), two=packed(two))


if __name__ == "__main__":
    if sys.platform != "linux":
        raise SystemExit("the widths are those of glibc: run this on Linux")
    TARGET.write_text(generated())
