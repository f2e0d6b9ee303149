/** Ethernet frames between the two workers. */

/** Collects the frames of one task, and sends them in one message. */
export class FrameBatch {
  #port;
  /** @type {Uint8Array<ArrayBuffer>[]} */
  #frames = [];

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
  }

  /** @param {Uint8Array<ArrayBuffer>} frame whose buffer has nothing else, and is given away */
  add(frame) {
    if (this.#frames.push(frame) === 1) queueMicrotask(() => this.#send());
  }

  #send() {
    const frames = this.#frames;
    this.#frames = [];
    this.#port.postMessage(
      frames,
      frames.map(({ buffer }) => buffer),
    );
  }
}
