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
 * Reads bytes of the file, fewer at its end. Where they come one after the other, it may tell of each piece.
 * @typedef {(offset: number, length: number, tell: (piece: Uint8Array) => void) => Promise<Uint8Array>} Read
 */

const tellNobody = () => {};

/**
 * @param {Read} read
 * @returns {Promise<StateReader>}
 * @throws {StateError} it is no state, or damaged; the sections' bytes are looked at when they are read
 */
export async function readState(read) {
  const first = await read(0, PREFIX + DIGEST, tellNobody);
  if (first.length < PREFIX + DIGEST || !equal(first.subarray(0, MAGIC.length), MAGIC))
    throw new StateError("no-state", "it is not the file of a saved session");
  const view = new DataView(first.buffer, first.byteOffset);
  if (view.getUint32(MAGIC.length, true) !== FORMAT)
    throw new StateError("other-build", "it was saved by another version");
  const length = view.getUint32(MAGIC.length + 4, true);
  const text = length <= MAX_HEADER ? await read(first.length, length, tellNobody) : first;
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
        const plain = gzip === undefined ? undefined : new Unpacking(Math.min(gzip, MAX_SECTION));
        const bytes = await read(offset, size, (piece) => plain?.add(piece));
        if (bytes.length !== size || hex(await digestOf(bytes)) !== sha256)
          throw new StateError("damaged", `its part "${name}" is damaged`);
        return plain ? plain.end(bytes) : bytes;
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

/** Unpacks bytes, as they come. */
class Unpacking {
  #plain;
  #writer;
  #taken = 0;
  #done;

  /** @param {number} length of what comes out */
  constructor(length) {
    this.#plain = new Uint8Array(length);
    const stream = new DecompressionStream("gzip");
    this.#writer = stream.writable.getWriter();
    this.#done = this.#read(stream.readable.getReader());
    this.#done.catch(() => {}); // end() tells
  }

  /** @param {Uint8Array} piece */
  add(piece) {
    if (piece.length === 0) return;
    this.#taken += piece.length;
    // Who reads is told of what is wrong.
    this.#writer.write(/** @type {BufferSource} */ (piece)).catch(() => {});
  }

  /**
   * @param {Uint8Array} bytes all of them
   * @returns {Promise<Uint8Array>}
   * @throws {StateError} something else comes out than was said
   */
  async end(bytes) {
    this.add(bytes.subarray(this.#taken));
    this.#writer.close().catch(() => {});
    if (!(await this.#done))
      throw new StateError("damaged", "a part of it has another length than it says");
    return this.#plain;
  }

  /** @param {ReadableStreamDefaultReader<Uint8Array>} reader */
  async #read(reader) {
    let at = 0;
    // Not every browser can iterate over a stream.
    for (;;) {
      const { value: piece, done } = await reader.read();
      if (done) return at === this.#plain.length;
      if (at + piece.length > this.#plain.length) break;
      this.#plain.set(piece, at);
      at += piece.length;
    }
    await reader.cancel();
    return false;
  }
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
