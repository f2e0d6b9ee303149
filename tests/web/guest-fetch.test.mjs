/** Answers of a web server in the container that are hostile to the page. */

import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import { guestFetch } from "../../web/page/guest-fetch.js";

/** What would keep Node from ending. @type {MessagePort[]} */
const ports = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

/**
 * What becomes of a request that is answered by these messages.
 * @param {object[]} messages
 * @param {string[]} asked gets what the page says meanwhile
 */
function answered(messages, asked = []) {
  return guestFetch("http://localhost:8000/", undefined, (_request, port) => {
    ports.push(port);
    port.onmessage = ({ data }) => {
      asked.push(data);
      if (data === "next") port.postMessage(messages.shift());
    };
    port.postMessage(messages.shift());
  });
}

test("an answer and its body", async () => {
  const head = { status: 404, headers: [["x-a", "b"]] };
  const parts = [new Uint8Array([104]), new Uint8Array([105]), new Uint8Array()];
  const response = await answered([head, ...parts.map((part) => ({ part }))]);
  assert.equal(response.status, 404);
  assert.equal(response.headers.get("x-a"), "b");
  assert.equal(await response.text(), "hi");
});

for (const [what, head] of Object.entries({
  "a status that there is none of": { status: 999, headers: [] },
  "a status that goes on": { status: 101, headers: [] },
  "a header that is no text": { status: 200, headers: [["x", "a\0b"]] },
  "a header of two lines": { status: 200, headers: [["x", "a\rb"]] },
  "a header without a name": { status: 200, headers: [["", "a"]] },
}))
  test(`${what} is an error, and nothing that one waits for without end`, async () => {
    /** @type {string[]} */
    const asked = [];
    await assert.rejects(answered([head], asked), {
      name: "TypeError",
      message: "the server at port 8000 gave no answer",
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(asked, ["cancel"]);
  });

test("what comes after the reader has gone is left out", async () => {
  /** @type {MessagePort | undefined} */
  let other;
  const response = await guestFetch("http://localhost:8000/", undefined, (_request, port) => {
    other = port;
    ports.push(port);
    port.postMessage({ status: 200, headers: [] });
  });
  const reader = /** @type {ReadableStream} */ (response.body).getReader();
  void reader.read();
  await reader.cancel();
  other?.postMessage({ part: new Uint8Array([1]) });
  other?.postMessage({ part: new Uint8Array() });
  await new Promise((resolve) => setTimeout(resolve, 5));
});
