/** Which machine is started before anybody has looked at the image. */
import assert from "node:assert/strict";
import test from "node:test";

import { likelyMachine, rememberMachine } from "../../web/page/likely-machine.js";

/** @param {Partial<Storage>} storage */
function use(storage) {
  Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
}

/** @param {string} image */
function likely(image, platform = "", machine = "") {
  return likelyMachine({ image, platform, machine });
}

function memory() {
  /** @type {Map<string, string>} */
  const kept = new Map();
  use({
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
  });
  return kept;
}

test("a platform that was asked for decides", () => {
  memory();
  for (const name of ["amd64", "linux/amd64", "x86_64", "linux/amd64/v3", "arm64", "nonsense"])
    assert.equal(likely("alpine", name), "x64", name);
  for (const name of ["386", "linux/386", "i386", "linux/i686"])
    assert.equal(likely("alpine", name), "v86", name);
});

test("a machine that was asked for is it", () => {
  memory();
  assert.equal(likely("alpine", "386", "64"), "x64");
  assert.equal(likely("alpine", "386", "32"), "v86");
});

test("an image that is not known is most likely one for amd64, until it was seen", () => {
  memory();
  assert.equal(likely("alpine"), "x64");
  rememberMachine("alpine", "linux/386");
  rememberMachine("debian", "linux/amd64");
  assert.equal(likely("alpine"), "v86");
  assert.equal(likely("debian"), "x64");
  rememberMachine("alpine", "linux/amd64");
  assert.equal(likely("alpine"), "x64");
});

test("the images seen last are remembered, not all there ever were", () => {
  const kept = memory();
  rememberMachine("first", "linux/386");
  for (let i = 0; i < 100; i++) rememberMachine(`image-${i}`, "linux/386");
  assert.equal(likely("first"), "x64");
  assert.equal(likely("image-0"), "v86");
  assert.ok([...kept.values()].join("").length < 5000);
});

test("a storage that is damaged, full or forbidden costs time only", () => {
  const kept = memory();
  for (const damaged of ["", "{", "{}", "[1]", "null", '[["alpine","nonsense"]]', "[[]]"]) {
    kept.set("browsermount-machines", damaged);
    assert.equal(likely("alpine"), "x64", damaged);
    rememberMachine("alpine", "linux/386");
    assert.equal(likely("alpine"), "v86", damaged);
  }
  const refuse = () => {
    throw new Error("SecurityError");
  };
  use({ getItem: refuse, setItem: refuse });
  rememberMachine("alpine", "linux/386");
  assert.equal(likely("alpine"), "x64");
});
