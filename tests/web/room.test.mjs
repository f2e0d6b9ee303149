/** How much memory a machine may have on whose computer. */
import assert from "node:assert/strict";
import test from "node:test";

import { roomIn, visitorsRoom } from "../../web/vm/room.js";

test("a machine may have a quarter of the computer's memory, within bounds", () => {
  for (const [gib, mib] of [
    [0.25, 512],
    [1.9, 512],
    [3.8, 1024],
    [6, 1536],
    [8, 2048],
    [64, 2048],
  ])
    assert.equal(roomIn(gib), mib);
});

test("a browser that does not tell the memory counts as a usual computer, or as a phone", () => {
  assert.equal(visitorsRoom({ deviceMemory: 4, userAgent: "" }), 1024);
  assert.equal(visitorsRoom({ userAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)" }), 2048);
  assert.equal(visitorsRoom({ userAgent: "Mozilla/5.0 (iPhone) AppleWebKit Mobile/15E" }), 1024);
});
