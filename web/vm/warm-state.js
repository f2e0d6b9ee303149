/** A state in which a container has come to its prompt, and from which others like it start. */

import { StateError, readBlob, readState } from "./state-file.js";

/** @import { Fetcher } from "../assets.js" */
/** @import { ComingMachine } from "./machine.js" */
/** @import { MachineKind, WarmSource } from "./messages.js" */
/** @import { StateHeader, StateReader } from "./state-file.js" */

/** Bytes that are read from while they come. */
class ComingBytes {
  #reader;
  /** @type {Uint8Array[]} */
  #pieces = [];
  #length = 0;
  #ended = false;
  /** Who reads has its turn. @type {Promise<void>} */
  #turn = Promise.resolve();

  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    this.#reader = stream.getReader();
  }

  /**
   * @param {number} offset
   * @param {number} length
   * @param {(piece: Uint8Array) => void} tell
   * @returns {Promise<Uint8Array>} fewer bytes at the end
   */
  read(offset, length, tell) {
    const turn = this.#turn.then(() => this.#fill(offset, offset + length, tell));
    this.#turn = turn.catch(() => {});
    return turn.then(() => this.#slice(offset, offset + length));
  }

  /** @param {number} start @param {number} end @param {(piece: Uint8Array) => void} tell */
  async #fill(start, end, tell) {
    if (this.#length > start) tell(this.#slice(start, end));
    while (this.#length < end && !this.#ended) {
      const { value, done } = await this.#reader.read();
      if (done) {
        this.#ended = true;
        return;
      }
      const at = this.#length;
      this.#pieces.push(value);
      this.#length += value.length;
      if (this.#length > start) tell(value.subarray(Math.max(0, start - at), end - at));
    }
  }

  /** @param {number} start @param {number} end */
  #slice(start, end) {
    const bytes = new Uint8Array(Math.max(0, Math.min(end, this.#length) - start));
    let at = 0;
    for (const piece of this.#pieces) {
      const part = piece.subarray(Math.max(0, start - at), Math.max(0, end - at));
      if (part.length > 0) bytes.set(part, Math.max(0, at - start));
      at += piece.length;
    }
    return bytes;
  }
}

/**
 * @param {WarmSource} source
 * @param {Fetcher} fetcher
 * @returns {Promise<StateReader>}
 * @throws {Error} there is none, or it is damaged
 */
export async function openWarm(source, fetcher) {
  if (source.from === "storage") {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(source.directory);
    const handle = await folder.getFileHandle(source.file);
    return readBlob(await handle.getFile());
  }
  const bytes = new ComingBytes(await fetcher.stream(source.url));
  const state = await readState((offset, length, tell) => bytes.read(offset, length, tell));
  // The rest is known by digests that the header has.
  if (state.digest !== source.digest)
    throw new StateError("damaged", "it is another one than the page names");
  return state;
}

/**
 * @typedef {object} Warm
 * @property {StateHeader} header
 * @property {ComingMachine} machine whose state comes last, and is verified then
 * @property {object} server what the 9P server knew
 * @property {Uint8Array} shown what the container had shown
 */

/**
 * What is needed first of a state, verified; the machine's own is on its way.
 * @param {StateReader} state
 * @param {MachineKind} kind
 * @returns {Promise<Warm>}
 * @throws {StateError}
 */
export async function readWarm({ header, section }, kind) {
  const info = header.machine;
  if (info?.kind !== kind) throw new StateError("other-build", "it is of another machine");
  const [server, shown, host] = await Promise.all(["server", "terminal", "host"].map(section));
  if (!server || !shown || !host) throw new StateError("damaged", "a part of it is missing");
  const decoder = new TextDecoder();
  const coming = section("machine").then((bytes) => {
    if (!bytes) throw new StateError("damaged", "a part of it is missing");
    return exact(bytes);
  });
  // Whoever waits for it hears of a failure; nobody may.
  coming.catch(() => {});
  return {
    header,
    machine: {
      state: coming,
      host: JSON.parse(decoder.decode(host)),
      info: {
        wasm: info.wasm,
        recipe: info.recipe,
        memoryMiB: info.memoryMiB,
        commandLine: info.commandLine,
      },
    },
    server: JSON.parse(decoder.decode(server)),
    shown,
  };
}

/**
 * @param {Uint8Array} bytes
 * @returns {ArrayBuffer} of just these
 */
export function exact({ buffer, byteOffset, byteLength }) {
  const whole = /** @type {ArrayBuffer} */ (buffer);
  return byteLength === buffer.byteLength
    ? whole
    : whole.slice(byteOffset, byteOffset + byteLength);
}
