"""What a host has to know of the kernel to tell which pages of a stopped guest are free.

A saved state need not have free pages. The kernel keeps a ``struct page`` for each page of memory;
the first of 2^n free ones says that it is one, and n. How these structures are found and read is
taken from the kernel that was built: sizes and offsets from what the compiler makes of
``kernel/facts.c``, addresses from the symbols. image.json has the result as ``freePages``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parent / "kernel" / "facts.c"
_DEFINITION = re.compile(r"->(?P<name>\w+) \$?(?P<value>-?\d+) ")
_WORD = (1 << 64) - 1
_HALF = (1 << 32) - 1


def free_pages(tree: Path, make: Sequence[str]) -> dict[str, int]:
    """Return how free pages are found in the memory of a kernel that was built.

    Args:
        tree: The kernel's source, where it was built.
        make: The command that builds in it.

    Returns:
        All physical addresses and sizes in bytes:

        - ``pageStructs``: where the structures begin, in the virtual memory that ``pageTables``
          (a physical address, as in CR3) describe; the page with number N has the Nth
        - ``pageStructSize``
        - ``typeOffset``: of a word of 32 bits; the page is free when it is ``freeValue`` under
          ``freeMask``
        - ``orderOffset``: of a word of 32 bits: 2^order pages from this one on are free
        - ``maxPage``: the physical address of a word of 64 bits: how many pages there are
        - ``freeCount``: the physical address of a word of 64 bits: how many are free
    """
    shutil.copyfile(SOURCE, tree / "mm" / "facts.c")
    subprocess.run([*make, "mm/facts.s"], cwd=tree, check=True)
    values = {
        match["name"]: int(match["value"])
        for match in _DEFINITION.finditer((tree / "mm" / "facts.s").read_text("utf-8"))
    }
    symbols = _symbols(tree / "vmlinux")

    def physical(name: str) -> int:
        return symbols[name] - (values["kernel_map"] & _WORD)

    return {
        "pageTables": physical("init_top_pgt"),
        "pageStructs": values["page_structs"] & _WORD,
        "pageStructSize": values["page_struct_size"],
        "typeOffset": values["page_type_offset"],
        "freeMask": values["free_mask"] & _HALF,
        "freeValue": values["free_value"] & _HALF,
        "orderOffset": values["page_order_offset"],
        "maxPage": physical("max_pfn"),
        "freeCount": physical("vm_zone_stat") + values["free_count_offset"],
    }


def _symbols(program: Path) -> dict[str, int]:
    listed = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    return {
        name: int(address, 16)
        for address, _, name in (line.split() for line in listed.splitlines() if line[0] != " ")
    }
