// Usage: node snapshot.mjs SITE_PYODIDE_DIR WHEEL OUT.bin [INITIAL.bin]
//
// Writes a memory snapshot of Pyodide in which the browsermount package is
// imported. The snapshot holds the heap and no files: what will be imported
// must be imported here, but for what browsermount.pyodide.parts adds.
//
// INITIAL.bin becomes the heap as it is before any of the engine's code was executed.

import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadPyodide } from "pyodide";

const [runtime, wheel, output, initial] = process.argv.slice(2);
const { instantiate } = WebAssembly;
/** @type {ArrayBuffer | undefined} */
let before;
WebAssembly.instantiate = /** @type {any} */ (
  async (/** @type {any} */ source, /** @type {any} */ imports) => {
    /** @type {any} */
    const made = await instantiate(source, imports);
    before ??= (made.instance ?? made).exports.memory?.buffer.slice(0);
    return made;
  }
);
const python = await loadPyodide({
  indexURL: resolve(runtime),
  // The very archive that the site holds: its directory is part of the snapshot.
  stdLibURL: resolve(join(runtime, "python_stdlib.zip")),
  _makeSnapshot: true,
});
python.unpackArchive(new Uint8Array(await readFile(wheel)), "wheel");
const modules = python.runPython(`
import importlib
import pkgutil
import sys

import browsermount

# These need packages that are not for the browser.
native = (
    "browsermount.blobs.directory",
    "browsermount.fetch.native",
    "browsermount.httpd",
    "browsermount.cli",
    "browsermount.__main__",
)
# These are in archives of their own (see tools/build_site.py): for containers that use their network,
# and for who makes an image.
later = (
    "browsermount.network.", "browsermount.pyodide.network", "browsermount.pyodide.tls",
    "browsermount.commit.", "browsermount.pyodide.commit",
)
for module in pkgutil.walk_packages(browsermount.__path__, "browsermount."):
    if not module.name.startswith((*native, *later)):
        importlib.import_module(module.name)
# What is imported only when it comes to it, by us or by the standard library.
names = ("ctypes", "ctypes._layout", "encodings.ascii", "encodings.idna", "encodings.latin_1")
for name in (*names, "linecache", "traceback"):
    importlib.import_module(name)

import gc
gc.collect()
len(sys.modules)
`);
console.log(`${modules} modules imported`);
await writeFile(output, python.makeMemorySnapshot());
if (initial) {
  if (!before) throw new Error("Pyodide's engine has no memory of its own any more");
  await writeFile(initial, new Uint8Array(before));
}
