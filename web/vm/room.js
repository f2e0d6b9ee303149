/** How much memory a machine that can grow may have, where nobody has said so. */

/**
 * What it has at first (machine/board/src/room.rs has the same), and what it can have at most, in MiB.
 * The kernel asks for pieces of 128 MiB.
 */
export const ROOM = { start: 512, most: 2048 };

/** Of a computer of which nothing is known: most have as much. */
const USUAL_GIB = 8;
/** Phones end a tab that takes much. */
const SMALL_GIB = 4;
const MOBILE = /\b(?:Mobile|Android)\b/;

/**
 * A quarter of the computer's memory.
 * @param {number} gib of the whole computer, rounded or not
 * @returns {number} MiB
 */
export function roomIn(gib) {
  const quarter = Math.round(gib) * 256;
  return Math.min(Math.max(quarter, ROOM.start), ROOM.most);
}

/**
 * @param {{ deviceMemory?: number, userAgent?: string }} navigator of a browser, of which not all
 *   tell how much memory there is
 * @returns {number} MiB
 */
export function visitorsRoom({ deviceMemory, userAgent = "" }) {
  return roomIn(deviceMemory ?? (MOBILE.test(userAgent) ? SMALL_GIB : USUAL_GIB));
}
