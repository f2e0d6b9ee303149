// Usage: node snapshot.mjs PYODIDE_DIR SNAPSHOT EMPTY_ZIP LAYER
//
// Starts Pyodide from a memory snapshot without any standard library and reads a gzip layer in it,
// so that whatever the snapshot lacks is an error.

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// Without this, Node prints all of Pyodide's code.
process.on("uncaughtException", (error) => {
  console.error(error.message);
  process.exit(1);
});
const [directory, snapshot, empty, layer] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(join(resolve(directory), "pyodide.mjs")).href);
const python = await loadPyodide({
  indexURL: resolve(directory),
  stdLibURL: empty,
  _loadSnapshot: await readFile(snapshot),
});
python.globals.set("layer", python.toPy(new Uint8Array(await readFile(layer))));
console.log(
  python.runPython(`
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import decode

data = bytes(layer)
parts = []
indexer = LayerIndexer(lambda span, plain: parts.append(plain))
for start in range(0, len(data), 1 << 16):
    indexer.feed(data[start : start + (1 << 16)])
index = indexer.close()
for span, plain in zip(index.spans, parts, strict=True):
    assert decode(span, data[span.blob_offset : span.blob_end]) == plain
f"{index.kind.name} {index.stored} {len(index.spans)}"
`),
);
