/**
 * Saves the state of a machine that has v86's own file system.
 *
 *     node snapshot.mjs OUTPUT_DIR
 *
 * Writes OUTPUT_DIR/snapshot.bin, not compressed, and OUTPUT_DIR/snapshot.json.
 */
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { createMachine } from "../web/vm/machine.js";
import { loadMachine } from "../web/vm/node.mjs";

const output = process.argv[2];
const image = fileURLToPath(new URL("../web/vm/image", import.meta.url));
const machine = await createMachine(await loadMachine({ image, filesystem: {} }));
const { state, info } = await machine.snapshot();
machine.stop();
await writeFile(path.join(output, "snapshot.bin"), new Uint8Array(state));
await writeFile(path.join(output, "snapshot.json"), JSON.stringify(info));
