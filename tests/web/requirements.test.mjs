/** What a person is told where the page cannot run. */

import assert from "node:assert/strict";
import test from "node:test";
import { missing, noWorker } from "../../web/page/requirements.js";

const all = {
  origin: "https://example.com",
  isSecureContext: true,
  Worker: {},
  WebAssembly: {},
  DecompressionStream: {},
};

test("nothing is missing in a browser of today", () => {
  assert.equal(missing(all), undefined);
});

test("what is missing is named, with what to do", () => {
  const sandboxed = missing({ ...all, origin: "null" });
  assert.match(sandboxed?.message ?? "", /sandboxed/);
  assert.match(sandboxed?.hint ?? "", /allow-same-origin/);
  const insecure = missing({ ...all, isSecureContext: false });
  assert.match(insecure?.message ?? "", /plain http/);
  assert.match(insecure?.hint ?? "", /https/);
  const without = missing({ ...all, WebAssembly: undefined, Worker: undefined });
  assert.match(without?.message ?? "", /no WebAssembly and no Worker/);
  assert.match(without?.hint ?? "", /Lockdown/);
  for (const failure of [sandboxed, insecure, without]) assert.equal(failure?.code, "browser");
});

test("the browser's own words are in the details", () => {
  assert.match(noWorker(new Error("SecurityError: no")).details, /SecurityError/);
});
