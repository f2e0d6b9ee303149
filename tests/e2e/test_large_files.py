"""A container that writes more than the machine has of memory at first.

BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/e2e/test_large_files.py
"""

from __future__ import annotations

import hashlib
import os
import re

import pytest

from tests.e2e.browser import Page

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)

LINE = b"a line of a large file\n"
SIZE = 1_000_000_000


def test_a_file_of_a_gigabyte(page: Page, site: str, images: str) -> None:
    digest = hashlib.sha256()
    block = LINE * 100_000
    for _ in range(SIZE // len(block)):
        digest.update(block)
    digest.update(block[: SIZE % len(block)])

    page.open(f"{site}?image={images}foreign/amd64")
    page.wait_state("running", 120)
    page.type(f"yes '{LINE.decode().strip()}' | head -c {SIZE} > /large; sha256sum /large\r")
    page.wait_text(digest.hexdigest(), 1200)
    page.type("df -m / | tail -n 1\r")
    text = page.wait_text("overlay ", 60)
    room = int(text.rsplit("overlay", 1)[1].split()[0])
    assert room > SIZE >> 20
    # Without an end of the machine, or of the shell.
    page.type("cat /dev/zero > /rest; echo e''nd\r")
    text = page.wait_text("\nend", 600)
    assert re.search("No space left on device", text)
    page.type("rm /rest; sha256sum /large | cut -c 1-64 | tr a-f A-F\r")
    page.wait_text(digest.hexdigest().upper(), 1200)
