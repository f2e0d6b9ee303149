/** Networks of containers: who is there, and who is gone. The locks are the test's. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Neighbourhood } from "../../web/mount/neighbours.js";
import { networkNameOf, networkOf } from "../../web/page/network-name.js";

/** Locks as browsers have them (Web Locks API, section 3), of one origin. */
class Locks {
  /** @type {{ name: string, mode: string }[]} */
  held = [];
  /** @type {{ name: string, mode: string, grant: () => void }[]} */
  waiting = [];

  /** @param {string} name @param {any} options @param {any} [callback] */
  request(name, options, callback = options) {
    const { mode = "exclusive", signal } = callback === options ? {} : options;
    return new Promise((resolve, reject) => {
      const lock = { name, mode };
      const grant = async () => {
        this.held.push(lock);
        try {
          resolve(await callback(lock));
        } finally {
          this.held.splice(this.held.indexOf(lock), 1);
          this.#next();
        }
      };
      const request = { name, mode, grant };
      signal?.addEventListener("abort", () => {
        if (!this.waiting.includes(request)) return;
        this.waiting.splice(this.waiting.indexOf(request), 1);
        reject(signal.reason);
      });
      this.waiting.push(request);
      queueMicrotask(() => this.#next());
    });
  }

  async query() {
    return { held: [...this.held], pending: [...this.waiting] };
  }

  #next() {
    for (const request of [...this.waiting]) {
      const { name, mode } = request;
      const first = this.waiting.find((other) => other.name === name) === request;
      const others = this.held.filter((other) => other.name === name);
      const free = others.every((other) => mode === "shared" && other.mode === "shared");
      if (!first || !free) continue;
      this.waiting.splice(this.waiting.indexOf(request), 1);
      request.grant();
    }
  }
}

/** @type {Neighbourhood[]} */
const joined = [];
const saved = Object.getOwnPropertyDescriptor(globalThis, "navigator");
beforeEach(() => {
  const value = { locks: new Locks() };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
});
afterEach(async () => {
  for (const it of joined.splice(0)) it.leave();
  await pause();
  if (saved) Object.defineProperty(globalThis, "navigator", saved);
  else delete (/** @type {any} */ (globalThis).navigator);
});

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

/** Waits until so much has been heard, as long as the test's own time lasts.
 * @param {any[]} all @param {number} count */
async function until(all, count) {
  while (all.length < count) await pause();
}

/** @param {string} name @param {Partial<import("../../web/messages.js").NetworkName>} [more] */
async function join(name, more) {
  /** @type {[string, any][]} */
  const met = [];
  const wanted = { network: "shop", name, foreign: false, ...more };
  const it = await Neighbourhood.join(wanted, (peer, link) => met.push([peer, link]));
  joined.push(it);
  return { it, met };
}

/** @param {any} link */
function heard(link) {
  /** @type {any[]} */
  const all = [];
  link.listen(
    (/** @type {Uint8Array} */ message) => all.push([...message]),
    () => all.push("lost"),
  );
  return all;
}

test("two find each other, talk, and one goes", { timeout: 60_000 }, async () => {
  const web = await join("web");
  const db = await join("db");
  assert.equal(await db.it.find("web"), true);
  assert.equal(await db.it.find("api"), false);
  const near = await db.it.dial("web");
  const [[name, far]] = web.met;
  assert.equal(name, "db");
  far.send(Uint8Array.of(1));
  near.send(Uint8Array.of(2));
  near.send(Uint8Array.of(3));
  await pause();
  // What has come before somebody listens is kept.
  const [atNear, atFar] = [heard(near), heard(far)];
  await until(atNear, 1);
  await until(atFar, 2);
  assert.deepEqual([atNear, atFar], [[[1]], [[2], [3]]]);
  web.it.leave();
  await until(atNear, 2);
  assert.deepEqual(atNear, [[1], "lost"]);
  assert.equal(await db.it.find("web"), false);
  await assert.rejects(db.it.dial("web"), /web is not in the network/);
  // Its name can be had again.
  assert.equal((await join("web")).it.name, "web");
});

test("who ends a link ends it for the other one", { timeout: 60_000 }, async () => {
  const web = await join("web");
  const db = await join("db");
  const near = await db.it.dial("web");
  const [[, far]] = web.met;
  const [atNear, atFar] = [heard(near), heard(far)];
  far.close();
  await until(atNear, 1);
  assert.deepEqual([atNear, atFar], [["lost"], []]);
});

test("a name is one container's", async () => {
  await join("web");
  const other = await join("web");
  assert.match(other.it.name, /^c[0-9a-f]{11}$/);
  const db = await join("db");
  assert.equal(await db.it.find(other.it.name), true);
});

test("networks are apart, and those of links from those of pages", async () => {
  await join("web");
  for (const more of [{ foreign: true }, { network: "other" }]) {
    const other = await join("web", more);
    assert.equal(other.it.name, "web");
    other.it.leave();
    await pause();
    const stranger = await join("db", more);
    assert.equal(await stranger.it.find("web"), false);
    await assert.rejects(stranger.it.dial("web"));
  }
});

test("what is said in place of a name, or of a message", async () => {
  const web = await join("web");
  const channel = new BroadcastChannel("browsermount-network/page/shop/web");
  const id = crypto.randomUUID();
  for (const data of [
    ...[null, 1, "x", {}, { from: "db" }, { from: "a/b", id }, { from: "localhost.", id }],
    ...[
      { from: "db", id: "../x" },
      { from: ["db"], id },
      { from: "db", id: { length: 36 } },
    ],
  ])
    channel.postMessage(data);
  await pause();
  channel.close();
  assert.equal(web.met.length, 0);
  const db = await join("db");
  const near = await db.it.dial("web");
  const atNear = heard(near);
  web.met[0][1].send(/** @type {any} */ ({ not: "bytes" }));
  await pause();
  assert.deepEqual(atNear, []);
  const atFar = heard(web.met[0][1]);
  assert.deepEqual(atFar, ["lost"]);
});

test("without locks there are no networks", async () => {
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  await assert.rejects(join("web"), /HTTPS/);
});

test("names as attributes give them", () => {
  const foreign = false;
  assert.deepEqual(networkNameOf({ network: "", hostname: "", foreign }), {});
  assert.deepEqual(networkNameOf({ network: "", hostname: "web", foreign }), {});
  assert.deepEqual(networkNameOf({ network: "Shop", hostname: "Web", foreign: true }), {
    networkName: { network: "shop", name: "web", foreign: true },
  });
  for (const [network, hostname] of [
    ...[
      ["shop", "a.b"],
      ["shop", "localhost"],
      ["shop", "-a"],
      ["a/b", "web"],
    ],
    ...[
      ["x".repeat(64), ""],
      ["localhost", ""],
      ["", "a b"],
      ["shop", "ä"],
    ],
  ]) {
    const { lacking, networkName } = networkNameOf({ network, hostname, foreign });
    assert.equal(lacking?.code, "network-name");
    assert.equal(networkName, undefined);
  }
});

test("what a container reaches", () => {
  assert.equal(networkOf(null, false), "public");
  assert.equal(networkOf("none", false), "none");
  assert.equal(networkOf("none", true), "internal");
  assert.equal(networkOf("all", true), "all");
  assert.equal(networkOf("relay", true), "public");
});
