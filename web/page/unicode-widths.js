/**
 * The columns that characters take on the terminal: as many as the container's C library counts, or
 * the shell's idea of where the cursor stands would be another one than what is seen.
 *
 * That is by each character alone. What is drawn as one (an emoji that is joined of several) still
 * takes the columns of its parts.
 */

import { NO_COLUMN, TWO_COLUMNS } from "./character-widths.js";

/**
 * @param {string} text as character-widths.js has it
 * @returns {Uint32Array} starts and ends of ranges, in turn, ascending
 */
function unpack(text) {
  let last = 0;
  return Uint32Array.from(text.split(" "), (number) => (last += parseInt(number, 36)));
}

/**
 * Whether a number is in one of the ranges.
 * @param {Uint32Array} borders
 * @param {number} code
 */
function within(borders, code) {
  let [low, high] = [0, borders.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (borders[middle] <= code) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/**
 * How many characters without a column are joined to one that has some: more than any writing needs.
 * Without a limit a cell could have megabytes of text, which is put into the page whenever its line
 * is shown; with 30 (Unicode's limit for streams, UAX #15), a full screen of them takes the browser
 * two seconds.
 */
export const MAX_JOINED = 10;

/** A provider for xterm.js's `terminal.unicode`. */
export class LibcWidths {
  version = "libc";

  constructor() {
    this.none = unpack(NO_COLUMN);
    this.two = unpack(TWO_COLUMNS);
  }

  /**
   * @param {number} code
   * @returns {0 | 1 | 2}
   */
  wcwidth(code) {
    if (code < 0x80) return code < 0x20 || code === 0x7f ? 0 : 1;
    if (within(this.none, code)) return 0;
    return within(this.two, code) ? 2 : 1;
  }

  /**
   * What xterm.js wants to know of a character behind another one: bit 0 whether it is joined to
   * that, bits 1 and 2 the width of both together, and above whatever the provider wants to know
   * the next time: how many are joined. (UnicodeService in its sources.)
   *
   * @param {number} code
   * @param {number} preceding what this has returned for the one before; 0 where there is none
   */
  charProperties(code, preceding) {
    const width = this.wcwidth(code);
    const before = (preceding >> 1) & 3;
    if (width > 0 || before === 0) return width << 1;
    const joined = (preceding >> 3) + 1;
    // One too many is shown by itself.
    if (joined > MAX_JOINED) return 1 << 1;
    return (joined << 3) | (before << 1) | 1;
  }
}
