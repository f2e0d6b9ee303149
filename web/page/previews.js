/** Previews of servers in the container: their addresses, and their requests. */

/** @import { GuestRequest } from "../messages.js" */

const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/;

/**
 * A request as a preview sends it, which whatever is shown there may have made up.
 * @param {any} data
 * @returns {GuestRequest | undefined} undefined for what is none
 */
export function readRequest(data) {
  const { port, method, target, headers, body, protocols } = data ?? {};
  if (!Number.isInteger(port) || port < 1 || port > 65535) return undefined;
  if (typeof method !== "string" || !METHOD.test(method)) return undefined;
  if (typeof target !== "string" || !target.startsWith("/")) return undefined;
  if (body !== null && !(body instanceof ArrayBuffer)) return undefined;
  if (!Array.isArray(headers)) return undefined;
  /** @type {[string, string][]} */
  const pairs = [];
  for (const pair of headers) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    if (!pair.every((text) => typeof text === "string")) return undefined;
    pairs.push([pair[0], pair[1]]);
  }
  if (protocols === undefined) return { port, method, target, headers: pairs, body };
  if (!Array.isArray(protocols) || !protocols.every((it) => typeof it === "string"))
    return undefined;
  return { port, method, target, headers: pairs, body, protocols };
}

/** The previews of one container. */
export class Previews {
  #send;
  /** Each preview's address is known to nobody else. @type {Map<string, MessagePort | undefined>} */
  #known = new Map();
  #listen = (/** @type {MessageEvent} */ event) => this.#receive(event);

  /**
   * @param {string} base where preview.html is
   * @param {(request: GuestRequest, reply: MessagePort) => void} send
   */
  constructor(base, send) {
    this.page = new URL("preview.html", base);
    this.#send = send;
    window.addEventListener("message", this.#listen);
  }

  /** Whether what is shown has the rights of this page. */
  get isOurs() {
    return this.page.origin === location.origin;
  }

  /**
   * The address of a page that shows a server, in a frame or a tab that this page opens.
   * @param {number} port
   * @param {string} path
   */
  address(port, path = "/") {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
      byte.toString(16).padStart(2, "0"),
    ).join("");
    this.#known.set(id, undefined);
    const url = new URL(this.page);
    url.search = new URLSearchParams({ id, port: String(port), path }).toString();
    return url.href;
  }

  close() {
    window.removeEventListener("message", this.#listen);
    for (const port of this.#known.values()) port?.close();
    this.#known.clear();
  }

  /** @param {MessageEvent} event */
  #receive({ origin, source, data }) {
    if (origin !== this.page.origin || data?.type !== "browsermount-preview") return;
    if (!this.#known.has(data.id) || !source) return;
    // One that was loaded again asks again.
    this.#known.get(data.id)?.close();
    const { port1, port2 } = new MessageChannel();
    this.#known.set(data.id, port1);
    port1.onmessage = ({ data: given, ports: [reply] }) => {
      const request = readRequest(given);
      if (!reply) return;
      if (request) this.#send(request, reply);
      else reply.postMessage({ error: "the preview has sent no request" });
    };
    const message = { type: "browsermount-preview-port", id: data.id };
    /** @type {Window} */ (source).postMessage(message, origin, [port2]);
  }
}
