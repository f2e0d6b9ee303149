/** Where an image's files go, and what a container has changed, on its way. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";

import { FolderSink, TarSink } from "../../web/mount/image-sink.js";
import { ChangesReader } from "../../web/vm/changes.js";
import { FakeDirectory } from "./fake-storage.mjs";

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** @param {TarSink | FolderSink} sink @param {string} name @param {Uint8Array[]} pieces */
async function put(sink, name, ...pieces) {
  const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (!(await sink.begin(name, size))) return false;
  for (const piece of pieces) await sink.write(piece);
  return true;
}

const large = new Uint8Array(5 << 20).map((_, index) => index % 251);

for (const streamed of [false, true])
  test(`a layout in a tar archive, ${streamed ? "written to a file" : "given back"}`, async () => {
    const target = streamed
      ? await new FakeDirectory().getFileHandle("image.tar", { create: true })
      : undefined;
    const sink = new TarSink(/** @type {any} */ (target));
    assert.equal(await sink.read("index.json"), undefined);
    await put(sink, "blobs/sha256/one", large, bytes("more"));
    await put(sink, "blobs/sha256/empty");
    await put(sink, "oci-layout", bytes("{}"));
    const file = await sink.finish();
    assert.equal(file === undefined, streamed);
    const written = file ?? (await target?.getFile()) ?? new Blob();
    const content = Buffer.from(await written.arrayBuffer());
    assert.equal(content.length % 512, 0);
    const folder = await mkdtemp(path.join(tmpdir(), "image-"));
    await writeFile(path.join(folder, "image.tar"), content);
    execFileSync("tar", ["-xf", "image.tar"], { cwd: folder });
    const one = await readFile(path.join(folder, "blobs/sha256/one"));
    assert.deepEqual(one, Buffer.concat([large, bytes("more")]));
    assert.equal((await readFile(path.join(folder, "blobs/sha256/empty"))).length, 0);
    assert.equal(await readFile(path.join(folder, "oci-layout"), "utf8"), "{}");
  });

test("a layout in a folder: blobs that are there stay, and the index is replaced", async () => {
  const folder = new FakeDirectory();
  const sink = () => new FolderSink(/** @type {any} */ (folder));
  assert.equal(await sink().read("index.json"), undefined);
  assert.ok(await put(sink(), "blobs/sha256/one", bytes("a"), bytes("b")));
  assert.ok(await put(sink(), "index.json", bytes("first")));
  assert.equal(await put(sink(), "blobs/sha256/one", bytes("xy")), false);
  assert.ok(await put(sink(), "blobs/sha256/one", bytes("abc")));
  assert.equal(await sink().read("index.json"), "first");
  assert.ok(await put(sink(), "index.json", bytes("other")));
  assert.equal(await sink().read("index.json"), "other");
  assert.equal(await sink().read("blobs/sha256/one"), "abc");
  folder.disk.room = 3;
  await assert.rejects(put(sink(), "blobs/sha256/two", large), { name: "QuotaExceededError" });
  assert.equal((await folder.directories.get("blobs"))?.files.size, 0);
});

test("changes come in pieces, one archive after the other", async () => {
  let asked = 0;
  const reader = new ChangesReader(() => (asked += 1));
  const first = reader.read();
  await assert.rejects(reader.read(), /still says/);
  for (const piece of [large, bytes("end")]) reader.take(piece);
  reader.finish({ leftOut: 3 });
  const { data, leftOut } = await first;
  assert.equal(leftOut, 3);
  assert.deepEqual(Buffer.from(await data.arrayBuffer()), Buffer.concat([large, bytes("end")]));
  const second = reader.read();
  reader.take(bytes("second"));
  reader.finish({ leftOut: 0 });
  assert.equal(await (await second).data.text(), "second");
  const third = reader.read();
  reader.finish({ failure: "more than 5 bytes have changed" });
  await assert.rejects(third, /more than 5 bytes/);
  assert.equal(asked, 3);
});

test("a container that ends says what it has changed at last, or not", async () => {
  const reader = new ChangesReader(() => {});
  const last = () => reader.last?.data.text();
  const asked = reader.read();
  reader.end();
  await assert.rejects(asked, /has ended/);
  assert.equal(await last(), undefined);
  reader.take(bytes("at its end"));
  reader.finish({ leftOut: 0 });
  assert.equal(await last(), "at its end");
});

test("a container that does not answer is not waited for, and not asked again meanwhile", async () => {
  const reader = new ChangesReader(() => {}, 1);
  await assert.rejects(reader.read(), /does not answer/);
  await assert.rejects(reader.read(), /still says/);
  reader.take(bytes("late"));
  reader.finish({ leftOut: 0 });
  const asked = reader.read();
  reader.take(bytes("new"));
  reader.finish({ leftOut: 0 });
  assert.equal(await (await asked).data.text(), "new");
});
