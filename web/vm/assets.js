/** Fetches the machine's files, and says how far it is over all of them. */

/** A file that could not be had. */
export class FetchError extends Error {
  name = "FetchError";
}

export class Fetcher {
  /** @type {(bytes: number, total: number | undefined) => void} */
  #progress;
  #bytes = 0;
  /** Undefined as soon as one server does not tell. @type {number | undefined} */
  #total = 0;

  /** @param {(bytes: number, total: number | undefined) => void} progress */
  constructor(progress) {
    this.#progress = progress;
  }

  /**
   * A file's bytes. What is gzipped is unpacked: many servers compress neither
   * WebAssembly nor disk images, so a site may store them compressed.
   * @param {string} url
   * @returns {Promise<ArrayBuffer>}
   */
  async bytes(url) {
    const response = await this.#request(url);
    const length = Number(response.headers.get("content-length"));
    if (length && this.#total !== undefined) this.#total += length;
    else this.#total = undefined;

    /** @type {Uint8Array<ArrayBuffer>[]} */
    const chunks = [];
    try {
      for await (const chunk of iterate(response)) {
        chunks.push(chunk);
        this.#bytes += chunk.length;
        this.#progress(this.#bytes, this.#total);
      }
    } catch (error) {
      throw new FetchError(`${url}: ${error}`);
    }
    const file = new Blob(chunks);
    return chunks[0]?.[0] === 0x1f && chunks[0][1] === 0x8b
      ? new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer()
      : file.arrayBuffer();
  }

  /**
   * @param {string} url
   * @returns {Promise<any>}
   */
  async json(url) {
    const response = await this.#request(url);
    try {
      return await response.json();
    } catch (error) {
      throw new FetchError(`${url}: ${error}`);
    }
  }

  /** @param {string} url */
  async #request(url) {
    let response;
    try {
      response = await fetch(url);
    } catch (error) {
      throw new FetchError(`${url}: ${error}`);
    }
    if (!response.ok) throw new FetchError(`${url}: the server answered ${response.status}`);
    return response;
  }
}

/**
 * Not every browser can iterate over a stream.
 * @param {Response} response
 */
async function* iterate(response) {
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
