/** A browser's storage that does not do what it should. */

import assert from "node:assert/strict";
import test from "node:test";
import { openStorage } from "../../web/mount/storage.js";

/** @param {unknown} storage */
function browserWith(storage) {
  Object.defineProperty(globalThis, "navigator", { value: { storage }, configurable: true });
}

const never = () => new Promise(() => {});
const file = { createSyncAccessHandle: async () => ({ close() {} }) };
const directory = {
  getFileHandle: async () => file,
  keys: async function* () {},
};
const root = { getDirectoryHandle: async () => directory };
const estimate = async () => ({ quota: 1000 });

test("a storage that works", async () => {
  browserWith({ estimate, getDirectory: async () => root });
  assert.deepEqual(await openStorage(), { directory, quota: 1000 });
});

for (const [what, storage] of /** @type {[string, object | undefined][]} */ ([
  ["is not there", undefined],
  ["has no directories", { estimate }],
  ["refuses", { estimate, getDirectory: () => Promise.reject(new Error("no")) }],
]))
  test(`a storage that ${what}`, async () => {
    browserWith(storage);
    assert.equal(await openStorage(), undefined);
  });

for (const [what, storage] of /** @type {[string, object][]} */ ([
  ["its directory", { estimate, getDirectory: never }],
  ["how much it has", { estimate: never, getDirectory: async () => root }],
]))
  test(`a storage that never says ${what} is not waited for`, async (context) => {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    browserWith(storage);
    const opened = openStorage();
    context.mock.timers.tick(5000);
    assert.equal(await opened, undefined);
  });
