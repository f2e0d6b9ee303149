/** The guest's words on the terminal of whoever runs the machine in Node. */

import assert from "node:assert/strict";
import test from "node:test";
import { printable } from "../../web/vm/node.mjs";

test("control characters and marks are shown as escapes", () => {
  assert.equal(printable("no such file: /a b é 猫"), "no such file: /a b é 猫");
  assert.equal(
    printable("\x1b]52;c;aGk=\x07\r\n\x9b2J\u202e\u2028\ud800"),
    "\\u{1b}]52;c;aGk=\\u{7}\\u{d}\\u{a}\\u{9b}2J\\u{202e}\\u{2028}\\u{d800}",
  );
});
