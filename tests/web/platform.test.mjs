/** Which machine runs which image: as tests/core/test_machines.py has it. */
import assert from "node:assert/strict";
import test from "node:test";

import { choicesOf, levelFor, machineFor, translationNote } from "../../web/page/platform.js";

for (const [platform, machine, translated] of /** @type {const} */ ([
  ["linux/386", "v86", false],
  ["linux/amd64", "x64", false],
  ["linux/amd64/v2", "x64", false],
  ["linux/amd64/v3", "x64", false],
  ["linux/arm64/v8", "x64", true],
  ["linux/riscv64", "x64", true],
]))
  test(`the machine of ${platform}`, () => {
    assert.equal(machineFor(platform), machine);
    assert.equal(translationNote(platform) !== "", translated);
  });

test("a machine that is asked for", () => {
  assert.equal(machineFor("linux/386", "64"), "x64");
  assert.equal(machineFor("linux/386", "32"), "v86");
});

test("what programs are told of the processor", () => {
  assert.equal(levelFor("linux/amd64", ""), undefined);
  assert.equal(levelFor("linux/amd64/v2", "amd64"), undefined);
  assert.equal(levelFor("linux/amd64", "x86_64/v3"), 3);
  assert.equal(levelFor("linux/amd64/v3", ""), 3);
});

test("386 images can be run on both machines", () => {
  assert.deepEqual(choicesOf(["linux/arm64", "linux/386"]), [
    { platform: "linux/386", machine: "", text: "linux/386" },
    { platform: "linux/386", machine: "64", text: "linux/386, exact arithmetic (slower)" },
    { platform: "linux/arm64", machine: "", text: "linux/arm64" },
  ]);
});
