/**
 * One image in one page: the mount worker that serves it, and the machine that
 * runs it.  The machine can be replaced by a fresh one; the mount stays.
 */

import { startEarly } from "./early.js";
import { likelyMachine, rememberMachine } from "./likely-machine.js";
import { startOf } from "./page-attributes.js";
import { levelFor, machineFor } from "./platform.js";
import { noWorker } from "./requirements.js";
import { forget, forgetAll, mayKeep, newTarget, remember, warmFor } from "./warm-state.js";
import { Helper, startMachine, takeWorkers } from "./workers.js";

/** @typedef {ReturnType<typeof import("./wasi-machine.js").startWasiMachine>} ForeignMachine */
/** @import { Credentials, CredentialRequest, Failure, GuestRequest } from "../messages.js" */
/** @import { ImageInfo, ImageRequest, Kept, MountEvent, RuntimeMessage } from "../messages.js" */
/** @import { SavedAnswer } from "../messages.js" */
/** @import { FailureMessage } from "../wasi/messages.js" */
/** @import * as VM from "../vm/messages.js" */
/** @import { FoundState, KeptSession } from "./kept-session.js" */
/** @import { FoundFiles } from "./saved-files.js" */
/** @import { StateHeader } from "../vm/state-file.js" */
/** @import { Warm } from "./warm-state.js" */

/**
 * A saved session that goes on, and its files, should it not be able to.
 * @typedef {{ found: FoundState, file: File, header: StateHeader, server: any, text: string,
 *   files: FoundFiles }} Resumed
 */

/** What the container has changed. @typedef {{ data: Blob, leftOut: number }} Changes */

/**
 * "resumed": it goes on, as it was saved at a time in milliseconds since 1970; "afresh": it cannot,
 * and the image is started anew, with its files as they were at a time where these are there; what was
 * saved is a session of its own now, where it has a name; "files": the image is started with files that
 * are kept; "unkept": nothing is kept, or no more than before.
 * @typedef {{ kind: "resumed", saved: number } | { kind: "files", saved: number } |
 *   { kind: "afresh", reason: string, files?: number, aside?: string } |
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
 * @property {(data: Uint8Array) => void} replay Show what the container, which goes on, had shown.
 * @property {(reason: string) => void} cold The container that has "started" was not the right one: it is
 *   started anew.
 * @property {(code: number, signal?: number) => void} exit
 * @property {(failure: Failure) => void} error The last event until the next start.
 */

/** Why nothing is kept of a machine of others. */
const NOT_OURS = "only this page's own machines can be saved, and this one is of others";

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

/** Where files alone are kept, no more of them than so many bytes; with the machine, what goes beside it. */
const MAX_FILES = 512 << 20;
const MAX_FILES_BESIDE = 64 << 20;

/** The container stands still while it says what it has changed: no more than a part of the time. */
const ARCHIVE_SHARE = 1 / 20;
/** How long after it could not be had, in milliseconds. */
const ARCHIVE_RETRY_MS = 60_000;
/** What takes longer is asked for only while nobody looks, without the machine's state being delayed. */
const ARCHIVE_NOTICED_MS = 300;

/** How long after one save the next one is made, of what that one is without. */
const AGAIN_MS = 2000;

/** What a person downloads may be large. */
const MAX_DOWNLOAD = 8 * 2 ** 30;

export class Session {
  /** @type {Helper | undefined} */
  #mount;
  /** What has begun with the image's layers. @type {Helper | undefined} */
  #early;
  /** @type {Helper | ForeignMachine["machine"] | undefined} */
  #machine;
  /** Which machine it is, of ours. @type {VM.MachineKind} */
  #kind = "v86";
  /** Starts one of others, where that is asked for. @type {(() => ForeignMachine) | undefined} */
  #startForeign;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #attaching;
  /** Where the session is kept. @type {KeptSession | undefined} */
  #kept;
  /** The saved session that goes on. @type {Resumed | undefined} */
  #resumed;
  /** Counts what was opened and closed: what takes its time looks whether it is still wanted. */
  #generation = 0;
  #saving = false;
  /** The state that it goes on from, or tries to. @type {Warm | undefined} */
  #warm;
  /** Of that, what is known of its container, which runs. @type {StateHeader | undefined} */
  #warmHeader;
  /** Whether it is started without one, as that was of no use. */
  #startsCold = false;
  /** The file for the state at this container's prompt, while it is saved. @type {VM.SaveMessage["target"] | undefined} */
  #warmTarget;
  /** What is kept of it. @type {"files" | "machine"} */
  #persist = "machine";
  /** What lies over the image. @type {VM.Layer[]} */
  #layers = [];
  /** What the container has changed of that, when it was last asked. @type {VM.SaveMessage["changes"]} */
  #changes;
  /** What of it was saved. */
  #savedChanges = "";
  #mayArchive = 0;
  #archiveTook = 0;
  /** Whether the machine was saved without them. */
  #behind = false;
  /** Whether there is something new already that was not saved. */
  #again = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  /** Who waits for what the container has changed. @type {{ resolve: (changes: Changes) => void,
   *   reject: (error: Error) => void }[]} */
  #waiting = [];
  /** Whether room was made for what did not fit, and whether it is going to be tried again then. */
  #madeRoom = false;
  #triesAgain = false;
  /** The container has ended, and its files are being kept. @type {(() => void) | undefined} */
  #ended;
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
    if (this.request.vm) {
      void this.#openForeign();
      return;
    }
    this.#persist = this.request.persist === "files" ? "files" : "machine";
    if (this.request.session && this.request.persist !== "no") void this.#openKept();
    else this.#open();
  }

  /** Start a machine of others on the image. */
  async #openForeign() {
    const generation = this.#generation;
    const { startWasiMachine } = await import("./wasi-machine.js");
    if (generation !== this.#generation) return;
    this.#startForeign = () => startWasiMachine(this.request.vm);
    if (this.request.session && this.request.persist !== "no")
      this.on.session({ kind: "unkept", reason: NOT_OURS });
    this.#open();
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
   * Keep this session from now on.
   * @param {string} name
   * @throws {Error} it cannot be kept under this name
   */
  async keepAs(name) {
    if (this.request.vm) throw new Error(NOT_OURS);
    if (this.#kept) throw new Error(`it is kept as “${this.#kept.name}” already`);
    const { KeptSession } = await import("./kept-session.js");
    const kept = await KeptSession.open(name);
    try {
      await kept.requireFree();
      // Somebody may have named this one meanwhile.
      if (this.#kept) throw new Error(`there is a session “${name}” already`);
    } catch (error) {
      kept.release();
      throw error;
    }
    this.#kept = kept;
    this.save();
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
    const { readFiles, fits } = await import("./saved-files.js");
    const files = await readFiles(found.state);
    const { header } = found.state;
    try {
      if (!header.machine && !fits(header, this.request.image))
        return await this.#startAnew(kept, found, files, "it is of another image");
      if (!header.machine) {
        this.#layers = files.layers;
        this.on.session({ kind: "files", saved: files.made });
        return undefined;
      }
      if (this.#persist === "files")
        return await this.#startAnew(kept, found, files, "files alone are to be kept");
      const [server, text] = await Promise.all([
        found.state.section("server"),
        found.state.section("terminal"),
      ]);
      const decoder = new TextDecoder();
      const [json, shown] = [decoder.decode(server), decoder.decode(text)];
      return { found, file: found.file, header, server: JSON.parse(json), text: shown, files };
    } catch (error) {
      return this.#passOver(kept, found, files, String(/** @type {any} */ (error).message));
    }
  }

  /**
   * A state is damaged: the one before it is looked for.
   * @param {KeptSession} kept
   * @param {FoundState} found
   * @param {FoundFiles} files
   * @param {string} reason
   * @returns {Promise<Resumed | undefined>}
   */
  async #passOver(kept, found, files, reason) {
    kept.passOver(found);
    const before = await kept.find();
    if (before.found) return this.#find(kept);
    this.#lay(found.state.header, files, reason);
    return undefined;
  }

  /**
   * A state cannot go on: it is kept under another name, and its files are laid over the image.
   * @param {KeptSession} kept
   * @param {FoundState} found
   * @param {FoundFiles} files
   * @param {string} reason
   * @returns {Promise<undefined>}
   */
  async #startAnew(kept, found, files, reason) {
    try {
      const aside = await kept.setAside(found);
      this.#lay(found.state.header, files, reason, aside);
    } catch (error) {
      // What cannot be kept elsewhere stays as it is, and nothing of this session is kept.
      this.#release();
      const why = String(/** @type {any} */ (error).message);
      this.on.session({ kind: "unkept", reason: `${reason}, and it cannot be set aside: ${why}` });
    }
    return undefined;
  }

  /**
   * @param {StateHeader} header
   * @param {FoundFiles} files
   * @param {string} reason
   * @param {string} [aside]
   */
  #lay(header, files, reason, aside) {
    // Another image's files are of no use on this one.
    const same = header.image.reference === this.request.image;
    this.#layers = same ? files.all : [];
    const made = this.#layers.length > 0 ? { files: files.made } : {};
    this.on.session({ kind: "afresh", reason, ...made, ...(aside && { aside }) });
  }

  /** @param {Resumed} [resumed] */
  #open(resumed) {
    const { request } = this;
    const { memoryMiB } = request;
    const isNew = !resumed && this.#layers.length === 0 && !this.#startsCold && !this.#startForeign;
    const warm = isNew ? warmFor(this.#startOf, request.warm, document.baseURI) : undefined;
    const workers = this.#start(() => {
      if (this.#startForeign)
        return { mount: new Helper("worker.js"), kind: this.#kind, ...this.#startForeign() };
      const kind = warm?.machine ?? likelyMachine(request);
      const { mount, ...machine } = takeWorkers(kind, { memoryMiB, warm, ...this.#atEnd });
      if (!resumed) return { mount, ...machine };
      // That one was to be a new one.
      machine.machine.end();
      const saved = resumed.header.machine.kind === "x64" ? "x64" : "v86";
      return { mount, ...startMachine(saved, { saved: resumed.file }) };
    });
    if (!workers) return;
    const { mount, machine, kind, port, card } = workers;
    this.#resumed = resumed;
    this.#warm = warm;
    if (resumed) {
      const { layers, changes } = resumed.files;
      this.#layers = layers;
      this.#changes = changes;
    }
    this.#mount = mount;
    this.#kind = kind;
    this.#listen(mount, (data) => this.#fromMount(data));
    // One that comes from the command line knows nothing of the page's authority.
    const trusts = !resumed || resumed.server.authority !== undefined;
    const saved = resumed && { saved: resumed.server };
    // What goes on has its image already, or is told what is known of it.
    const early = resumed || warm ? undefined : startEarly(request, document.baseURI);
    this.#early = early?.worker;
    mount.post(
      {
        type: "mount",
        request: { ...request, trusts },
        base: document.baseURI,
        port,
        card,
        layers: this.#layers,
        waits: warm !== undefined,
        ...saved,
        ...(early && { early: early.port }),
      },
      early ? [port, card, early.port] : [port, card],
    );
    this.#use(machine);
  }

  get #startOf() {
    return startOf(this.request, document.baseURI);
  }

  /** What the machine is to tell at its container's end. */
  get #atEnd() {
    return this.#kept && this.#persist === "files" ? { archive: MAX_FILES } : {};
  }

  /** What the image is for that runs; undefined where that is not known yet. */
  get platform() {
    return this.#image?.platform ?? this.#warmHeader?.image.platform;
  }

  /**
   * Save the session where it is kept: the machine stands still for a moment.
   * @param {boolean} [hurry] the page may be gone the next moment
   */
  save(hurry = false) {
    clearTimeout(this.#later);
    // What has come since that one began is saved after it.
    this.#again = this.#saving;
    if (!this.#kept || !this.#started || this.#saving || !this.#machine) return;
    if (!this.#mounted) {
      // The machine would wait for the server of its files.
      this.#later = setTimeout(() => this.save(), AGAIN_MS);
      return;
    }
    const left = this.#mayArchive - performance.now();
    if (this.#persist === "files" && left > 0) {
      this.#later = setTimeout(() => this.save(), left);
      return;
    }
    this.#saving = true;
    const unnoticed = this.#archiveTook < ARCHIVE_NOTICED_MS || (!hurry && document.hidden);
    this.#behind = left > 0 || !unnoticed;
    if (this.#persist === "files" || !this.#behind) void this.#saveChanges();
    else this.#machine.post({ type: "freeze" });
  }

  async #saveChanges() {
    const machine = this.#machine;
    const files = this.#persist === "files";
    try {
      const { data } = await this.#askChanges(files ? MAX_FILES : MAX_FILES_BESIDE);
      await this.#note(data);
    } catch (error) {
      if (machine !== this.#machine) return;
      this.#mayArchive = performance.now() + ARCHIVE_RETRY_MS;
      if (files) this.#unsaved(String(/** @type {any} */ (error).message));
    }
    if (machine !== this.#machine || !this.#saving) return;
    if (files) this.#keepFiles();
    else machine?.post({ type: "freeze" });
  }

  /** @param {Blob} data what the container has changed */
  async #note(data) {
    const { sha256Of } = await import("../vm/state-file.js");
    const changes = { data, sha256: await sha256Of(data), made: Date.now() };
    // A machine that is saved has them numbered as they are.
    if (this.#persist === "files" && this.#layers.length > 1) {
      const mount = this.#mount;
      const one = await this.merge(this.#layers.map((layer) => layer.data));
      const layer = one && { data: one, sha256: await sha256Of(one) };
      if (mount !== this.#mount) return;
      if (layer) this.#layers = [layer];
    }
    this.#changes = changes;
  }

  /**
   * @param {Blob[]} layers tar archives with whiteouts, the lowest first
   * @returns {Promise<Blob | undefined>} one that stands for them; undefined where there is none
   */
  async merge(layers) {
    const { mergedLayers } = await import("./merged-layers.js");
    return this.#mount && mergedLayers(this.#mount, layers);
  }

  /** Write the files, where there is anything new. */
  #keepFiles() {
    const changes = this.#changes;
    if (!this.#kept || !this.#image || !changes || changes.sha256 === this.#savedChanges) {
      this.#saving = false;
      this.#ended?.();
      this.#saveAgain();
      return;
    }
    const { digest, platform } = this.#image;
    const image = { reference: this.request.image, digest, platform };
    const layers = [...this.#layers, changes];
    if (layers.reduce((sum, { data }) => sum + data.size, 0) > MAX_FILES) {
      this.#unsaved(
        `its files have more than ${MAX_FILES >> 20} MiB together; an image can be made of them`,
      );
      return;
    }
    this.#machine?.post({ type: "keep", target: this.#kept.target, header: { image }, layers });
  }

  /**
   * What the container has changed of its image: a tar archive with whiteouts, as a layer has them. The
   * container stands still meanwhile.
   * @returns {Promise<Changes>}
   * @throws {Error} it cannot be had
   */
  async changes() {
    if (this.request.vm)
      throw new Error("a machine of others cannot be asked what its container has changed");
    if (!this.#started) throw new Error("the container does not run");
    return this.#askChanges(MAX_DOWNLOAD);
  }

  /**
   * Make an image of what the container has changed: see container-terminal.js.
   * @param {string} name
   * @param {FileSystemDirectoryHandle | FileSystemFileHandle | undefined} target
   * @param {(bytes: number, total: number) => void} progress
   * @returns {Promise<File | undefined>}
   */
  async saveImage(name, target, progress) {
    const { data } = await this.changes();
    const { sha256Of } = await import("../vm/state-file.js");
    const layers = [...this.#layers, { data, sha256: await sha256Of(data) }];
    const { port1, port2 } = new MessageChannel();
    const mount = this.#mount;
    if (!mount) throw new Error("the container does not run");
    return new Promise((resolve, reject) => {
      port1.onmessage = ({ data: { bytes, total, done, file, error } }) => {
        if (bytes !== undefined) {
          progress(bytes, total);
          return;
        }
        port1.close();
        if (done) resolve(file && new File([file], `${name}.tar`, { type: file.type }));
        else reject(new Error([error.message, error.hint].filter(Boolean).join(". ")));
      };
      mount.post({ type: "commit", layers, name, target, reply: port2 }, [port2]);
    });
  }

  /** What lies over the image without having been changed by this machine. */
  get layers() {
    return this.#layers;
  }

  /**
   * @param {number} limit
   * @returns {Promise<Changes>}
   */
  async #askChanges(limit) {
    // One after the other.
    while (this.#waiting.length > 0) await this.#waitForChanges().catch(() => {});
    const machine = this.#machine;
    if (!machine) throw new Error("the container does not run");
    machine.post({ type: "archive", limit });
    return this.#waitForChanges();
  }

  /** @returns {Promise<Changes>} */
  #waitForChanges() {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** What was left out of a save, or has come since it began, is saved a little later. */
  #saveAgain() {
    if (!this.#again && !(this.#behind && document.hidden)) return;
    const left = this.#again ? 0 : this.#mayArchive - performance.now();
    this.#later = setTimeout(() => this.save(), Math.max(left, AGAIN_MS));
  }

  /** @param {string} reason @param {boolean} [full] whether it is for want of room */
  #unsaved(reason, full = false) {
    this.#saving = false;
    if (full && !this.#madeRoom) {
      // What is kept of images can be fetched again; "kept" says that it is gone.
      this.#madeRoom = this.#triesAgain = true;
      this.kept(true);
      return;
    }
    this.#ended?.();
    this.on.session({ kind: "unkept", reason });
  }

  /** @param {string} reason @param {VM.UnusableMessage["reason"]} [kind] */
  async #afresh(reason, kind) {
    const generation = (this.#generation += 1);
    const resumed = this.#resumed;
    const kept = this.#kept;
    this.#end();
    if (!resumed || !kept) return;
    const { found, files } = resumed;
    /** @type {Resumed | undefined} */
    const before =
      kind === "damaged"
        ? await this.#passOver(kept, found, files, reason)
        : await this.#startAnew(kept, found, files, reason);
    if (generation === this.#generation) this.#open(before);
    else if (!this.#mount) this.#release();
  }

  /** @param {SavedAnswer} answer */
  async #save({ server, process }) {
    const machine = this.#machine;
    const kept = this.#kept;
    const warm = this.#warmTarget;
    const text = warm ? undefined : await this.on.serialize();
    const target = warm ?? kept?.target;
    // The machine goes on by itself, and says so.
    if (!target || !machine || machine !== this.#machine || !process || !this.#image) return;
    const { digest, platform } = this.#image;
    const image = { reference: this.request.image, digest, platform };
    const header = { image, process, terminal: this.size() };
    if (warm) {
      machine.post({ type: "save", target, header, server, layers: [] });
      return;
    }
    const files = { layers: this.#layers, ...(this.#changes && { changes: this.#changes }) };
    machine.post({ type: "save", target, header, server, text, ...files });
  }

  /** The container goes on from a state, before anything is known of its image. @param {VM.WarmMessage} message */
  #goOnWarm({ header, server, shown }) {
    this.#warmHeader = header;
    this.#started = true;
    this.#mount?.post({ type: "decide", saved: server, process: header.process });
    this.on.machine({ stage: "started" });
    this.on.replay(shown);
    const { cols, rows } = this.size();
    this.#machine?.post({ type: "resize", cols, rows });
  }

  /**
   * The state is of no use: the container is started.
   * @param {string} reason
   */
  #startCold(reason) {
    const warm = this.#warm;
    if (!warm) return;
    void forget(warm);
    if (!this.#machine) return;
    this.#warm = this.#warmHeader = undefined;
    this.on.cold(reason);
    this.#startsCold = true;
    if (this.#mounted)
      this.#startFresh(machineFor(this.#image?.platform ?? "", this.request.machine));
    else {
      this.#end();
      this.#open();
    }
  }

  /** Watch for the moment at which the container can be kept for the next visit. */
  #watchForPrompt() {
    const config = this.#image?.config;
    const { warm } = this.request;
    const isNew = !this.#kept && this.#layers.length === 0 && !this.#startForeign;
    const isKept = warmFor(this.#startOf, warm, document.baseURI) !== undefined;
    if (config && isNew && !isKept && mayKeep(warm, config)) this.#machine?.post({ type: "watch" });
  }

  /** The container is at its prompt, and what the server knows of its files is at hand. */
  #keepWarm() {
    if (this.#kept || this.#saving || !this.#started) return;
    this.#saving = true;
    this.#warmTarget = newTarget();
    this.#machine?.post({ type: "freeze", untouched: true });
  }

  /** @param {boolean} written */
  #endWarm(written) {
    const target = this.#warmTarget;
    this.#warmTarget = undefined;
    this.#saving = false;
    if (target && written) void remember(this.#startOf.key, target.file, this.#kind);
    this.#saveAgain();
  }

  #release() {
    this.#kept?.release();
    this.#kept = undefined;
  }

  /**
   * Run a fresh container: what the last one wrote is gone, but for files that are kept.
   * @param {boolean} [forget] those, too
   */
  restart(forget = this.#persist === "machine") {
    this.#resumed = undefined;
    this.#startsCold = true;
    const keeps = !forget && this.#kept;
    if (keeps || this.#layers.length > 0 || !this.#mounted || !this.#mount) {
      void this.#reopen(forget);
      return;
    }
    void this.#kept?.forget();
    this.#startFresh(this.#kind);
  }

  /**
   * Start another machine on what is mounted.
   * @param {VM.MachineKind} kind
   */
  #startFresh(kind) {
    this.#stopMachine();
    this.#warm = this.#warmHeader = undefined;
    this.#kind = kind;
    const { memoryMiB } = this.request;
    const started = this.#start(() => this.#startForeign?.() ?? startMachine(kind, { memoryMiB }));
    if (!started) return;
    const { machine, port, card } = started;
    this.#mount?.post({ type: "attach", port, card }, [port, card]);
    this.#use(machine);
    // A worker that is busy with something without end, or broken, is replaced, too.
    this.#attaching = setTimeout(() => {
      this.close();
      this.open();
    }, ATTACH_MS);
  }

  /** @param {boolean} forget what is kept */
  async #reopen(forget) {
    const generation = (this.#generation += 1);
    this.#end();
    if (forget) await this.#kept?.forget();
    if (generation === this.#generation) this.open();
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
    if (clear) void forgetAll();
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
    this.#warm = this.#warmHeader = undefined;
    this.#image = undefined;
    this.#layers = [];
    this.#mount?.end();
    this.#mount = undefined;
    this.#early?.end();
    this.#early = undefined;
    this.#translates = false;
    this.#mounted = false;
  }

  /**
   * Exchange the machine for the one that runs such images, before anything was started.
   * @param {string} platform
   */
  #choose(platform) {
    const { request } = this;
    if (request.vm) return;
    const wanted = machineFor(platform, request.machine);
    // What was asked for says nothing of the image.
    if (!request.platform && !request.machine) rememberMachine(request.image, platform);
    // A saved machine that is of another kind is of another image, which shows when it is mounted.
    if (wanted === this.#kind || !this.#mount || this.#resumed || this.#warmHeader) return;
    this.#stopMachine();
    this.#warm = undefined;
    this.#kind = wanted;
    const { memoryMiB } = request;
    const started = this.#start(() => startMachine(wanted, { memoryMiB }));
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
    clearTimeout(this.#later);
    this.#changes = undefined;
    this.#savedChanges = "";
    this.#mayArchive = this.#archiveTook = 0;
    this.#ended = undefined;
    for (const { reject } of this.#waiting.splice(0)) reject(new Error("the container has ended"));
    this.#machine?.end();
    this.#machine = undefined;
    this.#ready = false;
    this.#started = false;
    this.#saving = false;
    this.#warmTarget = undefined;
  }

  /** @param {Helper | ForeignMachine["machine"]} machine */
  #use(machine) {
    this.#machine = machine;
    this.#listen(machine, (data) => this.#fromMachine(data));
  }

  /**
   * @param {Helper | ForeignMachine["machine"]} worker
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

  /** @param {import("../messages.js").WorkerMessage} message */
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
        if (message.unusable && this.#resumed) {
          void this.#afresh(message.unusable);
          break;
        }
        this.#image = message.image;
        this.#mounted = true;
        this.on.mounted(message.image);
        if (message.unusable) {
          this.#startCold(message.unusable);
          break;
        }
        if (this.#started) this.#fill();
        this.#startWhenReady();
        break;
      case "identified":
        this.#keepWarm();
        break;
      case "kept":
        this.on.kept(message.kept);
        if (!this.#triesAgain) break;
        this.#triesAgain = false;
        if (this.#ended) this.#keepFiles();
        else this.save();
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

  /** @param {VM.WorkerMessage | FailureMessage} message */
  #fromMachine(message) {
    switch (message.type) {
      case "failure":
        this.#fail(message.failure);
        break;
      case "stage":
        // Of a container that goes on it was said already.
        if (message.stage === "started" && this.#warmHeader) break;
        this.on.machine(message);
        if (message.stage === "ready") {
          this.#ready = true;
          // From the beginning, its output waits where it is too much.
          this.shown(0);
          this.#prepareWhenReady();
          this.#startWhenReady();
        }
        if (message.stage === "started") {
          this.#fill();
          this.#watchForPrompt();
        }
        break;
      case "warm":
        this.#goOnWarm(message);
        break;
      case "cold":
        if (message.said) {
          this.#startCold(message.message);
          break;
        }
        if (this.#warm) void forget(this.#warm);
        this.#warm = undefined;
        this.#mount?.post({ type: "decide" });
        break;
      case "quiet":
        // It takes a look at all files, for which the machine is not to stand still.
        if (!this.#saving) this.#mount?.post({ type: "identify" });
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
        if (this.#warmTarget) {
          this.#endWarm(true);
          break;
        }
        this.#saving = this.#madeRoom = false;
        if (this.#persist === "files") this.#savedChanges = this.#changes?.sha256 ?? "";
        this.#kept?.written();
        void import("./kept-session.js").then(({ askToPersist }) => askToPersist());
        this.on.session({ kind: "saved", size: message.size, frozen: message.frozen });
        this.#ended?.();
        this.#saveAgain();
        break;
      case "unsaved":
        if (this.#warmTarget) this.#endWarm(false);
        else this.#unsaved(message.message, message.full);
        break;
      case "archived":
      case "unarchived":
        this.#archiveTook = message.milliseconds;
        this.#mayArchive = performance.now() + message.milliseconds / ARCHIVE_SHARE;
        this.#gotChanges(message);
        break;
      case "unusable":
        void this.#afresh(message.message, message.reason);
        break;
      case "exit":
        void this.#exit(message);
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

  /** @param {VM.ArchivedMessage | VM.UnarchivedMessage} message */
  #gotChanges(message) {
    const waiting = this.#waiting.splice(0);
    if (message.type === "unarchived") {
      for (const { reject } of waiting) reject(new Error(message.message));
      return;
    }
    const { data, leftOut } = message;
    for (const { resolve } of waiting) resolve({ data, leftOut });
    // Without having been asked for, at the container's end.
    if (waiting.length === 0) this.#last = data;
  }
  /** @type {Blob | undefined} */
  #last;

  /** @param {VM.ExitMessage} message */
  async #exit({ code, signal }) {
    const machine = this.#machine;
    const last = this.#last;
    this.#started = false;
    this.#last = undefined;
    if (this.#kept && this.#persist === "files") {
      if (last) await this.#note(last);
      if (machine !== this.#machine) return;
      // One that is being written comes to its end first.
      for (let saving = true; saving;) {
        saving = this.#saving;
        await new Promise((resolve) => {
          this.#ended = () => resolve(undefined);
          if (!saving) this.#keepFiles();
        });
        if (machine !== this.#machine) return;
      }
    } else {
      // There is nothing to go on with.
      void this.#kept?.forget();
    }
    this.#stopMachine();
    this.on.exit(code, signal);
  }

  /** The machine has something to do while the image is fetched, where that is translated. */
  #prepareWhenReady() {
    if (!this.#translates || !this.#ready || this.#warm) return;
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
    const level = levelFor(this.#image?.platform ?? "", this.request.platform);
    this.#machine?.post({ type: "start", network, level, ...this.#atEnd, ...this.size() });
  }

  /** The container runs and the image is there: the rest of it comes while nobody reads. */
  #fill() {
    if (this.#mounted && this.request.fill) this.#mount?.post({ type: "fill" });
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
