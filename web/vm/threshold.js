/**
 * How much of a page of code v86 interprets before it compiles it.
 *
 * Its own number compiles a lot of what runs for a moment only. That keeps the
 * browser's compiler busy, which by then should be making the interpreter
 * itself fast: starting a program takes two to three times as long. It is a
 * constant in v86.wasm, not a setting, so it is replaced there.
 */

const BUILT_IN = 200_000;

/** In instructions. The largest that fits into the bytes that the constant has. */
const THRESHOLD = 1_000_000;

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
