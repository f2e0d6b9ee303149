/** How much memory a machine is asked to have. */

/** What it can be, in MiB: as the command line has it. */
export const MEMORY = { least: 128, most: 2047 };

/** @type {Record<string, number>} in MiB */
const UNITS = { g: 1024, m: 1 };

/**
 * @param {string} text such as 1g or 768m; "" for what the machine has by itself
 * @returns {number | undefined} MiB; NaN for what is none, or cannot be had
 */
export function memoryOf(text) {
  if (text === "") return undefined;
  const found = /^([0-9]{1,6}(?:\.[0-9]{1,3})?)([gm])$/i.exec(text);
  if (!found) return NaN;
  const mib = Math.floor(Number(found[1]) * UNITS[found[2].toLowerCase()]);
  return mib >= MEMORY.least && mib <= MEMORY.most ? mib : NaN;
}
