/**
 * The site's own files.  Large ones are stored gzipped, because most static
 * servers compress neither WebAssembly nor memory snapshots.
 */

/** A file that could not be had. */
export class FetchError extends Error {
  name = "FetchError";
}

/** How many milliseconds pass between two reports: each wakes up the page. */
const REPORT_INTERVAL_MS = 50;

/** Fetches files, and says how far it is over all of them. */
export class Fetcher {
  #progress;
  #bytes = 0;
  /** Undefined as soon as one server does not tell. @type {number | undefined} */
  #total = 0;
  #reported = -Infinity;

  /**
   * @param {(bytes: number, total: number | undefined) => void} progress Bytes
   *   that have come over the wire, and how many there will be.
   */
  constructor(progress) {
    this.#progress = progress;
  }

  /**
   * A file's bytes as they come, decompressed.  That it is gzipped shows in its
   * first bytes: some servers declare a .gz file to be merely an encoding of
   * what is in it, and the browser has undone it already.
   * @param {string | URL} url
   * @returns {Promise<ReadableStream<Uint8Array<ArrayBuffer>>>}
   */
  async stream(url) {
    const response = await this.#request(url);
    const length = Number(response.headers.get("content-length"));
    if (length && this.#total !== undefined) this.#total += length;
    else this.#total = undefined;

    const reader = response.body?.getReader();
    const read = async () => {
      try {
        const chunk = (await reader?.read())?.value;
        this.#count(chunk?.length ?? 0);
        return chunk;
      } catch (error) {
        throw new FetchError(`${url}: ${error}`);
      }
    };
    let next = await read();
    const gzipped = next?.[0] === 0x1f && next[1] === 0x8b;
    /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
    const stream = new ReadableStream({
      async pull(controller) {
        if (!next) {
          controller.close();
          return;
        }
        controller.enqueue(next);
        next = await read();
      },
      cancel: (reason) => reader?.cancel(reason),
    });
    return gzipped ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
  }

  /**
   * A whole file, decompressed.
   * @param {string | URL} url
   */
  async bytes(url) {
    return new Response(await this.stream(url)).arrayBuffer();
  }

  /**
   * @param {string | URL} url
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

  /** @param {string | URL} url */
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

  /** @param {number} bytes */
  #count(bytes) {
    this.#bytes += bytes;
    const now = performance.now();
    if (now - this.#reported < REPORT_INTERVAL_MS && this.#bytes !== this.#total) return;
    this.#reported = now;
    this.#progress(this.#bytes, this.#total);
  }
}
