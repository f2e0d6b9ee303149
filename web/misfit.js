/** Whether a saved machine is of the build that this page has. */

import { Fetcher } from "./assets.js";
import { differences, snapshotInfo } from "./vm/machine.js";
import { parseImageDescription } from "./vm/free-pages.js";
import { v86 } from "./vm/v86.js";
import { x64 } from "./vm/x64.js";
import { ASSETS } from "./workers.js";

/** @import { StateHeader } from "./vm/state-file.js" */

/**
 * @param {StateHeader["machine"]} machine
 * @returns {Promise<string>} why it cannot go on here; empty where it can
 */
export async function misfit(machine) {
  const { wasm, image } = ASSETS[machine.kind === "x64" ? "x64" : "v86"];
  const fetcher = new Fetcher(() => {});
  const [code, description] = await Promise.all([fetcher.bytes(wasm), fetcher.bytes(image)]);
  const { recipe } = parseImageDescription(new TextDecoder().decode(description));
  const emulator = machine.kind === "x64" ? x64(code) : v86(undefined, code);
  return differences(machine, await snapshotInfo({ emulator, recipe }, machine.memoryMiB));
}
