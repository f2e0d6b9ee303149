/**
 * One image in one page: the mount worker that serves it, and the machine that
 * runs it.  The machine can be replaced by a fresh one; the mount stays.
 */

import { likelyMachine, rememberMachine } from "./likely-machine.js";
import { machineFor } from "./platform.js";
import { noWorker } from "./requirements.js";
import { startMachine, takeWorkers } from "./workers.js";

/** @import { Helper } from "./workers.js" */
/** @import { Credentials, CredentialRequest, Failure, GuestRequest } from "./messages.js" */
/** @import { ImageInfo, ImageRequest, Kept, MountEvent, RuntimeMessage } from "./messages.js" */
/** @import * as VM from "./vm/messages.js" */

/**
 * @typedef {object} SessionEvents
 * @property {(message: RuntimeMessage) => void} runtime How far Pyodide is.
 * @property {(event: MountEvent) => void} event How far the image is.
 * @property {(request: CredentialRequest) => Promise<Credentials | null>} credentials
 * @property {(stage: VM.Stage) => void} machine How far the machine is.
 * @property {(image: ImageInfo) => void} mounted
 * @property {(data: Uint8Array) => void} output The terminal's bytes.
 * @property {(ports: number[]) => void} ports At which the container listens now.
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

/**
 * How long the machine waits for the image before it runs the interpreter. With
 * two processors that would keep layers waiting that come from nearby; where
 * they take longer than this, they leave the processors idle.
 */
const PATIENCE_MS = navigator.hardwareConcurrency > 2 ? 0 : 1000;

/** How long the mount worker may take to answer that another machine has come. */
const ATTACH_MS = 5000;

export class Session {
  /** @type {Helper | undefined} */
  #mount;
  /** @type {Helper | undefined} */
  #machine;
  /** Which machine it is. @type {VM.MachineKind} */
  #kind = "v86";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #attaching;
  #translates = false;
  #mounted = false;
  #ready = false;
  #started = false;

  /**
   * @param {ImageRequest} request What is to be mounted, and how.
   * @param {SessionEvents} on
   * @param {() => { cols: number, rows: number }} size The terminal's size when the process starts.
   */
  constructor(request, on, size) {
    this.request = request;
    this.on = on;
    this.size = size;
  }

  /** Mount the image and start a machine on it, both at once. */
  open() {
    const { request } = this;
    const workers = this.#start(() => takeWorkers(likelyMachine(request), request.memoryMiB));
    if (!workers) return;
    const { mount, machine, kind, port, card } = workers;
    this.#mount = mount;
    this.#kind = kind;
    this.#listen(mount, (data) => this.#fromMount(data));
    mount.post({ type: "mount", request, base: document.baseURI, port, card }, [port, card]);
    this.#use(machine);
  }

  /** Run a fresh container: what the last one wrote is gone. */
  restart() {
    if (!this.#mounted || !this.#mount) {
      this.close();
      this.open();
      return;
    }
    this.#stopMachine();
    const started = this.#start(() => startMachine(this.#kind, this.request.memoryMiB));
    if (!started) return;
    const { machine, port, card } = started;
    this.#mount.post({ type: "attach", port, card }, [port, card]);
    this.#use(machine);
    // A worker that is busy with something without end, or broken, is replaced, too.
    this.#attaching = setTimeout(() => {
      this.close();
      this.open();
    }, ATTACH_MS);
  }

  /** End the container and its machine, whatever they do; no event comes after this. */
  stop() {
    this.#stopMachine();
  }

  /** @param {Uint8Array} data */
  input(data) {
    if (this.#started) this.#machine?.post({ type: "input", data });
  }

  /** @param {number} cols @param {number} rows */
  resize(cols, rows) {
    if (this.#started) this.#machine?.post({ type: "resize", cols, rows });
  }

  /** @param {number} bytes of output that the terminal has shown */
  shown(bytes) {
    this.#machine?.post({ type: "acknowledge", bytes });
  }

  /** Ask how much is kept, after letting go what is not in use where `clear`. */
  kept(clear = false) {
    this.#mount?.post({ type: "kept", clear });
  }

  /**
   * Send a request to a web server in the container.
   * @param {GuestRequest} request
   * @param {MessagePort} reply see NetworkPort.request()
   */
  askGuest(request, reply) {
    if (this.#started) this.#mount?.post({ type: "request", request, reply }, [reply]);
    else reply.postMessage({ error: "the container does not run" });
  }

  close() {
    this.#stopMachine();
    this.#mount?.end();
    this.#mount = undefined;
    this.#translates = false;
    this.#mounted = false;
  }

  /**
   * Exchange the machine for the one that runs such images, before anything was started.
   * @param {string} platform
   */
  #choose(platform) {
    const { request } = this;
    const wanted = machineFor(platform, request.machine);
    // What was asked for says nothing of the image.
    if (!request.platform && !request.machine) rememberMachine(request.image, platform);
    if (wanted === this.#kind || !this.#mount) return;
    this.#stopMachine();
    this.#kind = wanted;
    const started = this.#start(() => startMachine(wanted, this.request.memoryMiB));
    if (!started) return;
    const { machine, port, card } = started;
    this.#mount.post({ type: "connect", port, card }, [port, card]);
    this.#use(machine);
  }

  /**
   * Start workers, or say why there are none.
   * @template T
   * @param {() => T} start
   * @returns {T | undefined}
   */
  #start(start) {
    try {
      return start();
    } catch (error) {
      this.#fail(noWorker(error));
      return undefined;
    }
  }

  #stopMachine() {
    clearTimeout(this.#attaching);
    this.#machine?.end();
    this.#machine = undefined;
    this.#ready = false;
    this.#started = false;
  }

  /** @param {Helper} machine */
  #use(machine) {
    this.#machine = machine;
    this.#listen(machine, (data) => this.#fromMachine(data));
  }

  /**
   * @param {Helper} worker
   * @param {(data: any) => void} receive
   */
  #listen(worker, receive) {
    worker.listen(receive, (details) =>
      this.#fail({
        code: "worker",
        message: `the page's own file ${worker.path.replace(/\?.*/, "")} could not be run`,
        hint: "Check the network connection and reload the page.",
        details,
      }),
    );
  }

  /** @param {import("./messages.js").WorkerMessage} message */
  #fromMount(message) {
    switch (message.type) {
      case "stage":
        this.on.runtime(message);
        break;
      case "event":
        if (message.event.kind === "resolved") this.#choose(message.event.platform);
        if (message.event.kind === "interpreter") {
          this.#translates = true;
          this.#prepareWhenReady();
        }
        this.on.event(message.event);
        break;
      case "ask":
        void this.#answer(message.id, message.request);
        break;
      case "attached":
        clearTimeout(this.#attaching);
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
    const worker = this.#mount;
    const credentials = await this.on.credentials(request);
    worker?.post({ type: "credentials", id, credentials });
  }

  /** @param {VM.WorkerMessage} message */
  #fromMachine(message) {
    switch (message.type) {
      case "stage":
        this.on.machine(message);
        if (message.stage === "ready") {
          this.#ready = true;
          // From the beginning, its output waits where it is too much.
          this.shown(0);
          this.#prepareWhenReady();
          this.#startWhenReady();
        }
        if (message.stage === "started" && this.request.fill) this.#mount?.post({ type: "fill" });
        break;
      case "output":
        this.on.output(message.data);
        break;
      case "ports":
        this.on.ports(message.ports);
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

  /** The machine has something to do while the image is fetched, where that is translated. */
  #prepareWhenReady() {
    if (!this.#translates || !this.#ready) return;
    const machine = this.#machine;
    setTimeout(() => {
      if (!this.#mounted && machine === this.#machine) machine?.post({ type: "prepare" });
    }, PATIENCE_MS);
  }

  #startWhenReady() {
    if (!this.#mounted || !this.#ready || this.#started) return;
    this.#started = true;
    const network = this.request.network !== "none";
    this.#machine?.post({ type: "start", network, ...this.size() });
  }

  /** @param {Failure} failure */
  #fail(failure) {
    this.close();
    this.on.error(failure);
  }
}
