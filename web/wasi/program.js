/**
 * The system that a machine of container2wasm's runs on: WASI, preview 1, as its own page gives it. Files,
 * arguments and the like are the npm package's (@bjorn3/browser_wasi_shim); what waits is here.
 *
 * What it has open, as container2wasm's `--net=socket=listenfd=4` expects it:
 *
 * | 0, 1, 2 | the terminal |
 * | 3       | an empty directory |
 * | 4       | a socket that listens, for the network's cable |
 * | 5       | the cable, when it was accepted |
 */

import { ByteQueue } from "./byte-queue.js";

/** @import * as Shim from "@bjorn3/browser_wasi_shim" */
/** @import { Cable } from "./cable.js" */
/** @import { Call, Letterbox, Suspension } from "./waiting.js" */

export const MODULE = "wasi_snapshot_preview1";

const TERMINAL_IN = 0;
const TERMINAL_OUT = [1, 2];
const DIRECTORY = 3;
const LISTENER = 4;
const CABLE = 5;
const OURS = [TERMINAL_IN, ...TERMINAL_OUT, LISTENER, CABLE];

// https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md
const SUCCESS = 0;
const AGAIN = 6;
const BADF = 8;
const INVAL = 28;
const NOTSUP = 58;
const PIPE = 64;
const SPIPE = 70;
const CHARACTER_DEVICE = 2;
const SOCKET_STREAM = 6;
const NONBLOCK = 1 << 2;
const RIGHT_SEEK = 1n << 2n;
const RIGHT_TELL = 1n << 5n;
const EVENT_CLOCK = 0;
const EVENT_READ = 1;
const HANGUP = 1;
const ABSOLUTE_TIME = 1;
const MONOTONIC = 1;
const PEEK = 1;
const WAIT_ALL = 2;
const SUBSCRIPTION_SIZE = 48;
const EVENT_SIZE = 32;
const FDSTAT_SIZE = 24;
const FILESTAT_SIZE = 64;
/** An entry of a list of buffers: the address, and the size. */
const VECTOR_SIZE = 8;
/** It is no directory; wasi-libc and wasi-vfs leave such a one alone. */
const PREOPEN_SOCKET = 1;

/** Of what the terminal has not shown, so much may be on its way. */
const MAX_UNSHOWN = 128 << 10;

export class Program {
  #wasi;
  #Exit;
  #waiting;
  #cable;
  #output;
  #typed = new ByteQueue();
  #unshown = 0;
  #connected = false;
  /** What was set for each that is ours. @type {Map<number, number>} */
  #flags = new Map([[LISTENER, NONBLOCK]]);

  /**
   * @param {typeof Shim} shim
   * @param {string[]} args the first one is the program's name
   * @param {object} outside
   * @param {Suspension | Letterbox} outside.waiting
   * @param {Cable} outside.cable
   * @param {(data: Uint8Array<ArrayBuffer>) => void} outside.output takes what is for the terminal
   */
  constructor(shim, args, { waiting, cable, output }) {
    this.#waiting = waiting;
    this.#cable = cable;
    this.#output = output;
    this.#Exit = shim.WASIProcExit;
    // Ours are here for the numbers alone: what is called for them does not get there.
    /** @type {Shim.Fd[]} */
    const open = Array.from({ length: CABLE + 1 }, () => new (class extends shim.Fd {})());
    open[DIRECTORY] = new shim.PreopenDirectory("/.wasmenv", new Map());
    this.#wasi = new shim.WASI(args, [], open, { debug: false });
  }

  /** @param {Uint8Array} data what was typed */
  type(data) {
    this.#typed.push(data);
    this.#waiting.arrived();
  }

  /** @param {Uint8Array} frame for the machine's card */
  receive(frame) {
    this.#cable.receive(frame);
    this.#waiting.arrived();
  }

  /** @param {number} bytes of the output that the terminal has shown */
  shown(bytes) {
    this.#unshown -= bytes;
    this.#waiting.arrived();
  }

  /** What it imports. @returns {Record<string, any>} */
  get imports() {
    const theirs = this.#wasi.wasiImport;
    /** @param {string} name @param {(fd: number, ...rest: any[]) => number} call */
    const ours =
      (name, call) =>
      (/** @type {number} */ fd, /** @type {any[]} */ ...rest) =>
        OURS.includes(fd) ? call.call(this, fd, ...rest) : theirs[name](fd, ...rest);
    /** @param {Call} call */
    const waits = (call) => this.#waiting.importOf(call.bind(this));
    return {
      ...theirs,
      fd_read: waits(this.#readAny),
      fd_write: waits(this.#writeAny),
      sock_recv: waits(this.#receiveFrom),
      sock_send: waits(this.#sendTo),
      sock_accept: waits(this.#accept),
      poll_oneoff: waits(this.#poll),
      sched_yield: waits(this.#yield),
      sock_shutdown: (/** @type {number} */ fd) => (this.#isOpen(fd) ? SUCCESS : BADF),
      fd_close: ours("fd_close", this.#close),
      fd_fdstat_get: ours("fd_fdstat_get", this.#describe),
      fd_fdstat_set_flags: ours("fd_fdstat_set_flags", this.#setFlags),
      fd_filestat_get: ours("fd_filestat_get", this.#describeFile),
      fd_prestat_get: ours("fd_prestat_get", this.#describePreopen),
      fd_prestat_dir_name: ours("fd_prestat_dir_name", () => BADF),
      fd_seek: ours("fd_seek", () => SPIPE),
      fd_tell: ours("fd_tell", () => SPIPE),
      fd_renumber: ours("fd_renumber", () => NOTSUP),
    };
  }

  /**
   * Run it to its end.
   * @param {WebAssembly.Instance} instance made with these imports
   * @returns {Promise<number>} its exit code
   * @throws {Error} it has broken down
   */
  async run(instance) {
    const exports = /** @type {any} */ (instance.exports);
    this.#wasi.inst = { exports };
    try {
      await this.#waiting.run(exports._start);
      return 0;
    } catch (error) {
      if (error instanceof this.#Exit) return error.code;
      throw error;
    }
  }

  get #memory() {
    return this.#wasi.inst.exports.memory.buffer;
  }

  // -- What is open ------------------------------------------------------------------------

  /** @param {number} fd */
  #isOpen(fd) {
    return fd === CABLE ? this.#connected : OURS.includes(fd);
  }

  /** @param {number} fd */
  #isReadable(fd) {
    if (fd === LISTENER) return !this.#connected;
    if (fd === CABLE) return this.#cable.incoming.length > 0 || this.#cable.broken;
    return fd === TERMINAL_IN && this.#typed.length > 0;
  }

  /** @param {number} fd @returns {ByteQueue | undefined} */
  #sourceOf(fd) {
    if (fd === TERMINAL_IN) return this.#typed;
    return fd === CABLE && this.#connected ? this.#cable.incoming : undefined;
  }

  /** @param {number} fd */
  #flagsOf(fd) {
    return this.#flags.get(fd) ?? 0;
  }

  /** @param {number} fd */
  #close(fd) {
    if (!this.#isOpen(fd)) return BADF;
    if (fd === CABLE) this.#connected = false;
    return SUCCESS;
  }

  /** @param {number} fd @param {number} target */
  #describe(fd, target) {
    if (!this.#isOpen(fd)) return BADF;
    const memory = new DataView(this.#memory, target, FDSTAT_SIZE);
    memory.setUint8(0, fd < DIRECTORY ? CHARACTER_DEVICE : SOCKET_STREAM);
    memory.setUint16(2, this.#flagsOf(fd), true);
    // Whoever asks may do all that there is; but to seek is not for what has no place.
    const rights = 0xffff_ffff_ffffn & ~(RIGHT_SEEK | RIGHT_TELL);
    memory.setBigUint64(8, rights, true);
    memory.setBigUint64(16, rights, true);
    return SUCCESS;
  }

  /** @param {number} fd @param {number} flags */
  #setFlags(fd, flags) {
    if (!this.#isOpen(fd)) return BADF;
    this.#flags.set(fd, flags);
    return SUCCESS;
  }

  /** @param {number} fd @param {number} target */
  #describeFile(fd, target) {
    if (!this.#isOpen(fd)) return BADF;
    new Uint8Array(this.#memory, target, FILESTAT_SIZE).fill(0);
    const type = fd < DIRECTORY ? CHARACTER_DEVICE : SOCKET_STREAM;
    new DataView(this.#memory).setUint8(target + 16, type);
    return SUCCESS;
  }

  /** @param {number} fd @param {number} target */
  #describePreopen(fd, target) {
    if (fd < DIRECTORY) return BADF;
    new DataView(this.#memory).setUint8(target, PREOPEN_SOCKET);
    return SUCCESS;
  }

  // -- What is called ----------------------------------------------------------------------

  /**
   * @param {number} list
   * @param {number} count
   * @returns {Uint8Array[]} the places in memory that a list has
   */
  #places(list, count) {
    const memory = new DataView(this.#memory);
    return Array.from({ length: count }, (_, i) => {
      const entry = list + i * VECTOR_SIZE;
      const [address, size] = [memory.getUint32(entry, true), memory.getUint32(entry + 4, true)];
      return new Uint8Array(this.#memory, address, size);
    });
  }

  /** @param {number} target @param {number} value */
  #set32(target, value) {
    new DataView(this.#memory).setUint32(target, value, true);
  }

  /** @type {Call} */
  *#readAny(fd, list, count, got) {
    if (!OURS.includes(fd))
      return /** @type {any} */ (this.#wasi.wasiImport).fd_read(fd, list, count, got);
    return yield* this.#take(fd, list, count, got, 0);
  }

  /** @type {Call} */
  *#receiveFrom(fd, list, count, how, got, flags) {
    const error = yield* this.#take(fd, list, count, got, how);
    if (error === SUCCESS) new DataView(this.#memory).setUint16(flags, 0, true);
    return error;
  }

  /** @type {Call} */
  *#take(fd, list, count, got, how) {
    const source = this.#sourceOf(fd);
    if (!source) return this.#isOpen(fd) ? INVAL : BADF;
    const waits = !(this.#flagsOf(fd) & NONBLOCK);
    const wanted = this.#places(list, count).reduce((sum, { length }) => sum + length, 0);
    const least = how & WAIT_ALL ? wanted : Math.min(1, wanted);
    if (source.length < least && this.#waiting.due) yield 0;
    while (source.length < least && !(fd === CABLE && this.#cable.broken)) {
      if (!waits) {
        if (source.length > 0) break;
        return AGAIN;
      }
      yield Infinity;
    }
    // Memory may have grown meanwhile.
    let size = 0;
    for (const place of this.#places(list, count)) {
      const read = source.read(place, (how & PEEK) !== 0);
      size += read;
      if (read < place.length || how & PEEK) break;
    }
    this.#set32(got, size);
    return SUCCESS;
  }

  /** @type {Call} */
  *#writeAny(fd, list, count, written) {
    if (!OURS.includes(fd))
      return /** @type {any} */ (this.#wasi.wasiImport).fd_write(fd, list, count, written);
    return yield* this.#give(fd, list, count, written);
  }

  /** @type {Call} */
  *#sendTo(fd, list, count, _how, written) {
    return yield* this.#give(fd, list, count, written);
  }

  /** @type {Call} */
  *#give(fd, list, count, written) {
    if (!this.#isOpen(fd)) return BADF;
    const shows = TERMINAL_OUT.includes(fd);
    if (!shows && fd !== CABLE) return INVAL;
    if (fd === CABLE && this.#cable.broken) return PIPE;
    while (shows && this.#unshown > MAX_UNSHOWN) yield Infinity;
    const places = this.#places(list, count);
    const data = new Uint8Array(places.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const place of places) {
      data.set(place, at);
      at += place.length;
    }
    this.#set32(written, data.length);
    if (fd === CABLE) this.#cable.write(data);
    else if (data.length > 0) {
      this.#unshown += data.length;
      this.#output(data);
    }
    return SUCCESS;
  }

  /** @type {Call} */
  *#accept(fd, flags, target) {
    if (fd !== LISTENER) return this.#isOpen(fd) ? INVAL : BADF;
    while (this.#connected) {
      if (this.#flagsOf(fd) & NONBLOCK) return AGAIN;
      yield Infinity;
    }
    this.#connected = true;
    this.#flags.set(CABLE, flags);
    this.#set32(target, CABLE);
    return SUCCESS;
  }

  /** @type {Call} */
  *#yield() {
    if (this.#waiting.due) yield 0;
    return SUCCESS;
  }

  /** @type {Call} */
  *#poll(list, target, count, happened) {
    if (count === 0) return INVAL;
    const wanted = this.#subscriptions(list, count);
    const deadline = Math.min(...wanted.map((it) => it.deadline));
    if (this.#waiting.due) yield 0;
    for (;;) {
      const now = performance.now();
      const events = wanted.filter((it) => it.deadline <= now || this.#isReady(it));
      if (events.length > 0) {
        this.#tell(target, events);
        this.#set32(happened, events.length);
        return SUCCESS;
      }
      yield deadline - now;
    }
  }

  /**
   * @typedef {object} Subscription
   * @property {bigint} userdata
   * @property {number} type
   * @property {number} fd -1 for the time
   * @property {number} deadline as performance.now() has it
   */

  /** @param {number} list @param {number} count @returns {Subscription[]} */
  #subscriptions(list, count) {
    const memory = new DataView(this.#memory);
    return Array.from({ length: count }, (_, i) => {
      const entry = list + i * SUBSCRIPTION_SIZE;
      const userdata = memory.getBigUint64(entry, true);
      const type = memory.getUint8(entry + 8);
      if (type !== EVENT_CLOCK)
        return { userdata, type, fd: memory.getUint32(entry + 16, true), deadline: Infinity };
      const time = Number(memory.getBigUint64(entry + 24, true)) / 1e6;
      const absolute = memory.getUint16(entry + 40, true) & ABSOLUTE_TIME;
      const monotonic = memory.getUint32(entry + 16, true) === MONOTONIC;
      const now = performance.now();
      const left = absolute ? time - (monotonic ? now : Date.now()) : time;
      return { userdata, type, fd: -1, deadline: now + left };
    });
  }

  /** @param {Subscription} wanted */
  #isReady({ type, fd }) {
    if (type === EVENT_CLOCK) return false;
    // What is the package's never lets anybody wait; of what is not open, the event says so.
    if (!OURS.includes(fd) || !this.#isOpen(fd)) return true;
    if (type === EVENT_READ) return this.#isReadable(fd);
    return !TERMINAL_OUT.includes(fd) || this.#unshown <= MAX_UNSHOWN;
  }

  /** @param {number} target @param {Subscription[]} events */
  #tell(target, events) {
    new Uint8Array(this.#memory, target, events.length * EVENT_SIZE).fill(0);
    const memory = new DataView(this.#memory);
    events.forEach(({ userdata, type, fd }, i) => {
      const event = target + i * EVENT_SIZE;
      memory.setBigUint64(event, userdata, true);
      memory.setUint8(event + 10, type);
      if (type === EVENT_CLOCK) return;
      if (!this.#isOpen(fd) && !this.#wasi.fds[fd]) memory.setUint16(event + 8, BADF, true);
      else if (fd === CABLE && !this.#connected) memory.setUint16(event + 8, BADF, true);
      const size = type === EVENT_READ ? (this.#sourceOf(fd)?.length ?? 1) : MAX_UNSHOWN;
      memory.setBigUint64(event + 16, BigInt(size), true);
      if (fd === CABLE && this.#cable.broken) memory.setUint16(event + 24, HANGUP, true);
    });
  }
}
