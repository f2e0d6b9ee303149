/**
 * What a page has for a program that never returns to its worker's event loop: the body of an answer to
 * the worker's request for it, as a list of items.
 */

/** Of a frame's or the terminal's bytes, or a message as JSON. @typedef {"input" | "frame" | "message"} Kind */

/** @type {Kind[]} */
const KINDS = ["input", "frame", "message"];
/** The kind, and the size. */
const HEAD_SIZE = 1 + 4;

/**
 * @param {{ kind: Kind, data: Uint8Array }[]} items
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function packMail(items) {
  const size = items.reduce((sum, { data }) => sum + HEAD_SIZE + data.length, 0);
  const packed = new Uint8Array(size);
  const view = new DataView(packed.buffer);
  let at = 0;
  for (const { kind, data } of items) {
    view.setUint8(at, KINDS.indexOf(kind));
    view.setUint32(at + 1, data.length);
    packed.set(data, at + HEAD_SIZE);
    at += HEAD_SIZE + data.length;
  }
  return packed;
}

/**
 * @param {ArrayBuffer} packed
 * @returns {{ kind: Kind, data: Uint8Array }[]}
 */
export function unpackMail(packed) {
  const view = new DataView(packed);
  const items = [];
  let at = 0;
  while (at < packed.byteLength) {
    const size = view.getUint32(at + 1);
    const data = new Uint8Array(packed, at + HEAD_SIZE, size);
    items.push({ kind: KINDS[view.getUint8(at)], data });
    at += HEAD_SIZE + size;
  }
  return items;
}
