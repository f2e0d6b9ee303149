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
_HALF = (1 << 32) - 1


def free_pages(tree: Path, make: Sequence[str]) -> dict[str, int]:
    """Return how free pages are found in the memory of a kernel that was built.

    Args:
        tree: The kernel's source, where it was built.
        make: The command that builds in it.

    Returns:
        Sizes in bytes and physical addresses, where nothing else is said. The page with number N
        has the Nth structure of an array.

        - ``wordSize``: of the kernel's words, and of its virtual addresses
        - ``pageStructs`` and ``pageTables``, for amd64: the virtual address of the array, and the
          tables that translate it, as in CR3
        - ``pageStructsPointer`` and ``kernelMap``, for i386: of a word with the virtual address of
          the array, and the virtual address of physical memory's beginning
        - ``pageStructSize``
        - ``typeOffset``: of 32 bits; the page is free when these are ``freeValue`` under
          ``freeMask``
        - ``orderOffset``: of 32 bits; as many as 2^order pages from this one on are free
        - ``maxPage``: of a word: how many pages there are
        - ``freeCount``: of a word: how many of them are free
    """
    shutil.copyfile(SOURCE, tree / "mm" / "facts.c")
    subprocess.run([*make, "mm/facts.s"], cwd=tree, check=True)
    values = {
        match["name"]: int(match["value"])
        for match in _DEFINITION.finditer((tree / "mm" / "facts.s").read_text("utf-8"))
    }
    symbols = _symbols(tree / "vmlinux")
    word = (1 << 8 * values["word_size"]) - 1
    kernel_map = values["kernel_map"] & word
    if "page_structs" in values:
        array = {
            "pageStructs": values["page_structs"] & word,
            # The kernel's own, whose entries for itself are in all others.
            "pageTables": symbols["init_top_pgt"] - kernel_map,
        }
    else:
        array = {
            "pageStructsPointer": symbols["mem_map"] - kernel_map,
            "kernelMap": kernel_map,
        }
    return {
        "wordSize": values["word_size"],
        **array,
        "pageStructSize": values["page_struct_size"],
        "typeOffset": values["page_type_offset"],
        "freeMask": values["free_mask"] & _HALF,
        "freeValue": values["free_value"] & _HALF,
        "orderOffset": values["page_order_offset"],
        "maxPage": symbols["max_pfn"] - kernel_map,
        "freeCount": symbols["vm_zone_stat"] - kernel_map + values["free_count_offset"],
    }


def _symbols(program: Path) -> dict[str, int]:
    listed = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    return {
        name: int(address, 16)
        for address, _, name in (line.split() for line in listed.splitlines() if line[0] != " ")
    }
