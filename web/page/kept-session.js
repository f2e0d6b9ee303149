/**
 * A session that is kept in the browser under a name: two files, written in turn, so that the one before
 * is whole while the next is written; and a lock, so that no two tabs have it at once.
 */

import { readBlob, StateError } from "../vm/state-file.js";

/** @import { StateReader } from "../vm/state-file.js" */

export const DIRECTORY = "browsermount-sessions";
const SLOTS = ["a", "b"];
const REMOVE_ATTEMPTS = 30;
const REMOVE_INTERVAL_MS = 100;
/** A page that was left has its lock for another moment. */
const LOCK_PATIENCE_MS = 3000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const FILE = /^(.+)\.([ab])\.state$/;

/**
 * @typedef {object} FoundState
 * @property {File} file
 * @property {string} slot
 * @property {StateReader} state
 */

/**
 * The directory of all that is kept.
 * @returns {Promise<FileSystemDirectoryHandle>}
 * @throws {Error} this browser keeps nothing; the message says so
 */
export async function sessionDirectory() {
  const { locks, storage } = navigator;
  if (!locks || !storage?.getDirectory) throw new Error("this browser keeps no files for pages");
  try {
    const root = await storage.getDirectory();
    return await root.getDirectoryHandle(DIRECTORY, { create: true });
  } catch {
    throw new Error("this browser keeps no files for this page");
  }
}

/** @param {string} name */
export function isSessionName(name) {
  return NAME.test(name);
}

/** @param {string} name of a session */
export function lockOf(name) {
  return `browsermount-session-${name}`;
}

/**
 * The name of the session that a file belongs to; undefined where it is of none.
 * @param {string} file
 */
export function sessionOf(file) {
  const [, name] = FILE.exec(file) ?? [];
  return name !== undefined && NAME.test(name) ? name : undefined;
}

export class KeptSession {
  /** Where the next state goes: never where the last good one is. */
  slot = SLOTS[0];
  /** @type {() => void} */
  #release = () => {};
  #directory;
  /** Those whose machine turned out to be damaged. @type {Set<string>} */
  #damaged = new Set();

  /**
   * @param {string} name
   * @param {FileSystemDirectoryHandle} directory
   */
  constructor(name, directory) {
    this.name = name;
    this.#directory = directory;
  }

  /**
   * Takes a session for this page alone.
   * @param {string} name
   * @returns {Promise<KeptSession>}
   * @throws {Error} it cannot be kept; the message says why
   */
  static async open(name) {
    if (!NAME.test(name)) throw new Error(`${name} is no name for a session`);
    const kept = new KeptSession(name, await sessionDirectory());
    await new Promise((resolve, reject) => {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), LOCK_PATIENCE_MS);
      navigator.locks
        .request(lockOf(name), { signal: late.signal }, () => {
          clearTimeout(timer);
          resolve(undefined);
          // Held until release(), or until the page is gone.
          return new Promise((done) => (kept.#release = () => done(undefined)));
        })
        .catch(() => reject(new Error("it is open in another tab")));
    });
    return kept;
  }

  /** Lets others have it. */
  release() {
    this.#release();
  }

  /**
   * The last state that can be read, if there is any.
   * @returns {Promise<{ found?: FoundState, damaged: boolean }>}
   */
  async find() {
    /** @type {FoundState[]} */
    const states = [];
    let damaged = this.#damaged.size > 0;
    for (const slot of SLOTS.filter((slot) => !this.#damaged.has(slot))) {
      try {
        const handle = await this.#directory.getFileHandle(this.#file(slot));
        const file = await handle.getFile();
        // That was going to be one, but for want of room.
        if (file.size === 0) continue;
        states.push({ file, slot, state: await readBlob(file) });
      } catch (error) {
        damaged ||= error instanceof StateError;
      }
    }
    states.sort((one, other) => other.state.header.saved - one.state.header.saved);
    const [found] = states;
    if (found) this.slot = SLOTS.find((slot) => slot !== found.slot) ?? SLOTS[0];
    return { found, damaged };
  }

  /** @throws {Error} there is something of this name already */
  async requireFree() {
    const { found, damaged } = await this.find();
    if (found || damaged) throw new Error(`there is a session “${this.name}” already`);
  }

  /**
   * Looks no more at a state that was found, and is damaged further behind.
   * @param {FoundState} state
   */
  passOver({ slot }) {
    this.#damaged.add(slot);
    this.slot = slot;
  }

  /** The file for the next state, for who can write it: a worker. */
  get target() {
    return { directory: DIRECTORY, file: this.#file(this.slot) };
  }

  /** The file was written. */
  written() {
    this.#damaged.delete(this.slot);
    this.slot = SLOTS.find((slot) => slot !== this.slot) ?? SLOTS[0];
  }

  /**
   * Keeps what was found as a session of its own, since this one is going to be another.
   * @param {FoundState} found
   * @returns {Promise<string>} its name
   */
  async setAside({ slot }) {
    for (let number = 1; ; number += 1) {
      const ending = number === 1 ? ".before" : `.before-${number}`;
      const name = this.name.slice(0, 64 - ending.length) + ending;
      /** @type {KeptSession | undefined} */
      let other;
      try {
        other = await KeptSession.open(name);
      } catch {
        continue; // another tab has it
      }
      try {
        const { found, damaged } = await other.find();
        if (found || damaged) continue;
        await this.#move(slot, other);
        return name;
      } finally {
        other.release();
      }
    }
  }

  /**
   * Moves all of it to another session, of which there must be nothing.
   * @param {KeptSession} other
   */
  async moveTo(other) {
    for (const slot of SLOTS) await this.#move(slot, other);
  }

  /**
   * Puts a whole file in the place of all that is there.
   * @param {Blob} file
   */
  async put(file) {
    await write(this.#directory, this.#file(this.slot), file);
    this.written();
    await this.#remove(this.#file(this.slot));
  }

  async forget() {
    for (const slot of SLOTS) await this.#remove(this.#file(slot));
  }

  /** @param {string} slot @param {KeptSession} other */
  async #move(slot, other) {
    const target = other.#file(slot);
    let handle;
    try {
      handle = await this.#directory.getFileHandle(this.#file(slot));
    } catch {
      return; // there is none
    }
    // Not every browser can, and none has said so in a standard yet.
    const { move } = /** @type {any} */ (handle);
    if (move) {
      await move.call(handle, target);
      return;
    }
    await write(this.#directory, target, await handle.getFile());
    await this.#remove(this.#file(slot));
  }

  /** @param {string} name */
  async #remove(name) {
    for (let attempt = 0; attempt < REMOVE_ATTEMPTS; attempt += 1) {
      try {
        await this.#directory.removeEntry(name);
        return;
      } catch (error) {
        // A worker that was just ended may have it open for a moment.
        if (/** @type {any} */ (error)?.name !== "NoModificationAllowedError") return;
        await new Promise((resolve) => setTimeout(resolve, REMOVE_INTERVAL_MS));
      }
    }
  }

  /** @param {string} slot */
  #file(slot) {
    return `${this.name}.${slot}.state`;
  }
}

/**
 * Writes a whole file, or leaves the one before.
 * @param {FileSystemDirectoryHandle} directory
 * @param {string} name
 * @param {Blob} content
 */
async function write(directory, name, content) {
  const handle = await directory.getFileHandle(name, { create: true });
  const output = await handle.createWritable();
  try {
    await output.write(content);
    await output.close();
  } catch (error) {
    await output.abort().catch(() => {});
    const { size } = await handle.getFile();
    if (size === 0) await directory.removeEntry(name).catch(() => {});
    throw error;
  }
}

const ASKED = "browsermount-asked-to-persist";

/** @type {Promise<void> | undefined} */
let asking;

/**
 * Asks the browser, once, not to remove what is kept when its disk becomes full. Some ask the person.
 */
export function askToPersist() {
  return (asking ??= ask());
}

async function ask() {
  const { storage } = navigator;
  if (!storage?.persist || (await storage.persisted?.())) return;
  try {
    if (localStorage.getItem(ASKED)) return;
    localStorage.setItem(ASKED, new Date().toISOString());
  } catch {
    return; // each visit would be asked
  }
  await storage.persist();
}
