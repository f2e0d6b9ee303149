/** What a machine of others has between its calls and the page. */

import assert from "node:assert/strict";
import test from "node:test";
import { ByteQueue } from "../../web/wasi/byte-queue.js";
import { Cable } from "../../web/wasi/cable.js";
import { packMail, unpackMail } from "../../web/wasi/mail.js";
import { foreignMachineOf } from "../../web/page/foreign-machine.js";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

test("bytes come out in their order, whatever the pieces were", () => {
  const queue = new ByteQueue();
  for (const text of ["ab", "", "cde", "f"]) queue.push(bytes(text));
  const three = new Uint8Array(3);
  assert.equal(queue.read(three, true), 3);
  assert.equal(queue.length, 6);
  for (const expected of ["abc", "def"]) {
    assert.equal(queue.read(three), 3);
    assert.deepEqual(three, bytes(expected));
  }
  assert.equal(queue.read(three), 0);
});

test("frames are found in a stream, and what is none ends it", () => {
  /** @type {string[]} */
  const sent = [];
  const cable = new Cable((frames) =>
    sent.push(...frames.map((frame) => new TextDecoder().decode(frame))),
  );
  const stream = bytes("\0\0\0\x03one\0\0\0\x05three");
  for (const byte of stream) cable.write(Uint8Array.of(byte));
  cable.write(stream);
  assert.deepEqual(sent, ["one", "three", "one", "three"]);
  cable.receive(bytes("four"));
  const whole = new Uint8Array(8);
  assert.equal(cable.incoming.read(whole), 8);
  assert.deepEqual(whole, bytes("\0\0\0\x04four"));
  // One that nobody reads loses what comes, as a card that is full does.
  for (let i = 0; i < 100; i += 1) cable.receive(new Uint8Array(60_000));
  assert.ok(cable.incoming.length <= 4 << 20);
  cable.write(Uint8Array.of(1, 0, 0, 0));
  assert.ok(cable.broken);
});

test("mail", () => {
  /** @type {Parameters<typeof packMail>[0]} */
  const items = [
    { kind: "input", data: bytes("ls\r") },
    { kind: "frame", data: new Uint8Array(0) },
    { kind: "message", data: bytes("{}") },
  ];
  assert.deepEqual(unpackMail(packMail(items).buffer), items);
  assert.deepEqual(unpackMail(packMail([]).buffer), []);
});

test("who has chosen a machine", () => {
  const base = "https://page.example/folder/";
  const of = (/** @type {string} */ vm, linked = true) => foreignMachineOf(vm, { base, linked });
  assert.deepEqual(of(""), { url: "", foreign: false });
  assert.deepEqual(of("./out.wasm"), { url: `${base}out.wasm`, foreign: false });
  const other = "https://other.example/out.wasm";
  assert.deepEqual(of(other), { url: other, foreign: true });
  assert.deepEqual(of(other, false), { url: other, foreign: false });
  for (const address of ["file:///out.wasm", "javascript:0", "http://"])
    assert.equal(of(address).lacking?.code, "vm");
});
