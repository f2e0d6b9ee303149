/** Where a state goes: a file of the origin's own, which only workers can write in place. */

import { sizeOf } from "./state-file.js";

/** There is no room for it. */
export class NoRoom extends Error {
  constructor() {
    super("the browser has no room for it");
  }
}

/** So much of a blob is in memory at once. */
const BLOB_STEP = 4 << 20;

/** @param {(Uint8Array | Blob)[]} pieces */
async function* bytesOf(pieces) {
  for (const piece of pieces) {
    if ("length" in piece) yield piece;
    else
      for (let at = 0; at < piece.size; at += BLOB_STEP)
        yield new Uint8Array(await piece.slice(at, at + BLOB_STEP).arrayBuffer());
  }
}

/**
 * Writes a file in the place of what is in it, and waits until it is on the disk.
 * @param {{ directory: string, file: string }} target
 * @param {(Uint8Array | Blob)[]} pieces
 * @returns {Promise<number>} its size
 * @throws {NoRoom} of the file nothing is left then
 */
export async function writeState(target, pieces) {
  try {
    return await write(target, pieces);
  } catch (error) {
    // Where there is no room at all, even opening a file says so.
    throw /** @type {any} */ (error)?.name === "QuotaExceededError" ? new NoRoom() : error;
  }
}

/**
 * @param {{ directory: string, file: string }} target
 * @param {(Uint8Array | Blob)[]} pieces
 */
async function write({ directory, file }, pieces) {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle(directory, { create: true });
  const handle = await folder.getFileHandle(file, { create: true });
  const access = await /** @type {any} */ (handle).createSyncAccessHandle();
  try {
    // Said in advance, half a file is not written; but only trying tells for certain.
    const { quota = Infinity, usage = 0 } = (await navigator.storage.estimate?.()) ?? {};
    const size = pieces.reduce((sum, piece) => sum + sizeOf(piece), 0);
    if (usage - access.getSize() + size > quota) throw new NoRoom();
    access.truncate(0);
    let at = 0;
    for await (const piece of bytesOf(pieces)) {
      const written = access.write(piece, { at });
      if (written < piece.length) throw new NoRoom();
      at += written;
    }
    access.flush();
    return at;
  } catch (error) {
    // The last good state is in another file: of this one, nothing need take room.
    access.truncate(0);
    throw error;
  } finally {
    access.close();
  }
}
