// What the mount worker hears of layers that another worker has begun with.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EarlyLayers } from "../../web/mount/early.js";

/** @returns {{ layers: EarlyLayers, told: any[], say: (message: any) => Promise<void>, close: () => void }} */
function begun() {
  const { port1, port2 } = new MessageChannel();
  const layers = new EarlyLayers(port1);
  /** @type {any[]} */
  const told = [];
  port2.onmessage = ({ data }) => told.push(data);
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5));
  return {
    layers,
    told,
    say: async (message) => {
      port2.postMessage(message);
      await /** @type {Promise<void>} */ (pause());
    },
    close: () => port2.close(),
  };
}

test("a layer comes piece by piece, to one who needs it", async () => {
  const { layers, told, say, close } = begun();
  const asked = layers.take("aa");
  await say({ begun: ["aa", "bb"] });
  const layer = await asked;
  assert(layer);
  assert.equal(await layers.take("aa"), undefined);
  assert.equal(await layers.take("cc"), undefined);
  const waiting = layer.wait();
  await say({ hash: "aa", came: 3, piece: Uint8Array.of(1) });
  assert.equal(await waiting, true);
  await say({ hash: "bb", came: 9, piece: Uint8Array.of(7) });
  await say({ hash: "aa", came: 5, piece: Uint8Array.of(2) });
  assert.deepEqual(layer.take(), [Uint8Array.of(1), Uint8Array.of(2)]);
  const last = layer.wait();
  await say({ hash: "aa", came: 6, sha256: "d1" });
  assert.equal(await last, false);
  assert.deepEqual([layer.came, layer.sha256, layer.failed], [6, "d1", false]);
  layer.close();
  const other = await layers.take("bb");
  assert.deepEqual(other?.take(), [Uint8Array.of(7)]);
  other?.close();
  layers.end();
  await new Promise((resolve) => setTimeout(resolve, 5));
  // What has come has not to be given up.
  assert.deepEqual(told, [{ end: "bb" }, {}]);
  close();
});

test("a layer that cannot be had says so", async () => {
  const { layers, say, close } = begun();
  await say({ begun: ["aa"] });
  const layer = await layers.take("aa");
  await say({ hash: "aa", came: 0, sha256: "" });
  assert.equal(await layer?.wait(), false);
  assert.equal(layer?.failed, true);
  layers.end();
  close();
});

test("a worker that says nothing is not waited for", async () => {
  const { layers, close } = begun();
  assert.equal(await layers.take("aa"), undefined);
  layers.end();
  close();
});
