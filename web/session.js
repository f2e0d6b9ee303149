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
/** @import { SavedAnswer } from "./messages.js" */
/** @import * as VM from "./vm/messages.js" */
/** @import { KeptSession } from "./kept-session.js" */
/** @import { StateHeader } from "./vm/state-file.js" */

/** @typedef {{ file: File, header: StateHeader, server: any, text: string }} Resumed */

/**
 * "resumed": it goes on, as it was saved at a time in milliseconds since 1970; "afresh": it cannot,
 * and the image is started anew; "unkept": nothing is kept, or no more than before.
 * @typedef {{ kind: "resumed", saved: number } | { kind: "afresh", reason: string } |
 *   { kind: "unkept", reason: string } | { kind: "saved", size: number, frozen: number }
 * } SessionNews
 */

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
 * @property {(news: SessionNews) => void} session What became of the session that is kept.
 * @property {(text: string, size: { cols: number, rows: number }) => Promise<void>} restore Show
 *   what the saved session has shown.
 * @property {() => Promise<string>} serialize What the terminal shows, all output included.
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
  /** Where the session is kept. @type {KeptSession | undefined} */
  #kept;
  /** The saved session that goes on. @type {Resumed | undefined} */
  #resumed;
  /** Counts what was opened and closed: what takes its time looks whether it is still wanted. */
  #generation = 0;
  #saving = false;
  /** @type {ImageInfo | undefined} */
  #image;
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

  /** Mount the image and start a machine on it, both at once; or go on with the saved session. */
  open() {
    if (this.request.session) void this.#openKept();
    else this.#open();
  }

  async #openKept() {
    const generation = this.#generation;
    const { KeptSession } = await import("./kept-session.js");
    try {
      this.#kept ??= await KeptSession.open(this.request.session);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.on.session({ kind: "unkept", reason: String(/** @type {any} */ (error).message) });
      this.#open();
      return;
    }
    const resumed = await this.#find(this.#kept);
    if (generation === this.#generation) this.#open(resumed);
    else if (!this.#mount) this.#release();
  }

  /**
   * @param {KeptSession} kept
   * @returns {Promise<Resumed | undefined>}
   */
  async #find(kept) {
    const { found, damaged } = await kept.find();
    if (!found) {
      if (damaged) this.on.session({ kind: "afresh", reason: "it is damaged" });
      return undefined;
    }
    const { file, state } = found;
    try {
      const [server, text] = await Promise.all([
        state.section("server"),
        state.section("terminal"),
      ]);
      const decoder = new TextDecoder();
      return {
        file,
        header: state.header,
        server: JSON.parse(decoder.decode(server)),
        text: decoder.decode(text),
      };
    } catch (error) {
      this.on.session({ kind: "afresh", reason: String(/** @type {any} */ (error).message) });
      return undefined;
    }
  }

  /** @param {Resumed} [resumed] */
  #open(resumed) {
    const workers = this.#start(() => {
      const { request } = this;
      const { mount, ...machine } = takeWorkers(likelyMachine(request), request.memoryMiB);
      if (!resumed) return { mount, ...machine };
      // That one was to be a new one.
      machine.machine.end();
      const kind = resumed.header.machine.kind === "x64" ? "x64" : "v86";
      return { mount, ...startMachine(kind, undefined, resumed.file) };
    });
    if (!workers) return;
    const { mount, machine, kind, port, card } = workers;
    this.#resumed = resumed;
    this.#mount = mount;
    this.#kind = kind;
    this.#listen(mount, (data) => this.#fromMount(data));
    const { request } = this;
    const saved = resumed && { saved: resumed.server };
    mount.post({ type: "mount", request, base: document.baseURI, port, card, ...saved }, [
      port,
      card,
    ]);
    this.#use(machine);
  }

  /** Save the session where it is kept: the machine stands still for a moment. */
  save() {
    if (!this.#kept || !this.#started || this.#saving || !this.#machine) return;
    this.#saving = true;
    this.#machine.post({ type: "freeze" });
  }

  /** @param {string} reason */
  async #afresh(reason) {
    const generation = (this.#generation += 1);
    await this.#kept?.forget();
    if (generation !== this.#generation) return;
    this.#end();
    this.on.session({ kind: "afresh", reason });
    this.open();
  }

  /** @param {SavedAnswer} answer */
  async #save({ server, process }) {
    const machine = this.#machine;
    const kept = this.#kept;
    const text = await this.on.serialize();
    // The machine goes on by itself, and says so.
    if (!kept || !machine || machine !== this.#machine || !process || !this.#image) return;
    const { digest, platform } = this.#image;
    const image = { reference: this.request.image, digest, platform };
    const header = { image, process, terminal: this.size() };
    machine.post({ type: "save", target: kept.target, header, server, text });
  }

  #release() {
    this.#kept?.release();
    this.#kept = undefined;
  }

  /** Run a fresh container: what the last one wrote is gone. */
  restart() {
    this.#resumed = undefined;
    void this.#kept?.forget();
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
    this.#generation += 1;
    this.#end();
    this.#release();
  }

  #end() {
    this.#stopMachine();
    this.#resumed = undefined;
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
    // A saved machine that is of another kind is of another image, which shows when it is mounted.
    if (wanted === this.#kind || !this.#mount || this.#resumed) return;
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
    if (this.#started) this.#mount?.post({ type: "unplug" });
    this.#machine?.end();
    this.#machine = undefined;
    this.#ready = false;
    this.#started = false;
    this.#saving = false;
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
      case "saved":
        void this.#save(message);
        break;
      case "mounted":
        if (message.unusable) {
          void this.#afresh(message.unusable);
          break;
        }
        this.#image = message.image;
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
      case "saving":
        this.#mount?.post({ type: "save" });
        break;
      case "saved":
        this.#saving = false;
        this.#kept?.written();
        this.on.session({ kind: "saved", size: message.size, frozen: message.frozen });
        break;
      case "unsaved":
        this.#saving = false;
        this.on.session({ kind: "unkept", reason: message.message });
        break;
      case "unusable":
        void this.#afresh(message.message);
        break;
      case "exit":
        this.#stopMachine();
        // There is nothing to go on with.
        void this.#kept?.forget();
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
    if (this.#resumed) {
      void this.#wake(this.#resumed);
      return;
    }
    const network = this.request.network !== "none";
    this.#machine?.post({ type: "start", network, ...this.size() });
  }

  /** @param {Resumed} resumed */
  async #wake({ header, text }) {
    const machine = this.#machine;
    await this.on.restore(text, header.terminal ?? this.size());
    machine?.post({ type: "wake" });
    this.on.session({ kind: "resumed", saved: header.saved });
    const { cols, rows } = this.size();
    machine?.post({ type: "resize", cols, rows });
  }

  /** @param {Failure} failure */
  #fail(failure) {
    this.close();
    this.on.error(failure);
  }
}
