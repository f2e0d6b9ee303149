/** Where the files of an OCI image layout go, one after the other: into a tar archive, or into a folder. */

const BLOCK = 512;
/** Pieces are put together to so many bytes: a browser may keep such on its disk. */
const PART = 4 << 20;

/**
 * A ustar header (POSIX.1-2017, pax, "ustar Interchange Format").
 * @param {string} path of a file, or of a directory where it ends with a slash
 * @param {number} size
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function tarHeader(path, size) {
  const header = new Uint8Array(BLOCK);
  /** @param {number} at @param {string} text */
  const put = (at, text) => header.set(new TextEncoder().encode(text), at);
  /** @param {number} at @param {number} length @param {number} value */
  const octal = (at, length, value) => put(at, value.toString(8).padStart(length - 1, "0"));
  put(0, path);
  octal(100, 8, path.endsWith("/") ? 0o755 : 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  put(148, " ".repeat(8));
  put(156, path.endsWith("/") ? "5" : "0");
  put(257, "ustar\x0000");
  octal(
    148,
    7,
    header.reduce((sum, byte) => sum + byte, 0),
  );
  return header;
}

/** A tar archive. */
export class TarSink {
  #target;
  /** @type {FileSystemWritableFileStream | undefined} */
  #output;
  /** @type {Blob[]} */
  #parts = [];
  /** @type {Uint8Array[]} */
  #pieces = [];
  #size = 0;
  #padding = 0;
  /** @type {Set<string>} */
  #folders = new Set();

  /** @param {FileSystemFileHandle} [target] the file; by default finish() returns one */
  constructor(target) {
    this.#target = target;
  }

  /** @param {string} path @param {number} size */
  async begin(path, size) {
    await this.#pad();
    const names = path.split("/");
    for (let depth = 1; depth < names.length; depth += 1) {
      const folder = `${names.slice(0, depth).join("/")}/`;
      if (!this.#folders.has(folder)) await this.#put(tarHeader(folder, 0));
      this.#folders.add(folder);
    }
    await this.#put(tarHeader(path, size));
    this.#padding = -size & (BLOCK - 1);
    return true;
  }

  /** @param {Uint8Array} bytes */
  async write(bytes) {
    await this.#put(bytes);
  }

  /** There was nothing before. @param {string} _path */
  async read(_path) {
    return undefined;
  }

  /** @returns {Promise<Blob | undefined>} where there is no file that it was written to */
  async finish() {
    await this.#pad();
    await this.#put(new Uint8Array(2 * BLOCK));
    if (!this.#target) {
      this.#gather();
      return new Blob(this.#parts, { type: "application/x-tar" });
    }
    await this.#flush();
    await this.#output?.close();
    return undefined;
  }

  async abort() {
    await this.#output?.abort();
  }

  async #pad() {
    if (this.#padding > 0) await this.#put(new Uint8Array(this.#padding));
    this.#padding = 0;
  }

  /** @param {Uint8Array} bytes */
  async #put(bytes) {
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    if (this.#size < PART) return;
    if (this.#target) await this.#flush();
    else this.#gather();
  }

  #gather() {
    this.#parts.push(new Blob(/** @type {BlobPart[]} */ (this.#pieces)));
    this.#pieces = [];
    this.#size = 0;
  }

  async #flush() {
    this.#gather();
    this.#output ??= await this.#target?.createWritable();
    for (const part of this.#parts.splice(0)) await this.#output?.write(part);
  }
}

/** A folder, in which there may be other images. */
export class FolderSink {
  #folder;
  /** @type {FileSystemWritableFileStream | undefined} */
  #output;
  #left = 0;

  /** @param {FileSystemDirectoryHandle} folder */
  constructor(folder) {
    this.#folder = folder;
  }

  /** @param {string} path @param {number} size */
  async begin(path, size) {
    // A blob is named after what is in it. What was broken off has not come to its place.
    if (path.startsWith("blobs/") && (await this.#open(path))?.size === size) return false;
    const { parent, name } = await this.#place(path, true);
    const handle = await parent.getFileHandle(name, { create: true });
    this.#output = await handle.createWritable();
    this.#left = size;
    if (size === 0) await this.#close();
    return true;
  }

  /** @param {Uint8Array} bytes */
  async write(bytes) {
    await this.#output?.write(/** @type {BufferSource} */ (bytes));
    this.#left -= bytes.length;
    if (this.#left === 0) await this.#close();
  }

  /** @param {string} path */
  async read(path) {
    return (await this.#open(path))?.text();
  }

  async finish() {
    return undefined;
  }

  async abort() {
    await this.#output?.abort();
  }

  async #close() {
    await this.#output?.close();
    this.#output = undefined;
  }

  /** @param {string} path */
  async #open(path) {
    try {
      const { parent, name } = await this.#place(path, false);
      return await (await parent.getFileHandle(name)).getFile();
    } catch (error) {
      if (/** @type {any} */ (error)?.name === "NotFoundError") return undefined;
      throw error;
    }
  }

  /** @param {string} path @param {boolean} create */
  async #place(path, create) {
    const names = path.split("/");
    const name = /** @type {string} */ (names.pop());
    let parent = this.#folder;
    for (const folder of names) parent = await parent.getDirectoryHandle(folder, { create });
    return { parent, name };
  }
}
