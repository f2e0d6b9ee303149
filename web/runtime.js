/**
 * Starts Pyodide with the browsermount wheel in it, the fastest way that works:
 * from a memory snapshot in which the package is imported already, else by
 * installing the wheel into a fresh interpreter.
 */

import { fetchGzip } from "./assets.js";

/** @import { PyodideAPI } from "pyodide" */
/** @typedef {(bytes: number, total: number) => void} Progress */
/** @typedef {{ python: PyodideAPI, start: "snapshot" | "packages" }} Runtime */

// An archive without members: what is needed is in the snapshot.
const EMPTY_ZIP = `data:application/zip;base64,UEsFBg${"A".repeat(24)}==`;

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
  const sums = new Map();
  /** @param {string} name @returns {Progress} */
  const count = (name) => (bytes, total) => {
    sums.set(name, [bytes, total]);
    const all = [...sums.values()];
    onProgress(
      all.reduce((sum, [bytes]) => sum + bytes, 0),
      all.reduce((sum, [, total]) => sum + total, 0),
    );
  };
  const parts = {
    loader: import(new URL("pyodide.mjs", base).href),
    engine: import(new URL("pyodide.asm.mjs", base).href),
    wasm: fetchGzip(new URL("pyodide.asm.wasm.gz", base), count("wasm")),
    snapshot: fetchGzip(new URL("snapshot.bin.gz", base), count("snapshot")).then((stream) =>
      new Response(stream).arrayBuffer(),
    ),
    lock: fetch(new URL("pyodide-lock.json", base)).then((response) => response.json()),
  };
  // Each is awaited later; until then a failure must not count as unhandled.
  for (const part of Object.values(parts)) part.catch(() => {});
  return parts;
}

/**
 * @param {URL} base
 * @param {ReturnType<typeof fetchParts>} parts
 * @returns {Promise<PyodideAPI>}
 */
async function startFromSnapshot(base, parts) {
  const snapshot = await parts.snapshot;
  const python = await load(base, parts, await parts.wasm, {
    _loadSnapshot: snapshot,
    stdLibURL: EMPTY_ZIP,
  });
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
  const wasm = await fetchGzip(new URL("pyodide.asm.wasm.gz", base));
  const python = await load(base, parts, wasm, {
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
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} wasm
 * @param {Record<string, unknown>} options
 * @returns {Promise<PyodideAPI>}
 */
async function load(base, parts, wasm, options) {
  const [{ loadPyodide }, { default: createPyodideModule }, lockFileContents] = await Promise.all([
    parts.loader,
    parts.engine,
    parts.lock,
  ]);
  answerOneFetch("pyodide.asm.wasm", wasm);
  return loadPyodide({
    indexURL: base.href,
    packageBaseUrl: base.href,
    lockFileContents,
    createPyodideModule,
    ...options,
  });
}

/**
 * Pyodide fetches its WebAssembly by itself, and only by URL.  Answer the next
 * fetch of that file with what has been fetched and decompressed already.
 *
 * @param {string} name
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 */
function answerOneFetch(name, body) {
  const fetch = globalThis.fetch;
  globalThis.fetch = (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (!url.pathname.endsWith(`/${name}`)) return fetch(input, init);
    globalThis.fetch = fetch;
    const headers = { "Content-Type": "application/wasm" };
    return Promise.resolve(new Response(body, { headers }));
  };
}
