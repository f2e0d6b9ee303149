/** Which machine runs which image: as tests/core/test_machines.py has it. */
import assert from "node:assert/strict";
import test from "node:test";

import { machineFor, translationNote } from "../../web/platform.js";

for (const [platform, machine, translated] of /** @type {const} */ ([
  ["linux/386", "v86", false],
  ["linux/amd64", "x64", false],
  ["linux/amd64/v2", "x64", false],
  ["linux/amd64/v3", "v86", true],
  ["linux/arm64/v8", "v86", true],
  ["linux/riscv64", "v86", true],
]))
  test(`the machine of ${platform}`, () => {
    assert.equal(machineFor(platform), machine);
    assert.equal(translationNote(platform) !== "", translated);
  });
