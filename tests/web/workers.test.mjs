// Which of the page's two workers is started when.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

/** @type {FakeWorker[]} */
let workers = [];

class FakeWorker {
  /** @type {any[]} */
  told = [];
  ended = false;
  /** @type {(event: { data: any }) => void} */
  onmessage = () => {};
  /** @type {(event: { message: string, preventDefault: () => void }) => void} */
  onerror = () => {};

  /** @param {string} url */
  constructor(url) {
    this.name = new URL(url).pathname.split("/").slice(-2).join("/");
    workers.push(this);
  }

  /** @param {any} message */
  postMessage(message) {
    this.told.push(message);
  }

  terminate() {
    this.ended = true;
  }

  /** @param {string} type */
  async says(type) {
    this.onmessage({ data: { type } });
    await new Promise(setImmediate);
  }
}

Object.assign(globalThis, { Worker: FakeWorker });
const { takeWorkers } = await import("../../web/page/workers.js");
/** @type {import("../../web/page/warm-state.js").Warm} */
const WARM = { name: "0", machine: "v86", source: { from: "site", url: "x:/", digest: "0" } };

beforeEach(() => {
  workers = [];
});

const started = () => workers.map(({ name }) => name);

test("both are started at once", () => {
  const { machine, mount } = takeWorkers("v86", {});
  assert.deepEqual(started(), ["web/worker.js", "vm/worker.js"]);
  machine.end();
  mount.end();
});

for (const type of ["loaded", "cold", "error"])
  test(`a machine with a state is alone until it says "${type}"`, async () => {
    const { mount } = takeWorkers("v86", { warm: WARM });
    mount.post("first");
    mount.post("second");
    await workers[0].says("warm");
    assert.deepEqual(started(), ["vm/worker.js"]);
    await workers[0].says(type);
    assert.deepEqual(started(), ["vm/worker.js", "web/worker.js"]);
    assert.deepEqual(workers[1].told, ["first", "second"]);
    mount.post("third");
    assert.equal(workers[1].told.length, 3);
    // Once.
    await workers[0].says("error");
    assert.equal(workers.length, 2);
  });

test("without its machine, the other one is started; ended, it is not", async () => {
  const first = takeWorkers("v86", { warm: WARM });
  first.machine.end();
  await new Promise(setImmediate);
  assert.deepEqual(started(), ["vm/worker.js", "web/worker.js"]);
  const second = takeWorkers("v86", { warm: WARM });
  second.mount.end();
  await workers[2].says("loaded");
  assert.equal(workers.length, 3);
});

test("a machine that cannot be run is no reason to wait", async () => {
  const { machine } = takeWorkers("v86", { warm: WARM });
  /** @type {string[]} */
  const failures = [];
  machine.listen(
    () => {},
    (details) => failures.push(details),
  );
  workers[0].onerror({ message: "no script", preventDefault: () => {} });
  await new Promise(setImmediate);
  assert.deepEqual(failures, ["no script"]);
  assert.equal(workers.length, 2);
});
