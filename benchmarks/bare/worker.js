/**
 * A machine on v86's own in-memory file system: no Python, no second worker, no terminal.
 * Is served at images/bare/ of the site, whose emulator it uses, with the modules of web/ beside it.
 */

import { fill } from "./files.js";

/** @param {object} message */
function post(message) {
  /** @type {any} */ (self).postMessage(message);
}

/** @param {string} path */
const url = (path) => new URL(path, import.meta.url).href;

async function run() {
  const [{ Fetcher }, { createMachine }, { v86 }] = await Promise.all([
    import(url("./web/assets.js")),
    import(url("./web/vm/machine.js")),
    import(url("./web/vm/v86.js")),
  ]);
  const fetcher = new Fetcher(() => {});
  const [{ V86 }, wasm, image, state, info, entries, contents] = await Promise.all([
    import(url("../../vendor/v86.mjs")),
    fetcher.bytes(url("../../vendor/v86.wasm")),
    fetcher.json(url("../../vm/image/image.json")),
    fetcher.bytes(url("snapshot.zst")),
    fetcher.json(url("snapshot.json")),
    fetcher.json(url("files.json")),
    fetcher.bytes(url("contents.gz")),
  ]);
  /** @type {any} */
  let emulator;
  const machine = await createMachine({
    emulator: v86(
      class extends V86 {
        /** @param {object} options */
        constructor(options) {
          super(options);
          emulator = this;
        }
      },
      wasm,
      {},
    ),
    recipe: image.recipe,
    snapshot: { state, info },
    bootFiles: () => Promise.reject(new Error("the snapshot does not fit")),
    on: {
      stage: (/** @type {{ stage: string }} */ { stage }) => post({ type: "stage", stage }),
      output: (/** @type {Uint8Array} */ bytes) => post({ type: "output", bytes }),
      exit: (/** @type {{ code: number }} */ { code }) => post({ type: "end", code }),
      error: (/** @type {Error} */ { message }) => post({ type: "end", message }),
    },
  });
  await fill(emulator.fs9p, entries, new Uint8Array(contents));
  post({ type: "stage", stage: "image served" });
  machine.start({ cols: 100, rows: 30 });
}

run().catch((error) => post({ type: "end", message: String(error?.stack ?? error) }));
