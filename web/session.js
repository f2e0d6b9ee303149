/**
 * One image in one page: the mount worker that serves it, and the machine that
 * runs it.  The machine can be replaced by a fresh one; the mount stays.
 */

/** @import { Credentials, CredentialRequest, Failure } from "./messages.js" */
/** @import { ImageInfo, Kept, MountEvent, RuntimeMessage } from "./messages.js" */
/** @import * as VM from "./vm/messages.js" */

/**
 * @typedef {object} SessionEvents
 * @property {(message: RuntimeMessage) => void} runtime How far Pyodide is.
 * @property {(event: MountEvent) => void} event How far the image is.
 * @property {(request: CredentialRequest) => Promise<Credentials | null>} credentials
 * @property {(stage: VM.Stage) => void} machine How far the machine is.
 * @property {(image: ImageInfo) => void} mounted
 * @property {(data: Uint8Array) => void} output The terminal's bytes.
 * @property {(kept: Kept) => void} kept How much is kept of images.
 * @property {(code: number, signal?: number) => void} exit
 * @property {(failure: Failure) => void} error The last event until the next start.
 */

/** What to do about a failure of the machine, by its stage. */
const MACHINE_HINTS = {
  fetch: "Check the network connection and try again.",
  machine: "Try again; if that does not help, try another browser or close other tabs.",
  mount: "Try again. If it happens again, please report it with the details below.",
  bundle: "Try again. If it happens again, please report it with the details below.",
  start: "Check the image's entrypoint, cmd, user and working directory.",
};

export class Session {
  /** @type {Worker | undefined} */
  #mountWorker;
  /** @type {Worker | undefined} */
  #machine;
  #mounted = false;
  #ready = false;
  #started = false;

  /**
   * @param {URL} base The folder with the page's own files.
   * @param {string} image The reference as the person gave it.
   * @param {string} mirror Where registries are reached instead; may be empty.
   * @param {string} platform The one that is asked for; may be empty.
   * @param {SessionEvents} on
   * @param {() => { cols: number, rows: number }} size The terminal's size when the process starts.
   */
  constructor(base, image, mirror, platform, on, size) {
    this.base = base;
    this.image = image;
    this.mirror = mirror;
    this.platform = platform;
    this.on = on;
    this.size = size;
  }

  /** Mount the image and start a machine on it, both at once. */
  open() {
    const { port1, port2 } = new MessageChannel();
    this.#mountWorker = this.#startWorker("worker.js", (data) => this.#fromMount(data));
    this.#mountWorker.postMessage(
      {
        type: "mount",
        image: this.image,
        base: document.baseURI,
        mirror: this.mirror,
        platform: this.platform,
        port: port1,
      },
      [port1],
    );
    this.#boot(port2);
  }

  /** Run a fresh container: what the last one wrote is gone. */
  restart() {
    if (!this.#mounted || !this.#mountWorker) {
      this.close();
      this.open();
      return;
    }
    this.#stopMachine();
    const { port1, port2 } = new MessageChannel();
    this.#mountWorker.postMessage({ type: "attach", port: port1 }, [port1]);
    this.#boot(port2);
  }

  /** @param {Uint8Array} data */
  input(data) {
    if (this.#started) this.#machine?.postMessage({ type: "input", data });
  }

  /** @param {number} cols @param {number} rows */
  resize(cols, rows) {
    if (this.#started) this.#machine?.postMessage({ type: "resize", cols, rows });
  }

  /** @param {number} bytes of output that the terminal has shown */
  shown(bytes) {
    this.#machine?.postMessage({ type: "acknowledge", bytes });
  }

  /** Ask how much is kept, after letting go what is not in use where `clear`. */
  kept(clear = false) {
    this.#mountWorker?.postMessage({ type: "kept", clear });
  }

  close() {
    this.#stopMachine();
    this.#mountWorker?.terminate();
    this.#mountWorker = undefined;
    this.#mounted = false;
  }

  #stopMachine() {
    this.#machine?.terminate();
    this.#machine = undefined;
    this.#ready = false;
    this.#started = false;
  }

  /**
   * @param {string} path
   * @param {(data: any) => void} receive
   */
  #startWorker(path, receive) {
    const worker = new Worker(new URL(path, this.base), { type: "module" });
    worker.onmessage = ({ data }) => receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail({
        code: "worker",
        message: `the page's own file ${path} could not be run`,
        hint: "Check the network connection and reload the page.",
        details: event.message ?? "",
      });
    };
    return worker;
  }

  /** @param {MessagePort} port */
  #boot(port) {
    const url = (/** @type {string} */ path) => new URL(path, this.base).href;
    this.#machine = this.#startWorker("vm/worker.js", (data) => this.#fromMachine(data));
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
      port,
    };
    this.#machine.postMessage(message, [port]);
  }

  /** @param {import("./messages.js").WorkerMessage} message */
  #fromMount(message) {
    switch (message.type) {
      case "stage":
        this.on.runtime(message);
        break;
      case "event":
        this.on.event(message.event);
        break;
      case "ask":
        void this.#answer(message.id, message.request);
        break;
      case "mounted":
        this.#mounted = true;
        this.on.mounted(message.image);
        this.#startWhenReady();
        break;
      case "kept":
        this.on.kept(message.kept);
        break;
      case "error":
        this.#fail(message.error);
        break;
    }
  }

  /** @param {number} id @param {CredentialRequest} request */
  async #answer(id, request) {
    const worker = this.#mountWorker;
    const credentials = await this.on.credentials(request);
    worker?.postMessage({ type: "credentials", id, credentials });
  }

  /** @param {VM.WorkerMessage} message */
  #fromMachine(message) {
    switch (message.type) {
      case "stage":
        this.on.machine(message);
        if (message.stage === "ready") {
          this.#ready = true;
          this.#startWhenReady();
        }
        if (message.stage === "started") this.#mountWorker?.postMessage({ type: "running" });
        break;
      case "output":
        this.on.output(message.data);
        break;
      case "exit":
        this.#stopMachine();
        this.on.exit(message.code, message.signal);
        break;
      case "error":
        this.#stopMachine();
        this.on.error({
          code: `machine-${message.stage}`,
          message: message.message,
          hint: MACHINE_HINTS[message.stage],
          details: `exit code ${message.code}`,
        });
        break;
    }
  }

  #startWhenReady() {
    if (!this.#mounted || !this.#ready || this.#started) return;
    this.#started = true;
    this.#machine?.postMessage({ type: "start", ...this.size() });
  }

  /** @param {Failure} failure */
  #fail(failure) {
    this.close();
    this.on.error(failure);
  }
}
