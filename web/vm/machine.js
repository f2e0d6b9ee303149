/**
 * One virtual machine, from its files to a container's exit code.
 *
 * Knows no page and no Node, and no emulator: that and all bytes are passed in, so
 * the same code runs in a browser's worker and on the command line, on each
 * emulator that has an EmulatorKind (v86.js).
 */
import { InputWindow, KernelLog, LineReader, OutputBatch } from "./console.js";
import { MAX_LINE, parseGuestMessage } from "./control.js";
import { freePages } from "./free-pages.js";
import { StateError } from "./state-file.js";

/** @import { FreePagesFacts } from "./free-pages.js" */

/** Bytes of memory are mostly taken by what the container writes to files. */
export const DEFAULT_MEMORY_MIB = 512;

/** The ports of the virtio console, as tools/vm/init/control.h has them. */
const PORT = { terminal: 0, control: 1, stdout: 2, stderr: 3 };

/** How long a resumed machine may take to say that it is alive. */
const RESUME_TIMEOUT_MS = 5000;

/** How long a machine that was saved may take, with more in its memory. */
const WAKE_TIMEOUT_MS = 30000;

/** How long the 9P server may take to answer all but reads, before a machine is saved. */
const SETTLE_TIMEOUT_MS = 10000;

/** The 9P request that may be sent once more, since it changes nothing at the server (read(5)). */
const TREAD = 116;
const TFLUSH = 108;

/** The guest takes no longer message than one buffer of its console has room for: 4096 bytes. */
const MAX_MESSAGE = 3072;

/** Output that the receiver has not dealt with: pause above, go on below. */
const HIGH_WATER = 512 * 1024;
const LOW_WATER = 128 * 1024;

/** A guest that goes on although it was told to pause is ended when it has sent so much. */
export const MAX_OUTSTANDING = 64 << 20;

/**
 * What a snapshot belongs to. It is used only where all of it is equal.
 * @typedef {object} SnapshotInfo
 * @property {string} wasm SHA-256 of the emulator's code
 * @property {string} recipe the digest in image.json
 * @property {number} memoryMiB what it has of memory at first; of a machine that was saved, what it can have
 * @property {string} commandLine of the kernel
 */

/**
 * What the host knows of a machine that it saved: JSON.
 * @typedef {object} HostState
 * @property {any} emulator
 * @property {{ waiting: string, outstanding: number[] }} input
 * @property {{ text: string, skipping: boolean }} line
 */

/** @typedef {{ state: ArrayBuffer, host: HostState, info: SnapshotInfo }} SavedMachine */

/**
 * One that is resumed: its state may come while the emulator is made.
 * @typedef {{ state: ArrayBuffer | Promise<ArrayBuffer>, host: HostState, info: SnapshotInfo }} ComingMachine
 */

/**
 * @typedef {object} BootFiles
 * @property {ArrayBuffer} [bios] where the emulator needs one
 * @property {ArrayBuffer} kernel
 * @property {ArrayBuffer} initramfs
 */

/**
 * @typedef {{ stage: "resumed" } | { stage: "booting", reason: string } |
 *   { stage: "ready" } | { stage: "mounted" } | { stage: "started" } | { stage: "full" }
 * } MachineStage
 */

/**
 * @typedef {object} MachineEvents
 * @property {(stage: MachineStage) => void} [stage]
 * @property {(bytes: Uint8Array) => void} [output] the terminal's bytes
 * @property {(bytes: Uint8Array) => void} [stdout] without a terminal
 * @property {(bytes: Uint8Array) => void} [stderr] without a terminal
 * @property {(frame: Uint8Array) => void} [frame] an Ethernet frame of the guest's; the
 *   bytes may change after the call
 * @property {(ports: number[]) => void} [ports] at which the container listens now, by TCP
 * @property {() => void} [drained] more input may be written
 * @property {(bytes: Uint8Array) => void} [archive] a piece of what archive() asks for
 * @property {(result: { leftOut: number } | { failure: string }) => void} [archived] all of it was
 *   sent, but for so many files that no layer can have; or what was sent is of no use
 * @property {(exit: { code: number, signal?: number }) => void} [exit]
 * @property {(error: MachineError) => void} [error]
 */

/**
 * A path of the container's, and which parts are read where it is a file: an offset, a size, and so on.
 * @typedef {{ path: string, parts: number[] }} WantedFile
 */

/**
 * Takes a 9P request and calls back with the reply, now or later.
 * @typedef {(request: Uint8Array, reply: (frame: Uint8Array) => void) => void} Handle9P
 */

/**
 * What an emulator tells.
 * @typedef {object} EmulatorEvents
 * @property {(port: number, bytes: Uint8Array) => void} output of the virtio console
 * @property {(byte: number) => void} log of the serial port
 * @property {(frame: Uint8Array) => void} frame an Ethernet frame of the guest's; the
 *   bytes may change after the call
 * @property {(message: string) => void} halted nothing will happen any more
 */

/**
 * A saved machine: its state, and what only its host knows, as JSON.
 * @typedef {{ state: ArrayBuffer, host?: any }} EmulatorState
 *
 * The same, where the state may be on its way.
 * @typedef {{ state: ArrayBuffer | Promise<ArrayBuffer>, host?: any }} ComingState
 *
 * One emulated computer, which has not run.
 * @typedef {object} Emulator
 * @property {(files: BootFiles) => Promise<void>} boot loads a kernel
 * @property {(saved: ComingState) => Promise<void>} restore instead of booting
 * @property {() => void} run also sends 9P requests again that had no answer when it was saved
 * @property {() => Promise<void>} pause answers to 9P requests still reach the guest's memory
 * @property {() => Uint8Array} memory the guest's; until the emulator runs again
 * @property {(free?: Uint8Array, waiting?: Set<number>) => Promise<EmulatorState>} save the state of one
 *   that is paused, without the pages whose bits are set; the tags of 9P requests without an answer
 * @property {(port: number, bytes: Uint8Array) => void} send to the virtio console
 * @property {(level: number) => void} [setLevel] what programs are told of the processor from now on, where
 *   that can be chosen: a level of the x86-64 ABI
 * @property {(frame: Uint8Array) => boolean} sendFrame an Ethernet frame for the guest;
 *   false when the guest has no room for it now, so that it has to be sent again
 * @property {() => void} destroy
 */

/**
 * A kind of emulator.
 * @typedef {object} EmulatorKind
 * @property {ArrayBuffer} wasm its code
 * @property {string} commandLine what the kernel is given
 * @property {number} [defaultMiB] what a machine can have of memory, where nothing else is asked for; by default
 *   what its snapshot has
 * @property {(memoryMiB: number) => number} [startMiB] of what it can have, what it has at first, where that is less
 * @property {(options: {
 *   memoryMiB: number, handle9p: Handle9P | undefined, events: EmulatorEvents
 * }) => Promise<Emulator>} create
 */

/**
 * @typedef {object} MachineOptions
 * @property {EmulatorKind} emulator
 * @property {string} recipe the recipe digest in image.json
 * @property {FreePagesFacts} [freePages] from there, too
 * @property {() => Promise<BootFiles>} bootFiles called when there is no
 *   snapshot that fits
 * @property {{ state: ArrayBuffer, info: SnapshotInfo }} [snapshot] the state
 *   may be compressed with zstd
 * @property {number} [memoryMiB] what it can have; default: what the emulator or the snapshot says
 * @property {Handle9P} [handle9p]
 * @property {MachineEvents} [on]
 */

/** The largest IP packet there is: the fewer packets, the less the guest has to do. */
export const MTU = 65535;

/**
 * How many frames wait for the guest at most. The other end of its connections has
 * less than this on its way, so that only what needs no answer is ever lost.
 */
const MAX_WAITING_FRAMES = 4096;

/** When a guest that had no room for a frame is asked again. */
const FRAME_RETRY_MS = 1;

/** Something that ends the machine, or keeps it from starting. */
export class MachineError extends Error {
  /**
   * @param {"machine" | "mount" | "bundle" | "start"} stage
   * @param {string} message
   * @param {number} [code] the exit code that docker would give
   */
  constructor(stage, message, code = 125) {
    super(message);
    this.name = "MachineError";
    this.stage = stage;
    this.code = code;
  }
}

/**
 * Resumes the machine from its snapshot, or boots it, up to "ready".
 * @param {MachineOptions} options
 * @returns {Promise<Machine>}
 */
export async function createMachine(options) {
  const stage = options.on?.stage ?? (() => {});
  // A machine would keep its snapshot as long as it lives.
  const { snapshot, ...others } = options;
  const memoryMiB =
    options.memoryMiB ??
    options.emulator.defaultMiB ??
    snapshot?.info.memoryMiB ??
    DEFAULT_MEMORY_MIB;

  let reason = "there is no snapshot";
  if (snapshot) {
    const expected = await snapshotInfo(options, startOf(options, memoryMiB));
    reason = differences(snapshot.info, expected);
    if (!reason) {
      const machine = new Machine(others, memoryMiB);
      try {
        await machine._resume(snapshot.state);
        stage({ stage: "resumed" });
        stage({ stage: "ready" });
        return machine;
      } catch (error) {
        reason = `the snapshot cannot be used: ${messageOf(error)}`;
        machine.stop();
      }
    }
  }
  stage({ stage: "booting", reason });
  const machine = new Machine(others, memoryMiB);
  try {
    await machine._boot(await options.bootFiles());
  } catch (error) {
    machine.stop();
    throw error;
  }
  stage({ stage: "ready" });
  return machine;
}

/**
 * A machine that save() was called on, in the place where it was. It stands still until wake().
 * @param {MachineOptions} options
 * @param {ComingMachine} saved
 * @returns {Promise<Machine>}
 * @throws {StateError} it was saved by another build, or cannot be used
 */
export async function resumeMachine(options, { state, host, info }) {
  await requireBuild(options, info);
  const machine = new Machine(options, info.memoryMiB);
  try {
    await machine._restore(state, host);
  } catch (error) {
    machine.stop();
    throw new StateError("damaged", `the machine cannot go on from it: ${messageOf(error)}`);
  }
  return machine;
}

/**
 * @param {{ emulator: EmulatorKind, recipe: string }} options
 * @param {SnapshotInfo} info what a state belongs to
 * @throws {StateError} it is not of this build
 */
export async function requireBuild(options, info) {
  const differs = differences(info, await snapshotInfo(options, info.memoryMiB));
  if (differs) throw new StateError("other-build", differs);
}

/**
 * What a snapshot made of such a machine belongs to.
 * @param {{ emulator: EmulatorKind, recipe: string }} options
 * @param {number} memoryMiB
 * @returns {Promise<SnapshotInfo>}
 */
export async function snapshotInfo({ emulator, recipe }, memoryMiB) {
  return {
    wasm: await sha256(emulator.wasm),
    recipe,
    memoryMiB,
    commandLine: emulator.commandLine,
  };
}

/**
 * What a machine has at first that can have so much.
 * @param {{ emulator: EmulatorKind }} options
 * @param {number} memoryMiB
 */
function startOf({ emulator }, memoryMiB) {
  return emulator.startMiB?.(memoryMiB) ?? memoryMiB;
}

/**
 * @param {SnapshotInfo} actual
 * @param {SnapshotInfo} expected
 */
export function differences(actual, expected) {
  const names = /** @type {(keyof SnapshotInfo)[]} */ (Object.keys(expected)).filter(
    (name) => actual[name] !== expected[name],
  );
  return names.length > 0 ? `it has another ${names.join(" and ")}` : "";
}

/** @type {WeakMap<ArrayBuffer, Promise<string>>} */
const digests = new WeakMap();

/** @param {ArrayBuffer} bytes that do not change */
function sha256(bytes) {
  const digest =
    digests.get(bytes) ??
    crypto.subtle.digest("SHA-256", bytes).then((digest) => toHex(new Uint8Array(digest)));
  digests.set(bytes, digest);
  return digest;
}

/** @param {Uint8Array} bytes */
function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {Uint8Array} frame of 9P */
function tagOf(frame) {
  return frame[5] | (frame[6] << 8);
}

/** Use createMachine() or resumeMachine() to get one. */
export class Machine {
  #options;
  #memoryMiB;
  /** @type {Emulator | undefined} */
  #emulator;
  #lines = new LineReader(MAX_LINE);
  #input = new InputWindow(
    (portion) => this.#send(PORT.terminal, portion),
    () => this.#options.on?.drained?.(),
  );
  /** @type {OutputBatch[]} */
  #batches = [];
  /** Frames for the guest that it has no room for yet. @type {Uint8Array[]} */
  #frames = [];
  #log = new KernelLog();
  #finishing = false;
  #finished = false;
  /** From here on, who has the machine is told of its failures by an event. */
  #ready = false;
  #started = false;
  /** Whether what the container has changed was asked for. */
  #archives = false;
  /** Whether that is what comes out of the port of standard output. */
  #archiving = false;
  /** The stages that the guest has told of since then. @type {Set<string>} */
  #reached = new Set();
  /** 9P requests without an answer, by tag: what kind, and which tag one of Tflush is about.
   * @type {Map<number, { type: number, old: number }>} */
  #requests = new Map();
  /** @type {() => void} */
  #settled = () => {};

  /** Callers that wait for a message of the guest. @type {Map<string, () => void>} */
  #awaited = new Map();
  /** @type {(error: MachineError) => void} */
  #abort = () => {};

  #outstanding = 0;
  #acknowledges = false;
  #paused = false;

  /**
   * @param {MachineOptions} options
   * @param {number} memoryMiB
   */
  constructor(options, memoryMiB) {
    this.#options = options;
    this.#memoryMiB = memoryMiB;
  }

  // -- What a user of the machine calls ------------------------------------

  /**
   * Mounts the tree, which need not have the image yet, and runs the interpreters
   * that it has for a while: compiled code is what the image's first program
   * finds then. For a machine that is ready and was not started.
   */
  prepare() {
    this.#sendControl({ type: "prepare" });
  }

  /**
   * Mounts the tree and starts the container that its config.json describes.
   * @param {{ cols?: number, rows?: number, network?: boolean, archive?: boolean, archive_limit?: number,
   *   level?: number }} [how] the terminal's size; without a network, the container has the loopback
   *   interface alone; whether archive() is called at its end, and with which limit; the level of the
   *   x86-64 ABI that its programs are told of, where it is another than the machine's own
   */
  start({ level, ...how } = {}) {
    if (level) this.#emulator?.setLevel?.(level);
    this.#started = true;
    this.#archives = how.archive ?? false;
    this.#sendControl({
      type: "start",
      clock_ms: Date.now(),
      seed: toHex(crypto.getRandomValues(new Uint8Array(64))),
      ...how,
    });
  }

  /**
   * @param {Uint8Array} bytes typed, or standard input without a terminal
   * @returns {boolean} false when enough waits to be taken: the event "drained" follows
   */
  write(bytes) {
    return this.#input.write(bytes);
  }

  /** Ends the standard input of a process without a terminal. */
  closeInput() {
    this.#input.whenEmpty(() => this.#sendControl({ type: "eof" }));
  }

  /**
   * Gives the guest an Ethernet frame as soon as it has room for it.
   * @param {Uint8Array} frame
   */
  receiveFrame(frame) {
    if (this.#frames.length >= MAX_WAITING_FRAMES) return;
    this.#frames.push(frame);
    if (this.#frames.length === 1) this.#deliverFrames();
  }

  /**
   * @param {number} cols
   * @param {number} rows
   */
  resize(cols, rows) {
    this.#sendControl({ type: "resize", cols, rows });
  }

  /** @param {number} signal for the container's first process */
  signal(signal) {
    this.#sendControl({ type: "signal", signal });
  }

  /** @param {number} [seconds] from SIGTERM to SIGKILL */
  terminate(seconds = 10) {
    this.#sendControl({ type: "stop", seconds });
  }

  /**
   * Says that output was dealt with. From the first call on, the machine
   * pauses its output while too much of it is on its way.
   * @param {number} bytes
   */
  acknowledge(bytes) {
    this.#acknowledges = true;
    this.#outstanding -= bytes;
    this.#adjustFlow();
  }

  /**
   * Asks for what the container has changed: the events "archive" and "archived" follow. Nothing else
   * happens in the container meanwhile.
   * @param {number} [limit] of its bytes: with more it fails, and soon
   */
  archive(limit) {
    this.#archives = true;
    this.#sendControl({ type: "archive", ...(limit !== undefined && { limit }) });
  }

  /**
   * Has files of the container's looked up and parts of them read: a state that is saved then has them in the
   * guest's memory.
   * @param {WantedFile[]} files
   */
  async read(files) {
    const encoder = new TextEncoder();
    /** @type {WantedFile[]} */
    let some = [];
    let size = 0;
    for (const file of files) {
      const length = encoder.encode(JSON.stringify(file)).length + 1;
      if (length > MAX_MESSAGE) continue;
      if (size + length > MAX_MESSAGE) {
        await this.#exchange({ type: "read", files: some }, "read");
        some = [];
        size = 0;
      }
      some.push(file);
      size += length;
    }
    await this.#exchange({ type: "read", files: some }, "read");
  }

  /**
   * Stops the machine, which was started, so that it can be saved: until save() and go().
   * @throws {MachineError} the 9P server does not answer, or an archive is on its way; the machine goes on
   */
  async freeze() {
    // Nobody would take the rest of it where the machine goes on.
    if (this.#archiving)
      throw new MachineError("machine", "it says what its container has changed");
    await this.#emulator?.pause();
    // What it has said until now is with who saves what the terminal shows.
    for (const batch of this.#batches) batch.flush();
    try {
      await this.#settle();
    } catch (error) {
      this.go();
      throw error;
    }
  }

  /**
   * The state of a machine that stands still. The 9P server has answered all but reads, which
   * will be sent again: what it knows of the session now belongs to this state.
   * @returns {Promise<SavedMachine>}
   */
  async save() {
    const emulator = /** @type {Emulator} */ (this.#emulator);
    const facts = this.#options.freePages;
    const free = facts && freePages(emulator.memory(), facts);
    const saved = await emulator.save(free, new Set(this.#requests.keys()));
    return {
      state: saved.state,
      host: {
        emulator: saved.host,
        input: this.#input.save(),
        line: this.#lines.unfinished,
      },
      info: await snapshotInfo(this.#options, this.#memoryMiB),
    };
  }

  /** Lets it go on after freeze(). */
  go() {
    if (!this.#finished) this.#emulator?.run();
  }

  /**
   * Lets a machine of resumeMachine() go on, with the clock of today and its own random numbers.
   * The 9P server has the session that belongs to its state.
   * @param {{ archive?: boolean, archive_limit?: number }} [how] as for start()
   */
  async wake(how = {}) {
    this.#archives = how.archive ?? false;
    const awake = this.#exchange(
      {
        type: "wake",
        clock_ms: Date.now(),
        seed: toHex(crypto.getRandomValues(new Uint8Array(64))),
        ...how,
      },
      "awake",
      WAKE_TIMEOUT_MS,
    );
    // It may have been told to pause by who took its output then.
    this.#sendControl({ type: "flow", paused: false });
    this.#emulator?.run();
    await awake;
    this.#options.on?.stage?.({ stage: "started" });
  }

  /** Destroys the machine. No event comes after this. */
  stop() {
    this.#finished = true;
    this.#emulator?.destroy();
    this.#abort(new MachineError("machine", "the machine was stopped"));
  }

  /** The last of what the kernel has printed. */
  get log() {
    return this.#log.text;
  }

  /**
   * Saves the state of a machine that is ready and was not started.
   * @returns {Promise<{ state: ArrayBuffer, info: SnapshotInfo }>}
   */
  async snapshot() {
    // Free memory is zeroed first: zeros are not saved.
    await this.#exchange({ type: "scrub" }, "scrubbed");
    const emulator = /** @type {Emulator} */ (this.#emulator);
    await emulator.pause();
    const { state } = await emulator.save();
    const startMiB = startOf(this.#options, this.#memoryMiB);
    return { state, info: await snapshotInfo(this.#options, startMiB) };
  }

  // -- Creation (for createMachine) -----------------------------------------

  /** @param {ArrayBuffer} state */
  async _resume(state) {
    const emulator = await this.#createEmulator();
    await emulator.restore({ state });
    const answer = this.#exchange({ type: "hello" }, "ready", RESUME_TIMEOUT_MS);
    emulator.run();
    await answer;
    this.#ready = true;
  }

  /**
   * @param {ArrayBuffer | Promise<ArrayBuffer>} state
   * @param {HostState} host
   */
  async _restore(state, host) {
    const emulator = await this.#createEmulator();
    await emulator.restore({ state, host: host.emulator });
    this.#input.restore(host.input);
    this.#lines.restore(host.line);
    this.#ready = true;
    this.#started = true;
    this.#reached = new Set(["mounted", "started"]);
  }

  /** @param {BootFiles} files */
  async _boot(files) {
    const emulator = await this.#createEmulator();
    await emulator.boot(files);
    const ready = this.#expect("ready");
    emulator.run();
    await ready;
    this.#ready = true;
  }

  async #createEmulator() {
    const { emulator, handle9p } = this.#options;
    const receivers = this.#receivers();
    this.#emulator = await emulator.create({
      memoryMiB: this.#memoryMiB,
      handle9p:
        handle9p &&
        ((request, reply) => {
          this.#noteRequest(request);
          handle9p(request, (frame) => {
            this.#noteReply(frame);
            if (!this.#finished) reply(frame);
          });
        }),
      events: {
        output: (port, bytes) => {
          if (!this.#finished) receivers.get(port)?.(bytes);
        },
        log: (byte) => this.#readLog(byte),
        frame: (frame) => {
          if (!this.#finished) this.#options.on?.frame?.(frame);
        },
        halted: (message) => this.#fail(new MachineError("machine", message)),
      },
    });
    return this.#emulator;
  }

  /** @param {Uint8Array} frame */
  #noteRequest(frame) {
    this.#requests.set(tagOf(frame), { type: frame[4], old: frame[7] | (frame[8] << 8) });
  }

  /** @param {Uint8Array} frame */
  #noteReply(frame) {
    const request = this.#requests.get(tagOf(frame));
    this.#requests.delete(tagOf(frame));
    // What was flushed gets no answer.
    if (request?.type === TFLUSH) this.#requests.delete(request.old);
    this.#settled();
  }

  /** Waits until only reads have no answer. */
  async #settle() {
    const end = Date.now() + SETTLE_TIMEOUT_MS;
    while ([...this.#requests.values()].some(({ type }) => type !== TREAD)) {
      const left = end - Date.now();
      if (left <= 0) throw new MachineError("machine", "the image's server does not answer");
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let timer;
      await new Promise((resolve) => {
        this.#settled = () => resolve(undefined);
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  #deliverFrames() {
    if (this.#finished) return;
    let sent = 0;
    while (sent < this.#frames.length && this.#emulator?.sendFrame(this.#frames[sent])) sent++;
    this.#frames.splice(0, sent);
    if (this.#frames.length > 0) setTimeout(() => this.#deliverFrames(), FRAME_RETRY_MS);
  }

  /** Who gets the bytes of which port. */
  #receivers() {
    const on = this.#options.on ?? {};
    /** @type {Map<number, (bytes: Uint8Array) => void>} */
    const receivers = new Map();
    /** @type {[number, ((bytes: Uint8Array) => void) | undefined][]} */
    const outputs = [
      [PORT.terminal, on.output],
      [PORT.stdout, on.stdout],
      [PORT.stderr, on.stderr],
    ];
    for (const [port, receive] of outputs) {
      const batch = new OutputBatch((bytes) => {
        if (this.#finished) return;
        this.#outstanding += bytes.length;
        this.#adjustFlow();
        receive?.(bytes);
        if (this.#acknowledges && this.#outstanding > MAX_OUTSTANDING)
          this.#fail(
            new MachineError(
              "machine",
              "it sends output without end, and does not pause when told",
            ),
          );
      });
      this.#batches.push(batch);
      receivers.set(port, (bytes) => {
        if (port === PORT.stdout && this.#archiving) this.#options.on?.archive?.(bytes.slice());
        else batch.add(bytes);
      });
    }
    receivers.set(PORT.control, (bytes) => {
      for (const line of this.#lines.read(bytes)) this.#receive(line);
    });
    return receivers;
  }

  // -- Messages of the guest -------------------------------------------------

  /** @param {string} line */
  #receive(line) {
    const message = parseGuestMessage(line);
    // What stands behind the last message may have come with it.
    if (!message || this.#finished) return;
    const awaited = this.#awaited.get(message.type);
    if (awaited) {
      this.#awaited.delete(message.type);
      awaited();
      return;
    }
    switch (message.type) {
      case "consumed":
        this.#input.consumed(message.bytes);
        break;
      case "mounted":
      case "started":
      case "full":
        // Each once, and not before it was asked for.
        if (!this.#started || this.#reached.has(message.type)) break;
        this.#reached.add(message.type);
        this.#options.on?.stage?.({ stage: message.type });
        break;
      case "archiving":
        this.#archiving = this.#archives;
        break;
      case "archived":
        this.#endArchive({ leftOut: message.leftOut });
        break;
      case "ports":
        if (this.#started) this.#options.on?.ports?.(message.tcp);
        break;
      case "exit":
        if (!this.#started) break;
        this.#finish(() =>
          this.#options.on?.exit?.({
            code: message.code,
            ...(message.signal !== undefined && { signal: message.signal }),
          }),
        );
        break;
      case "error":
        if (message.stage === "archive") {
          this.#endArchive({ failure: message.message });
          break;
        }
        this.#fail(new MachineError(message.stage, message.message, message.code));
        break;
      case "ready":
        // A kernel that has crashed so badly that it could not say so.
        if (this.#started) this.#fail(new MachineError("machine", "the machine was reset"));
        break;
    }
  }

  /** @param {{ leftOut: number } | { failure: string }} result */
  #endArchive(result) {
    if (!this.#archiving) return;
    this.#archiving = false;
    this.#options.on?.archived?.(result);
  }

  /** @param {number} byte */
  #readLog(byte) {
    const panic = this.#log.add(byte);
    if (panic) this.#fail(new MachineError("machine", panic));
  }

  /** @param {MachineError} error */
  #fail(error) {
    if (this.#finished) return;
    this.#abort(error);
    if (this.#ready) this.#finish(() => this.#options.on?.error?.(error));
  }

  /** @param {() => void} report the last event there is */
  #finish(report) {
    if (this.#finished || this.#finishing) return;
    this.#finishing = true;
    for (const batch of this.#batches) batch.flush();
    this.#finished = true;
    report();
    this.#emulator?.destroy();
  }

  // -- Messages to the guest ------------------------------------------------

  /**
   * @param {string} type
   * @param {number} [timeout] in milliseconds
   * @returns {Promise<void>}
   */
  #expect(type, timeout) {
    return new Promise((resolve, reject) => {
      const timer = timeout
        ? setTimeout(() => reject(new MachineError("machine", "it does not answer")), timeout)
        : undefined;
      this.#awaited.set(type, () => {
        clearTimeout(timer);
        resolve();
      });
      this.#abort = (error) => {
        clearTimeout(timer);
        reject(error);
      };
    });
  }

  /**
   * @param {object} message
   * @param {string} answer
   * @param {number} [timeout]
   */
  #exchange(message, answer, timeout) {
    const answered = this.#expect(answer, timeout);
    this.#sendControl(message);
    return answered;
  }

  #adjustFlow() {
    const paused =
      this.#acknowledges && this.#outstanding > (this.#paused ? LOW_WATER : HIGH_WATER);
    if (paused === this.#paused) return;
    this.#paused = paused;
    this.#sendControl({ type: "flow", paused });
  }

  /** @param {object} message */
  #sendControl(message) {
    const line = `${JSON.stringify(message)}\n`;
    this.#send(PORT.control, new TextEncoder().encode(line));
  }

  /**
   * @param {number} port
   * @param {Uint8Array} bytes
   */
  #send(port, bytes) {
    if (this.#finished) return;
    this.#emulator?.send(port, bytes);
  }
}
