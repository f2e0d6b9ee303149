/**
 * The page's two workers: the one that serves the image, and the machine's.
 *
 * Both load a lot before they can do anything, so a page may start them before
 * it has loaded itself: see prepare().
 */

/** @import * as VM from "../vm/messages.js" */
/** @import { Warm } from "./warm-state.js" */

const BASE = new URL("../", import.meta.url);

/** @param {string} path */
const url = (path) => new URL(path, BASE).href;

const WORKERS = [
  "worker.js",
  "vm/worker.js?use-scheduling-api",
  "mount/early-worker.js",
  "wasi/worker.js",
  "wasi/service-worker.js",
];

/**
 * Trusted Types: the one policy of the page, which makes addresses of its workers and of nothing
 * else. There is none where the browser has no Trusted Types, or where the page's own
 * Content-Security-Policy does not name it, which then must not require them.
 */
function makePolicy() {
  try {
    return /** @type {any} */ (globalThis).trustedTypes?.createPolicy("browsermount", {
      createScriptURL(/** @type {string} */ path) {
        if (!WORKERS.includes(path)) throw new TypeError(`${path} is no worker of this page`);
        return url(path);
      },
    });
  } catch {
    return undefined;
  }
}
const policy = makePolicy();

/**
 * The address of one of the page's workers, as browsers with Trusted Types want it.
 * @param {string} path
 * @returns {string}
 */
export const workerUrl = (path) => policy?.createScriptURL(path) ?? url(path);

/** A worker.  What it says before somebody listens is kept, and what it is told before it is started. */
export class Helper {
  /** @type {Worker | undefined} */
  #worker;
  #ended = false;
  /** @type {[any, Transferable[]][]} */
  #untold = [];
  /** Who waits for something that it says. @type {((type: string | undefined) => void)[]} */
  #waiting = [];
  /** @type {(() => void)[]} */
  #kept = [];
  /** @type {{ message: (data: any) => void, failure: (details: string) => void } | undefined} */
  #listener;

  /**
   * @param {string} path
   * @param {Promise<void>} [after] what is waited for before it is started
   */
  constructor(path, after) {
    this.path = path;
    if (after) void after.then(() => this.#startLate());
    else this.#start();
  }

  #start() {
    const worker = new Worker(workerUrl(this.path), { type: "module" });
    worker.onmessage = ({ data }) => {
      this.#hear(data.type);
      this.#tell(() => this.#listener?.message(data));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message ?? "");
    };
    this.#worker = worker;
    for (const [message, transfer] of this.#untold.splice(0)) worker.postMessage(message, transfer);
  }

  #startLate() {
    if (this.#ended) return;
    try {
      this.#start();
    } catch (error) {
      this.#fail(String(error));
    }
  }

  /** @param {string} details */
  #fail(details) {
    this.#hear(undefined);
    this.#tell(() => this.#listener?.failure(details));
  }

  /** @param {string | undefined} type of a message; undefined where none comes any more */
  #hear(type) {
    for (const hear of this.#waiting) hear(type);
  }

  /**
   * Waits until it has said something, or cannot.
   * @param {...string} types of messages, of which one is enough
   * @returns {Promise<void>}
   */
  said(...types) {
    return new Promise((resolve) => {
      this.#waiting.push((type) => {
        if (type === undefined || types.includes(type)) resolve();
      });
    });
  }

  /**
   * @param {(data: any) => void} message
   * @param {(details: string) => void} failure The worker's script cannot be run.
   */
  listen(message, failure) {
    this.#listener = { message, failure };
    for (const tell of this.#kept.splice(0)) tell();
  }

  /** @param {any} message @param {Transferable[]} [transfer] */
  post(message, transfer = []) {
    if (this.#worker) this.#worker.postMessage(message, transfer);
    else this.#untold.push([message, transfer]);
  }

  end() {
    this.#ended = true;
    this.#listener = undefined;
    this.#worker?.terminate();
    this.#hear(undefined);
  }

  /** @param {() => void} tell */
  #tell(tell) {
    if (this.#listener) tell();
    else this.#kept.push(tell);
  }
}

/** What each machine is made of. @type {Record<VM.MachineKind, VM.Assets>} */
export const ASSETS = {
  v86: {
    kind: "v86",
    v86: url("vendor/v86.mjs"),
    wasm: url("vendor/v86.wasm"),
    bios: url("vm/image/seabios.bin"),
    kernel: url("vm/image/bzImage"),
    initramfs: url("vm/image/initramfs.cpio.zst"),
    image: url("vm/image/image.json"),
    snapshot: url("vm/snapshot.zst"),
    snapshotInfo: url("vm/snapshot.json"),
  },
  x64: {
    kind: "x64",
    wasm: url("vm/x64/machine.wasm.gz"),
    kernel: url("vm/image64/vmlinux.zst"),
    initramfs: url("vm/image64/initramfs.cpio.zst"),
    image: url("vm/image64/image.json"),
    snapshot: url("vm/x64/snapshot.zst"),
    snapshotInfo: url("vm/x64/snapshot.json"),
  },
};

/**
 * Start a machine; its 9P requests and its network card's frames come out of the ports.
 * @param {VM.MachineKind} kind
 * @param {object} [how]
 * @param {number} [how.memoryMiB] by default what its snapshot has
 * @param {Blob} [how.saved] the file of a saved session, in which it goes on
 * @param {Warm} [how.warm] the state at a prompt in which it goes on by itself
 * @param {number} [how.archive] for that: how much is to be told of what its container has changed, at its end
 */
export function startMachine(kind, { memoryMiB, saved, warm, archive } = {}) {
  // The query makes v86 yield through the browser's scheduler, where there is
  // one, instead of through yet another worker.
  const machine = new Helper("vm/worker.js?use-scheduling-api");
  const { port1, port2 } = new MessageChannel();
  const cable = new MessageChannel();
  /** @type {VM.BootMessage} */
  const message = {
    type: "boot",
    assets: ASSETS[kind],
    memoryMiB,
    port: port2,
    card: cable.port2,
    ...(saved && { saved }),
    ...(warm && { warm: warm.source, archive }),
  };
  machine.post(message, [port2, cable.port2]);
  return { kind, warm, machine, port: port1, card: cable.port1 };
}

/**
 * A machine that goes on from a state needs no server of its image for its prompt, and for what is typed
 * there: it gets the connection and the processors first.
 * @param {VM.MachineKind} kind
 * @param {{ memoryMiB?: number, warm?: Warm, archive?: number }} [how] as for startMachine()
 */
function startBoth(kind, how) {
  if (!how?.warm) return { mount: new Helper("worker.js"), ...startMachine(kind, how) };
  const started = startMachine(kind, how);
  const after = started.machine.said("loaded", "cold", "error");
  return { mount: new Helper("worker.js", after), ...started };
}

/** @type {ReturnType<typeof startBoth> | undefined} */
let prepared;

/**
 * Start the workers that the next to call takeWorkers() will get.
 * @param {VM.MachineKind} kind of the machine
 * @param {Warm} [warm] the state in which it goes on
 */
export function prepare(kind, warm) {
  try {
    prepared ??= startBoth(kind, { warm });
  } catch {
    // Who takes them tries again, and can tell a person.
  }
}

/**
 * Workers that nobody else uses: those that were prepared, of whatever kind the machine is, or
 * new ones.
 * @param {VM.MachineKind} kind of the machine
 * @param {{ memoryMiB?: number, warm?: Warm, archive?: number }} how as for startMachine()
 */
export function takeWorkers(kind, how) {
  const workers = prepared;
  prepared = undefined;
  if (!workers) return startBoth(kind, how);
  // What was prepared has the memory of the snapshot, or of its state.
  const asked = how.warm !== undefined || how.memoryMiB === undefined;
  if (asked && workers.warm?.name === how.warm?.name && how.archive === undefined) return workers;
  workers.machine.end();
  return { mount: workers.mount, ...startMachine(kind, how) };
}
