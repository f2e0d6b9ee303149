/** The TLS engine, for Python in the same worker. */

/** An instance of tls.wasm, as browsermount.network.tls.Module wants it. */
export class TlsModule {
  #exports;
  #memory;

  /** @param {WebAssembly.Instance} instance */
  constructor({ exports }) {
    this.#exports = /** @type {Record<string, (...given: number[]) => number | undefined>} */ (
      exports
    );
    this.#memory = /** @type {WebAssembly.Memory} */ (exports.memory);
  }

  /**
   * @param {string} name
   * @param {number[]} given
   */
  call(name, ...given) {
    return this.#exports[name](...given) ?? 0;
  }

  /**
   * Bytes of its memory, until it grows.
   * @param {number} address
   * @param {number} size
   */
  view(address, size) {
    return new Uint8Array(this.#memory.buffer, address, size);
  }
}

/**
 * Instantiates the engine.
 * @param {BufferSource} code
 */
export async function instantiate(code) {
  const host = {
    /** @param {number} address @param {number} size a key's at most */
    random: (address, size) => {
      crypto.getRandomValues(module.view(address, size));
    },
  };
  const { instance } = await WebAssembly.instantiate(code, { host });
  const module = new TlsModule(instance);
  return module;
}
