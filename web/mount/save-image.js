/** Makes an image of what the container has changed, for the mount worker. */

import { FolderSink, TarSink } from "./image-sink.js";
import { addModules } from "./network.js";

/** @import { PyodideAPI } from "pyodide" */
/** @import { CommitMessage } from "../messages.js" */

const MODULE = "browsermount.pyodide.commit";

/** The least time between two words on how far it is. */
const REPORT_MS = 100;

/**
 * @param {PyodideAPI} python
 * @param {any} worker The Python object browsermount.pyodide.worker.Worker.
 * @param {CommitMessage} message
 */
export async function saveImage(python, worker, { layers, name, target, reply }) {
  let told = 0;
  const report = (/** @type {number} */ bytes, /** @type {number} */ total) => {
    const now = performance.now();
    if (now - told < REPORT_MS) return;
    told = now;
    reply.postMessage({ bytes, total });
  };
  const sink = target?.kind === "directory" ? new FolderSink(target) : new TarSink(target);
  try {
    await addModules(python, "commit");
    const module = /** @type {any} */ (python).pyimport(MODULE);
    const result = JSON.parse(await module.save_image(worker, layers, name, sink, report));
    module.destroy();
    if (result.error) {
      await sink.abort();
      reply.postMessage(result);
      return;
    }
    reply.postMessage({ done: true, file: await sink.finish() });
  } catch (error) {
    await sink.abort().catch(() => {});
    const message = error instanceof Error ? error.message : String(error);
    reply.postMessage({
      error: {
        code: "image",
        message: `the image cannot be written: ${message.trim().split("\n").at(-1)}`,
        hint: target ? "Free some room, or take another folder." : "",
        details: message,
      },
    });
  }
}
