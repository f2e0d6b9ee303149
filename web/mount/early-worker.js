/**
 * Begins to fetch and to decompress an image's layers while Python is still being started, in a worker
 * of its own, since that start leaves the mount worker no time. It looks no further than what is the
 * same for everybody: a folder on a web server that holds one image. It is Python that finds out which
 * image is meant, verifies what it takes of what was begun, and reads all else as ever.
 */

import { sha256Of } from "../vm/state-file.js";
import { DIRECTORY } from "./storage.js";

/** @typedef {{ image: string, base: string, port: MessagePort }} EarlyMessage */
/** @typedef {{ mediaType?: unknown, digest?: unknown, size?: unknown, annotations?: unknown }} Descriptor */
/** @typedef {{ hash: string, url: URL, size: number }} Blob */

/**
 * What it says at the port, first which layers come, then of each one: how many bytes of the blob have
 * come; some plain bytes; at the end the blob's digest, which is empty where the layer cannot be had.
 * @typedef {{ begun: string[] } |
 *   { hash: string, came: number, piece?: Uint8Array, sha256?: string }} Came
 */

/** What it is told there: whose layer is not wanted any more, or that none is. @typedef {{ end?: string }} End */

/** Bytes that one layer, and all, may have: they are in memory decompressed until they are kept. */
const MAX_SIZE = 24 << 20;
/** For smaller ones, which Python has read in a tenth of a second, it is not worth the while. */
const MIN_SIZE = 4 << 20;
/** Plain bytes that all are given at most, whether somebody takes them or not. */
const MAX_PLAIN = 96 << 20;
/** Plain bytes of one piece: what Python reads at once, `SPAN_SIZE` in layers/indexer.py. */
const PIECE = 1 << 19;

const MAX_DOCUMENT = 1 << 20;
const DIGEST = /^sha256:([0-9a-f]{64})$/;
const GZIP =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar\+|docker\.image\.rootfs\.diff\.tar\.)gzip$/;
/** Of layers that bring a table of contents, by which they are read bit by bit. */
const TABLE = "containerd.io/snapshot/stargz/toc.digest";

/** As Python asks. @type {RequestInit} */
const ANONYMOUS = { credentials: "omit", cache: "no-store" };

let plain = 0;

/** @param {URL} url */
async function getDocument(url) {
  const response = await fetch(url, ANONYMOUS);
  const length = Number(response.headers.get("Content-Length") ?? 0);
  if (!response.ok || length > MAX_DOCUMENT) throw new Error(`${url} is no document`);
  return response.json();
}

/** @param {Descriptor} descriptor */
const hashOf = ({ digest }) => DIGEST.exec(String(digest))?.[1];

/**
 * Whether all of a layer has to be fetched before it can be read.
 * @param {Descriptor} layer
 */
function isOrdinary({ mediaType, annotations }) {
  return GZIP.test(String(mediaType)) && !Object.hasOwn(annotations ?? {}, TABLE);
}

/**
 * Whether an earlier visit has left something of a blob.
 * @param {string} hash
 */
async function isKept(hash) {
  try {
    const directory = await (await navigator.storage.getDirectory()).getDirectoryHandle(DIRECTORY);
    const kept = ["index", "blob", "plain"].map((what) =>
      directory.getFileHandle(`sha256-${hash}.${what}`).then(
        () => true,
        () => false,
      ),
    );
    return (await Promise.all(kept)).includes(true);
  } catch {
    return false;
  }
}

/**
 * Finds the layers that are worth it.
 * @param {URL} folder
 * @returns {Promise<Blob[]>}
 */
async function find(folder) {
  const index = await getDocument(new URL("index.json", folder));
  const manifests = /** @type {Descriptor[]} */ (index.manifests);
  const hash = manifests.length === 1 ? hashOf(manifests[0]) : undefined;
  if (!hash) return [];
  const blobs = new URL("blobs/sha256/", folder);
  const manifest = await getDocument(new URL(hash, blobs));
  /** @type {Map<string, Blob>} */
  const found = new Map();
  let room = MAX_SIZE;
  for (const layer of /** @type {Descriptor[]} */ (manifest.layers)) {
    const [hash, size] = [hashOf(layer), Number(layer.size)];
    if (!hash || !isOrdinary(layer) || !(size >= MIN_SIZE && size <= room)) continue;
    if (found.has(hash) || (await isKept(hash))) continue;
    found.set(hash, { hash, url: new URL(hash, blobs), size });
    room -= size;
  }
  return [...found.values()];
}

/**
 * @param {Blob} blob
 * @param {AbortSignal} signal
 * @param {(what: { came: number, piece?: Uint8Array, sha256?: string }, transfer?: Transferable[]) => void} say
 */
async function get({ url, size }, signal, say) {
  let came = 0;
  /** All of it: the browser hashes nothing that comes in pieces. */
  const whole = new Uint8Array(size);
  const response = await fetch(url, { ...ANONYMOUS, signal });
  if (response.status !== 200 || !response.body) throw new Error(`${url}: ${response.status}`);
  const { readable, writable } = new DecompressionStream("gzip");
  const given = give(readable, (piece) => say({ came, piece }, [piece.buffer]));
  const writer = writable.getWriter();
  const write = async () => {
    const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (
      response.body
    ).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      whole.set(value, came);
      came += value.length;
      await writer.write(value);
    }
    const hashed = sha256Of(whole.subarray(0, came));
    await writer.close();
    return hashed;
  };
  const [sha256] = await Promise.all([write(), given]);
  say({ came, sha256 });
}

/**
 * @param {ReadableStream<Uint8Array>} readable
 * @param {(piece: Uint8Array<ArrayBuffer>) => void} say
 */
async function give(readable, say) {
  let piece = new Uint8Array(PIECE);
  let size = 0;
  const reader = readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    plain += value.length;
    if (plain > MAX_PLAIN) throw new Error("it is too large");
    // The browser gives 64 KiB at a time, and each message takes its time.
    for (let offset = 0; offset < value.length;) {
      const part = value.subarray(offset, offset + PIECE - size);
      piece.set(part, size);
      size += part.length;
      offset += part.length;
      if (size < PIECE) continue;
      say(piece);
      piece = new Uint8Array(PIECE);
      size = 0;
    }
  }
  if (size > 0) say(piece.slice(0, size));
}

self.onmessage = async (
  /** @type {MessageEvent<EarlyMessage>} */ { data: { image, base, port } },
) => {
  /** @type {Map<string, AbortController>} */
  const coming = new Map();
  port.onmessage = (/** @type {MessageEvent<End>} */ { data: { end } }) => {
    if (end) coming.get(end)?.abort();
    else self.close();
  };
  // Python will see what is wrong, and can tell a person.
  const found = await find(new URL(image.endsWith("/") ? image : `${image}/`, base)).catch(
    () => [],
  );
  for (const { hash } of found) coming.set(hash, new AbortController());
  port.postMessage({ begun: found.map(({ hash }) => hash) });
  for (const blob of found) {
    const { hash } = blob;
    const { signal } = /** @type {AbortController} */ (coming.get(hash));
    get(blob, signal, (what, transfer = []) => {
      if (!signal.aborted) port.postMessage({ hash, ...what }, transfer);
    }).catch(() => port.postMessage({ hash, came: 0, sha256: "" }));
  }
};
