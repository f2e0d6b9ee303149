/**
 * The file of a saved session: see docs/sessions.md.
 *
 * Bytes in, bytes out: whoever calls it reads and writes files.
 */

/** The file's first bytes. */
const MAGIC = new TextEncoder().encode("bmstate\n");
/** The version of the format, behind which the header's length follows. */
const FORMAT = 1;
const PREFIX = MAGIC.length + 8;
const DIGEST = 32;
/** No header is longer. */
const MAX_HEADER = 1 << 20;
/** A machine has less than 2 GiB of memory. */
const MAX_SECTION = 2 ** 32;

/** It cannot be used. */
export class StateError extends Error {
  /**
   * @param {"no-state" | "damaged" | "other-build"} reason
   * @param {string} message
   */
  constructor(reason, message) {
    super(message);
    this.name = "StateError";
    this.reason = reason;
  }
}

/**
 * @typedef {object} StateHeader
 * @property {import("./machine.js").SnapshotInfo & { kind: string }} machine what the state belongs to;
 *   missing where files alone are kept
 * @property {{ reference: string, digest: string, platform: string }} image
 * @property {object} process how its process was started: runtime/spec.py's ProcessOptions
 * @property {number} saved when, in milliseconds since 1970
 * @property {number} [changed] when the section "changes" was made
 * @property {{ cols: number, rows: number }} [terminal]
 */

/**
 * A part of the file. `gzip` says that the bytes are compressed, and how many they were; `sha256` is
 * their digest, where it is known already.
 * @template {Uint8Array | Blob} [Bytes=Uint8Array | Blob]
 * @typedef {{ bytes: Bytes, gzip?: number, sha256?: string }} Section
 */

/**
 * @template {Uint8Array | Blob} Bytes
 * @param {StateHeader} header
 * @param {Record<string, Section<Bytes>>} sections
 * @returns {Promise<(Uint8Array | Bytes)[]>} the file's bytes, in pieces
 */
export async function packState(header, sections) {
  const table = [];
  for (const [name, { bytes, gzip, sha256 }] of Object.entries(sections))
    table.push({
      name,
      size: sizeOf(bytes),
      sha256: sha256 ?? hex(await digestOf(bytes)),
      ...(gzip !== undefined && { gzip }),
    });
  const text = new TextEncoder().encode(JSON.stringify({ ...header, sections: table }));
  const first = new Uint8Array(PREFIX + DIGEST);
  first.set(MAGIC);
  const view = new DataView(first.buffer);
  view.setUint32(MAGIC.length, FORMAT, true);
  view.setUint32(MAGIC.length + 4, text.length, true);
  first.set(await digestOf(text), PREFIX);
  return [first, text, ...Object.values(sections).map(({ bytes }) => bytes)];
}

/**
 * @typedef {{ name: string, size: number, sha256: string, gzip?: number }} Part
 *
 * A state that is read part by part, each of which is checked.
 * @typedef {object} StateReader
 * @property {StateHeader} header
 * @property {string} digest SHA-256 of the header, which has those of all parts: what the file is known by
 * @property {Part[]} parts what there is, the digests of the bytes as they are stored
 * @property {number} start where the first of them begins
 * @property {(name: string) => Promise<Uint8Array | undefined>} section its plain bytes; undefined where
 *   the file has no such section
 */

/**
 * @param {(offset: number, length: number) => Promise<Uint8Array>} read gives fewer bytes at the file's end
 * @returns {Promise<StateReader>}
 * @throws {StateError} it is no state, or damaged; the sections' bytes are looked at when they are read
 */
export async function readState(read) {
  const first = await read(0, PREFIX + DIGEST);
  if (first.length < PREFIX + DIGEST || !equal(first.subarray(0, MAGIC.length), MAGIC))
    throw new StateError("no-state", "it is not the file of a saved session");
  const view = new DataView(first.buffer, first.byteOffset);
  if (view.getUint32(MAGIC.length, true) !== FORMAT)
    throw new StateError("other-build", "it was saved by another version");
  const length = view.getUint32(MAGIC.length + 4, true);
  const text = length <= MAX_HEADER ? await read(first.length, length) : first;
  if (text.length !== length || !equal(await digestOf(text), first.subarray(PREFIX)))
    throw new StateError("damaged", "its header is damaged");
  const { sections: table, ...header } = JSON.parse(new TextDecoder().decode(text));
  const start = first.length + length;
  return {
    header,
    digest: hex(first.subarray(PREFIX)),
    parts: table,
    start,
    async section(name) {
      let offset = start;
      for (const { name: other, size, sha256, gzip } of table) {
        if (other !== name) {
          offset += size;
          continue;
        }
        const bytes = await read(offset, size);
        if (bytes.length !== size || hex(await digestOf(bytes)) !== sha256)
          throw new StateError("damaged", `its part "${name}" is damaged`);
        return gzip === undefined ? bytes : unpack(bytes, Math.min(gzip, MAX_SECTION));
      }
      return undefined;
    },
  };
}

/**
 * As readState().
 * @param {Blob} blob
 */
export function readBlob(blob) {
  return readState(
    async (offset, length) =>
      new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  );
}

/**
 * @param {Uint8Array} bytes
 * @param {number} length of what comes out
 */
async function unpack(bytes, length) {
  const plain = new Uint8Array(length);
  let at = 0;
  const stream = new Blob([/** @type {BlobPart} */ (bytes)])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  // Not every browser can iterate over a stream.
  const reader = stream.getReader();
  for (;;) {
    const { value: piece, done } = await reader.read();
    if (done || at + piece.length > length) break;
    plain.set(piece, at);
    at += piece.length;
  }
  await reader.cancel();
  if (at !== length)
    throw new StateError("damaged", "a part of it has another length than it says");
  return plain;
}

/** @param {Uint8Array | Blob} bytes */
export function sizeOf(bytes) {
  return "length" in bytes ? bytes.length : bytes.size;
}

/** @param {Uint8Array | Blob} bytes */
async function digestOf(bytes) {
  const plain = "length" in bytes ? bytes : await bytes.arrayBuffer();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (plain)));
}

/**
 * The digest of bytes as a section has it.
 * @param {Uint8Array | Blob} bytes
 */
export async function sha256Of(bytes) {
  return hex(await digestOf(bytes));
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 */
function equal(one, other) {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
