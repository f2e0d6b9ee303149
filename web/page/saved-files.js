/** The files of a saved session: what lies over its image, and what its container has changed. */

/** @import * as VM from "../vm/messages.js" */
/** @import { StateHeader, StateReader } from "../vm/state-file.js" */

/**
 * `layers` lay over the image when the machine was started, the lowest first; `changes` is what its container
 * has changed of that since, and `all` both of them, as it was at the time `made`.
 * @typedef {object} FoundFiles
 * @property {VM.Layer[]} layers
 * @property {VM.SaveMessage["changes"]} changes
 * @property {VM.Layer[]} all
 * @property {number} made in milliseconds since 1970
 */

/**
 * The files of a state, verified, and in memory: what they were read from may be overwritten. Those that are
 * damaged are left out, with all that lies over them.
 * @param {StateReader} state
 * @returns {Promise<FoundFiles>}
 */
export async function readFiles({ header, parts, section }) {
  /** @type {VM.Layer[]} */
  const layers = [];
  const made = header.changed ?? header.saved;
  /** @param {string} name @returns {Promise<VM.Layer | undefined>} */
  const read = async (name) => {
    const part = parts.find((one) => one.name === name);
    if (!part) return undefined;
    const data = new Blob([/** @type {BlobPart} */ (await section(name))]);
    return { data, sha256: part.sha256 };
  };
  try {
    for (let layer; (layer = await read(`layer.${layers.length}`));) layers.push(layer);
    const changes = await read("changes");
    if (!changes) return { layers, changes: undefined, all: layers, made };
    return { layers, changes: { ...changes, made }, all: [...layers, changes], made };
  } catch {
    return { layers, changes: undefined, all: layers, made };
  }
}

/**
 * Whether a session's files belong to an image.
 * @param {StateHeader} header
 * @param {string} image as a person gives it
 */
export function fits(header, image) {
  return header.image.reference === image;
}
