"""The terminal counts columns as this machine's C library does."""

from __future__ import annotations

from tools.character_widths import TARGET, generated, widths


def test_the_table_is_what_the_c_library_says() -> None:
    assert TARGET.read_text() == generated()


def test_the_c_library_knows_emoji() -> None:
    known = dict(widths())
    assert [known[ord(c)] for c in "a\u0301\u200d😀漢\u00ad"] == [1, 0, 0, 2, 2, 1]
