/**
 * Runs one machine in Node for another program, which started this one.
 *
 *     node runner.mjs --frames FD --control FD --network FD --image DIR
 *       [--v86 PATH | --x64 PATH] [--snapshot DIR] [--memory MIB] [--resume FILE]
 *
 * Standard input, output and error are the container's. FD are file descriptors
 * of sockets, one to the 9P server, one for lines of JSON, and one for Ethernet
 * frames, each with its length in front (32 bits, big-endian). As JSON, out go
 * {type: "stage", stage, reason?}, and last {type: "exit", code},
 * {type: "error", message, code} or {type: "closed"}, when nobody takes the
 * output any more. In come {type: "start", input, network, detach, archive, cols?, rows?},
 * then {type: "resize", cols, rows}, {type: "signal", signal} and {type: "stop"}.
 * When the other program is gone, so is this one.
 *
 * {type: "save", path, go, header, level?} saves the machine to a file, compressed by gzip's level: see
 * state-file.js for the header, of which the other program has the parts that it knows. Out comes {type: "saving"}, and
 * {type: "server", server} is waited for: what is saved of the 9P server and the network.
 * At last {type: "saved", size, frozen}, in bytes and milliseconds, or {type: "unsaved", message}.
 * Whether the machine goes on then says "go". {type: "detach"}, where it was asked for, says
 * that the person has typed the keys for that. With --resume, "start" lets the machine in the file
 * go on, when the 9P server has what was saved of it.
 *
 * {type: "watch"} asks for {type: "quiet"}, which comes when the container waits at its prompt as it does
 * whenever it is started, with nothing having been typed.
 *
 * {type: "read", files} has parts of the container's files read (see Machine.read), so that a state that is saved
 * then has them in the guest's memory. {type: "read"} comes when that is done.
 *
 * Where "archive" was asked for, {type: "archive", data} and {type: "archived", leftOut} or {type:
 * "archived", failure} come before "exit": what the container has changed.
 */
import { write } from "node:fs";
import net from "node:net";
import { parseArgs } from "node:util";

import { LineReader } from "./console.js";
import { DetachKeys } from "./detach-keys.js";
import { createMachine, MachineError, resumeMachine } from "./machine.js";
import { framesOver, handle9pOver, loadMachine, readStateFile, writeStateFile } from "./node.mjs";
import { Quiet } from "./quiet.js";

/** @import { Machine, MachineOptions } from "./machine.js" */

const STDOUT = 1;
const STDERR = 2;

const { values: options } = parseArgs({
  options: {
    frames: { type: "string" },
    control: { type: "string" },
    network: { type: "string" },
    image: { type: "string" },
    v86: { type: "string" },
    x64: { type: "string" },
    snapshot: { type: "string" },
    memory: { type: "string" },
    resume: { type: "string" },
  },
});

const control = new net.Socket({ fd: Number(options.control) });
const frames = new net.Socket({ fd: Number(options.frames) });
const network = new net.Socket({ fd: Number(options.network) });

/** @param {object} message */
function tell(message) {
  control.write(`${JSON.stringify(message)}\n`);
}

/** @param {object} message the last one */
function finish(message) {
  control.end(`${JSON.stringify(message)}\n`, () => process.exit());
}

/**
 * Writes in their order to one of our descriptors. A reader that is slow keeps
 * neither the machine's clock nor signals waiting, as process.stdout would.
 */
class Output {
  #fd;
  /** @type {Uint8Array[]} */
  #waiting = [];
  #writing = false;
  /** @type {(() => void) | undefined} */
  #whenEmpty;

  /** @param {number} fd */
  constructor(fd) {
    this.#fd = fd;
  }

  /** @param {Uint8Array} bytes */
  write(bytes) {
    this.#waiting.push(bytes);
    this.#next();
  }

  /** @returns {Promise<void>} */
  empty() {
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
      this.#next();
    });
  }

  #next() {
    if (this.#writing) return;
    const bytes = this.#waiting.shift();
    if (bytes === undefined) {
      this.#whenEmpty?.();
      return;
    }
    this.#writing = true;
    write(this.#fd, bytes, (error, written) => {
      this.#writing = false;
      if (error?.code === "EAGAIN") {
        // Somebody else has made the pipe one that does not wait.
        this.#waiting.unshift(bytes);
        setTimeout(() => this.#next(), 10);
        return;
      }
      if (error) {
        finish({ type: "closed" });
        return;
      }
      machine?.acknowledge(written);
      if (written < bytes.length) this.#waiting.unshift(bytes.subarray(written));
      this.#next();
    });
  }
}

/** The last of what was written to a terminal: a saved session shows it again. */
class Tail {
  static LENGTH = 32 * 1024;
  #bytes = Buffer.alloc(0);

  /** @param {Uint8Array} bytes */
  add(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]).subarray(-Tail.LENGTH);
  }

  /** Whole lines. */
  get bytes() {
    const start = this.#bytes.length < Tail.LENGTH ? 0 : this.#bytes.indexOf("\n") + 1;
    return Uint8Array.from(this.#bytes.subarray(start));
  }
}

const tail = new Tail();
const quiet = new Quiet(() => tell({ type: "quiet" }));
const stdout = new Output(STDOUT);
const stderr = new Output(STDERR);

/** @type {Machine | undefined} */
let machine;
/** What has come before the container's process was there. @type {any[]} */
let early = [];
let started = false;

/** @param {any} message */
function receive(message) {
  if (message.type === "start") {
    start(message);
  } else if (!started) {
    early.push(message);
  } else if (message.type === "resize") {
    machine?.resize(message.cols, message.rows);
  } else if (message.type === "signal") {
    machine?.signal(message.signal);
  } else if (message.type === "stop") {
    machine?.terminate();
  } else if (message.type === "save") {
    saving = save(message).catch(({ message }) => tell({ type: "unsaved", message }));
  } else if (message.type === "watch") {
    quiet.watch();
  } else if (message.type === "read") {
    machine?.read(message.files).then(() => tell({ type: "read" }), fail);
  } else if (message.type === "server") {
    gotServer(message.server);
  }
}

/** What is being written is written to its end, also when the container ends meanwhile. */
let saving = Promise.resolve();
/** @type {(server: object) => void} */
let gotServer = () => {};

/** @param {{ path: string, go: boolean, header: any, level?: number }} message */
async function save({ path, go, header, level }) {
  if (!machine) return;
  const began = performance.now();
  await machine.freeze();
  let saved;
  let server;
  try {
    const answer = new Promise((resolve) => (gotServer = resolve));
    tell({ type: "saving" });
    server = await answer;
    saved = await machine.save();
  } catch (error) {
    machine.go();
    throw error;
  }
  const frozen = performance.now() - began;
  if (go) machine.go();
  try {
    const size = await writeStateFile(path, {
      header,
      kind,
      saved,
      server,
      text: tail.bytes,
      layers,
      level,
    });
    tell({ type: "saved", size, frozen });
  } catch (error) {
    // What was not saved is not given up.
    if (!go) machine.go();
    throw error;
  }
}

/**
 * @typedef {{ input: boolean, network: boolean, detach: boolean, archive: boolean, cols?: number,
 *   rows?: number, level?: number }} Start
 * @param {Start} message
 */
async function start({ input, network, detach, archive, cols, rows, level }) {
  const ready = await creation;
  if (!ready) return;
  forwardsInput = input;
  if (detach) keys = new DetachKeys();
  if (!options.resume) {
    ready.start({ network, archive, cols, rows, level });
    return;
  }
  try {
    if (cols && rows) {
      stdout.write(text);
      // A program that fills the terminal draws it anew when that has another size, and only then.
      ready.resize(cols, rows - 1);
    }
    await ready.wake({ archive });
    if (cols && rows) ready.resize(cols, rows);
  } catch (error) {
    fail(error);
  }
}
let forwardsInput = false;
/** @type {DetachKeys | undefined} */
let keys;
/** What the terminal of the saved machine has shown. */
let text = new Uint8Array();
/** What lies over the image of the saved machine. @type {Uint8Array[]} */
let layers = [];

function onStarted() {
  started = true;
  for (const message of early) receive(message);
  early = [];
  if (!forwardsInput) {
    machine?.closeInput();
    return;
  }
  const { stdin } = process;
  stdin.on("data", (/** @type {Buffer} */ data) => {
    quiet.input(data);
    const { bytes, detach } = keys?.read(data) ?? { bytes: data, detach: false };
    if (bytes.length > 0 && !machine?.write(bytes)) stdin.pause();
    if (detach) tell({ type: "detach" });
  });
  stdin.on("end", () => machine?.closeInput());
  // A terminal that was hung up; the other program hears of it, too.
  stdin.on("error", () => machine?.closeInput());
}

const kind = options.x64 ? "x64" : "v86";

/** @param {MachineOptions} machineOptions */
async function make(machineOptions) {
  if (!options.resume) return createMachine(machineOptions);
  const { saved, text: shown, layers: over } = await readStateFile(options.resume);
  text = shown;
  layers = over;
  tail.add(text);
  return resumeMachine(machineOptions, saved);
}

/** Below what the other program takes for a line, in whole groups of base64. */
const ARCHIVE_PIECE = 30_000;

/** @param {Uint8Array} bytes */
function tellArchive(bytes) {
  for (let at = 0; at < bytes.length; at += ARCHIVE_PIECE) {
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset + at).subarray(0, bytes.length - at);
    tell({ type: "archive", data: piece.subarray(0, ARCHIVE_PIECE).toString("base64") });
  }
}

/** Frames from before there was a machine: a saved one is told what has become of its connections. */
const MAX_EARLY_FRAMES = 1024;
/** @type {Uint8Array[]} */
const earlyFrames = [];

async function create() {
  const made = await make({
    ...(await loadMachine({
      image: options.image ?? "",
      v86: options.v86,
      x64: options.x64,
      // A saved machine needs none.
      snapshot: options.resume ? undefined : options.snapshot,
    })),
    ...(options.memory && { memoryMiB: Number(options.memory) }),
    handle9p: handle9pOver(frames),
    on: {
      stage: (stage) => {
        if (stage.stage === "started") onStarted();
        tell({ type: "stage", ...stage });
      },
      output: (bytes) => {
        tail.add(bytes);
        quiet.output(bytes);
        stdout.write(bytes);
      },
      stdout: (bytes) => stdout.write(bytes),
      stderr: (bytes) => stderr.write(bytes),
      frame: framesOver(network, (frame) => {
        if (machine) machine.receiveFrame(frame);
        else if (earlyFrames.length < MAX_EARLY_FRAMES) earlyFrames.push(frame);
      }),
      archive: tellArchive,
      archived: (result) => tell({ type: "archived", ...result }),
      drained: () => process.stdin.resume(),
      exit: async ({ code }) => {
        await Promise.all([stdout.empty(), stderr.empty(), saving]);
        finish({ type: "exit", code });
      },
      error: async ({ message, code }) => {
        await Promise.all([stdout.empty(), stderr.empty(), saving]);
        finish({ type: "error", message, code });
      },
    },
  });
  machine = made;
  for (const frame of earlyFrames.splice(0)) machine.receiveFrame(frame);
  // From now on its output waits where it is too much, also before any was written.
  machine.acknowledge(0);
  return machine;
}

// Node would write it to the container's standard error as it is, and the guest's words may be in it.
process.on("uncaughtException", (error) =>
  finish({ type: "error", message: `the machine's process failed: ${error.message}`, code: 125 }),
);

// Signals come to all of a terminal's foreground; the other program deals with them.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
  process.on(name, () => {});

/** @param {any} error */
function fail(error) {
  const code = error instanceof MachineError ? error.code : 125;
  finish({ type: "error", message: error.message, code, reason: error.reason });
  return undefined;
}

frames.on("data", () => quiet.activity());
const creation = create().catch(fail);

const lines = new LineReader();
control.on("data", (bytes) => {
  for (const line of lines.read(bytes)) receive(JSON.parse(line));
});
for (const socket of [control, frames, network]) {
  socket.on("close", () => process.exit(125));
  socket.on("error", () => process.exit(125));
}
