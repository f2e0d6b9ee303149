/** Ctrl-P and then Ctrl-Q, by which a person leaves a container, as with docker. */
const [FIRST, SECOND] = [0x10, 0x11];

/** Finds the keys in what is typed. */
export class DetachKeys {
  #held = false;

  /**
   * @param {Uint8Array} typed
   * @returns {{ bytes: Uint8Array, detach: boolean }} what is for the container; the first key waits for
   *   the next one, and what is typed behind both is dropped
   */
  read(typed) {
    const bytes = [];
    for (const byte of typed) {
      if (this.#held) {
        this.#held = false;
        if (byte === SECOND) return { bytes: Uint8Array.from(bytes), detach: true };
        bytes.push(FIRST);
      }
      if (byte === FIRST) this.#held = true;
      else bytes.push(byte);
    }
    return { bytes: Uint8Array.from(bytes), detach: false };
  }
}
