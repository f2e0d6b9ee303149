/** The guest's network card, for the mount worker: its frames are answered by Python. */

import { FrameBatch } from "./frames.js";

/** @import { PyodideAPI } from "pyodide" */
/** @import { GuestRequest, NetworkMode, NetworkName } from "../messages.js" */
/** @import { Link, Neighbourhood } from "./neighbours.js" */

const PYODIDE = new URL("../pyodide/", import.meta.url);

/** Room for many frames of the largest size. */
const BUFFER_SIZE = 1024 * 1024;
const LENGTH_SIZE = 4;

/** What may come before Python's part is there; the guest sends again what is lost. */
const MAX_WAITING_FRAMES = 1024;

const MODULE = "browsermount.pyodide.network";

/** What each archive of modules is fetched for, and where Python finds it. */
const ARCHIVES = {
  network: MODULE,
  neighbours: `${MODULE}_neighbours`,
  websocket: `${MODULE}_websocket`,
  bundle: `${MODULE}_bundle`,
  commit: "browsermount.pyodide.commit",
};

/**
 * Fetches modules, once, where the memory snapshot is without them.
 * @param {any} python
 * @param {keyof typeof ARCHIVES} name the archive's
 */
export async function addModules(python, name = "network") {
  const parts = python.pyimport("browsermount.pyodide.parts");
  if (!parts.has(ARCHIVES[name])) {
    const response = await fetch(new URL(`${name}.zip`, PYODIDE));
    if (!response.ok) throw new Error(`${name}.zip: ${response.status} ${response.statusText}`);
    const archive = `/lib/${name}.zip`;
    python.FS.writeFile(archive, new Uint8Array(await response.arrayBuffer()));
    if (!parts.has(ARCHIVES[name])) parts.add(archive);
  }
  parts.destroy();
}

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
  /** The container's place among others. @type {Promise<Neighbourhood | undefined>} */
  #joining;
  /** Python's part of that. @type {any} */
  #neighbours;
  #mounts;
  /** Python's part of that. @type {any} */
  #bundle;

  /**
   * @param {PyodideAPI} python
   * @param {MessagePort} port
   * @param {NetworkMode} network
   * @param {NetworkName | undefined} name the network of containers that it is in
   * @param {any} worker The Python object browsermount.pyodide.worker.Worker.
   * @param {(event: string) => void} emit takes events as JSON
   * @param {boolean} [mounts] whether the machine mounts its image through the card
   */
  constructor(python, port, network, name, worker, emit, mounts = false) {
    this.#python = /** @type {any} */ (python);
    this.#port = port;
    this.#frames = new FrameBatch(port);
    this.#network = network;
    this.#worker = worker;
    this.#emit = emit;
    this.#mounts = mounts;
    this.#joining = name ? this.#join(name) : Promise.resolve(undefined);
    port.onmessage = ({ data }) => this.#receive(data);
  }

  /** @param {NetworkName} wanted @returns {Promise<Neighbourhood | undefined>} */
  async #join(wanted) {
    const say = (/** @type {object} */ news) =>
      this.#emit(JSON.stringify({ kind: "neighbours", network: wanted.network, ...news }));
    try {
      const { Neighbourhood } = await import("./neighbours.js");
      const joined = await Neighbourhood.join(wanted, (name, link) => void this.#meet(name, link));
      say({ name: joined.name, taken: Boolean(wanted.name) && joined.name !== wanted.name });
      return joined;
    } catch (error) {
      say({ failure: /** @type {any} */ (error).message });
      return undefined;
    }
  }

  /** @param {string} name @param {Link} link */
  async #meet(name, link) {
    await this.#start();
    if (this.#neighbours) this.#neighbours.meet(name, link);
    else link.close();
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
  async #request({ port, method, target, headers, body, protocols }, reply) {
    if (this.#network !== "none") await this.#start();
    if (this.#closed || !this.#stack) {
      reply.postMessage({ error: "the container has no network" });
      return;
    }
    if (protocols) {
      const { serveSocket } = await import("./guest-socket.js");
      await addModules(this.#python, "websocket");
      const glue = this.#python.pyimport(ARCHIVES.websocket);
      const given = JSON.stringify(protocols);
      await serveSocket(() => glue.open_socket(this.#stack, port, target, given), reply);
      glue.destroy();
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
    void this.#joining.then((joined) => joined?.leave());
    this.#neighbours?.close();
    this.#neighbours?.destroy();
    this.#neighbours = undefined;
    this.#bundle?.close();
    this.#bundle?.destroy();
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
    const joined = await this.#joining;
    if (joined) await addModules(this.#python, "neighbours");
    if (this.#mounts) await addModules(this.#python, "bundle");
    if (this.#closed) return;
    const glue = this.#python.pyimport(MODULE);
    this.#stack = glue.PageNetwork(
      (/** @type {Uint8Array<ArrayBuffer>} */ frame) => this.#frames.add(frame),
      BUFFER_SIZE,
      this.#network,
      this.#worker,
      this.#emit,
    );
    glue.destroy();
    if (joined) {
      const more = this.#python.pyimport(ARCHIVES.neighbours);
      this.#neighbours = more.PageNeighbours(this.#stack, joined);
      more.destroy();
    }
    if (this.#mounts) {
      const more = this.#python.pyimport(ARCHIVES.bundle);
      this.#bundle = more.PageBundle(this.#stack, this.#worker);
      more.destroy();
    }
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
