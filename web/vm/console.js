/**
 * The three shapes in which bytes pass the virtio console: lines of JSON for
 * the control channel, typed input in portions, output in batches.
 */

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  // In pieces: a function has only so many arguments.
  for (let at = 0; at < bytes.length; at += 8192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Takes bytes as they come and gives back the lines among them. */
export class LineReader {
  #decoder = new TextDecoder();
  #limit;
  #rest = "";
  /** Whether the line that has begun is too long, and left out. */
  #skipping = false;

  /** @param {number} [limit] of a line, in characters: longer ones are left out */
  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  /** What has come of a line that is not complete, and whether it is left out. */
  get unfinished() {
    return { text: this.#rest, skipping: this.#skipping };
  }

  /** Goes on where another reader was. @param {{ text: string, skipping: boolean }} state */
  restore({ text, skipping }) {
    this.#rest = text;
    this.#skipping = skipping;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {string[]}
   */
  read(bytes) {
    const parts = this.#decoder.decode(bytes, { stream: true }).split("\n");
    const lines = [];
    for (const [index, part] of parts.entries()) {
      const ended = index < parts.length - 1;
      if (this.#rest.length + part.length > this.#limit) {
        this.#skipping = true;
        this.#rest = "";
      }
      if (!this.#skipping) this.#rest += part;
      if (!ended) continue;
      if (!this.#skipping) lines.push(this.#rest);
      this.#rest = "";
      this.#skipping = false;
    }
    return lines;
  }
}

/** What the kernel prints on the serial port: the last of it is kept. */
export class KernelLog {
  /** How many characters are kept, at least. */
  static LENGTH = 16384;
  /** No line of the kernel's is longer: what comes behind is taken for a new one. */
  static LINE = 1024;

  #text = "";
  #line = "";

  /**
   * @param {number} byte
   * @returns {string} the words with which the kernel has just given up; empty where it has not
   */
  add(byte) {
    if (byte === 13) return "";
    const character = String.fromCharCode(byte);
    this.#text += character;
    if (this.#text.length > 2 * KernelLog.LENGTH) this.#text = this.#text.slice(-KernelLog.LENGTH);
    if (byte !== 10 && this.#line.length < KernelLog.LINE) {
      this.#line += character;
      return "";
    }
    const line = this.#line;
    this.#line = "";
    return /Kernel panic - not syncing: .*/.exec(line)?.[0].trim() ?? "";
  }

  get text() {
    return this.#text;
  }
}

/**
 * The emulated console has 16 receive buffers of 4096 bytes for a port, fills
 * one of them with each event, and drops what comes when none is free. So only
 * so many portions are on their way at a time, until the guest says that it has
 * consumed them.
 */
export class InputWindow {
  static PORTION = 2048;
  static PORTIONS = 8;
  /** More than so many bytes should not wait here. */
  static HIGH_WATER = 65536;
  /**
   * And when so many wait, what comes is left out: a program that never reads makes a terminal
   * answer questions without end. More than that nobody pastes.
   */
  static LIMIT = 64 << 20;
  /** Or so many pieces of a few bytes, each of which takes room of its own. */
  static PIECES = 65536;

  /** @type {(portion: Uint8Array) => void} */
  #send;
  /** @type {() => void} */
  #drained;
  /** @type {Uint8Array[]} */
  #waiting = [];
  #waitingLength = 0;
  /** Lengths of the portions that the guest has not consumed. @type {number[]} */
  #outstanding = [];
  /** @type {(() => void) | undefined} */
  #whenEmpty;

  /**
   * @param {(portion: Uint8Array) => void} send
   * @param {() => void} drained called after a write() that was false, when more may come
   */
  constructor(send, drained = () => {}) {
    this.#send = send;
    this.#drained = drained;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {boolean} false when enough is waiting
   */
  write(bytes) {
    const full = this.#waiting.length >= InputWindow.PIECES;
    if (full || this.#waitingLength >= InputWindow.LIMIT) return false;
    this.#waiting.push(bytes);
    this.#waitingLength += bytes.length;
    this.#sendMore();
    return this.#waitingLength < InputWindow.HIGH_WATER;
  }

  /** @param {number} bytes */
  consumed(bytes) {
    let left = bytes;
    while (left > 0 && this.#outstanding.length > 0) {
      const taken = Math.min(left, this.#outstanding[0]);
      left -= taken;
      this.#outstanding[0] -= taken;
      if (this.#outstanding[0] === 0) this.#outstanding.shift();
    }
    this.#sendMore();
  }

  /**
   * Calls back once, when the guest has everything.
   * @param {() => void} callback
   */
  whenEmpty(callback) {
    this.#whenEmpty = callback;
    this.#sendMore();
  }

  /**
   * What the guest has not consumed: as JSON.
   * @returns {{ waiting: string, outstanding: number[] }} the waiting bytes in base64
   */
  save() {
    const bytes = new Uint8Array(this.#waitingLength);
    let at = 0;
    for (const piece of this.#waiting) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return { waiting: toBase64(bytes), outstanding: [...this.#outstanding] };
  }

  /** Goes on where another one was: nothing is sent yet. @param {ReturnType<InputWindow["save"]>} saved */
  restore({ waiting, outstanding }) {
    const bytes = fromBase64(waiting);
    this.#waiting = bytes.length > 0 ? [bytes] : [];
    this.#waitingLength = bytes.length;
    this.#outstanding = [...outstanding];
  }

  #sendMore() {
    const wasFull = this.#waitingLength >= InputWindow.HIGH_WATER;
    while (this.#waiting.length > 0 && this.#outstanding.length < InputWindow.PORTIONS) {
      const portion = this.#nextPortion();
      if (portion.length === 0) continue;
      this.#outstanding.push(portion.length);
      this.#send(portion);
    }
    if (wasFull && this.#waitingLength < InputWindow.HIGH_WATER) this.#drained();
    if (this.#waiting.length === 0 && this.#outstanding.length === 0) {
      const callback = this.#whenEmpty;
      this.#whenEmpty = undefined;
      callback?.();
    }
  }

  /** As much as fits, from the front: single keys that waited go together. */
  #nextPortion() {
    const portion = new Uint8Array(InputWindow.PORTION);
    let length = 0;
    while (this.#waiting.length > 0 && length < portion.length) {
      const first = this.#waiting[0];
      const part = first.subarray(0, portion.length - length);
      portion.set(part, length);
      length += part.length;
      if (part.length === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(part.length);
    }
    this.#waitingLength -= length;
    return portion.subarray(0, length);
  }
}

/**
 * Collects the small pieces in which the guest writes. The first piece after a
 * pause goes out at once, so that an echoed key is not delayed; what follows
 * closely goes out together.
 */
export class OutputBatch {
  static INTERVAL_MS = 8;
  static LIMIT = 65536;

  /** @type {(bytes: Uint8Array) => void} */
  #send;
  /** @type {Uint8Array[]} */
  #pieces = [];
  #length = 0;
  #lastSent = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {(bytes: Uint8Array) => void} send */
  constructor(send) {
    this.#send = send;
  }

  /** @param {Uint8Array} piece */
  add(piece) {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length >= OutputBatch.LIMIT) {
      this.flush();
    } else if (this.#timer === undefined) {
      const since = performance.now() - this.#lastSent;
      // Not even the first piece goes at once, but when the emulator yields:
      // an echo often comes in several pieces.
      const delay = Math.max(0, OutputBatch.INTERVAL_MS - since);
      this.#timer = setTimeout(() => this.flush(), delay);
    }
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#length === 0) return;
    const bytes = new Uint8Array(this.#length);
    let offset = 0;
    for (const piece of this.#pieces) {
      bytes.set(piece, offset);
      offset += piece.length;
    }
    this.#pieces = [];
    this.#length = 0;
    this.#lastSent = performance.now();
    this.#send(bytes);
  }
}
