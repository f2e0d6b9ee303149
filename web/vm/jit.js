/**
 * What v86 compiles to WebAssembly, and when.
 *
 * With its own settings it compiles much of what runs for a moment only, and in
 * large functions. That keeps the browser's optimising compiler busy with them:
 * it is late with the interpreter itself, and takes the processor from the
 * machine where there are few cores. docs/architecture.md has what was measured.
 */

/**
 * How many instructions of a page of code are interpreted before it is compiled.
 * That is a constant in v86.wasm, not a setting, so it is replaced there.
 */
const BUILT_IN = 200_000;

/** The largest that fits into the bytes that the constant has. */
const THRESHOLD = 1_000_000;

/**
 * How many pages are compiled to one function at most: the setting's number, and value. There is
 * also one for how much of a loop with several entries is duplicated (3, by itself 250 blocks). Less
 * of that is faster to compile, but v86 does not leave such a loop where an interrupt waits.
 */
const MAX_PAGES = /** @type {const} */ ([1, 1]);

/** WebAssembly's i32.const, and i32.lt_u and br_if behind the number. */
const BEFORE = 0x41;
const BEHIND = [0x49, 0x0d];

/**
 * @param {ArrayBuffer} wasm v86.wasm
 * @returns {Uint8Array<ArrayBuffer>} with the other threshold; as it is, where
 *   the threshold is not found or something else looks like it
 */
export function withThreshold(wasm) {
  const bytes = new Uint8Array(wasm);
  const pattern = [BEFORE, ...encode(BUILT_IN), ...BEHIND];
  const places = find(bytes, pattern);
  if (places.length !== 1) return bytes;
  const changed = bytes.slice();
  changed.set([BEFORE, ...encode(THRESHOLD), ...BEHIND], places[0]);
  return changed;
}

/**
 * @param {WebAssembly.Exports} exports of v86.wasm
 */
export function configure(exports) {
  /** @type {any} */ (exports).set_jit_config(...MAX_PAGES);
}

/**
 * WebAssembly's form of a number that takes three bytes (signed LEB128).
 * @param {number} value from 8,192 to 1,048,575
 */
function encode(value) {
  return [(value & 0x7f) | 0x80, ((value >> 7) & 0x7f) | 0x80, (value >> 14) & 0x7f];
}

/** @param {Uint8Array} bytes @param {number[]} pattern */
function find(bytes, pattern) {
  const places = [];
  // The second byte is a rarer one than the first.
  for (let at = bytes.indexOf(pattern[1]); at >= 0; at = bytes.indexOf(pattern[1], at + 1))
    if (pattern.every((byte, index) => bytes[at - 1 + index] === byte)) places.push(at - 1);
  return places;
}
