/**
 * The bytes between xterm-pty and the machine's console, in portions that
 * xterm-pty can take.
 *
 * What has to be known about xterm-pty 0.12:
 * - It works on arrays of numbers.  Slave.write concatenates its argument, so a
 *   typed array ends up as one element, and is lost.
 * - It passes whole arrays as arguments of push(), which overflows the stack
 *   from about 100,000 elements on, and reports that only to the console.
 * - Slave.writable tells about stopped flow only.  How far the terminal has
 *   come shows in onWritable, which fires when less than 4 KiB are waiting.
 * - It reads the one-byte characters of onBinary (mouse reports) as UTF-8.
 */

// Large enough that per-call costs vanish, small enough for the stack.
const PORTION = 8192;

/**
 * @template T
 * @param {ArrayLike<T> & { slice(start: number, end: number): any }} data
 * @param {number} [size]
 */
export function* portions(data, size = PORTION) {
  for (let start = 0; start < data.length; start += size) {
    yield data.slice(start, start + size);
  }
}

const encoder = new TextEncoder();

/**
 * The terminal as xterm-pty's master sees it: input comes as bytes, in portions.
 *
 * @param {Pick<import("@xterm/xterm").Terminal, "write" | "onData" | "onBinary" | "onResize">} terminal
 * @returns {any} What Master.activate() uses of a Terminal.
 */
export function inPortions(terminal) {
  return {
    write: terminal.write.bind(terminal),
    onResize: terminal.onResize,
    onData: (/** @type {(data: number[]) => void} */ listener) =>
      terminal.onData((text) => {
        for (const portion of portions(encoder.encode(text))) listener(Array.from(portion));
      }),
    onBinary: (/** @type {(data: number[]) => void} */ listener) =>
      terminal.onBinary((text) => {
        for (const portion of portions(text)) {
          listener(Array.from(portion, (character) => character.charCodeAt(0)));
        }
      }),
  };
}

/**
 * @typedef {object} Slave What is used of xterm-pty's slave.
 * @property {(data: number[]) => void} write
 * @property {(listener: () => void) => { dispose(): void }} onWritable
 */

/** Writes output to the slave as fast as the terminal shows it. */
export class OutputQueue {
  /** @type {Uint8Array[]} */
  #waiting = [];
  #writable = true;
  #writing = false;
  #subscription;

  /**
   * @param {Slave} slave
   * @param {(bytes: number) => void} onShown Called as the terminal takes the bytes.
   */
  constructor(slave, onShown) {
    this.slave = slave;
    this.onShown = onShown;
    this.#subscription = slave.onWritable(() => {
      this.#writable = true;
      this.#resume();
    });
  }

  /** @param {Uint8Array} data */
  push(data) {
    this.#waiting.push(...portions(data));
    this.#resume();
  }

  /** Whether everything was handed over. */
  get empty() {
    return this.#waiting.length === 0;
  }

  /** Leave out what was not handed over. */
  clear() {
    this.#waiting.length = 0;
  }

  dispose() {
    this.clear();
    this.#subscription.dispose();
  }

  // A loop, because onWritable fires inside write(): recursion would be as deep as the queue.
  #resume() {
    if (this.#writing) return;
    this.#writing = true;
    while (this.#writable) {
      const portion = this.#waiting.shift();
      if (!portion) break;
      this.#writable = false;
      this.slave.write(Array.from(portion));
      this.onShown(portion.length);
    }
    this.#writing = false;
  }
}
