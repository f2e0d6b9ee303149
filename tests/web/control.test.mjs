/** A guest that is hostile to its host: what it says, and how much of it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import test from "node:test";
import { InputWindow, KernelLog, LineReader } from "../../web/vm/console.js";
import { MAX_LINE, parseGuestMessage } from "../../web/vm/control.js";
import { MAX_OUTSTANDING, MachineError } from "../../web/vm/machine.js";
import { booted } from "./fake-emulator.mjs";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** The port of standard output. */
const STDOUT = 2;

test("messages of the guest", () => {
  for (const message of [
    { type: "ready" },
    { type: "scrubbed" },
    { type: "mounted" },
    { type: "started" },
    { type: "full" },
    { type: "consumed", bytes: 0 },
    { type: "consumed", bytes: 4096 },
    { type: "awake" },
    { type: "read" },
    { type: "archiving" },
    { type: "ports", tcp: [] },
    { type: "ports", tcp: [80, 65535] },
    { type: "exit", code: 0 },
    { type: "exit", code: 137, signal: 9 },
    { type: "error", stage: "start", message: "no such file", code: 127 },
  ])
    assert.deepEqual(parseGuestMessage(JSON.stringify(message)), message);
});

test("what is not exactly a message is none", () => {
  for (const line of [
    "",
    "garbage",
    "null",
    "1",
    '"ready"',
    "[]",
    "{}",
    '{"type": null}',
    '{"type": "toString"}',
    '{"type": ["ready"]}',
    '{"type": "consumed"}',
    '{"type": "ports"}',
    '{"type": "ports", "tcp": [0]}',
    '{"type": "ports", "tcp": ["80"]}',
    '{"type": "ports", "tcp": {"0": 80}}',
    `{"type": "ports", "tcp": [${Array.from({ length: 65 }, () => 80)}]}`,
    '{"type": "consumed", "bytes": -1}',
    '{"type": "consumed", "bytes": 1e999}',
    '{"type": "consumed", "bytes": "1"}',
    '{"type": "archived"}',
    '{"type": "archived", "left_out": -1}',
    '{"type": "exit"}',
    '{"type": "exit", "code": 256}',
    '{"type": "exit", "code": 1.5}',
    '{"type": "exit", "code": "0"}',
    '{"type": "exit", "code": 0, "signal": 0}',
    '{"type": "exit", "code": 0, "signal": null}',
    '{"type": "error", "stage": "fetch", "message": "", "code": 1}',
    '{"type": "error", "stage": "__proto__", "message": "", "code": 1}',
    '{"type": "error", "stage": "start", "message": {}, "code": 1}',
    '{"type": "error", "stage": "start", "message": ""}',
    `{"type": "ready", "nested": ${"[".repeat(5000)}`,
    `${"[".repeat(8000)}${"]".repeat(8000)}`,
  ])
    assert.equal(parseGuestMessage(line), undefined, line.slice(0, 60));
});

test("an error has a text that can be shown", () => {
  const message = JSON.stringify({
    type: "error",
    stage: "start",
    message: "x".repeat(10000),
    code: 1,
    more: "is left out",
  });
  const parsed = parseGuestMessage(message);
  assert.ok(parsed?.type === "error" && parsed.message.length === 4096);
  assert.ok(!("more" in parsed));
});

test("a line without an end fills no memory, and what comes behind is read", () => {
  const lines = new LineReader(10);
  assert.deepEqual(lines.read(bytes("0123456789\n")), ["0123456789"]);
  for (let i = 0; i < 1000; i += 1) assert.deepEqual(lines.read(bytes("x".repeat(1000))), []);
  assert.deepEqual(lines.read(bytes("x\nnext\n")), ["next"]);
  assert.deepEqual(lines.read(bytes("01234567890\n\na")), [""]);
  assert.deepEqual(lines.read(bytes("b\n0123456789a\nc\n")), ["ab", "c"]);
});

test("a serial port without a line feed fills no memory", () => {
  const log = new KernelLog();
  for (let i = 0; i < 1_000_000; i += 1) log.add(0x78);
  assert.ok(log.text.length <= 2 * KernelLog.LENGTH);
  for (let i = 0; i < 1_000_000; i += 1) log.add(10);
  assert.ok(log.text.length <= 2 * KernelLog.LENGTH);
});

test("a panic is found in the line that it stands in", () => {
  const log = new KernelLog();
  const said = [...bytes("[ 1.0] Kernel panic - not syncing: VFS\r\nmore\n")].map((b) =>
    log.add(b),
  );
  assert.deepEqual(
    said.filter((text) => text),
    ["Kernel panic - not syncing: VFS"],
  );
});

for (const [size, limit] of [
  [1 << 20, InputWindow.LIMIT],
  [4, 4 * InputWindow.PIECES],
])
  test(`input of ${size} bytes at a time that nobody reads is bounded`, () => {
    let sent = 0;
    const window = new InputWindow((portion) => (sent += portion.length));
    const piece = new Uint8Array(size);
    for (let written = 0; written < 2 * limit; written += size) window.write(piece);
    for (let before = -1; before < sent;) {
      before = sent;
      window.consumed(InputWindow.PORTION * InputWindow.PORTIONS);
    }
    assert.ok(sent >= limit && sent <= limit + size + InputWindow.PORTION * InputWindow.PORTIONS);
  });

/** A machine whose guest says what the test wants. */
async function hostile() {
  /** @type {any[]} */
  const seen = [];
  const { machine, events, told, say, destroyed } = await booted({
    stage: (stage) => seen.push(stage.stage),
    output: (data) => seen.push(data.length),
    stdout: (bytes) => seen.push(`out ${bytes.length}`),
    archive: (bytes) => seen.push(new TextDecoder().decode(bytes)),
    archived: (result) => seen.push(result),
    exit: (exit) => seen.push(exit),
    error: (error) => seen.push(error),
  });
  seen.length = 0;
  return { machine, seen, told, say, output: events.output, destroyed: () => destroyed() > 0 };
}

test("what a container has changed is passed on only where it was asked for", async () => {
  const { machine, seen, told, say, output } = await hostile();
  const send = () => {
    say('{"type": "archiving"}\n');
    output(STDOUT, bytes("ABC"));
    say('{"type": "archived", "left_out": 2}\n');
    say(
      '{"type": "archiving"}\n{"type": "error", "stage": "archive", "message": "no", "code": 125}\n',
    );
    say('{"type": "archived", "left_out": 3}\n');
  };
  machine.start();
  send();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(seen.splice(0), ["out 3"]);
  machine.archive(1000);
  assert.equal(told.at(-1), '{"type":"archive","limit":1000}\n');
  send();
  assert.deepEqual(seen.splice(0), ["ABC", { leftOut: 2 }, { failure: "no" }]);
  say('{"type": "archiving"}\n');
  await assert.rejects(machine.freeze(), /changed/);
});

test("garbage on the control channel ends nothing", async () => {
  const { machine, seen, say, destroyed } = await hostile();
  machine.start();
  say("garbage\n\0\xff\n{}\nnull\n[]\n");
  say("x".repeat(2 * MAX_LINE));
  say("\n");
  assert.deepEqual(seen, []);
  assert.ok(!destroyed());
  say('{"type": "started"}\n{"type": "exit", "code": 7}\n');
  assert.deepEqual(seen, ["started", { code: 7 }]);
  assert.ok(destroyed());
});

// -- Fuzzing: what fails is kept beside the inputs of tests/fuzz, and tried each time ---------------

const CORPUS = new URL("../fuzz/corpus/", import.meta.url);
const SECONDS = Number(process.env.BROWSERMOUNT_FUZZ_SECONDS ?? 2);
const GOOD = [
  '{"type": "ready"}\n',
  '{"type": "consumed", "bytes": 12}\n',
  '{"type": "mounted"}\n{"type": "started"}\n',
  '{"type": "error", "stage": "start", "message": "no", "code": 127}\n',
  '{"type": "exit", "code": 1, "signal": 9}\n',
].map(bytes);

/** @param {Uint8Array} data all that comes, in pieces of 50 bytes @param {boolean} started */
async function listen(data, started) {
  const { machine, output, seen } = await hostile();
  if (started) machine.start();
  for (let at = 0; at < data.length; at += 50) output(1, data.slice(at, at + 50));
  const ends = seen.filter((event) => typeof event === "object");
  assert.ok(ends.length <= 1);
  if (ends.length > 0) assert.equal(seen.at(-1), ends[0]);
  for (const event of seen)
    if (typeof event === "object" && "code" in event)
      assert.ok(Number.isInteger(event.code) && event.code >= 0 && event.code <= 255);
  machine.stop();
}

test("what once failed on the control channel", async () => {
  for (const name of await readdir(CORPUS))
    if (name.startsWith("control-"))
      for (const started of [true, false])
        await listen(await readFile(new URL(name, CORPUS)), started);
});

test("whatever comes on the control channel, nothing is thrown", async () => {
  const first = Number(process.env.BROWSERMOUNT_FUZZ_SEED ?? Date.now() & 0x7fffffff);
  let seed = first;
  const random = (/** @type {number} */ below) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % below;
  };
  for (const end = Date.now() + 1000 * SECONDS; Date.now() < end;) {
    /** @type {number[]} */
    const data = [];
    for (let i = 0; i < 5; i += 1) {
      const line = GOOD[random(GOOD.length)].slice(0, random(8) ? undefined : random(40));
      for (let change = random(3); change > 0; change -= 1)
        line[random(line.length)] = random(3) ? 0x20 + random(0x5f) : random(256);
      data.push(...line);
    }
    try {
      await listen(Uint8Array.from(data), random(2) > 0);
    } catch (error) {
      const digest = createHash("sha256").update(Uint8Array.from(data)).digest("hex").slice(0, 16);
      await writeFile(new URL(`control-${digest}`, CORPUS), Uint8Array.from(data));
      throw new Error(`kept as control-${digest}; the seed was ${first}`, { cause: error });
    }
  }
});

test("a container cannot end before it was started, nor start twice", async () => {
  const { machine, seen, say } = await hostile();
  say('{"type": "started"}\n{"type": "exit", "code": 0}\n');
  assert.deepEqual(seen, []);
  machine.start();
  say('{"type": "started"}\n{"type": "started"}\n{"type": "mounted"}\n{"type": "mounted"}\n');
  assert.deepEqual(seen, ["started", "mounted"]);
  say('{"type": "exit", "code": 1}\n{"type": "exit", "code": 2}\n');
  assert.deepEqual(seen.slice(2), [{ code: 1 }]);
});

for (const port of [0, 2, 3])
  test(`output on port ${port} that does not pause ends the machine`, async () => {
    const { machine, seen, told, output, destroyed } = await hostile();
    machine.start();
    machine.acknowledge(0);
    const piece = new Uint8Array(1 << 20);
    let sent = 0;
    while (!destroyed()) {
      output(port, piece);
      sent += piece.length;
      assert.ok(sent <= MAX_OUTSTANDING + 2 * piece.length);
    }
    assert.ok(told.some((line) => line.includes('"paused":true')));
    const errors = seen.filter((event) => event instanceof MachineError);
    assert.equal(errors.length, 1);
    assert.match(errors[0].message, /does not pause/);
    // It was the last thing.
    assert.equal(seen.at(-1), errors[0]);
  });

test("output that is dealt with may go on for ever", async () => {
  const { machine, seen, output, destroyed } = await hostile();
  machine.start();
  const piece = new Uint8Array(1 << 20);
  for (let i = 0; i < 200; i += 1) {
    output(0, piece);
    machine.acknowledge(piece.length);
  }
  assert.ok(!destroyed());
  assert.equal(
    seen.reduce((sum, length) => sum + length, 0),
    200 << 20,
  );
  machine.stop();
});
