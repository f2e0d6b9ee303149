/**
 * The site's own large files.  They are stored gzipped, because most static
 * servers compress neither WebAssembly nor memory snapshots.
 */

/**
 * Fetch a gzipped file of the site and decompress it as it comes.
 *
 * @param {string | URL} url
 * @param {(bytes: number, total: number) => void} [onProgress] Bytes that have come over the
 *   wire; the total is 0 when the server does not tell it.
 * @returns {Promise<ReadableStream<Uint8Array<ArrayBuffer>>>}
 */
export async function fetchGzip(url, onProgress = () => {}) {
  const response = await fetch(url);
  if (!response.ok || !response.body) {
    throw new Error(`${url}: the server answered ${response.status}`);
  }
  const total = Number(response.headers.get("content-length")) || 0;
  let bytes = 0;
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        bytes += chunk.length;
        onProgress(bytes, total);
        controller.enqueue(chunk);
      },
    }),
  );
  return gunzip(counted);
}

/**
 * Decompress a stream if it is gzipped.  Some servers declare a .gz file to be
 * merely an encoding of what is in it, and the browser has undone it already.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @returns {Promise<ReadableStream<Uint8Array<ArrayBuffer>>>}
 */
export async function gunzip(stream) {
  const reader = stream.getReader();
  const { value: first } = await reader.read();
  const rest = new ReadableStream({
    start(controller) {
      if (first) controller.enqueue(first);
      else controller.close();
    },
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const gzipped = first && first[0] === 0x1f && first[1] === 0x8b;
  return gzipped ? rest.pipeThrough(new DecompressionStream("gzip")) : rest;
}
