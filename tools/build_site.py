"""Builds the site: one static folder that holds all that the page needs.

Needs ``npm ci`` and the development dependencies; asks pip for micropip's wheel.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import hashlib
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tools.build_wheel import build_wheel  # noqa: E402
from tools.site.indirect_calls import UnknownCode, spread  # noqa: E402
from tools.site.warm_state import add_warm_state  # noqa: E402
from tools.vm.snapshot import make_snapshot  # noqa: E402

WEB = ROOT / "web"
MODULES = ROOT / "node_modules"
STAMP = ".build.json"
CACHE = ROOT / "build" / "site"

# What of web/ goes into the site as it is.
_SUFFIXES = {".html", ".css", ".svg"}
# So do the scripts of previews; tools/site/bundle.mjs makes the others.
_SCRIPTS = {"preview.js", "preview-socket.js", "preview-worker.js"}

# What of web/vm/ is not code in JavaScript.
_MACHINE = {("vm", name) for name in ("image", "image64", "interpreters", "x64")}

# What of others is fetched by itself, and what is a part of the page's own scripts.
_VENDOR = {
    "v86.mjs": "v86/build/libv86.mjs",
    "v86.wasm": "v86/build/v86.wasm",
    "xterm.css": "@xterm/xterm/css/xterm.css",
}
_BUNDLED = {
    "xterm.mjs": "@xterm/xterm/lib/xterm.mjs",
    "addon-fit.mjs": "@xterm/addon-fit/lib/addon-fit.mjs",
    "addon-serialize.mjs": "@xterm/addon-serialize/lib/addon-serialize.mjs",
    "xterm-pty.mjs": "xterm-pty/index.mjs",
    "wasi-shim.mjs": "@bjorn3/browser_wasi_shim/dist/index.js",
}
# What each archive has of the modules that tools/site/snapshot.mjs leaves out of the snapshot; a
# module goes into the first one that it fits.
_LATER = {
    "neighbours.zip": (
        "browsermount/network/neighbours.py",
        "browsermount/network/trunk.py",
        "browsermount/pyodide/network_neighbours.py",
    ),
    "websocket.zip": (
        "browsermount/network/websocket",
        "browsermount/pyodide/network_websocket.py",
    ),
    "bundle.zip": (
        "browsermount/network/bundle.py",
        "browsermount/pyodide/network_bundle.py",
    ),
    "network.zip": (
        "browsermount/network/",
        "browsermount/pyodide/network",
        "browsermount/pyodide/tls.py",
    ),
    "commit.zip": (
        "browsermount/commit/",
        "browsermount/pyodide/commit.py",
        "browsermount/pyodide/merging.py",
    ),
}
# Where the engine's script asks where it is from, and what it takes in a worker instead.
_META = {
    "var _scriptName=import.meta.url;": (
        "var _scriptName=ENVIRONMENT_IS_NODE?import.meta.url:globalThis.location.href;"
    ),
    'new URL("pyodide.asm.wasm",import.meta.url)': (
        'new URL("pyodide.asm.wasm",globalThis.location.href)'
    ),
}
_NOTICES = (
    "v86",
    "@xterm/xterm",
    "@xterm/addon-fit",
    "@xterm/addon-serialize",
    "xterm-pty",
    "@bjorn3/browser_wasi_shim",
    "pyodide",
)


def build(out: Path, cache: Path | None = None) -> None:
    """Build the site into a folder; what is there already and up to date is left alone.

    Args:
        out: The folder, which is made where it is missing.
        cache: Where the slow parts are kept between builds; by default beside the checkout's
            other build results.

    Raises:
        SystemExit: Something that the build needs is missing; the message says what.
    """
    if not MODULES.is_dir():
        raise SystemExit("node_modules is missing: run npm ci first")
    cache = cache or CACHE
    key = _digest(_inputs())
    stamp = out / STAMP
    if stamp.exists() and json.loads(stamp.read_text())["key"] == key:
        return
    cache.mkdir(parents=True, exist_ok=True)
    if out.exists() and any(out.iterdir()) and not stamp.exists():
        raise SystemExit(f"{out} is not empty and was not made by this program: remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".site-") as work:
        new = Path(work) / "site"
        new.mkdir()
        _copy_page(new)
        _add_machine(new, cache)
        _add_tls(new)
        _add_python(new, cache)
        _add_warm_state(new, cache)
        _write_notices(new)
        (new / STAMP).write_text(json.dumps({"key": key}))
        # mkdtemp's own mode would keep a web server's user out.
        new.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        new.rename(out)


def _inputs() -> Iterable[Path]:
    for folder in ("web", "src", "tools/site"):
        yield from _files(ROOT / folder)
    names = ("package-lock.json", "pyproject.toml", "tools/vm/snapshot.py")
    yield from (ROOT / name for name in names)
    yield Path(__file__)


def _files(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _digest(paths: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.name}\0{_digest_of(path)}\n".encode())
    return whole.hexdigest()


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _copy_page(site: Path) -> None:
    for path in _files(WEB):
        name = path.relative_to(WEB)
        as_it_is = path.suffix in _SUFFIXES or str(name) in _SCRIPTS
        if as_it_is or name.parts[0] == "images" or name.parts[:2] in _MACHINE:
            target = site / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (site / "vendor").mkdir()
    for target_name, source in _VENDOR.items():
        shutil.copyfile(MODULES / source, site / "vendor" / target_name)
    parts = (f"{name}={MODULES / source}" for name, source in _BUNDLED.items())
    _node("bundle.mjs", WEB, site, *parts)


def _add_machine(site: Path, cache: Path) -> None:
    for kind, folder in (("v86", "vm"), ("x64", "vm/x64")):
        for path in machine_snapshot(kind, cache).iterdir():
            shutil.copyfile(path, site / folder / path.name)
    code = site / "vm" / "x64" / "machine.wasm"
    _compress(code.read_bytes(), code.with_name(f"{code.name}.gz"))


def _add_warm_state(site: Path, cache: Path) -> None:
    image = WEB / "images" / "default"
    snapshot = machine_snapshot("v86", cache)
    code = [path for path in (WEB / "vm").iterdir() if path.suffix in (".js", ".mjs")]
    package = [path for path in _files(ROOT / "src") if path.suffix == ".py"]
    key = _digest([*_files(image), *_files(snapshot), *sorted(code), *package])
    add_warm_state(site, cache / f"warm-{key[:20]}")


def _add_tls(site: Path) -> None:
    (site / "tls").mkdir()
    _compress((WEB / "tls" / "tls.wasm").read_bytes(), site / "tls" / "tls.wasm.gz")


def emulator(kind: str) -> Path:
    """Return the directory of v86's module, or the code of our own machine."""
    return MODULES / "v86" / "build" if kind == "v86" else WEB / "vm" / "x64" / "machine.wasm"


def machine_snapshot(kind: str, cache: Path | None = None) -> Path:
    """Return the directory of a snapshot of the checkout's machine, made where there is none."""
    cache = cache or CACHE
    machine = emulator(kind)
    image = WEB / "vm" / ("image" if kind == "v86" else "image64")
    names = {"v86": ("jit.js", "v86.js"), "x64": ("x64.js",)}[kind]
    code = [WEB / "vm" / name for name in ("machine.js", "console.js", "control.js", *names)]
    code.append(ROOT / "tools" / "vm" / "snapshot.py")
    binaries = [machine / "v86.wasm", machine / "libv86.mjs"] if kind == "v86" else [machine]
    key = _digest([*binaries, *_files(image), *code])
    kept = cache / f"machine-{key[:20]}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            made = Path(work) / "made"
            make_snapshot(made, machine, image)
            try:
                made.rename(kept)
            except OSError:
                if not kept.exists():  # else somebody else was faster
                    raise
    return kept


def _copy_engine_code(source: Path, target: Path) -> None:
    """Copy the engine's script, but for its questions for ``import.meta``.

    Where the page is left, its workers' promises are still kept and broken for a moment, so
    that the engine may begin then; and Chromium (156) ends the whole tab where a module asks
    for ``import.meta`` first then. What it needs it for, Pyodide says by ``locateFile``.
    """
    script = (source / "pyodide.asm.mjs").read_text()
    for asked, known in _META.items():
        if script.count(asked) != 1:
            raise SystemExit(f"Pyodide's engine no longer has {asked!r}: see tools/build_site.py")
        script = script.replace(asked, known)
    (target / "pyodide.asm.mjs").write_text(script)


def _engine(source: Path) -> bytes:
    """Return Python's engine, changed so that browsers compile it less often."""
    try:
        return spread((source / "pyodide.asm.wasm").read_bytes())
    except UnknownCode as error:
        raise SystemExit(
            f"Pyodide's engine has what tools/site/indirect_calls.py does not know: {error}"
        ) from error


def _add_python(site: Path, cache: Path) -> None:
    source = MODULES / "pyodide"
    target = site / "pyodide"
    target.mkdir()
    with tempfile.TemporaryDirectory() as work:
        wheel = build_wheel(Path(work))
        micropip = _micropip(source, cache)
        for path in (wheel, micropip):
            shutil.copyfile(path, target / path.name)
        shutil.copyfile(source / "pyodide.mjs", target / "pyodide.mjs")
        _copy_engine_code(source, target)
        write_later(wheel, target)
        shutil.copyfile(_standard_library(source, cache), target / "python_stdlib.zip")
        _write_lock(source, target, wheel, micropip)
        # The engine itself is needed by Node here, and goes into the site compressed.
        (target / "pyodide.asm.wasm").write_bytes(_engine(source))
        snapshot, initial = Path(work) / "snapshot.bin", Path(work) / "initial.bin"
        _node("snapshot.mjs", target, wheel, snapshot, initial)
        packed = _pack_pages(snapshot.read_bytes(), initial.read_bytes())
        _compress(packed, target / "snapshot.bin.gz")
        engine = target / "pyodide.asm.wasm"
        _compress(engine.read_bytes(), target / "pyodide.asm.wasm.gz")
        engine.unlink()


def write_later(wheel: Path, folder: Path) -> None:
    """Write the archives of modules that are fetched when they are needed."""
    taken: set[str] = set()
    with zipfile.ZipFile(wheel) as whole:
        for name, modules in _LATER.items():
            with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as zip:
                for entry in whole.infolist():
                    if entry.filename in taken or not entry.filename.startswith(modules):
                        continue
                    taken.add(entry.filename)
                    source = whole.read(entry)
                    if entry.filename.endswith(".py"):
                        source = _without_words(source)
                    zip.writestr(entry, source, zipfile.ZIP_DEFLATED, 9)


def _without_words(source: bytes) -> bytes:
    """Return a module without docstrings and comments, which half of it is."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree).encode()


def _standard_library(source: Path, cache: Path) -> Path:
    script = ROOT / "tools" / "site" / "compile_stdlib.mjs"
    key = _digest([source / "python_stdlib.zip", source / "pyodide.asm.wasm", script])
    kept = cache / f"stdlib-{key[:20]}.zip"
    if not kept.exists():
        made = kept.with_suffix(".new")
        _node("compile_stdlib.mjs", source, made)
        made.rename(kept)
    return kept


def _micropip(source: Path, cache: Path) -> Path:
    """Return micropip's wheel, of the version that this Pyodide's own lock file names."""
    entry = json.loads((source / "pyodide-lock.json").read_text())["packages"]["micropip"]
    kept: Path = cache / entry["file_name"]
    if not kept.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # For the Python of Pyodide, which is not the one that this runs on.
        command += ["--python-version", "3.14", "--only-binary", ":all:", "--dest", str(cache)]
        subprocess.run([*command, f"micropip=={entry['version']}"], check=True)
    return kept


def _write_lock(source: Path, target: Path, wheel: Path, micropip: Path) -> None:
    """Write a lock file that lists just the wheels that the site holds."""
    original = json.loads((source / "pyodide-lock.json").read_text())
    mine = {
        "depends": [],
        "file_name": wheel.name,
        "imports": ["browsermount"],
        "install_dir": "site",
        "name": "browsermount",
        "package_type": "package",
        "sha256": _digest_of(wheel),
        "unvendored_tests": False,
        "version": wheel.name.split("-")[1],
    }
    lock = {
        "info": original["info"],
        "packages": {
            "browsermount": mine,
            "micropip": {
                **original["packages"]["micropip"],
                "file_name": micropip.name,
                "sha256": _digest_of(micropip),
            },
        },
    }
    (target / "pyodide-lock.json").write_text(json.dumps(lock, indent=1))


def _node(script: str, *arguments: Path | str) -> None:
    command = ["node", str(ROOT / "tools" / "site" / script), *map(str, arguments)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _pack_pages(snapshot: bytes, initial: bytes) -> bytes:
    """Leave pages out of a snapshot that are zero, or that every engine begins with.

    web/mount/runtime.js puts them back.

    Args:
        snapshot: As Pyodide makes it: a header, which begins with a magic number and its own
            length, and the heap.
        initial: The heap before any of the engine's code was executed.
    """
    size = 4096
    start = int.from_bytes(snapshot[4:8], "little")
    heap = snapshot[start:]
    if start >= size or len(heap) % size:
        raise SystemExit("Pyodide's snapshots have another form: see tools/build_site.py")
    kinds = bytearray()
    kept = []
    for at in range(0, len(heap), size):
        page = heap[at : at + size]
        if not any(page):
            kinds.append(0)
        elif page == initial[at : at + size]:
            kinds.append(2)
        else:
            kinds.append(1)
            kept.append(page)
    lengths = struct.pack("<II", start, len(heap))
    return b"".join((lengths, snapshot[:start], kinds, *kept))


def _compress(data: bytes, target: Path) -> None:
    # No name and no time in it: the same input gives the same file.
    target.write_bytes(gzip.compress(data, 9, mtime=0))


def _write_notices(site: Path) -> None:
    """Write the licences of all that is not ours."""
    parts = [
        "browsermount is under the Apache License, Version 2.0. The site holds works of others:\n",
        "The virtual machines' kernels and programs: see vm/image/README.md and "
        "vm/image64/README.md.\n",
        "QEMU, for other processors' programs: see vm/interpreters/README.md.\n",
    ]
    for name in _NOTICES:
        folder = MODULES / name
        package = json.loads((folder / "package.json").read_text())
        parts.append(f"\n== {name} {package['version']}, {package.get('license', '')}\n")
        for licence in sorted(folder.glob("LICEN[CS]E*")):
            parts.append(licence.read_text())
    parts.append("\nIn tls/tls.wasm.gz:\n\n")
    parts.append((WEB / "tls" / "LICENSES.txt").read_text("utf-8"))
    parts.append("\n== micropip, MPL-2.0: https://github.com/pyodide/micropip\n")
    parts.append("== CPython, in Pyodide, PSF-2.0: https://docs.python.org/3/license.html\n")
    (site / "THIRD-PARTY-NOTICES.txt").write_text("".join(parts))
    shutil.copyfile(ROOT / "LICENSE", site / "LICENSE.txt")
    for part in ("image", "image64", "interpreters"):
        shutil.copyfile(WEB / "vm" / part / "README.md", site / "vm" / part / "README.md")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder to make, such as dist/site")
    build(parser.parse_args().out)
