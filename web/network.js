/** The guest's network card, for the mount worker: its frames are answered by Python. */

import { FrameBatch } from "./frames.js";

/** @import { PyodideAPI } from "pyodide" */
/** @import { GuestRequest } from "./messages.js" */

/** Room for many frames of the largest size. */
const BUFFER_SIZE = 1024 * 1024;
const LENGTH_SIZE = 4;

/** What may come before Python's part is there; the guest sends again what is lost. */
const MAX_WAITING_FRAMES = 1024;

/**
 * Fetches modules, once, where the memory snapshot is without them: by default those of the network.
 * @param {any} python
 * @param {string} [module] one of them
 * @param {string} [archive] the name of the site's file that has them
 */
export async function addModules(python, module = MODULE, archive = "network.zip") {
  const parts = python.pyimport("browsermount.pyodide.parts");
  if (!parts.has(module)) {
    const response = await fetch(new URL(`./pyodide/${archive}`, import.meta.url));
    if (!response.ok) throw new Error(`${archive}: ${response.status} ${response.statusText}`);
    // Where Python finds them.
    const path = `/lib/${archive}`;
    python.FS.writeFile(path, new Uint8Array(await response.arrayBuffer()));
    if (!parts.has(module)) parts.add(path);
  }
  parts.destroy();
}

const MODULE = "browsermount.pyodide.network";

/** The other end of one machine's card. Python's part is made when the first frame comes. */
export class NetworkPort {
  #python;
  #port;
  #frames;
  #network;
  #worker;
  #emit;
  /** @type {any} */
  #stack;
  /** @type {any} */
  #handle;
  #address = 0;
  /** @type {Promise<void> | undefined} */
  #starting;
  /** What has come before Python's part was there. @type {Uint8Array[]} */
  #early = [];
  #closed = false;

  /**
   * @param {PyodideAPI} python
   * @param {MessagePort} port
   * @param {"none" | "public" | "all"} network
   * @param {any} worker The Python object browsermount.pyodide.worker.Worker.
   * @param {(event: string) => void} emit takes events as JSON
   */
  constructor(python, port, network, worker, emit) {
    this.#python = /** @type {any} */ (python);
    this.#port = port;
    this.#frames = new FrameBatch(port);
    this.#network = network;
    this.#worker = worker;
    this.#emit = emit;
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /**
   * Sends a request to a server in the container. Answers with the head, then with a piece of
   * the body for each "next" that comes, the last one empty, or with an error.
   * @param {GuestRequest} request
   * @param {MessagePort} reply
   */
  async request(request, reply) {
    try {
      await this.#request(request, reply);
    } catch (error) {
      // A defect: whoever waits is not to wait for ever.
      reply.postMessage({ error: String(error) });
      throw error;
    }
  }

  /**
   * @param {GuestRequest} request
   * @param {MessagePort} reply
   */
  async #request({ port, method, target, headers, body }, reply) {
    if (this.#network !== "none") await this.#start();
    if (this.#closed || !this.#stack) {
      reply.postMessage({ error: "the container has no network" });
      return;
    }
    const answer = await this.#stack.request(port, method, target, JSON.stringify(headers), body);
    const end = () => {
      reply.close();
      answer.close();
      answer.destroy();
    };
    const { error, status } = answer;
    if (error) {
      reply.postMessage({ error });
      end();
      return;
    }
    reply.onmessage = async ({ data }) => {
      if (data !== "next") {
        end();
        return;
      }
      const part = await answer.next();
      // What is transferred has no length any more.
      const last = part.length === 0;
      if (answer.error) reply.postMessage({ error: answer.error });
      else reply.postMessage({ part }, [part.buffer]);
      if (last) end();
    };
    reply.postMessage({ status, headers: JSON.parse(answer.headers) });
  }

  /** What reset() takes; null where there was no traffic. */
  save() {
    return this.#stack ? JSON.parse(this.#stack.save()) : null;
  }

  /**
   * Tells a guest that was saved that its connections are gone.
   * @param {{ connections: unknown[] } | null} saved
   */
  async reset(saved) {
    if (this.#network === "none" || !saved?.connections?.length) return;
    await this.#start();
    this.#stack?.reset(JSON.stringify(saved));
  }

  close() {
    this.#closed = true;
    this.#port.onmessage = null;
    this.#port.close();
    this.#stack?.close();
    this.#handle?.destroy();
    this.#stack?.destroy();
  }

  /** @param {Uint8Array[]} frames */
  #receive(frames) {
    if (this.#network === "none") return;
    if (!this.#stack) {
      if (this.#early.length < MAX_WAITING_FRAMES) this.#early.push(...frames);
      void this.#start();
      return;
    }
    let at = 0;
    for (const frame of frames) {
      const size = LENGTH_SIZE + frame.length;
      if (size > BUFFER_SIZE) continue;
      if (at + size > BUFFER_SIZE) {
        this.#handle(at);
        at = 0;
      }
      // Read HEAPU8 again: the heap may have grown, which makes a new buffer of it.
      const heap = this.#python._module.HEAPU8;
      const start = this.#address + at;
      new DataView(heap.buffer).setUint32(start, frame.length);
      heap.set(frame, start + LENGTH_SIZE);
      at += size;
    }
    this.#handle(at);
  }

  #start() {
    this.#starting ??= this.#make().catch((error) => {
      // The next frame tries again: the page may have been offline for a moment.
      this.#starting = undefined;
      this.#early = [];
      console.error("browsermount: the network's modules cannot be had:", error);
    });
    return this.#starting;
  }

  async #make() {
    await addModules(this.#python);
    if (this.#closed) return;
    const glue = this.#python.pyimport(MODULE);
    this.#stack = glue.PageNetwork(
      (/** @type {Uint8Array<ArrayBuffer>} */ frame) => this.#frames.add(frame),
      BUFFER_SIZE,
      this.#network === "all",
      this.#worker,
      this.#emit,
    );
    glue.destroy();
    const { buffer } = this.#stack;
    const view = buffer.getBuffer("u8");
    this.#address = view.data.byteOffset;
    view.release();
    buffer.destroy();
    this.#handle = this.#stack.handle;
    const early = this.#early;
    this.#early = [];
    if (early.length > 0) this.#receive(early);
  }
}
