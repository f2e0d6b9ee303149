/** The file of a saved session, and what else a saved machine is made of. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { gzipSync } from "node:zlib";

import { InputWindow, LineReader } from "../../web/vm/console.js";
import { DetachKeys } from "../../web/vm/detach-keys.js";
import { freePages, parseImageDescription } from "../../web/vm/free-pages.js";
import { replaceFile } from "../../web/vm/node.mjs";
import { packState, readState, StateError } from "../../web/vm/state-file.js";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

const HEADER = {
  machine: { kind: "x64", wasm: "1", recipe: "2", memoryMiB: 256, commandLine: "quiet" },
  image: { reference: "debian", digest: "sha256:0", platform: "linux/amd64" },
  process: {},
  saved: 1,
};

async function file() {
  const plain = new Uint8Array(100_000).map((_, index) => index % 251);
  const pieces = await packState(HEADER, {
    server: { bytes: bytes("{}") },
    machine: { bytes: gzipSync(plain), gzip: plain.length },
    last: { bytes: bytes("the end") },
  });
  return { plain, state: new Uint8Array(Buffer.concat(pieces)) };
}

/** @param {Uint8Array} state */
const open = (state) =>
  readState(async (offset, length) => state.subarray(offset, offset + length));

test("a state is read as it was written", async () => {
  const { plain, state } = await file();
  const { header, section } = await open(state);
  assert.deepEqual(header, HEADER);
  assert.deepEqual(await section("machine"), plain);
  assert.deepEqual(await section("last"), bytes("the end"));
  assert.equal(await section("nothing"), undefined);
});

test("a state with any byte changed, or without its end, is not used", async () => {
  const { state } = await file();
  const read = async (/** @type {Uint8Array} */ changed) => {
    const { section } = await open(changed);
    for (const name of ["server", "machine", "last"]) await section(name);
  };
  for (let at = 0; at < state.length; at += at < 700 ? 1 : 97) {
    const changed = state.slice();
    changed[at] ^= 1;
    await assert.rejects(read(changed), StateError, `byte ${at}`);
  }
  for (const length of [0, 7, 40, 100, state.length - 1])
    await assert.rejects(read(state.slice(0, length)), StateError, `${length} bytes`);
});

test("a part that says too small or too large a size is not used", async () => {
  for (const gzip of [99_999, 100_001, 1 << 20]) {
    const pieces = await packState(HEADER, {
      machine: { bytes: gzipSync(new Uint8Array(100_000)), gzip },
    });
    const { section } = await open(new Uint8Array(Buffer.concat(pieces)));
    await assert.rejects(section("machine"), StateError);
  }
});

test("input that was not consumed is sent after that", () => {
  /** @type {Uint8Array[]} */
  const sent = [];
  const before = new InputWindow((portion) => sent.push(portion));
  const data = new Uint8Array(60_000).map((_, index) => index % 256);
  before.write(data);
  before.consumed(3000);
  const saved = JSON.parse(JSON.stringify(before.save()));
  const after = new InputWindow((portion) => sent.push(portion));
  after.restore(saved);
  for (let last = -1; last < sent.length;) {
    last = sent.length;
    after.consumed(InputWindow.PORTION);
  }
  assert.deepEqual(new Uint8Array(Buffer.concat(sent)), data);
});

test("a line that was not complete is, after that", () => {
  const before = new LineReader(20);
  assert.deepEqual(before.read(bytes("one\ntw")), ["one"]);
  const after = new LineReader(20);
  after.restore(before.unfinished);
  assert.deepEqual(after.read(bytes("o\n")), ["two"]);
  after.read(bytes("x".repeat(30)));
  before.restore(after.unfinished);
  assert.deepEqual(before.read(bytes("\nthree\n")), ["three"]);
});

test("the keys that leave a container", () => {
  /** @param {string[]} pieces */
  const type = (...pieces) => {
    const keys = new DetachKeys();
    const read = pieces.map((piece) => keys.read(bytes(piece)));
    return [
      read.map(({ bytes }) => new TextDecoder().decode(bytes)).join(""),
      read.some(({ detach }) => detach),
    ];
  };
  assert.deepEqual(type("ab\x10\x11cd"), ["ab", true]);
  assert.deepEqual(type("ab\x10", "\x11"), ["ab", true]);
  assert.deepEqual(type("\x10", "\x10", "x\x11"), ["\x10\x10x\x11", false]);
  assert.deepEqual(type("\x10\x10\x11"), ["\x10", true]);
});

const FACTS = {
  wordSize: 4,
  pageStructsPointer: 0,
  kernelMap: 0xc0000000,
  pageStructSize: 32,
  typeOffset: 24,
  freeMask: 0xf0000080,
  freeValue: 0xf0000000,
  orderOffset: 20,
  maxPage: 4,
  freeCount: 8,
};

test("free pages are those that the kernel says, when it says as many", () => {
  const memory = new Uint8Array(64 * 4096);
  const view = new DataView(memory.buffer);
  const array = 0x1000;
  view.setUint32(0, FACTS.kernelMap + array, true);
  view.setUint32(4, 60, true);
  /** @param {number} page @param {number} order */
  const free = (page, order) => {
    view.setUint32(array + page * 32 + 24, 0xf0000001, true);
    view.setUint32(array + page * 32 + 20, order, true);
  };
  free(5, 0);
  free(8, 3);
  view.setUint32(8, 9, true);
  const bits = freePages(memory, FACTS);
  assert.deepEqual([...(bits ?? [])], [0x20, 0xff, 0, 0, 0, 0, 0, 0]);
  // One that hides them, or makes them up, or points out of its memory.
  view.setUint32(8, 10, true);
  assert.equal(freePages(memory, FACTS), undefined);
  free(8, 31);
  assert.equal(freePages(memory, FACTS), undefined);
  view.setUint32(0, 0xffffffff, true);
  assert.equal(freePages(memory, FACTS), undefined);
  view.setUint32(4, 0xffffffff, true);
  assert.equal(freePages(memory, FACTS), undefined);
  assert.equal(freePages(new Uint8Array(4096).fill(255), FACTS), undefined);
});

test("addresses of 64 bits are read as they are", () => {
  const { freePages: facts } = parseImageDescription(
    '{"recipe": "", "freePages": {"pageStructs": 18446719884453740544, "maxPage": 1}}',
  );
  assert.equal(facts.pageStructs, "18446719884453740544");
  assert.equal(facts.maxPage, 1);
});

test("a file is replaced as a whole, and what killed processes have left goes", async (context) => {
  const directory = await mkdtemp(path.join(tmpdir(), "state-"));
  context.after(() => rm(directory, { recursive: true }));
  const state = path.join(directory, "state");
  const { pid: ended } = spawnSync("true");
  const others = [`state.${process.ppid}.part`, "state.part", `other.${ended}.part`];
  for (const name of [...others, `state.${ended}.part`])
    await writeFile(path.join(directory, name), "");
  await replaceFile(state, [bytes("first "), bytes("one")]);
  assert.equal(await readFile(state, "utf8"), "first one");
  assert.equal((await stat(state)).mode & 0o777, 0o600);
  assert.deepEqual((await readdir(directory)).sort(), [...others, "state"].sort());

  // On a disk that has no room, and where a file may have no more, a write is short before one fails.
  const module = new URL("../../web/vm/node.mjs", import.meta.url);
  const script = `import { replaceFile } from "${module}";
    await replaceFile(process.argv[1], [Buffer.alloc(1000), Buffer.alloc(1 << 20)]);`;
  const node = [process.execPath, "--input-type=module", "--eval", script, state];
  const done = spawnSync("sh", ["-c", 'ulimit -f 100; exec "$@"', "sh", ...node]);
  assert.notEqual(done.status, 0);
  assert.match(String(done.stderr), /EFBIG/);
  assert.equal(await readFile(state, "utf8"), "first one");
  assert.deepEqual((await readdir(directory)).sort(), [...others, "state"].sort());
});
