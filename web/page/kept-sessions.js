/**
 * The sessions that this browser keeps, for programs: what there is, and what can be done with them. None is
 * touched that a tab has open.
 */

import { isSessionName, KeptSession, lockOf, sessionDirectory, sessionOf } from "./kept-session.js";
import { readBlob, StateError } from "../vm/state-file.js";

/** @import { FoundState } from "./kept-session.js" */
/** @import { StateHeader, StateReader } from "../vm/state-file.js" */

/**
 * @typedef {object} SessionInfo
 * @property {string} name
 * @property {string} image what was started, as the person gave it
 * @property {string} platform
 * @property {number} saved in milliseconds since 1970
 * @property {number} size in bytes
 * @property {boolean} machine whether all that runs is kept, or files alone
 * @property {boolean} files whether what the container has changed can be had without the machine
 * @property {boolean} open whether a tab has it open
 * @property {StateHeader} header what else its file says
 */

/**
 * The sessions that are kept, the last saved first.
 * @returns {Promise<SessionInfo[]>}
 */
export async function listSessions() {
  let directory;
  try {
    directory = await sessionDirectory();
  } catch {
    return [];
  }
  /** @type {Set<string>} */
  const names = new Set();
  for await (const file of /** @type {any} */ (directory).keys()) {
    const name = sessionOf(file);
    if (name) names.add(name);
  }
  const { held = [] } = await navigator.locks.query();
  const locked = new Set(held.map((lock) => lock.name));
  /** @type {SessionInfo[]} */
  const sessions = [];
  for (const name of names) {
    const { found } = await new KeptSession(name, directory).find();
    if (!found) continue;
    sessions.push({
      name,
      ...describe(found.state),
      size: found.file.size,
      open: locked.has(lockOf(name)),
    });
  }
  return sessions.sort((one, other) => other.saved - one.saved);
}

/** @param {StateReader} state */
function describe({ header, parts }) {
  return {
    image: header.image.reference,
    platform: header.image.platform,
    saved: header.saved,
    machine: header.machine !== undefined,
    files: parts.some(({ name }) => isFiles(name)),
    header,
  };
}

/** @param {string} name of a part */
function isFiles(name) {
  return name === "changes" || /^layer\.\d+$/.test(name);
}

/**
 * @template T
 * @param {string} name
 * @param {(kept: KeptSession) => Promise<T>} use
 * @returns {Promise<T>}
 */
async function using(name, use) {
  if (!isSessionName(name))
    throw new Error(
      `“${name}” is no name for a session: it has up to 64 letters, digits, dots, dashes and underscores, ` +
        "and begins with a letter or a digit",
    );
  let kept;
  try {
    kept = await KeptSession.open(name);
  } catch (error) {
    throw new Error(`the session “${name}” cannot be used: ${/** @type {any} */ (error).message}`, {
      cause: error,
    });
  }
  try {
    return await use(kept);
  } finally {
    kept.release();
  }
}

/** @param {KeptSession} kept @returns {Promise<FoundState>} */
async function existing(kept) {
  const { found, damaged } = await kept.find();
  if (found) return found;
  throw new Error(`the session “${kept.name}” ${damaged ? "is damaged" : "is not there"}`);
}

/**
 * @param {string} name
 * @param {string} to
 * @throws {Error} it is open, or there is none, or there is one of the other name already
 */
export function renameSession(name, to) {
  return using(name, async (kept) => {
    await existing(kept);
    await using(to, async (other) => {
      await other.requireFree();
      await kept.moveTo(other);
    });
  });
}

/**
 * @param {string} name
 * @throws {Error} it is open
 */
export function deleteSession(name) {
  return using(name, (kept) => kept.forget());
}

/**
 * The file of a session, as `browsermount run --resume` takes it, too. It is a copy: the session may be opened
 * or deleted meanwhile.
 * @param {string} name
 * @returns {Promise<File>}
 * @throws {Error} it is open, or there is none
 */
export function exportSession(name) {
  return using(name, async (kept) => {
    const { file } = await existing(kept);
    return new File([await file.arrayBuffer()], `${name}.state`, {
      type: "application/octet-stream",
    });
  });
}

/**
 * What is known of a session's file, all of which is checked.
 * @param {Blob} file
 * @returns {Promise<Omit<SessionInfo, "name" | "open">>}
 * @throws {StateError} it is none, or damaged
 */
export async function inspectSession(file) {
  const state = await readBlob(file);
  const { header, parts } = state;
  const { image, saved, machine } = header;
  const texts = [image?.reference, image?.digest, image?.platform];
  if (!texts.every((text) => typeof text === "string") || typeof saved !== "number")
    throw new StateError("damaged", "its header is damaged");
  if (machine !== undefined && !["v86", "x64"].includes(machine?.kind))
    throw new StateError("other-build", "it is of another kind of machine");
  for (const { name } of parts) await state.section(name);
  return { ...describe(state), size: file.size };
}

/**
 * Keeps a session of a file. A session is code: whoever made the file decides over all that runs in it, so
 * that a person has to be asked first.
 * @param {Blob} file
 * @param {string} name under which it is kept; there must be none of that name
 * @param {{ filesOnly?: boolean, image?: string }} [options] leave out what runs in it, as for one that is of
 *   another build; and where its image is, from here, in the place of what the file says
 * @throws {Error} it is none, or damaged; or it has another build, and is not kept
 */
export async function importSession(file, name, { filesOnly = false, image } = {}) {
  const { header, files } = await inspectSession(file);
  if (filesOnly) {
    if (!files) throw new Error("the file has no files that could be had without its machine");
  } else if (header.machine) {
    const { misfit } = await import("./misfit.js");
    const reason = await misfit(header.machine);
    if (reason) throw new StateError("other-build", reason);
  }
  const reference = image ?? header.image.reference;
  const same = !filesOnly && reference === header.image.reference;
  const content = same ? file : await repacked(file, reference, filesOnly);
  await using(name, async (kept) => {
    await kept.requireFree();
    await kept.put(content);
  });
}

/**
 * The same session with another reference of its image, maybe without what runs in it.
 * @param {Blob} file
 * @param {string} reference
 * @param {boolean} filesOnly
 */
async function repacked(file, reference, filesOnly) {
  const { packState } = await import("../vm/state-file.js");
  const { header, parts, start } = await readBlob(file);
  const image = { ...header.image, reference };
  /** @type {Record<string, { bytes: Blob, sha256: string, gzip?: number }>} */
  const sections = {};
  let layers = 0;
  let at = start;
  for (const { name, size, ...part } of parts) {
    const bytes = file.slice(at, at + size);
    at += size;
    if (!filesOnly) sections[name] = { ...part, bytes };
    else if (isFiles(name)) sections[`layer.${layers++}`] = { ...part, bytes };
  }
  const { changed, saved } = header;
  const head = filesOnly ? { image, saved: changed ?? saved } : { ...header, image };
  const pieces = await packState(/** @type {StateHeader} */ (head), sections);
  return new Blob(/** @type {BlobPart[]} */ (pieces));
}

/**
 * What a session that does not run has changed of its image: layers, the lowest first, each a tar archive.
 * @param {string} name
 * @returns {Promise<Uint8Array[]>} none where that is not kept
 * @throws {Error} it is open, or damaged, or there is none
 */
export function filesOfSession(name) {
  return using(name, async (kept) => {
    const { state } = await existing(kept);
    const layers = [];
    for (const { name } of state.parts.filter((part) => isFiles(part.name)))
      layers.push(/** @type {Uint8Array} */ (await state.section(name)));
    return layers;
  });
}
