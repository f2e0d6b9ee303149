/**
 * Which machine an image most likely needs, before anybody has looked at it: a machine takes a
 * while to start, and the image's manifest as long to come. A wrong guess costs that time only.
 */

import { machineFor } from "./platform.js";

/** @import { MachineKind } from "../vm/messages.js" */

const KEY = "browsermount-machines";
const MOST_IMAGES = 100;
/** What people call linux/386, as browsermount/oci/platform.py has it. */
const I386 = /^(linux\/)?(386|i[36]86)$/i;

/**
 * @param {{ image: string, platform: string, machine: string }} request the platform and the
 *   machine that are asked for: see machineFor()
 * @returns {MachineKind}
 */
export function likelyMachine({ image, platform, machine }) {
  if (machine) return machineFor(platform, machine);
  if (platform) return I386.test(platform) ? "v86" : "x64";
  // Nearly every image is there for linux/amd64.
  return remembered().get(image) ?? "x64";
}

/**
 * Remember for the next visit which machine an image has turned out to need.
 * @param {string} image
 * @param {string} platform of the image
 */
export function rememberMachine(image, platform) {
  const machines = remembered();
  const machine = machineFor(platform);
  if (machines.get(image) === machine) return;
  machines.delete(image);
  const latest = [...machines, [image, machine]].slice(-MOST_IMAGES);
  try {
    localStorage.setItem(KEY, JSON.stringify(latest));
  } catch {
    // Not allowed, or full: it is only slower.
  }
}

/** @returns {Map<string, MachineKind>} the longest known first */
function remembered() {
  try {
    const entries = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return new Map(
      entries.filter((/** @type {any} */ [, kind]) => kind === "v86" || kind === "x64"),
    );
  } catch {
    return new Map();
  }
}
