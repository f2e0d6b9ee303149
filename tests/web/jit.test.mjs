import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import test from "node:test";

import { withThreshold } from "../../web/vm/jit.js";

const v86 = path.dirname(createRequire(import.meta.url).resolve("v86"));
const file = await readFile(path.join(v86, "v86.wasm"));
const wasm = file.buffer.slice(file.byteOffset, file.byteOffset + file.length);

test("the installed v86 has the constant, and only that is replaced", () => {
  const changed = withThreshold(wasm);
  const before = new Uint8Array(wasm);
  const places = [...before.keys()].filter((index) => before[index] !== changed[index]);
  const [first, ...others] = places;
  assert.equal(changed.length, before.length);
  assert.ok(others.length > 0 && others.every((place) => place - first < 3));
  assert.ok(WebAssembly.validate(changed));
});

test("what does not have the constant stays as it is", () => {
  const bytes = Uint8Array.of(0x41, 0xc0, 0x9a, 0x0c, 0x49, 0x0e);
  assert.deepEqual(withThreshold(bytes.buffer), bytes);
});

test("what has it twice stays as it is", () => {
  const once = [0x41, 0xc0, 0x9a, 0x0c, 0x49, 0x0d];
  const bytes = Uint8Array.from([...once, ...once]);
  assert.deepEqual(withThreshold(bytes.buffer), bytes);
});
