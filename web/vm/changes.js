/**
 * What a container has changed, as its machine tells it: a tar archive, piece by piece.
 *
 * It is the guest's word, and not looked into here: who unpacks it does that.
 */

/** How long the machine may say nothing. */
const PATIENCE_MS = 60_000;

/** Pieces are put together to so many bytes: a browser may keep such on its disk. */
const PART = 4 << 20;

/** @typedef {{ data: Blob, leftOut: number }} Changes files that no layer can have are left out */

export class ChangesReader {
  #ask;
  #patience;
  /** @type {Blob[]} */
  #parts = [];
  /** @type {Uint8Array[]} */
  #pieces = [];
  #size = 0;
  /** @type {{ resolve: (changes: Changes) => void, reject: (error: Error) => void } | undefined} */
  #waiting;
  /** Whether the machine has been asked, and has not come to an end. */
  #asked = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** What came last, without having been asked for: when the container has ended. @type {Changes | undefined} */
  last;

  /**
   * @param {() => void} ask asks the machine
   * @param {number} [patience] in milliseconds
   */
  constructor(ask, patience = PATIENCE_MS) {
    this.#ask = ask;
    this.#patience = patience;
  }

  /**
   * @returns {Promise<Changes>}
   * @throws {Error} there are none to be had
   */
  read() {
    return new Promise((resolve, reject) => {
      // What is still on its way was asked for by somebody who has given up.
      if (this.#asked) throw new Error("the container still says what it has changed");
      this.#asked = true;
      this.#waiting = { resolve, reject };
      this.#ask();
      this.#wait();
    });
  }

  /** @param {Uint8Array} bytes the next of the archive */
  take(bytes) {
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    if (this.#size >= PART) this.#gather();
    if (this.#waiting) this.#wait();
  }

  /** @param {{ leftOut: number } | { failure: string }} result what the machine says at the end */
  finish(result) {
    this.#gather();
    const data = new Blob(this.#parts);
    this.#parts = [];
    this.#asked = false;
    if ("failure" in result) this.#fail(result.failure);
    else this.#answer({ data, leftOut: result.leftOut });
  }

  /** The machine has ended. */
  end() {
    this.#asked = false;
    this.#fail("the container has ended");
  }

  #gather() {
    this.#parts.push(new Blob(/** @type {BlobPart[]} */ (this.#pieces)));
    this.#pieces = [];
    this.#size = 0;
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fail("the container does not answer"), this.#patience);
  }

  /** @param {Changes} changes */
  #answer(changes) {
    clearTimeout(this.#timer);
    if (this.#waiting) this.#waiting.resolve(changes);
    else this.last = changes;
    this.#waiting = undefined;
  }

  /** @param {string} message */
  #fail(message) {
    clearTimeout(this.#timer);
    this.#waiting?.reject(new Error(message));
    this.#waiting = undefined;
  }
}
