/** Whether it is worth to begin with an image's layers before the mount worker can. */

import { DEFAULT_IMAGE } from "./location.js";
import { Helper } from "./workers.js";

/** @import { ImageRequest } from "../messages.js" */

/** The site's own image, which is read bit by bit. */
const OWN = new URL(`../${DEFAULT_IMAGE}`, import.meta.url).href;

/**
 * Starts the worker that begins with an image's layers, where there may be such.
 * @param {ImageRequest} request
 * @param {string} base what its image is relative to
 * @returns {{ worker: Helper, port: MessagePort } | undefined}
 */
export function startEarly({ image, fill, vm }, base) {
  // What is not going to be fetched as a whole is not begun with. Secure contexts alone can hash.
  if (!fill || vm || !("DecompressionStream" in window && crypto.subtle)) return undefined;
  // A folder on a web server.
  if (!/^(https?:\/\/|\.{0,2}\/)|\/$/i.test(image) || /[?#%\s]/.test(image)) return undefined;
  try {
    if (new URL(image, base).href === OWN) return undefined;
    const worker = new Helper("mount/early-worker.js");
    const { port1, port2 } = new MessageChannel();
    worker.post({ image, base, port: port2 }, [port2]);
    return { worker, port: port1 };
  } catch {
    return undefined; // whoever reads the image can tell what is wrong
  }
}
