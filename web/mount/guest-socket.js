/** WebSockets of servers in the container, for the mount worker: Python speaks the protocol. */

/** Bytes that have been sent to the page and not been taken there yet, from which on the server waits. */
const WINDOW = 1024 * 1024;

/** Bytes of the page's that wait for the server: it is to send no more than WINDOW and a message. */
const MAX_QUEUED = 80 * 1024 * 1024;

/** A message without bytes takes memory, too. */
const MESSAGE_COST = 64;

const GOING_AWAY = 1001;

/**
 * Opens a WebSocket and hands on what is said, until one side has ended it. Tells the page
 * `{error}`, or `{protocol}` and then `{data}` for each message (text, or a Uint8Array), `{taken}`
 * with the bytes of the page's that the server has, and `{code, reason}` at the end. Is told
 * `{data, isText}` with an ArrayBuffer, `{taken}`, `{close: {code, reason}}` and `"gone"`.
 * @param {() => Promise<any>} open makes a PageSocket of browsermount/pyodide/network_websocket.py
 * @param {MessagePort} page
 */
export async function serveSocket(open, page) {
  const socket = await open();
  if (socket.error) {
    page.postMessage({ error: socket.error });
    socket.destroy();
    return;
  }
  let untaken = 0;
  let queued = 0;
  let taken = () => {};
  let over = false;
  let sending = Promise.resolve();
  /** @param {() => Promise<void>} work what comes next, once what was before has been done */
  const next = (work) => {
    sending = sending.then(async () => {
      if (!over) await work();
    });
  };
  const giveUp = () => {
    if (!over) socket.abort();
    taken();
  };
  page.onmessage = ({ data }) => {
    if (over) return;
    if (data === "gone") {
      untaken = 0;
      taken();
      next(() => socket.close(GOING_AWAY, ""));
    } else if (data?.data instanceof ArrayBuffer) {
      const size = data.data.byteLength;
      queued += size + MESSAGE_COST;
      if (queued > MAX_QUEUED) giveUp();
      next(async () => {
        await socket.send(data.data, Boolean(data.isText));
        queued -= size + MESSAGE_COST;
        page.postMessage({ taken: size });
      });
    } else if (Number.isInteger(data?.taken)) {
      untaken -= data.taken;
      if (untaken < WINDOW) taken();
    } else if (data?.close) {
      const { code, reason } = data.close;
      next(() => socket.close(Number(code), String(reason)));
    }
  };
  page.postMessage({ protocol: socket.protocol });
  for (;;) {
    const data = await socket.next();
    if (data === undefined || data === null) break;
    const size = data.length + MESSAGE_COST;
    page.postMessage({ data, size }, typeof data === "string" ? [] : [data.buffer]);
    untaken += size;
    while (untaken >= WINDOW) await new Promise((resolve) => (taken = () => resolve(undefined)));
  }
  page.postMessage({ code: socket.code, reason: socket.reason });
  over = true;
  socket.end();
  await sending.catch(() => {});
  page.close();
  socket.destroy();
}
