/**
 * The page's two workers: the one that serves the image, and the machine's.
 *
 * Both load a lot before they can do anything, so a page may start them before
 * it has loaded itself: see prepare().
 */

/** @import * as VM from "./vm/messages.js" */

const BASE = new URL("./", import.meta.url);

/** @param {string} path */
const url = (path) => new URL(path, BASE).href;

/** A worker.  What it says before somebody listens is kept. */
export class Helper {
  #worker;
  /** @type {(() => void)[]} */
  #kept = [];
  /** @type {{ message: (data: any) => void, failure: (details: string) => void } | undefined} */
  #listener;

  /** @param {string} path */
  constructor(path) {
    this.path = path;
    this.#worker = new Worker(url(path), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#tell(() => this.#listener?.message(data));
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#tell(() => this.#listener?.failure(event.message ?? ""));
    };
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
    this.#worker.postMessage(message, transfer);
  }

  end() {
    this.#listener = undefined;
    this.#worker.terminate();
  }

  /** @param {() => void} tell */
  #tell(tell) {
    if (this.#listener) tell();
    else this.#kept.push(tell);
  }
}

/** Start a machine; its 9P requests and its network card's frames come out of the ports. */
export function startMachine() {
  // The query makes v86 yield through the browser's scheduler, where there is
  // one, instead of through yet another worker.
  const machine = new Helper("vm/worker.js?use-scheduling-api");
  const { port1, port2 } = new MessageChannel();
  const cable = new MessageChannel();
  /** @type {VM.BootMessage} */
  const message = {
    type: "boot",
    assets: {
      v86: url("vendor/v86.mjs"),
      wasm: url("vendor/v86.wasm"),
      bios: url("vm/image/seabios.bin"),
      kernel: url("vm/image/bzImage"),
      initramfs: url("vm/image/initramfs.cpio.zst"),
      image: url("vm/image/image.json"),
      snapshot: url("vm/snapshot.zst"),
      snapshotInfo: url("vm/snapshot.json"),
    },
    port: port2,
    card: cable.port2,
  };
  machine.post(message, [port2, cable.port2]);
  return { machine, port: port1, card: cable.port1 };
}

function startBoth() {
  return { mount: new Helper("worker.js"), ...startMachine() };
}

/** @type {ReturnType<typeof startBoth> | undefined} */
let prepared;

/** Start the workers that the next to call takeWorkers() will get. */
export function prepare() {
  prepared ??= startBoth();
}

/** Workers that nobody else uses: those that were prepared, or new ones. */
export function takeWorkers() {
  const workers = prepared ?? startBoth();
  prepared = undefined;
  return workers;
}
