/** Columns of characters, alone and behind one another. */

import assert from "node:assert/strict";
import test from "node:test";
import { LibcWidths, MAX_JOINED } from "../../web/page/unicode-widths.js";

const widths = new LibcWidths();

/** @param {string} text */
function columns(text) {
  let [total, preceding] = [0, 0];
  for (const character of text) {
    const value = widths.charProperties(
      /** @type {number} */ (character.codePointAt(0)),
      preceding,
    );
    const width = (value >> 1) & 3;
    total += value & 1 ? width - ((preceding >> 1) & 3) : width;
    preceding = value;
  }
  return total;
}

for (const [text, expected] of /** @type {[string, number][]} */ ([
  ["abc", 3],
  ["a\u0301b", 2], // a combining accent
  ["\u0301", 0], // with nothing before it
  ["😀", 2],
  ["a😀😀b", 6],
  ["漢字", 4],
  ["ｆｕｌｌ", 8],
  ["ﾊﾝ", 2], // half width
  ["👨\u200d👩", 4], // joined: each has its own columns, as for readline
  ["👍\u{1f3fd}", 4], // with a colour of skin
  ["❤\ufe0f", 1], // with a variation selector
  ["\u1112\u1161\u11ab", 2], // a syllable of Hangul by its letters
  ["\u00ad", 1],
  ["\u{10ffff}", 1],
])) {
  test(`the columns of ${JSON.stringify(text)}`, () => assert.equal(columns(text), expected));
}

test("megabytes of combining characters do not end up in one cell", () => {
  assert.equal(columns(`a${"\u0301".repeat(MAX_JOINED)}`), 1);
  assert.equal(columns(`a${"\u0301".repeat(MAX_JOINED + 1)}`), 2);
  assert.equal(columns(`a${"\u0301".repeat(10 * (MAX_JOINED + 1))}`), 11);
  assert.equal(columns(`漢${"\u0301".repeat(MAX_JOINED)}b`), 3);
});
