/** What the page's address asks for. */

import assert from "node:assert/strict";
import test from "node:test";

import { imageOf, parameterOf } from "../../web/page/location.js";

/** @param {string} address */
function read(address) {
  const url = new URL(address, "https://page.example/index.html");
  return { image: imageOf(url), mirror: parameterOf(url, "mirror") };
}

const CASES = [
  ["", undefined, ""],
  ["?image=", undefined, ""],
  ["?other=1", undefined, ""],
  ["?image=debian", "debian", ""],
  ["?image=debian&x=1", "debian", ""],
  ["?image=localhost:5000/a:b", "localhost:5000/a:b", ""],
  ["?image=localhost%3A5000%2Fa%3Ab", "localhost:5000/a:b", ""],
  ["?image=./x#name", "./x#name", ""],
  ["?image=100%25", "100%", ""],
  ["?image=100%", "100%", ""],
  ["?image=https://host/x", "https://host/x", ""],
  ["?image=https://host/x&y=1", "https://host/x", ""],
  ["?image=https://host/x?a=1&b=2", "https://host/x?a=1&b=2", ""],
  ["?image=https://host/x?a=1&mirror=b", "https://host/x?a=1&mirror=b", ""],
  ["?image=https://host/x#name", "https://host/x#name", ""],
  ["?image=https://host/x%23name", "https://host/x#name", ""],
  ["?image=https%3A%2F%2Fhost%2Fx%23name", "https://host/x#name", ""],
  ["?mirror=https://m.example&image=debian", "debian", "https://m.example"],
  ["?image=debian&mirror=https://m.example", "debian", "https://m.example"],
  ["?image=https://host/x&mirror=https://m.example", "https://host/x", "https://m.example"],
  ["?mirror=https://p.example/{url}&image=a/b", "a/b", "https://p.example/{url}"],
  [
    "?mirror=https%3A%2F%2Fp.example%2F%3Fu%3D%7Burl%7D&image=a/b",
    "a/b",
    "https://p.example/?u={url}",
  ],
];

for (const [address, image, mirror] of CASES) {
  test(`${address}`, () => {
    assert.deepEqual(read(String(address)), { image, mirror });
  });
}
