/**
 * The emulator of this project's own 64-bit machine (machine/), for machine.js.
 *
 * It runs in slices on the thread that it is on, and lets events in between: replies
 * of the 9P server, input, timers.
 */

import { fromBase64, toBase64 } from "./console.js";
import { ROOM } from "./room.js";

/** @import { Emulator, EmulatorEvents, EmulatorKind, Handle9P } from "./machine.js" */

const COMMAND_LINE = "console=ttyS0 quiet tsc=reliable reboot=t nowatchdog";

/** How long the machine runs before other events have their turn. */
const SLICE_MS = 8;
/** Shorter waits are not worth a timer: what browsers give is not that exact. */
const SHORTEST_TIMER_MS = 1.5;
const LONGEST_TIMER_MS = 0x7fffffff;

/** What `run` of the module returns. */
const STATUS = { running: 0, output: 1, idle: 2, broken: 6 };
/** @type {Record<number, string>} */
const ENDS = {
  3: "the machine halted",
  // A triple fault, by which a PC resets itself.
  4: "the machine was reset",
  5: "the machine was reset",
};

/** What `take` of the module is asked for. */
const OUTPUT = { log: 0, request: 1, frame: 2, console: 8 };
const PORTS = 4;
/** The control channel comes last: what it says may end what comes from the others. */
const OUTPUT_ORDER = [0, 2, 3, 1];

/** What `boot` of the module returns. */
const BOOT_ERRORS = [
  "",
  "the kernel is no ELF program for x86-64",
  "the kernel and its initramfs need more memory",
  "the kernel's command line is too long",
];

/** How often a port's output is taken between two looks at everything else: 64 KiB each time at most. */
const OUTPUT_TAKES = 16;

/** How many random bytes the host gives at once. */
const RANDOM_LIMIT = 65536;

/**
 * @param {ArrayBuffer} wasm machine.wasm
 * @param {number} [defaultMiB] what a machine can have of memory, where nothing else is asked for
 * @returns {EmulatorKind}
 */
export function x64(wasm, defaultMiB = ROOM.start) {
  /** @type {Promise<WebAssembly.Module> | undefined} */
  let module;
  return {
    wasm,
    commandLine: COMMAND_LINE,
    defaultMiB,
    startMiB: (memoryMiB) => Math.min(memoryMiB, ROOM.start),
    async create({ memoryMiB, handle9p, events }) {
      module ??= WebAssembly.compile(wasm);
      return new Machine64(await module, memoryMiB, handle9p, events);
    },
  };
}

/** Node's, where it is not slowed down by messages between threads. */
const immediate = /** @type {any} */ (globalThis).setImmediate;

/** Calls back after events that wait. */
class Turns {
  /** @param {() => void} callback */
  constructor(callback) {
    this.#callback = callback;
    if (!immediate) {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => callback();
      this.#port = channel.port2;
      this.#other = channel.port1;
    }
  }

  #callback;
  /** @type {MessagePort | undefined} */
  #port;
  /** @type {MessagePort | undefined} */
  #other;

  ask() {
    if (this.#port) this.#port.postMessage(null);
    else immediate(this.#callback);
  }

  close() {
    this.#other?.close();
    this.#port?.close();
  }
}

/** A module with a function that calls itself in its own place: whether the engine has tail calls. */
// prettier-ignore
const TAIL_CALL = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  1, 4, 1, 0x60, 0, 0, // a type without parameters and results
  3, 2, 1, 0, // a function of it
  10, 6, 1, 4, 0, 0x12, 0, 0x0b, // return_call 0
]);

/** By how many places the table of functions grows at least. */
const TABLE_STEP = 1024;

/**
 * Instantiates what the machine has compiled.
 */
class CompiledCode {
  #exports;
  /** @type {WebAssembly.Table} */
  #table;
  /** Where the machine's own functions end, and where the next module's go. */
  #first;
  #next;
  #imports;

  /** @param {any} exports of the machine */
  constructor(exports) {
    this.#exports = exports;
    this.#table = exports.__indirect_function_table;
    this.#first = this.#next = this.#table.length;
    this.#imports = Object.fromEntries(
      Object.entries(exports).filter(([name]) => name.startsWith("compiled_")),
    );
  }

  /** Instantiates a module, if there is one to be had. */
  advance() {
    const { order, order_address, order_length, order_number, order_functions } = this.#exports;
    if (!order()) return;
    const number = order_number();
    if (this.#exports.order_is_first()) {
      // What is dead is let go, so that the engine can drop its modules.
      for (let index = this.#first; index < this.#next; index += 1) this.#table.set(index, null);
      this.#next = this.#first;
    }
    const { memory } = this.#exports;
    const bytes = new Uint8Array(memory.buffer, order_address() >>> 0, order_length()).slice();
    const count = order_functions();
    const base = this.#next;
    try {
      if (base + count > this.#table.length) this.#table.grow(Math.max(count, TABLE_STEP));
      const module = new WebAssembly.Module(bytes);
      new WebAssembly.Instance(module, {
        env: { ...this.#imports, memory, table: this.#table, base },
      });
    } catch (error) {
      // The machine goes on without it, only slower.
      console.warn(`a module of compiled code cannot be used: ${error}`);
      this.#exports.refuse(number);
      return;
    }
    this.#next += count;
    this.#exports.install(number, base);
  }
}

/** @implements {Emulator} */
class Machine64 {
  /** @type {any} */
  #exports;
  /** @type {WebAssembly.Memory} */
  #memory;
  #compiled;
  #handle9p;
  #events;
  #running = false;
  #ended = false;
  /** Whether a turn was asked for, and whether we are in one. */
  #asked = false;
  #inside = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #turns = new Turns(() => {
    this.#asked = false;
    this.#turn();
  });
  /** What the guest had no room for, by port. @type {Uint8Array[][]} */
  #input = Array.from({ length: PORTS }, () => []);

  /**
   * @param {WebAssembly.Module} module
   * @param {number} memoryMiB
   * @param {Handle9P | undefined} handle9p
   * @param {EmulatorEvents} events
   */
  constructor(module, memoryMiB, handle9p, events) {
    this.#handle9p = handle9p;
    this.#events = events;
    const instance = new WebAssembly.Instance(module, {
      host: {
        now: () => performance.now(),
        random: (/** @type {number} */ address, /** @type {number} */ length) => {
          // What is in the upper half of the addresses comes as negative.
          const bytes = new Uint8Array(this.#memory.buffer, address >>> 0, length);
          for (let at = 0; at < length; at += RANDOM_LIMIT)
            crypto.getRandomValues(bytes.subarray(at, at + RANDOM_LIMIT));
        },
        fail: (/** @type {number} */ address, /** @type {number} */ length) => {
          throw new Error(`the 64-bit machine failed: ${this.#text(address, length)}`);
        },
      },
    });
    this.#exports = instance.exports;
    this.#memory = this.#exports.memory;
    this.#compiled = new CompiledCode(this.#exports);
    if (!this.#exports.create(memoryMiB, WebAssembly.validate(TAIL_CALL)))
      throw new Error(`a machine with ${memoryMiB} MiB of memory cannot be made`);
  }

  /** @param {import("./machine.js").BootFiles} files */
  async boot({ kernel, initramfs }) {
    const error = this.#exports.boot(
      ...this.#give(new Uint8Array(kernel)),
      ...this.#give(new Uint8Array(initramfs)),
      ...this.#give(new TextEncoder().encode(COMMAND_LINE)),
    );
    if (error) throw new Error(BOOT_ERRORS[error]);
  }

  /** @param {import("./machine.js").ComingState} saved */
  async restore({ state, host }) {
    if (!this.#exports.restore(...this.#give(new Uint8Array(await state))))
      throw new Error("it is not a state of this machine");
    if (host) this.#input = host.input.map((/** @type {string[]} */ port) => port.map(fromBase64));
  }

  run() {
    this.#running = true;
    this.#ask();
  }

  async pause() {
    this.#running = false;
    clearTimeout(this.#timer);
  }

  memory() {
    const { ram, ram_size } = this.#exports;
    return new Uint8Array(this.#memory.buffer, ram() >>> 0, ram_size() >>> 0);
  }

  /** @param {Uint8Array} [free] */
  async save(free = new Uint8Array()) {
    // Requests without an answer are read in the guest's memory again by the machine itself.
    const length = this.#exports.save(...this.#give(free)) >>> 0;
    if (length === 0) throw new Error("its memory is too much to be saved");
    const state = this.#taken(length).slice().buffer;
    return { state, host: { input: this.#input.map((port) => port.map(toBase64)) } };
  }

  /**
   * @param {number} port
   * @param {Uint8Array} bytes
   */
  send(port, bytes) {
    if (this.#ended) return;
    this.#input[port].push(bytes);
    this.#wake();
  }

  /** @param {number} level */
  setLevel(level) {
    if (!this.#exports.set_level(level)) throw new Error(`there is no x86-64-v${level} here`);
  }

  /** @param {Uint8Array} frame */
  sendFrame(frame) {
    if (this.#ended) return true;
    const taken = this.#guarded(() => Boolean(this.#exports.frame(...this.#give(frame))));
    this.#wake();
    return taken ?? true;
  }

  destroy() {
    this.#running = false;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#turns.close();
  }

  // -- Slices ------------------------------------------------------------------

  #ask() {
    if (this.#asked || !this.#running) return;
    this.#asked = true;
    this.#turns.ask();
  }

  /** Something came in: an idle machine goes on at once. */
  #wake() {
    if (this.#inside || this.#asked || !this.#running) return;
    this.#turn();
  }

  #turn() {
    clearTimeout(this.#timer);
    if (!this.#running || this.#inside) return;
    this.#inside = true;
    this.#guarded(() => this.#slice());
    this.#inside = false;
  }

  /**
   * Does something with the machine, which ends where that fails.
   * @template T
   * @param {() => T} act
   * @returns {T | undefined}
   */
  #guarded(act) {
    try {
      return act();
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  #slice() {
    const end = performance.now() + SLICE_MS;
    for (;;) {
      this.#passInput();
      const status = this.#exports.run(Math.max(end - performance.now(), 0));
      const answered = this.#passOutput();
      if (!this.#running) return;
      this.#compiled.advance();
      if (status in ENDS) return this.#end(ENDS[status]);
      if (status === STATUS.broken) return this.#end(this.#fault());
      if (performance.now() >= end) return this.#ask();
      // What it ran for may have made room for more input.
      if (status !== STATUS.idle || answered || this.#passInput()) continue;
      const wait = this.#exports.idle_time();
      if (wait < SHORTEST_TIMER_MS) return this.#ask();
      if (wait !== Infinity)
        this.#timer = setTimeout(() => this.#turn(), Math.min(wait, LONGEST_TIMER_MS));
      return;
    }
  }

  /** What the guest's kernel did to a device. */
  #fault() {
    const text = new TextDecoder().decode(this.#taken(this.#exports.fault()));
    return `a device of the machine was misused: ${text}`;
  }

  /** @param {string} message */
  #end(message) {
    if (this.#ended) return;
    this.#running = false;
    this.#ended = true;
    this.#events.halted(message);
  }

  /** Whether the guest took any. */
  #passInput() {
    let any = false;
    for (const [port, queue] of this.#input.entries()) {
      while (queue.length > 0) {
        const bytes = queue[0];
        const taken = this.#exports.console_input(port, ...this.#give(bytes));
        any ||= taken > 0;
        if (taken === bytes.length) {
          queue.shift();
        } else {
          queue[0] = bytes.subarray(taken);
          break;
        }
      }
    }
    return any;
  }

  /** Whether there was something that the machine can go on by. */
  #passOutput() {
    let any = false;
    const { take } = this.#exports;
    for (let length = take(OUTPUT.log); length > 0; length = take(OUTPUT.log))
      for (const byte of this.#taken(length).slice()) this.#events.log(byte);
    for (const port of OUTPUT_ORDER)
      for (let takes = 0; takes < OUTPUT_TAKES && !this.#ended; takes += 1) {
        const length = take(OUTPUT.console + port);
        if (length <= 0) break;
        any = true;
        this.#events.output(port, this.#taken(length).slice());
      }
    if (this.#ended) return any;
    for (let length = take(OUTPUT.request); length > 0; length = take(OUTPUT.request)) {
      const request = this.#taken(length).slice();
      this.#handle9p?.(request, (frame) => {
        if (this.#ended) return;
        any = true;
        this.#guarded(() => this.#exports.reply(...this.#give(frame)));
        this.#wake();
      });
    }
    for (let length = take(OUTPUT.frame); length > 0; length = take(OUTPUT.frame))
      this.#events.frame(this.#taken(length).slice());
    return any;
  }

  // -- Bytes in the module's memory -----------------------------------------------

  /**
   * @param {Uint8Array} bytes
   * @returns {[number, number]}
   */
  #give(bytes) {
    const address = this.#exports.allocate(bytes.length) >>> 0;
    new Uint8Array(this.#memory.buffer).set(bytes, address);
    return [address, bytes.length];
  }

  /** @param {number} length */
  #taken(length) {
    return new Uint8Array(this.#memory.buffer, this.#exports.taken() >>> 0, length);
  }

  /**
   * @param {number} address
   * @param {number} length
   */
  #text(address, length) {
    return new TextDecoder().decode(new Uint8Array(this.#memory.buffer, address >>> 0, length));
  }
}
