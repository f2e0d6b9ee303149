/**
 * A session that is kept in the browser under a name: two files, written in turn, so that the one before
 * is whole while the next is written; and a lock, so that no two tabs have it at once.
 */

import { readBlob, StateError } from "./vm/state-file.js";

/** @import { StateReader } from "./vm/state-file.js" */

const DIRECTORY = "browsermount-sessions";
const SLOTS = ["a", "b"];
const REMOVE_ATTEMPTS = 30;
const REMOVE_INTERVAL_MS = 100;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * @typedef {object} FoundState
 * @property {File} file
 * @property {string} slot
 * @property {StateReader} state
 */

export class KeptSession {
  /** Where the next state goes: never where the last good one is. */
  slot = SLOTS[0];
  /** @type {() => void} */
  #release = () => {};
  #directory;

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
    const { locks, storage } = navigator;
    if (!locks || !storage?.getDirectory) throw new Error("this browser keeps no files for pages");
    let directory;
    try {
      const root = await storage.getDirectory();
      directory = await root.getDirectoryHandle(DIRECTORY, { create: true });
    } catch {
      throw new Error("this browser keeps no files for this page");
    }
    const kept = new KeptSession(name, directory);
    const taken = await new Promise((resolve) => {
      void locks.request(`browsermount-session-${name}`, { ifAvailable: true }, (lock) => {
        resolve(lock !== null);
        // Held until release(), or until the page is gone.
        return lock && new Promise((done) => (kept.#release = () => done(undefined)));
      });
    });
    if (!taken) throw new Error("it is open in another tab");
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
    let damaged = false;
    for (const slot of SLOTS) {
      try {
        const handle = await this.#directory.getFileHandle(this.#file(slot));
        const file = await handle.getFile();
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

  /** The file for the next state, for who can write it: a worker. */
  get target() {
    return { directory: DIRECTORY, file: this.#file(this.slot) };
  }

  /** The file was written. */
  written() {
    this.slot = SLOTS.find((slot) => slot !== this.slot) ?? SLOTS[0];
  }

  async forget() {
    for (const slot of SLOTS) await this.#remove(this.#file(slot));
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
