/**
 * In the pages of previews, before their own scripts: WebSockets to servers in the container. Service
 * workers do not see these. So WebSocket is replaced by a class that asks the worker for a channel to
 * the container; addresses elsewhere remain the browser's. A classic script, as it has to run at once.
 */

(() => {
  const Native = window.WebSocket;
  const script = /** @type {HTMLScriptElement} */ (document.currentScript);
  /** Where previews are. */
  const PREFIX = new URL("preview/", script.src).pathname;
  script.remove();

  /** The names that the container has for itself. */
  const LOCAL = ["localhost", "127.0.0.1", "[::1]"];
  const PLACE = /^[0-9a-f]{32}\/([0-9]{1,5})(\/.*)$/;
  const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
  /** Bytes that are on their way; what is more waits here. */
  const WINDOW = 1024 * 1024;
  const ABNORMAL = 1006;
  const MAX_REASON = 123;
  const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];

  /** Where this page was; its scripts may change its address. */
  const FIRST = placeIn(location.pathname);

  /** @param {string} message @param {string} name */
  const exception = (message, name) =>
    new DOMException(`Failed to use a WebSocket: ${message}`, name);

  /**
   * The server in the container that an address means.
   * @param {URL} url
   * @returns {{ port: number, target: string } | undefined} undefined for servers elsewhere
   */
  function placeOf({ protocol, host, hostname, port, pathname, search }) {
    const here = placeIn(location.pathname) ?? FIRST;
    if (host === location.host && here) {
      const there = placeIn(pathname);
      return { port: (there ?? here).port, target: (there?.path ?? pathname) + search };
    }
    const local = protocol === "ws:" && LOCAL.includes(hostname);
    return local ? { port: Number(port || 80), target: pathname + search } : undefined;
  }

  /** @param {string} pathname */
  function placeIn(pathname) {
    const found = pathname.startsWith(PREFIX) && PLACE.exec(pathname.slice(PREFIX.length));
    return found ? { port: Number(found[1]), path: found[2] } : undefined;
  }

  /** @param {string | URL} address */
  function parse(address) {
    let url;
    try {
      url = new URL(address, document.baseURI);
    } catch {
      throw exception(`${address} is no address.`, "SyntaxError");
    }
    url.protocol = url.protocol.replace(/^http/, "ws");
    return url;
  }

  class PreviewSocket extends EventTarget {
    static CONNECTING = CONNECTING;
    static OPEN = OPEN;
    static CLOSING = CLOSING;
    static CLOSED = CLOSED;
    #url;
    #state = CONNECTING;
    #protocol = "";
    #buffered = 0;
    #onWay = 0;
    /** @type {"blob" | "arraybuffer"} */
    #binaryType = "blob";
    /** What waits until it can be sent. @type {(Blob | { data: ArrayBuffer, isText: boolean })[]} */
    #queue = [];
    #reading = false;
    /** @type {{ code: number, reason: string } | undefined} */
    #closing;
    /** @type {Map<string, (event: any) => void>} */
    #handlers = new Map();
    #channel = new MessageChannel();
    #gone = () => this.#channel.port1.postMessage("gone");

    /**
     * @param {URL} url
     * @param {{ port: number, target: string }} place
     * @param {string[]} protocols
     */
    constructor(url, place, protocols) {
      super();
      this.#url = url.href;
      const { port1, port2 } = this.#channel;
      port1.onmessage = ({ data }) => this.#take(data);
      const worker = navigator.serviceWorker?.controller;
      const socket = { ...place, protocols };
      if (worker) worker.postMessage({ type: "socket", socket }, [port2]);
      else queueMicrotask(() => this.#take({ error: "the preview has no service worker" }));
      window.addEventListener("pagehide", this.#gone);
    }

    get url() {
      return this.#url;
    }
    get readyState() {
      return this.#state;
    }
    get bufferedAmount() {
      return this.#buffered;
    }
    get extensions() {
      return "";
    }
    get protocol() {
      return this.#protocol;
    }
    get binaryType() {
      return this.#binaryType;
    }
    set binaryType(value) {
      if (value === "blob" || value === "arraybuffer") this.#binaryType = value;
    }

    /** @param {string | ArrayBuffer | ArrayBufferView | Blob} data */
    send(data) {
      if (this.#state === CONNECTING) throw exception("It is not open yet.", "InvalidStateError");
      let item;
      if (data instanceof Blob) item = data;
      else if (data instanceof ArrayBuffer) item = { data: data.slice(0), isText: false };
      else if (ArrayBuffer.isView(data)) {
        const { buffer, byteOffset, byteLength } = data;
        const copy = new Uint8Array(buffer, byteOffset, byteLength).slice();
        item = { data: copy.buffer, isText: false };
      } else item = { data: new TextEncoder().encode(String(data)).buffer, isText: true };
      this.#buffered += item instanceof Blob ? item.size : item.data.byteLength;
      if (this.#state !== OPEN) return;
      this.#queue.push(item);
      void this.#push();
    }

    /** @param {number} [code] @param {string} [reason] */
    close(code, reason = "") {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999))
        throw exception(`${code} is no code that a page may use.`, "InvalidAccessError");
      if (new TextEncoder().encode(reason).length > MAX_REASON)
        throw exception("The reason is too long.", "SyntaxError");
      if (this.#state >= CLOSING) return;
      const opening = this.#state === CONNECTING;
      this.#state = CLOSING;
      if (opening) {
        this.#gone();
        queueMicrotask(() => this.#fail());
        return;
      }
      // 1005 stands for a close frame without a code.
      this.#closing = { code: code ?? 1005, reason: code === undefined ? "" : String(reason) };
      void this.#push();
    }

    /** Send what there is room for, in order. */
    async #push() {
      if (this.#reading) return;
      while (this.#queue.length > 0 && this.#onWay < WINDOW) {
        const [item] = this.#queue;
        let message = item;
        if (item instanceof Blob) {
          this.#reading = true;
          message = { data: await item.arrayBuffer(), isText: false };
          this.#reading = false;
        }
        this.#queue.shift();
        const { data, isText } = /** @type {{ data: ArrayBuffer, isText: boolean }} */ (message);
        this.#onWay += data.byteLength;
        this.#channel.port1.postMessage({ data, isText }, [data]);
      }
      if (this.#closing && this.#queue.length === 0) {
        this.#channel.port1.postMessage({ close: this.#closing });
        this.#closing = undefined;
      }
    }

    /** @param {any} told see serveSocket() of guest-socket.js */
    #take({ error, protocol, data, size, taken, code, reason }) {
      if (this.#state === CLOSED) return;
      if (error !== undefined) {
        console.error(`The WebSocket ${this.#url} cannot be opened: ${error}`);
        this.#fail();
      } else if (protocol !== undefined) {
        if (this.#state !== CONNECTING) return;
        this.#protocol = protocol;
        this.#state = OPEN;
        this.dispatchEvent(new Event("open"));
      } else if (data !== undefined) {
        this.#channel.port1.postMessage({ taken: size });
        const binary = this.#binaryType === "blob" ? () => new Blob([data]) : () => data.buffer;
        const content = typeof data === "string" ? data : binary();
        const { origin } = new URL(this.#url);
        if (this.#state === OPEN)
          this.dispatchEvent(new MessageEvent("message", { data: content, origin }));
      } else if (taken !== undefined) {
        this.#onWay -= taken;
        this.#buffered -= taken;
        void this.#push();
      } else if (code === ABNORMAL) {
        this.#fail();
      } else {
        this.#end({ code, reason, wasClean: true });
      }
    }

    #fail() {
      if (this.#state === CLOSED) return;
      this.#state = CLOSED;
      this.dispatchEvent(new Event("error"));
      this.#end({ code: ABNORMAL, reason: "", wasClean: false });
    }

    /** @param {CloseEventInit} why */
    #end(why) {
      this.#state = CLOSED;
      this.#channel.port1.close();
      window.removeEventListener("pagehide", this.#gone);
      this.dispatchEvent(new CloseEvent("close", why));
    }

    static {
      for (const type of ["open", "message", "error", "close"]) {
        Object.defineProperty(PreviewSocket.prototype, `on${type}`, {
          /** @this {PreviewSocket} */
          get() {
            return this.#handlers.get(type) ?? null;
          },
          /** @this {PreviewSocket} @param {unknown} given */
          set(given) {
            const before = this.#handlers.get(type);
            if (before) this.removeEventListener(type, before);
            this.#handlers.delete(type);
            if (typeof given !== "function") return;
            const handler = /** @type {(event: any) => void} */ (given);
            this.#handlers.set(type, handler);
            this.addEventListener(type, handler);
          },
          enumerable: true,
          configurable: true,
        });
      }
    }
  }

  const proto = PreviewSocket.prototype;
  for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED }))
    Object.defineProperty(proto, name, { value, enumerable: true });
  // For who asks, both are WebSockets.
  Object.setPrototypeOf(proto, Native.prototype);

  /** @type {any} */
  const Replacement = new Proxy(PreviewSocket, {
    construct(_target, given, newTarget) {
      if (given.length === 0) throw new TypeError("A WebSocket needs an address.");
      const url = parse(given[0]);
      const place = placeOf(url);
      if (!place) return Reflect.construct(Native, given);
      const listed = given[1] === undefined ? [] : [given[1]].flat().map(String);
      const odd = listed.some((it) => !TOKEN.test(it)) || new Set(listed).size < listed.length;
      if (odd) throw exception("The subprotocols make no sense.", "SyntaxError");
      const made = newTarget === Replacement ? PreviewSocket : newTarget;
      return Reflect.construct(PreviewSocket, [url, place, listed], made);
    },
    get(target, name, receiver) {
      if (name === "name") return "WebSocket";
      if (name === Symbol.hasInstance && receiver === Replacement)
        return (/** @type {any} */ it) => it instanceof Native;
      return Reflect.get(target, name, receiver);
    },
  });
  Object.defineProperty(proto, "constructor", { value: Replacement, configurable: true });
  Object.defineProperty(window, "WebSocket", {
    value: Replacement,
    writable: true,
    configurable: true,
  });
})();
