/**
 * One virtual machine, from its files to a container's exit code.
 *
 * Knows no page and no Node, and no emulator: that and all bytes are passed in, so
 * the same code runs in a browser's worker and on the command line, on each
 * emulator that has an EmulatorKind (v86.js).
 */
import { InputWindow, KernelLog, LineReader, OutputBatch } from "./console.js";
import { MAX_LINE, parseGuestMessage } from "./control.js";

/** Bytes of memory are mostly taken by what the container writes to files. */
export const DEFAULT_MEMORY_MIB = 512;

/** The ports of the virtio console, as tools/vm/init/control.h has them. */
const PORT = { terminal: 0, control: 1, stdout: 2, stderr: 3 };

/** How long a resumed machine may take to say that it is alive. */
const RESUME_TIMEOUT_MS = 5000;

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
 * @property {number} memoryMiB
 * @property {string} commandLine of the kernel
 */

/**
 * @typedef {object} BootFiles
 * @property {ArrayBuffer} [bios] where the emulator needs one
 * @property {ArrayBuffer} kernel
 * @property {ArrayBuffer} initramfs
 */

/**
 * @typedef {{ stage: "resumed" } | { stage: "booting", reason: string } |
 *   { stage: "ready" } | { stage: "mounted" } | { stage: "started" }
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
 * @property {(exit: { code: number, signal?: number }) => void} [exit]
 * @property {(error: MachineError) => void} [error]
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
 * One emulated computer, which has not run.
 * @typedef {object} Emulator
 * @property {(files: BootFiles) => Promise<void>} boot loads a kernel
 * @property {(state: ArrayBuffer) => Promise<void>} restore instead of booting
 * @property {() => void} run
 * @property {() => Promise<void>} pause
 * @property {() => Promise<ArrayBuffer>} save the state of one that is paused
 * @property {(port: number, bytes: Uint8Array) => void} send to the virtio console
 * @property {(frame: Uint8Array) => boolean} sendFrame an Ethernet frame for the guest;
 *   false when the guest has no room for it now, so that it has to be sent again
 * @property {() => void} destroy
 */

/**
 * A kind of emulator.
 * @typedef {object} EmulatorKind
 * @property {ArrayBuffer} wasm its code
 * @property {string} commandLine what the kernel is given
 * @property {(options: {
 *   memoryMiB: number, handle9p: Handle9P | undefined, events: EmulatorEvents
 * }) => Promise<Emulator>} create
 */

/**
 * @typedef {object} MachineOptions
 * @property {EmulatorKind} emulator
 * @property {string} recipe the recipe digest in image.json
 * @property {() => Promise<BootFiles>} bootFiles called when there is no
 *   snapshot that fits
 * @property {{ state: ArrayBuffer, info: SnapshotInfo }} [snapshot] the state
 *   may be compressed with zstd
 * @property {number} [memoryMiB] default: what the snapshot has
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
  const { snapshot } = options;
  const memoryMiB = options.memoryMiB ?? snapshot?.info.memoryMiB ?? DEFAULT_MEMORY_MIB;

  let reason = "there is no snapshot";
  if (snapshot) {
    const expected = await snapshotInfo(options, memoryMiB);
    reason = differences(snapshot.info, expected);
    if (!reason) {
      const machine = new Machine(options, memoryMiB);
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
  const machine = new Machine(options, memoryMiB);
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
 * @param {SnapshotInfo} actual
 * @param {SnapshotInfo} expected
 */
function differences(actual, expected) {
  const names = /** @type {(keyof SnapshotInfo)[]} */ (Object.keys(expected)).filter(
    (name) => actual[name] !== expected[name],
  );
  return names.length > 0 ? `the snapshot has another ${names.join(" and ")}` : "";
}

/** @param {ArrayBuffer} bytes */
async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return toHex(new Uint8Array(digest));
}

/** @param {Uint8Array} bytes */
function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** Use createMachine() to get one. */
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
  #started = false;
  /** The stages that the guest has told of since then. @type {Set<string>} */
  #reached = new Set();

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
   * @param {{ cols?: number, rows?: number, network?: boolean }} [how] the terminal's
   *   size; without a network, the container has the loopback interface alone
   */
  start(how = {}) {
    this.#started = true;
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
    const state = await emulator.save();
    return { state, info: await snapshotInfo(this.#options, this.#memoryMiB) };
  }

  // -- Creation (for createMachine) -----------------------------------------

  /** @param {ArrayBuffer} state */
  async _resume(state) {
    const emulator = await this.#createEmulator();
    await emulator.restore(state);
    const answer = this.#exchange({ type: "hello" }, "ready", RESUME_TIMEOUT_MS);
    emulator.run();
    await answer;
  }

  /** @param {BootFiles} files */
  async _boot(files) {
    const emulator = await this.#createEmulator();
    await emulator.boot(files);
    const ready = this.#expect("ready");
    emulator.run();
    await ready;
  }

  async #createEmulator() {
    const { emulator, handle9p } = this.#options;
    const receivers = this.#receivers();
    this.#emulator = await emulator.create({
      memoryMiB: this.#memoryMiB,
      handle9p:
        handle9p &&
        ((request, reply) =>
          handle9p(request, (frame) => {
            if (!this.#finished) reply(frame);
          })),
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
      receivers.set(port, (bytes) => batch.add(bytes));
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
    if (!message) return;
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
        // Each once, and not before it was asked for.
        if (!this.#started || this.#reached.has(message.type)) break;
        this.#reached.add(message.type);
        this.#options.on?.stage?.({ stage: message.type });
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
        this.#fail(new MachineError(message.stage, message.message, message.code));
        break;
      case "ready":
        // A kernel that has crashed so badly that it could not say so.
        if (this.#started) this.#fail(new MachineError("machine", "the machine was reset"));
        break;
    }
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
    if (this.#started) this.#finish(() => this.#options.on?.error?.(error));
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
