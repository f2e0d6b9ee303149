"""From a gzip layer to a tree, against `umoci unpack`; and what 10 000 and 100 000 files cost.

    .venv/bin/python -m benchmarks.layers [--image debian] [--runs N]

Both programs verify the layer's digest, decompress it and read its archive; umoci also writes
all of it to the disk, while we keep the stream in an unnamed file. Each pass is a process of its
own; processor time is what to compare when the machine has other things to do.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fixtures import fixture
from tests.fixtures.layout import read_layers

from browsermount.blobs.verify import Verifier
from browsermount.layers.index import LayerIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Span
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree

CHUNK = 1 << 16
MEGA = 1e6


class KeptStream:
    """The plain stream in an unnamed file."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115

    def take(self, span: Span, plain: bytes) -> None:
        self.file.write(plain)

    def read_now(self, offset: int, size: int) -> bytes:
        self.file.seek(offset)
        return self.file.read(size)

    async def read(self, offset: int, size: int) -> bytes:
        return self.read_now(offset, size)


def first_pass(path: str) -> dict[str, float]:
    """Make a tree of a layer, and its index once more from its bytes; runs in its own process."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = _memory("VmRSS")
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        descriptor = Descriptor("", Digest(*_digest(file)), size)
    stream = KeptStream()
    results: dict[str, float] = {}
    timer = _Timer()
    verifier, indexer = Verifier(descriptor), LayerIndexer(stream.take)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            verifier.feed(chunk)
            indexer.feed(chunk)
    verifier.finish()
    index = indexer.close()
    tree = Tree()
    root = tree.new_directory()
    Merger(tree, root).apply(index.entries, stream)
    results["seconds"], results["processor seconds"] = timer.stop()
    results["entries"] = len(index.entries)
    results["plain MB"] = index.spans[-1].end / MEGA if index.spans else 0
    results["peak memory MB"] = _memory("VmHWM") - before
    timer = _Timer()
    packed = index.to_bytes()
    results["index written in s"] = timer.stop()[1]
    results["index MB"] = len(packed) / MEGA
    timer = _Timer()
    LayerIndex.from_bytes(packed)
    results["index read in s"] = timer.stop()[1]
    return results


def _digest(file: Any) -> tuple[str, str]:
    return "sha256", hashlib.file_digest(file, "sha256").hexdigest()


def _memory(what: str) -> float:
    """Return a line of proc_pid_status(5) in MB; getrusage's peak may be the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / MEGA
    raise LookupError(what)


class _Timer:
    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        return time.perf_counter() - self._start[0], time.process_time() - self._start[1]


def ours(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.layers", "--pass", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def umoci(layout: Path, tag: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as target:
        command = ["umoci", "raw", "unpack", "--image", f"{layout}:{tag}", f"{target}/rootfs"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor seconds": processor}


def compare(image: str, runs: int) -> None:
    layout, tag = {
        "debian": (Path("layout"), "latest"),
        "gcc": (Path("original"), "gcc"),
    }[image]
    layout = fixture(image) / layout
    (layer,) = read_layers(layout, tag)
    path = layout.joinpath("blobs", "sha256", _sha256(layer.content))
    passes: dict[str, Callable[[], dict[str, float]]] = {
        "browsermount": lambda: ours(path),
        "umoci": lambda: umoci(layout, tag),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in passes}
    for _ in range(runs):
        for name, run in passes.items():
            results[name].append(run())
    plain = results["browsermount"][0]["plain MB"]
    print(f"{image}: {len(layer.content) / MEGA:.0f} MB gzip, {plain:.0f} MB plain, {runs} runs")
    for name, all_runs in results.items():
        for what in ("seconds", "processor seconds"):
            middle = statistics.median(run[what] for run in all_runs)
            print(f"  {name:13} {middle:6.2f} {what:18} {plain / middle:6.0f} MB/s")
    _print_rest(results["browsermount"][0])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def many_files(count: int, directory: Path) -> None:
    """Measure a layer of small files, 100 in each directory."""
    path = directory / f"{count}.tar.gz"
    with gzip.open(path, "wb", 1) as file, tarfile.open(fileobj=file, mode="w|") as archive:
        for number in range(count):
            member = tarfile.TarInfo(f"usr/share/package{number // 100}/file{number}")
            member.size = 300 + number % 700
            archive.addfile(member, io.BytesIO(b"%d " % number * member.size))
    result = ours(path)
    print(f"{count} files: {result['plain MB']:.0f} MB plain")
    seconds = result["processor seconds"]
    print(f"  {seconds:.2f} processor seconds, {seconds / count * MEGA:.0f} us for each file")
    _print_rest(result)


def _print_rest(result: dict[str, float]) -> None:
    for what in ("peak memory MB", "index MB", "index written in s", "index read in s"):
        print(f"  {what}: {result[what]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", choices=["debian", "gcc"], default="debian")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pass", dest="path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.path:
        print(json.dumps(first_pass(options.path)))
        return
    compare(options.image, options.runs)
    with tempfile.TemporaryDirectory() as directory:
        for count in (10_000, 100_000):
            many_files(count, Path(directory))


if __name__ == "__main__":
    main()
