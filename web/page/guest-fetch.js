/** fetch() for web servers in the container. */

/** @import { GuestRequest } from "../messages.js" */

/** Of these, a Response must have no body. */
const BODILESS = [204, 205, 304];

/** The names that the container has for itself. */
const HOSTS = ["localhost", "127.0.0.1"];

/**
 * Sends a request to a server in the container. Redirects are not followed, and cookies
 * not kept: the answer is what the server has said.
 * @param {RequestInfo | URL} input an address such as http://localhost:8000/path
 * @param {RequestInit | undefined} init as for fetch()
 * @param {(request: GuestRequest, reply: MessagePort) => void} send
 * @returns {Promise<Response>}
 */
export async function guestFetch(input, init, send) {
  const request = new Request(input, init);
  const { protocol, hostname, port, pathname, search } = new URL(request.url);
  if (protocol !== "http:" || !HOSTS.includes(hostname))
    throw new TypeError(`${request.url} does not begin with http://localhost`);
  const content = await request.arrayBuffer();
  const { port1: reply, port2 } = new MessageChannel();
  const { signal } = request;
  send(
    {
      port: Number(port || 80),
      method: request.method,
      target: pathname + search,
      headers: [...request.headers],
      body: content.byteLength > 0 ? content : null,
    },
    port2,
  );
  return new Promise((resolve, reject) => {
    /** @type {ReadableStreamDefaultController<Uint8Array> | undefined} */
    let controller;
    let cancelled = false;
    /** Tells the stream that the piece it has asked for is there. */
    let pulled = () => {};
    const abort = () => {
      reply.postMessage("cancel");
      reject(signal.reason);
      controller?.error(signal.reason);
      pulled();
    };
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    const body = () =>
      new ReadableStream(
        {
          start: (it) => {
            controller = it;
          },
          pull: () =>
            new Promise((done) => {
              pulled = () => done(undefined);
              reply.postMessage("next");
            }),
          cancel: () => {
            cancelled = true;
            reply.postMessage("cancel");
          },
        },
        // What nobody has asked for stays in the container.
        { highWaterMark: 0 },
      );
    reply.onmessage = ({ data }) => {
      if (data.error !== undefined) {
        const error = new TypeError(data.error);
        reject(error);
        controller?.error(error);
      } else if (data.part === undefined) {
        const { status, headers } = data;
        const empty = BODILESS.includes(status) || request.method === "HEAD";
        try {
          resolve(new Response(empty ? null : body(), { status, headers }));
          if (empty) reply.postMessage("cancel");
        } catch (error) {
          // A status or a header that there is none of.
          reply.postMessage("cancel");
          reject(
            new TypeError(`the server at port ${port || 80} gave no answer`, { cause: error }),
          );
        }
      } else if (signal.aborted || cancelled) {
        // It was on its way.
      } else if (data.part.length > 0) {
        controller?.enqueue(data.part);
      } else {
        controller?.close();
      }
      pulled();
    };
  });
}
