/** What the page says to somebody who waits. */

import assert from "node:assert/strict";
import test from "node:test";
import { underWay } from "../../web/page/progress.js";

const RUNTIME = { name: "Runtime", text: "ready", done: true };

test("what is under way is said, and no guess about the network", () => {
  const image = { name: "Image", text: "looking for ghcr.io/a/b", done: false };
  const text = underWay([RUNTIME, { name: "Machine", text: "", done: false }, image]);
  assert.equal(
    text,
    "No news for a while. Under way: Image: looking for ghcr.io/a/b. " +
      "You can go on waiting, or reload the page.",
  );
});

test("of many layers a few are named", () => {
  const layers = [...Array(9).keys()].map((number) => ({
    name: `sha256:${number}`,
    text: "downloading 1.0 kB of 2.0 kB",
    done: number === 0,
  }));
  const text = underWay([RUNTIME, ...layers]);
  assert.match(text, /sha256:1: downloading 1.0 kB of 2.0 kB; .*sha256:3: [^;]*; and 5 more\./);
  assert.ok(!text.includes("sha256:0"));
});

test("when nothing is loaded any more", () => {
  assert.match(underWay([RUNTIME]), /All is loaded, and starts/);
});
