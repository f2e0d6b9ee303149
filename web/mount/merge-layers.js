/** Makes one of the layers that lie over the image, for the mount worker. */

import { addModules } from "./network.js";

/** @import { PyodideAPI } from "pyodide" */
/** @import { MergeMessage } from "../messages.js" */

const MODULE = "browsermount.pyodide.merging";

/**
 * Contents stay where they are: what comes out has parts of what goes in.
 * @param {PyodideAPI} python
 * @param {MergeMessage} message
 */
export async function mergeLayers(python, { layers, reply }) {
  /** @type {BlobPart[]} */
  const parts = [];
  const sink = {
    bytes: (/** @type {Uint8Array<ArrayBuffer>} */ data) => void parts.push(data),
    slice: (/** @type {number} */ layer, /** @type {number} */ start, /** @type {number} */ end) =>
      void parts.push(layers[layer].slice(start, end)),
  };
  try {
    await addModules(python, "commit");
    const module = /** @type {any} */ (python).pyimport(MODULE);
    const reason = await module.merge_layers(layers, sink);
    module.destroy();
    reply.postMessage(reason ? { reason } : { data: new Blob(parts) });
  } catch (error) {
    reply.postMessage({ reason: String(error) });
  }
}
