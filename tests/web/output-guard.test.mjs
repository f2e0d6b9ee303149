/** What reaches the terminal of what a hostile program writes. */

/* eslint-disable no-control-regex -- control characters are what this is about */

import assert from "node:assert/strict";
import test from "node:test";
import { MAX_SEQUENCE, MAX_STRING, OutputGuard } from "../../web/page/output-guard.js";

const SIZE = { cols: 80, rows: 24 };
const ESC = "\x1b";
/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/**
 * What is passed on, which must be the same however the bytes are cut.
 * @param {Uint8Array} input
 */
function passed(input) {
  const whole = Buffer.from(new OutputGuard(() => SIZE).pass(input));
  for (const size of [1, 2, 3, 7]) {
    const guard = new OutputGuard(() => SIZE);
    const parts = [];
    for (let at = 0; at < input.length; at += size)
      parts.push(guard.pass(input.slice(at, at + size)));
    assert.deepEqual(Buffer.concat(parts), whole, `in pieces of ${size}`);
  }
  return whole.toString();
}

/** @param {string} input */
const text = (input) => passed(bytes(input));

test("what harms nobody is passed on as it is", () => {
  for (const harmless of [
    "plain text\r\n\tand more\x07\b",
    "Grüße 你好 🐧 ½ \u00a0 \u00bf",
    `${ESC}[1;31mred${ESC}[0m${ESC}[m`,
    `${ESC}[38;2;1;2;3m${ESC}[4:3m${ESC}[58:2::255:0:0m`,
    `${ESC}[?1049h${ESC}[?2004l${ESC}[>c${ESC}[!p${ESC}[2 q${ESC}[?25$p`,
    `${ESC}[5S${ESC}[24L${ESC}[80P${ESC}[79b${ESC}[H${ESC}[2J${ESC}[10;20r`,
    `${ESC}(0lqqk${ESC}(B${ESC}7${ESC}8${ESC}=${ESC}>${ESC}M${ESC}#8${ESC}c`,
    `${ESC}]0;a title\x07${ESC}]2;ein Töpfchen\x07`,
    `${ESC}]8;;https://example.com/${ESC}\\a link${ESC}]8;;${ESC}\\`,
    `${ESC}P$qm${ESC}\\`,
    `${ESC}[S${ESC}[;S`,
  ])
    assert.equal(text(harmless), harmless);
});

for (const [final, limit] of /** @type {[string, number][]} */ ([
  ["S", 24],
  ["T", 24],
  ["L", 24],
  ["M", 24],
  ["P", 80],
  ["@", 80],
  ["X", 80],
  ["I", 80],
  ["Z", 80],
  ["b", 80],
  [" @", 80],
  [" A", 80],
  ["'}", 80],
  ["'~", 80],
])) {
  test(`CSI 99999999 ${final} freezes nothing`, () => {
    const clamped = `${ESC}[${limit}${final}`;
    assert.equal(text(`${ESC}[99999999${final}`), clamped);
    assert.equal(text(`${ESC}[${limit + 1}${final}`), clamped);
    assert.equal(text(`${ESC}[${limit}${final}`), clamped);
    assert.equal(text(`${ESC}[000000099999999999999999999${final}`), clamped);
    // By its control of one character, and with others in the middle, which are done at once.
    assert.equal(text(`\u009b99999999${final}`), clamped);
    assert.equal(text(`${ESC}[9\x7f9\r9\n9999${final}`), `\r\n${clamped}`);
  });
}

test("a number that nothing repeats is bounded, too", () => {
  assert.equal(text(`${ESC}[1;99999999H`), `${ESC}[1;65535H`);
  assert.equal(text(`${ESC}[99999999;99999999S`), `${ESC}[24;65535S`);
  assert.equal(text(`${ESC}[38:2:99999999m`), `${ESC}[38:2:65535m`);
});

test("bytes that are no characters hide no sequence from the guard", () => {
  // xterm.js leaves such bytes out and goes on with the sequence.
  for (const odd of [[0xc3], [0x9b], [0xc2], [0xe2, 0x82], [0xff], [0xc2, 0xc2]]) {
    const input = Uint8Array.from([0x1b, 0x5b, 0x39, ...odd, ...bytes("99999999S")]);
    assert.doesNotMatch(passed(input), /\x1b\[9/);
  }
  assert.equal(passed(Uint8Array.of(0xc2, 0x1b, 0x5b, 0x6d)), `${ESC}[m`);
  assert.equal(passed(Uint8Array.of(0xe2, 0xc2, 0x9b, 0x39, 0x39, 0x53)).slice(1), `${ESC}[24S`);
});

test("a sequence that is broken off is not passed on", () => {
  assert.equal(text(`${ESC}[99${ESC}[m`), `${ESC}[m`);
  assert.equal(text(`${ESC}[99\x18S`), "S");
  assert.equal(text(`${ESC}[99\x1aS`), "S");
  assert.equal(text(`${ESC}[99\u0085S`), "\u0085S");
  assert.equal(text(`${ESC}[1?5S${ESC}[1 5S.`), ".");
  assert.equal(text(`${ESC}]0;title\x18x`), "x");
  assert.equal(text(`${ESC}[`), "");
});

test("a sequence without an end fills no memory", () => {
  const guard = new OutputGuard(() => SIZE);
  for (const start of [`${ESC}[`, `${ESC}]0;`, `${ESC}P`, `${ESC}_`, `${ESC}(`]) {
    assert.equal(guard.pass(bytes(start)).length, 0);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 200; i += 1) guard.pass(new Uint8Array(1 << 16).fill(0x30));
    assert.ok(process.memoryUsage().arrayBuffers - before < 64 << 20);
    guard.reset();
  }
});

test("at the edge of the bounds of a sequence and a string", () => {
  const long = `${ESC}[${"1;".repeat(MAX_SEQUENCE / 2)}m`;
  assert.equal(text(long), long);
  assert.equal(text(long.replace("m", "1mX")), "X");
  const title = `${ESC}]0;${"t".repeat(MAX_STRING - 2)}`;
  assert.equal(text(`${title}\x07`), `${title}\x07`);
  assert.equal(text(`${title}t\x07X`), "X");
  assert.equal(text(`${title}t${ESC}\\X`), "X");
});

test("the clipboard is neither read nor written (OSC 52)", () => {
  for (const end of ["\x07", `${ESC}\\`, "\u009c"])
    for (const body of ["52;c;aGVsbG8=", "52;c;?", "052;;x", "52"])
      assert.equal(text(`${ESC}]${body}${end}after`), "after");
  assert.equal(text("\u009d52;c;aGVsbG8=\x07after"), "after");
  assert.equal(text(`${ESC}]520;x\x07`), `${ESC}]520;x\x07`);
});

test("strings that nobody reads are left out", () => {
  for (const start of ["X", "^", "_"]) assert.equal(text(`${ESC}${start}hidden\x07${ESC}\\x`), "x");
  for (const start of ["\u0098", "\u009e", "\u009f"])
    assert.equal(text(`${start}hidden\u009cx`), "x");
});

test("the terminal's size is that of now", () => {
  let rows = 24;
  const guard = new OutputGuard(() => ({ cols: 80, rows }));
  rows = 50;
  assert.equal(Buffer.from(guard.pass(bytes(`${ESC}[999S`))).toString(), `${ESC}[50S`);
});

test("whatever comes, no counting sequence says more than the terminal has", () => {
  let seed = 1;
  const random = (/** @type {number} */ below) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % below;
  };
  const alphabet = [...bytes(`${ESC}[]P0123456789;:?> '"$@AILMPSTXZbcm}~\\\x07\x18\n\x7f`)];
  alphabet.push(0x1b, 0x1b, 0x5b, 0x5b, 0x39, 0x39, 0xc2, 0x9b, 0x9d, 0x90, 0x9c, 0xc3, 0xe2, 0xff);
  for (let round = 0; round < 3000; round += 1) {
    const input = Uint8Array.from({ length: 60 }, () => alphabet[random(alphabet.length)]);
    const output = passed(input);
    for (const [, number] of output.matchAll(/\x1b\[(\d+)[\d;:]*(?:[ '][@A}~]|[SLMTPXIZb@])/g))
      assert.ok(Number(number) <= 80, JSON.stringify(output));
    // Nothing is left open: what follows is text again once a sequence has ended.
    assert.doesNotMatch(output, /\u009b|\u009d|\u0090/);
    assert.doesNotMatch(output, /\x1b(?![ -~])/);
  }
});
