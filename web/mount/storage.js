/**
 * The origin private file system, opened while Python is still being started:
 * the browser takes its time with the first use of it.
 */

/** Where it keeps what it has, in the origin's private files. */
export const DIRECTORY = "browsermount";
const PROBE = "probe-";

/** A storage that takes longer than so many milliseconds is not waited for. */
const PATIENCE_MS = 5000;

/** @typedef {{ directory: FileSystemDirectoryHandle, quota: number }} Storage */

/**
 * @returns {Promise<Storage | undefined>} undefined where the browser has no files for us, as in
 *   some private windows
 */
export function openStorage() {
  /** @type {Promise<undefined>} */
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  return Promise.race([open(), late]);
}

/** @returns {Promise<Storage | undefined>} */
async function open() {
  try {
    const { storage } = navigator;
    const estimating = storage.estimate();
    const root = await storage.getDirectory();
    const directory = await root.getDirectoryHandle(DIRECTORY, { create: true });
    // Some browsers have the directory, but not the handles that are needed.
    const file = await directory.getFileHandle(PROBE + crypto.randomUUID(), { create: true });
    /** @type {any} The mode is younger than the types. */
    const probe = file;
    (await probe.createSyncAccessHandle({ mode: "readwrite-unsafe" })).close();
    removeProbes(directory).catch(() => {});
    return { directory, quota: (await estimating).quota ?? 0 };
  } catch {
    return undefined;
  }
}

/** @param {FileSystemDirectoryHandle} directory */
async function removeProbes(directory) {
  // Those too that others have left; one that another tab has open stays.
  for await (const name of /** @type {any} */ (directory).keys())
    if (name.startsWith(PROBE)) await directory.removeEntry(name).catch(() => {});
}
