/** Sessions that are kept in the browser: killed while they are written, full disks, and what a person does. */

import assert from "node:assert/strict";
import test from "node:test";

import { askToPersist, KeptSession } from "../../web/page/kept-session.js";
import {
  deleteSession,
  exportSession,
  filesOfSession,
  importSession,
  inspectSession,
  listSessions,
  renameSession,
} from "../../web/page/kept-sessions.js";
import { readFiles } from "../../web/page/saved-files.js";
import { packState, readBlob } from "../../web/vm/state-file.js";
import { NoRoom, writeState } from "../../web/vm/state-storage.js";
import { fakeBrowser } from "./fake-storage.mjs";

/** @import { FakeDirectory } from "./fake-storage.mjs" */

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);
const MACHINE = { kind: "x64", wasm: "1", recipe: "2", memoryMiB: 256, commandLine: "quiet" };
const IMAGE = { reference: "debian", digest: "sha256:0", platform: "linux/amd64" };

/**
 * @param {number} saved
 * @param {{ machine?: boolean, layers?: string[], changes?: string }} [what]
 */
function pieces(saved, { machine = true, layers = [], changes } = {}) {
  const header = { image: IMAGE, saved, ...(machine && { machine: MACHINE, process: {} }) };
  /** @type {Record<string, { bytes: Uint8Array | Blob }>} */
  const sections = {};
  if (machine) sections.server = { bytes: bytes("{}") };
  for (const [index, text] of layers.entries()) sections[`layer.${index}`] = { bytes: bytes(text) };
  if (changes) sections.changes = { bytes: new Blob([changes]) };
  if (machine) sections.machine = { bytes: new Uint8Array(3000).fill(saved) };
  const head = changes ? { ...header, changed: saved - 1 } : header;
  return packState(/** @type {any} */ (head), sections);
}

/** @param {Parameters<typeof pieces>} what */
async function stateFile(...what) {
  return new Blob(/** @type {BlobPart[]} */ (await pieces(...what)));
}

/** @param {string} name @param {Parameters<typeof pieces>[]} states one after the other */
async function keep(name, ...states) {
  const kept = await KeptSession.open(name);
  await kept.find();
  try {
    for (const state of states) {
      await writeState(kept.target, await pieces(...state));
      kept.written();
    }
  } finally {
    kept.release();
  }
}

/** @param {FakeDirectory} root */
const filesOf = (root) => root.directories.get("browsermount-sessions")?.files ?? new Map();

test("killed while a state is written, the one before it is there", async () => {
  const { root } = fakeBrowser();
  await keep("mine", [1], [2]);
  const files = filesOf(root);
  const whole = new Uint8Array(await (await stateFile(3)).arrayBuffer());
  const kept = await KeptSession.open("mine");
  await kept.find();
  const { file } = kept.target;
  // Each length that has another meaning: within the magic, the prefix, the digest, the header, a section.
  const header = new DataView(whole.buffer).getUint32(12, true);
  const borders = [0, 1, 7, 8, 12, 16, 47, 48, 49, 48 + header - 1, 48 + header, 48 + header + 1];
  for (const length of [...borders, whole.length - 3000, whole.length - 1]) {
    files.set(file, whole.slice(0, length));
    const { found } = await kept.find();
    let state = found;
    // What is missing of the last section shows when that is read.
    if (state?.state.header.saved === 3) {
      await assert.rejects(state.state.section("machine"), /damaged/);
      kept.passOver(state);
      ({ found: state } = await kept.find());
    }
    assert.equal(state?.state.header.saved, 2, `${length} bytes`);
    assert.deepEqual(await state?.state.section("machine"), new Uint8Array(3000).fill(2));
    // The next one goes to where the damaged one is.
    assert.equal(kept.target.file, file);
    await writeState(kept.target, await pieces(4));
    kept.written();
    assert.equal((await kept.find()).found?.state.header.saved, 4);
    assert.notEqual(kept.target.file, file);
  }
  kept.release();
});

for (const [how, limits] of /** @type {[string, object][]} */ ([
  ["is said in advance", { quota: 3000 }],
  ["shows as less being written", { room: 3000 }],
  ["is an error", { room: 3000, throws: true }],
]))
  test(`a full disk, which ${how}, leaves the last good state`, async () => {
    const { disk } = fakeBrowser(limits);
    await keep("mine", [1, { machine: false, layers: ["small"] }]);
    await assert.rejects(keep("mine", [2]), NoRoom);
    const [session] = await listSessions();
    assert.equal(session.saved, 1);
    assert.equal(disk.room === Infinity, !("room" in limits));
  });

test("a disk that is full from the beginning", async () => {
  const { disk } = fakeBrowser({ full: true });
  await assert.rejects(keep("mine", [1]), NoRoom);
  // There is an empty file, which is no session, and not a damaged one either.
  assert.deepEqual(await listSessions(), []);
  const kept = await KeptSession.open("mine");
  assert.deepEqual(await kept.find(), { found: undefined, damaged: false });
  kept.release();
  disk.full = false;
  await keep("mine", [2]);
  assert.equal((await listSessions())[0].saved, 2);
});

test("what is kept is listed, the last one first", async () => {
  fakeBrowser();
  await keep("one", [1, { layers: ["a"], changes: "b" }]);
  await keep("two.b", [5], [6], [7, { machine: false, layers: ["c"] }]);
  const found = await listSessions();
  assert.deepEqual(
    found.map(({ name, saved, machine, files, open }) => [name, saved, machine, files, open]),
    [
      ["two.b", 7, false, true, false],
      ["one", 1, true, true, false],
    ],
  );
  assert.equal(found[1].image, "debian");
  assert.equal(found[1].size, (await stateFile(1, { layers: ["a"], changes: "b" })).size);
  const layers = await filesOfSession("one");
  assert.deepEqual(
    layers.map((layer) => new TextDecoder().decode(layer)),
    ["a", "b"],
  );
});

for (const moves of [true, false])
  test(`renamed and deleted, where files ${moves ? "can" : "cannot"} be moved`, async () => {
    const { root } = fakeBrowser({ moves });
    await keep("one", [1], [2]);
    await keep("two", [3]);
    await assert.rejects(renameSession("one", "two"), /is a session “two” already/);
    await assert.rejects(renameSession("none", "other"), /not there/);
    await assert.rejects(renameSession("one", "no name"), /no name for a session/);
    await renameSession("one", "other");
    assert.deepEqual(
      (await listSessions()).map(({ name, saved }) => [name, saved]),
      [
        ["two", 3],
        ["other", 2],
      ],
    );
    await deleteSession("other");
    await deleteSession("two");
    assert.equal(filesOf(root).size, 0);
  });

test("what another tab has open is not touched", async (context) => {
  const { root } = fakeBrowser();
  await keep("mine", [1]);
  const kept = await KeptSession.open("mine");
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (const attempt of [
    () => deleteSession("mine"),
    () => renameSession("mine", "other"),
    () => exportSession("mine"),
  ]) {
    const refused = assert.rejects(attempt(), /open in another tab/);
    for (let i = 0; i < 20; i += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      context.mock.timers.tick(500);
    }
    await refused;
  }
  context.mock.timers.reset();
  assert.equal(filesOf(root).size, 1);
  assert.equal((await listSessions())[0].open, true);
  kept.release();
});

test("exported, and opened from the file", async () => {
  fakeBrowser();
  await keep("mine", [1, { machine: false, layers: ["a"] }]);
  const file = await exportSession("mine");
  assert.equal(file.name, "mine.state");
  await assert.rejects(importSession(file, "mine"), /already/);
  await deleteSession("mine");
  await importSession(file, "again");
  const [{ name, saved }] = await listSessions();
  assert.deepEqual([name, saved], ["again", 1]);
});

test("a file that is none, or damaged, is not taken", async () => {
  fakeBrowser();
  const state = new Uint8Array(
    await (await stateFile(1, { machine: false, layers: ["a"] })).arrayBuffer(),
  );
  for (const length of [0, 10, 60, state.length - 1])
    await assert.rejects(
      importSession(new Blob([state.slice(0, length)]), "mine"),
      length < 48 ? /not the file/ : /damaged/,
    );
  const odd = await packState(/** @type {any} */ ({ saved: 1, image: { reference: 5 } }), {});
  await assert.rejects(inspectSession(new Blob(/** @type {any} */ (odd))), /damaged/);
  assert.deepEqual(await listSessions(), []);
});

test("of a session of another build, the files are kept", async () => {
  fakeBrowser();
  const file = await stateFile(9, { layers: ["a"], changes: "b" });
  await importSession(file, "mine", { filesOnly: true });
  const [session] = await listSessions();
  assert.deepEqual([session.machine, session.files, session.saved], [false, true, 8]);
  const { found } = await (await KeptSession.open("mine")).find();
  const { layers, changes } = await readFiles(/** @type {any} */ (found).state);
  assert.equal(changes, undefined);
  assert.deepEqual(await Promise.all(layers.map(({ data }) => data.text())), ["a", "b"]);
  await assert.rejects(
    importSession(await stateFile(9), "other", { filesOnly: true }),
    /no files that could be had/,
  );
});

test("a session whose image is elsewhere here", async () => {
  fakeBrowser();
  const file = await stateFile(9, { machine: false, layers: ["a", "b"] });
  await importSession(file, "mine", { image: "images/default/" });
  assert.equal((await listSessions())[0].image, "images/default/");
  const layers = await filesOfSession("mine");
  assert.deepEqual(
    layers.map((layer) => new TextDecoder().decode(layer)),
    ["a", "b"],
  );
});

test("what cannot go on is set aside, more than once", async () => {
  fakeBrowser();
  for (const [saved, name] of /** @type {[number, string][]} */ ([
    [1, "mine.before"],
    [2, "mine.before-2"],
  ])) {
    await keep("mine", [saved]);
    const kept = await KeptSession.open("mine");
    const { found } = await kept.find();
    assert.equal(await kept.setAside(/** @type {any} */ (found)), name);
    assert.equal((await kept.find()).found, undefined);
    kept.release();
  }
  const names = (await listSessions()).map(({ name, saved }) => [name, saved]);
  assert.deepEqual(names, [
    ["mine.before-2", 2],
    ["mine.before", 1],
  ]);
  const long = "x".repeat(64);
  await keep(long, [3]);
  const kept = await KeptSession.open(long);
  const { found } = await kept.find();
  assert.equal(await kept.setAside(/** @type {any} */ (found)), `${"x".repeat(57)}.before`);
});

test("files that are damaged are left out, with what lies over them", async () => {
  const state = new Uint8Array(
    await (await stateFile(1, { layers: ["first", "second"], changes: "third" })).arrayBuffer(),
  );
  /** @param {string} text */
  const without = async (text) => {
    const changed = state.slice();
    const at = Buffer.from(changed).indexOf(text);
    changed[at] ^= 1;
    const { layers, changes, all } = await readFiles(await readBlob(new Blob([changed])));
    return [layers.length, changes !== undefined, all.length];
  };
  assert.deepEqual(await without("first"), [0, false, 0]);
  assert.deepEqual(await without("second"), [1, false, 1]);
  assert.deepEqual(await without("third"), [2, false, 2]);
});

test("the browser is asked once a page whether what is kept may stay", async () => {
  fakeBrowser();
  let asked = 0;
  Object.assign(navigator.storage, { persist: async () => true, persisted: async () => !++asked });
  for (let save = 0; save < 3; save += 1) await askToPersist();
  assert.equal(asked, 1);
});
