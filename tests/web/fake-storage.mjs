/** The origin private file system and the locks of a browser, as far as sessions use them. */

/** @param {string} name */
const failure = (name) => Object.assign(new Error(name), { name });

class FakeFile {
  kind = /** @type {const} */ ("file");
  /** @param {FakeDirectory} directory @param {string} name */
  constructor(directory, name) {
    this.directory = directory;
    this.name = name;
  }

  get bytes() {
    return this.directory.files.get(this.name) ?? new Uint8Array(0);
  }

  async getFile() {
    return new File([/** @type {any} */ (this.bytes)], this.name);
  }

  async createSyncAccessHandle() {
    if (this.directory.disk.full) throw failure("QuotaExceededError");
    const put = (/** @type {Uint8Array} */ bytes) => this.directory.files.set(this.name, bytes);
    return {
      getSize: () => this.bytes.length,
      truncate: (/** @type {number} */ size) => put(this.bytes.slice(0, size)),
      write: (/** @type {Uint8Array} */ piece, /** @type {{ at: number }} */ { at }) => {
        const room = Math.min(piece.length, this.directory.disk.room - at);
        const bytes = new Uint8Array(at + room);
        bytes.set(this.bytes);
        bytes.set(piece.subarray(0, room), at);
        put(bytes);
        if (this.directory.disk.throws && room < piece.length) throw failure("QuotaExceededError");
        return room;
      },
      flush: () => {},
      close: () => {},
    };
  }

  async createWritable() {
    /** @type {any[]} */
    const parts = [];
    return {
      write: async (/** @type {any} */ part) => void parts.push(part),
      abort: async () => {},
      close: async () => {
        const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
        if (bytes.length > this.directory.disk.room) throw failure("QuotaExceededError");
        this.directory.files.set(this.name, bytes);
      },
    };
  }
}

class MovableFile extends FakeFile {
  /** @param {string} name */
  async move(name) {
    this.directory.files.set(name, this.bytes);
    this.directory.files.delete(this.name);
  }
}

export class FakeDirectory {
  kind = /** @type {const} */ ("directory");
  name = "folder";
  /** @type {Map<string, Uint8Array>} */
  files = new Map();
  /** @type {Map<string, FakeDirectory>} */
  directories = new Map();

  /** @param {{ room: number, throws: boolean, full: boolean, moves: boolean }} disk */
  constructor(disk = { room: Infinity, throws: false, full: false, moves: true }) {
    this.disk = disk;
  }

  /** @param {string} name @param {{ create?: boolean }} [options] */
  async getDirectoryHandle(name, { create = false } = {}) {
    const found = this.directories.get(name);
    if (!found && !create) throw failure("NotFoundError");
    const directory = found ?? new FakeDirectory(this.disk);
    this.directories.set(name, directory);
    return directory;
  }

  /** @param {string} name @param {{ create?: boolean }} [options] */
  async getFileHandle(name, { create = false } = {}) {
    if (!this.files.has(name)) {
      if (!create) throw failure("NotFoundError");
      this.files.set(name, new Uint8Array(0));
    }
    return this.disk.moves ? new MovableFile(this, name) : new FakeFile(this, name);
  }

  /** @param {string} name */
  async removeEntry(name) {
    if (!this.files.delete(name)) throw failure("NotFoundError");
  }

  async *keys() {
    yield* [...this.files.keys()];
  }
}

class FakeLocks {
  /** @type {Set<string>} */
  held = new Set();

  /**
   * @param {string} name
   * @param {{ signal?: AbortSignal }} options
   * @param {(lock: object) => Promise<unknown>} use
   */
  async request(name, { signal }, use) {
    while (this.held.has(name)) {
      if (signal?.aborted) throw failure("AbortError");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    this.held.add(name);
    try {
      return await use({ name });
    } finally {
      this.held.delete(name);
    }
  }

  async query() {
    return { held: [...this.held].map((name) => ({ name })), pending: [] };
  }
}

/**
 * A browser with nothing in its storage.
 * @param {Partial<{ room: number, throws: boolean, full: boolean, moves: boolean, quota: number }>} [limits]
 *   `room` for a file; whether it `throws` where there is none, or where one is `full` when it is opened
 */
export function fakeBrowser({
  room = Infinity,
  throws = false,
  full = false,
  moves = true,
  quota,
} = {}) {
  const disk = { room, throws, full, moves };
  const root = new FakeDirectory(disk);
  const locks = new FakeLocks();
  const storage = {
    getDirectory: async () => root,
    estimate: async () => (quota === undefined ? {} : { quota, usage: 0 }),
  };
  Object.defineProperty(globalThis, "navigator", {
    value: { storage, locks },
    configurable: true,
  });
  return { root, disk, locks };
}
