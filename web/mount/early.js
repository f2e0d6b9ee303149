/** The layers that the page has another worker begin with, before Python is there: early-worker.js. */

/** @import { Came } from "./early-worker.js" */

/** After so many milliseconds a worker that says nothing is one that does not run. */
const PATIENCE_MS = 1000;

/** A layer that comes. */
class EarlyLayer {
  /** Whether it cannot be had: damaged, or compressed in several members. */
  failed = false;
  /** How many bytes of the blob have come. */
  came = 0;
  /** Of the blob, in hexadecimal digits, when no more comes. */
  sha256 = "";
  #ended = false;
  /** @type {Uint8Array[]} */
  #pieces = [];
  /** Tells who waits. */
  #tell = () => {};
  #close;

  /** @param {() => void} close */
  constructor(close) {
    this.#close = close;
  }

  /** @param {{ came: number, piece?: Uint8Array, sha256?: string }} what */
  hear({ came, piece, sha256 }) {
    if (this.#ended) return;
    this.came = came;
    if (piece) this.#pieces.push(piece);
    if (sha256 !== undefined) {
      this.failed = !sha256;
      this.sha256 = sha256;
      this.#ended = true;
    }
    this.#tell();
  }

  /** Gives what has come since the last time. */
  take() {
    return this.#pieces.splice(0);
  }

  /** Waits until something has come, and says whether more may come later. */
  async wait() {
    /** @type {Promise<void>} */
    const coming = new Promise((resolve) => (this.#tell = resolve));
    if (!this.#ended && this.#pieces.length === 0) await coming;
    return !this.#ended;
  }

  /** Gives up what has not come yet. */
  close() {
    if (!this.#ended) this.#close();
    this.#ended = true;
    this.#pieces.length = 0;
  }
}

/** What was begun. */
export class EarlyLayers {
  /** All that come. @type {Map<string, EarlyLayer>} */
  #all = new Map();
  /** Which of them somebody has already. @type {Set<string>} */
  #taken = new Set();
  /** @type {Promise<void>} */
  #begun;

  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
    this.#begun = new Promise((resolve) => {
      port.onmessage = (/** @type {MessageEvent<Came>} */ { data }) => {
        if ("begun" in data) {
          for (const hash of data.begun)
            this.#all.set(hash, new EarlyLayer(() => port.postMessage({ end: hash })));
          resolve();
        } else this.#all.get(data.hash)?.hear(data);
      };
    });
  }

  /**
   * Gives a layer that was begun to whoever needs it, and has it from now on.
   * @param {string} hash
   * @returns {Promise<EarlyLayer | undefined>}
   */
  async take(hash) {
    // The time counts from here on: until now this worker was busy, and has heard nothing.
    await Promise.race([this.#begun, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
    if (this.#taken.has(hash)) return undefined;
    this.#taken.add(hash);
    return this.#all.get(hash);
  }

  /** Gives up what nobody has taken, or needs any more. */
  end() {
    this.#all.clear();
    this.port.postMessage({});
    this.port.close();
  }
}
