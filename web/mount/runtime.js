/**
 * Starts Pyodide with the browsermount wheel in it, the fastest way that works:
 * from a memory snapshot in which the package is imported already, else by
 * installing the wheel into a fresh interpreter.
 */

import { Fetcher } from "../assets.js";

/** @import { PyodideAPI } from "pyodide" */
/** @typedef {(bytes: number, total: number | undefined) => void} Progress */
/** @typedef {{ python: PyodideAPI, start: "snapshot" | "packages" }} Runtime */

// An archive without members, in the place of the standard library: what is needed is in the
// snapshot. It is only the record at the end of an archive.
const EMPTY_ZIP = Uint8Array.of(0x50, 0x4b, 5, 6, ...new Array(18).fill(0));
const EMPTY_ZIP_NAME = "empty.zip";
const WASM_NAME = "pyodide.asm.wasm";

// Pyodide makes no exception of an error without a stack: Python would wait for the answer for ever.
// There is none in WebKit's errors of requests that failed, and in Chromium's of a used up quota.
if (!("stack" in Error.prototype)) {
  Object.defineProperty(Error.prototype, "stack", {
    value: "",
    writable: true,
    configurable: true,
  });
}

// A worker that is a module cannot use it, which Pyodide tries, to find out what it is in: with a
// `data:` URL, which Trusted Types report.
Object.defineProperty(globalThis, "importScripts", { value: undefined });

/**
 * @param {URL} base The folder with Pyodide's files.
 * @param {Progress} onProgress
 * @returns {Promise<Runtime>}
 */
export async function startRuntime(base, onProgress) {
  const parts = fetchParts(base, onProgress);
  try {
    return { python: await startFromSnapshot(base, parts), start: "snapshot" };
  } catch (error) {
    console.warn("browsermount: the memory snapshot cannot be used, installing the wheel:", error);
    return { python: await startFromPackages(base, parts), start: "packages" };
  }
}

/**
 * Ask for everything at once, before the first script runs that needs it.
 *
 * @param {URL} base
 * @param {Progress} onProgress
 */
function fetchParts(base, onProgress) {
  const fetcher = new Fetcher(onProgress);
  const parts = {
    loader: import(new URL("pyodide.mjs", base).href),
    engine: import(new URL("pyodide.asm.mjs", base).href),
    // Compiled as it comes, and not only when Pyodide asks for it.
    wasm: fetcher
      .stream(new URL("pyodide.asm.wasm.gz", base))
      .then((stream) =>
        WebAssembly.compileStreaming(
          new Response(stream, { headers: { "Content-Type": "application/wasm" } }),
        ),
      ),
    snapshot: fetcher.bytes(new URL("snapshot.bin.gz", base)).then(unpackSnapshot),
    lock: fetcher.json(new URL("pyodide-lock.json", base)),
  };
  // Each is awaited later; until then a failure must not count as unhandled.
  for (const part of Object.values(parts)) part.catch(() => {});
  return parts;
}

const PAGE = 4096;
/** What a page of the heap is, where it is not zero. */
const KEPT = 1;
const INITIAL = 2;

/** @typedef {{ bytes: Uint8Array, start: number, kinds: Uint8Array }} Snapshot */

/**
 * The snapshot that tools/build_site.py has packed: the lengths of its header and of the heap, the
 * header, a byte for each page of the heap that says what it is, and the pages that are kept. More
 * than half of all are zero, and took most of the time to decompress; a fifth of the others is in
 * the engine, too, which has them when it is instantiated: see complete().
 *
 * @param {ArrayBuffer} packed
 * @returns {Snapshot}
 */
function unpackSnapshot(packed) {
  const view = new DataView(packed);
  const [start, length] = [view.getUint32(0, true), view.getUint32(4, true)];
  const bytes = new Uint8Array(start + length);
  bytes.set(new Uint8Array(packed, 8, start));
  const kinds = new Uint8Array(packed, 8 + start, length / PAGE);
  let offset = 8 + start + kinds.length;
  for (let page = 0; page < kinds.length; page += 1) {
    if (kinds[page] !== KEPT) continue;
    bytes.set(new Uint8Array(packed, offset, PAGE), start + page * PAGE);
    offset += PAGE;
  }
  return { bytes, start, kinds };
}

/**
 * Puts into a snapshot what the engine itself has.
 * @param {Snapshot} snapshot
 * @param {WebAssembly.Instance} engine of which nothing was executed
 */
function complete({ bytes, start, kinds }, engine) {
  const { buffer } = /** @type {WebAssembly.Memory} */ (engine.exports.memory);
  for (let page = 0; page < kinds.length; page += 1)
    if (kinds[page] === INITIAL)
      bytes.set(new Uint8Array(buffer, page * PAGE, PAGE), start + page * PAGE);
}

/**
 * @param {URL} base
 * @param {ReturnType<typeof fetchParts>} parts
 * @returns {Promise<PyodideAPI>}
 */
async function startFromSnapshot(base, parts) {
  const snapshot = await parts.snapshot;
  const options = {
    _loadSnapshot: snapshot.bytes,
    stdLibURL: new URL(EMPTY_ZIP_NAME, base).href,
  };
  const python = await load(base, parts, options, (engine) => complete(snapshot, engine));
  // Pyodide would keep it, and has its own copy as the interpreter's memory.
  delete (/** @type {any} */ (python)._api.config._loadSnapshot);
  // A module that the snapshot does not have is imported from here, should that
  // ever be: the file is fetched when it is first read.
  const [major, minor] = pythonVersion(python);
  const name = `python${major}${minor}.zip`;
  python.FS.unlink(`/lib/${name}`);
  python.FS.createLazyFile("/lib", name, new URL("python_stdlib.zip", base).href, true, false);
  return python;
}

/** @param {PyodideAPI} python @returns {[number, number]} */
function pythonVersion(python) {
  return python.runPython("import sys; from pyodide.ffi import to_js; to_js(sys.version_info[:2])");
}

/**
 * @param {URL} base
 * @param {ReturnType<typeof fetchParts>} parts
 * @returns {Promise<PyodideAPI>}
 */
async function startFromPackages(base, parts) {
  const python = await load(base, parts, {
    stdLibURL: new URL("python_stdlib.zip", base).href,
  });
  await python.loadPackage("micropip");
  const lock = await parts.lock;
  const wheel = new URL(lock.packages.browsermount.file_name, base).href;
  await python.pyimport("micropip").install(wheel);
  return python;
}

/**
 * @param {URL} base
 * @param {ReturnType<typeof fetchParts>} parts
 * @param {Record<string, unknown>} options
 * @param {(engine: WebAssembly.Instance) => void} [instantiated] before anything of it is executed
 * @returns {Promise<PyodideAPI>}
 */
async function load(base, parts, options, instantiated) {
  const [{ loadPyodide }, { default: createPyodideModule }, lockFileContents] = await Promise.all([
    parts.loader,
    parts.engine,
    parts.lock,
  ]);
  const files = { [WASM_NAME]: new Uint8Array(), [EMPTY_ZIP_NAME]: EMPTY_ZIP };
  const restore = offer(files, parts.wasm, instantiated);
  try {
    return await loadPyodide({
      indexURL: base.href,
      packageBaseUrl: base.href,
      lockFileContents,
      createPyodideModule,
      ...options,
    });
  } finally {
    restore();
  }
}

/**
 * Pyodide fetches what it starts from by itself, and only by URL.  Until it has
 * started, give it what we have already: a `data:` URL would need a permission of
 * the page's Content-Security-Policy that nothing else needs.
 *
 * @param {Record<string, Uint8Array<ArrayBuffer>>} files by the end of their URL's path
 * @param {Promise<WebAssembly.Module>} compiled in the place of the file WASM_NAME
 * @param {(engine: WebAssembly.Instance) => void} [instantiated]
 * @returns {() => void} Makes everything as it was.
 */
function offer(files, compiled, instantiated) {
  const { fetch } = globalThis;
  const { instantiateStreaming } = WebAssembly;
  globalThis.fetch = (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    const name = Object.keys(files).find((name) => pathname.endsWith(`/${name}`));
    return name ? Promise.resolve(new Response(files[name])) : fetch(input, init);
  };
  WebAssembly.instantiateStreaming = async (_response, imports) => {
    const module = await compiled;
    const instance = await WebAssembly.instantiate(module, imports);
    instantiated?.(instance);
    return { module, instance };
  };
  return () => {
    globalThis.fetch = fetch;
    WebAssembly.instantiateStreaming = instantiateStreaming;
  };
}
