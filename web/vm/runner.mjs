/**
 * Runs one machine in Node for another program, which started this one.
 *
 *     node runner.mjs --frames FD --control FD --network FD --image DIR
 *       [--v86 PATH | --x64 PATH] [--snapshot DIR] [--memory MIB]
 *
 * Standard input, output and error are the container's. FD are file descriptors
 * of sockets, one to the 9P server, one for lines of JSON, and one for Ethernet
 * frames, each with its length in front (32 bits, big-endian). As JSON, out go
 * {type: "stage", stage, reason?}, and last {type: "exit", code},
 * {type: "error", message, code} or {type: "closed"}, when nobody takes the
 * output any more. In come {type: "start", input, network, cols?, rows?}, then
 * {type: "resize", cols, rows}, {type: "signal", signal} and {type: "stop"}.
 * When the other program is gone, so is this one.
 */
import { write } from "node:fs";
import net from "node:net";
import { parseArgs } from "node:util";

import { LineReader } from "./console.js";
import { createMachine, MachineError } from "./machine.js";
import { framesOver, handle9pOver, loadMachine } from "./node.mjs";

/** @import { Machine } from "./machine.js" */

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
  }
}

/** @param {{ input: boolean, network: boolean, cols?: number, rows?: number }} message */
async function start({ input, network, cols, rows }) {
  const ready = await creation;
  if (!ready) return;
  forwardsInput = input;
  ready.start({ network, cols, rows });
}
let forwardsInput = false;

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
    if (!machine?.write(data)) stdin.pause();
  });
  stdin.on("end", () => machine?.closeInput());
  // A terminal that was hung up; the other program hears of it, too.
  stdin.on("error", () => machine?.closeInput());
}

async function create() {
  const made = await createMachine({
    ...(await loadMachine({
      image: options.image ?? "",
      v86: options.v86,
      x64: options.x64,
      snapshot: options.snapshot,
    })),
    ...(options.memory && { memoryMiB: Number(options.memory) }),
    handle9p: handle9pOver(frames),
    on: {
      stage: (stage) => {
        if (stage.stage === "started") onStarted();
        tell({ type: "stage", ...stage });
      },
      output: (bytes) => stdout.write(bytes),
      stdout: (bytes) => stdout.write(bytes),
      stderr: (bytes) => stderr.write(bytes),
      frame: framesOver(network, (frame) => machine?.receiveFrame(frame)),
      drained: () => process.stdin.resume(),
      exit: async ({ code }) => {
        await Promise.all([stdout.empty(), stderr.empty()]);
        finish({ type: "exit", code });
      },
      error: async ({ message, code }) => {
        await Promise.all([stdout.empty(), stderr.empty()]);
        finish({ type: "error", message, code });
      },
    },
  });
  machine = made;
  // From now on its output waits where it is too much, also before any was written.
  machine.acknowledge(0);
  return machine;
}

// Node would write it to the container's standard error as it is, and the guest's words may be in it.
process.on("uncaughtException", (error) =>
  finish({ type: "error", message: `the machine's process failed: ${error.message}`, code: 125 }),
);

// Signals come to all of a terminal's foreground; the other program deals with them.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2"])
  process.on(name, () => {});

const creation = create().catch((error) => {
  const code = error instanceof MachineError ? error.code : 125;
  finish({ type: "error", message: error.message, code });
  return undefined;
});

const lines = new LineReader();
control.on("data", (bytes) => {
  for (const line of lines.read(bytes)) receive(JSON.parse(line));
});
for (const socket of [control, frames, network]) {
  socket.on("close", () => process.exit(125));
  socket.on("error", () => process.exit(125));
}
