/** Whether a saved machine is of the build that this page has. */

import { Fetcher } from "../assets.js";
import { differences, snapshotInfo } from "../vm/machine.js";
import { parseImageDescription } from "../vm/free-pages.js";
import { v86 } from "../vm/v86.js";
import { x64 } from "../vm/x64.js";
import { ASSETS } from "./workers.js";

/** @import { EmulatorKind } from "../vm/machine.js" */
/** @import { StateHeader } from "../vm/state-file.js" */

/** What was found out of each kind: a build does not change while a page is open. @type {Map<string, any>} */
const builds = new Map();

/** @param {"v86" | "x64"} kind @returns {Promise<{ emulator: EmulatorKind, recipe: string }>} */
async function build(kind) {
  const { wasm, image } = ASSETS[kind];
  const fetcher = new Fetcher(() => {});
  const [code, description] = await Promise.all([fetcher.bytes(wasm), fetcher.bytes(image)]);
  const { recipe } = parseImageDescription(new TextDecoder().decode(description));
  return { emulator: kind === "x64" ? x64(code) : v86(undefined, code), recipe };
}

/**
 * @param {StateHeader["machine"]} machine
 * @returns {Promise<string>} why it cannot go on here; empty where it can
 */
export async function misfit(machine) {
  const kind = machine.kind === "x64" ? "x64" : "v86";
  const found = builds.get(kind) ?? build(kind);
  builds.set(kind, found);
  found.catch(() => builds.delete(kind));
  return differences(machine, await snapshotInfo(await found, machine.memoryMiB));
}
