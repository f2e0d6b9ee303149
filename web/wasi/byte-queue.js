/** Bytes that have come and that nobody has read yet. */
export class ByteQueue {
  /** @type {Uint8Array[]} */
  #chunks = [];
  #length = 0;

  get length() {
    return this.#length;
  }

  /** @param {Uint8Array} chunk */
  push(chunk) {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  /**
   * Fill a place with what comes first.
   * @param {Uint8Array} target
   * @param {boolean} [peek] leave it here
   * @returns {number} how many bytes there were for it
   */
  read(target, peek = false) {
    let at = 0;
    for (let i = 0; at < target.length && i < this.#chunks.length; i += 1) {
      const part = this.#chunks[i].subarray(0, target.length - at);
      target.set(part, at);
      at += part.length;
    }
    if (!peek) this.#drop(at);
    return at;
  }

  /** @param {number} size */
  #drop(size) {
    this.#length -= size;
    let whole = 0;
    while (size > 0 && size >= this.#chunks[whole].length) {
      size -= this.#chunks[whole].length;
      whole += 1;
    }
    this.#chunks.splice(0, whole);
    if (size > 0) this.#chunks[0] = this.#chunks[0].subarray(size);
  }
}
