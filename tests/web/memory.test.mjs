/** How much memory a page's address asks for. */
import assert from "node:assert/strict";
import test from "node:test";

import { memoryOf } from "../../web/page/memory.js";

for (const [text, mib] of /** @type {const} */ ([
  ["", undefined],
  ["1g", 1024],
  ["1.5G", 1536],
  ["768m", 768],
  ["128m", 128],
  ["127m", NaN],
  ["2g", NaN],
  ["512", NaN],
  ["-1g", NaN],
  ["1gb", NaN],
  ["a lot", NaN],
]))
  test(`memory of ${text || "nothing"}`, () => assert.equal(memoryOf(text), mib));
