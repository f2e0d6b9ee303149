/**
 * The bare machine in Node: runs a packed tree (see packed.py) on v86's own file system.
 *
 *     node bare.mjs DIR
 *
 * Prints what the container prints.
 */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

import { V86 } from "v86";

import { createMachine } from "../web/vm/machine.js";
import { loadMachine } from "../web/vm/node.mjs";
import { v86 } from "../web/vm/v86.js";
import { fill } from "./bare/files.js";

const directory = process.argv[2];
const image = fileURLToPath(new URL("../web/vm/image", import.meta.url));
const entries = JSON.parse(await readFile(path.join(directory, "files.json"), "utf8"));
const contents = gunzipSync(await readFile(path.join(directory, "contents.gz")));

const files = await loadMachine({ image, snapshot: directory });
/** @type {any} */
let emulator;
/** @type {(code: number) => void} */
let end = () => {};
/** @type {Promise<number>} */
const ended = new Promise((resolve) => (end = resolve));
const machine = await createMachine({
  ...files,
  emulator: v86(
    class extends V86 {
      /** @param {object} options */
      constructor(options) {
        super(options);
        emulator = this;
      }
    },
    files.emulator.wasm,
    {},
  ),
  on: {
    output: (bytes) => process.stdout.write(bytes),
    exit: ({ code }) => end(code),
    error: (error) => {
      process.stderr.write(`${error.message}\n`);
      end(error.code);
    },
  },
});
await fill(emulator.fs9p, entries, contents);
machine.start({ cols: 100, rows: 30 });
process.exitCode = await ended;
