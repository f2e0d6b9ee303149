/** Layers that lie over an image, the lowest first, as one that stands for them. */

/** @import { Helper } from "./workers.js" */

/** Without an answer until then, in milliseconds, they stay as they are: nothing depends on it. */
const PATIENCE_MS = 20_000;

/**
 * @param {Helper} mount the mount worker
 * @param {Blob[]} layers tar archives
 * @returns {Promise<Blob | undefined>} undefined where they cannot be merged
 */
export function mergedLayers(mount, layers) {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      port1.close();
      resolve(undefined);
    }, PATIENCE_MS);
    port1.onmessage = ({ data: { data, reason } }) => {
      clearTimeout(late);
      port1.close();
      if (reason) console.warn(`The layers over the image stay several: ${reason}`);
      resolve(data);
    };
    mount.post({ type: "merge", layers, reply: port2 }, [port2]);
  });
}
