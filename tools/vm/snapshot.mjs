/**
 * Boots the machine and saves its state: what tools/vm/snapshot.py calls.
 *
 *     node snapshot.mjs IMAGE_DIR EMULATOR MEMORY_MIB OUTPUT_DIR
 *
 * EMULATOR is the directory of v86, or our own machine's code, a file *.wasm.
 *
 * Writes OUTPUT_DIR/snapshot.bin, not compressed, and OUTPUT_DIR/snapshot.json.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";

import { createMachine } from "../../web/vm/machine.js";
import { loadMachine } from "../../web/vm/node.mjs";

const [image, emulator, memory, output] = process.argv.slice(2);
const machine = await createMachine({
  ...(await loadMachine({ image, [emulator.endsWith(".wasm") ? "x64" : "v86"]: emulator })),
  memoryMiB: Number(memory),
  // The device must be there, though nothing is mounted yet.
  handle9p: () => {},
});
const { state, info } = await machine.snapshot();
machine.stop();
await writeFile(path.join(output, "snapshot.bin"), new Uint8Array(state));
await writeFile(path.join(output, "snapshot.json"), `${JSON.stringify(info, null, 2)}\n`);
