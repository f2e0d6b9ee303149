/** What a machine says of its emulator, on one that does as it is told. */
import assert from "node:assert/strict";
import test from "node:test";

import { booted } from "./fake-emulator.mjs";

/** A machine, and its failures. */
async function failing() {
  /** @type {any[]} */
  const errors = [];
  return { errors, ...(await booted({ error: (error) => void errors.push(error) })) };
}

test("a machine that halts before it is started says so, once", async () => {
  const { events, errors, destroyed } = await failing();
  events.halted("the machine was reset");
  events.halted("the machine was reset");
  assert.deepEqual(
    errors.map(({ stage, message }) => [stage, message]),
    [["machine", "the machine was reset"]],
  );
  assert.equal(destroyed(), 1);
});

test("a guest that fails while it prepares itself is heard", async () => {
  const { machine, say, errors } = await failing();
  machine.prepare();
  const message = { type: "error", stage: "mount", message: "no tree", code: 125 };
  say(`${JSON.stringify(message)}\n`);
  assert.deepEqual(
    errors.map(({ stage, message }) => [stage, message]),
    [["mount", "no tree"]],
  );
});

test("what is to be read is told in messages that the guest has room for", async () => {
  const { machine, told, say } = await failing();
  const files = Array.from({ length: 200 }, (_, number) => ({
    path: `usr/lib/a-library-with-a-name-${number}.so`,
    parts: [0, 4096],
  }));
  const before = told.length;
  let done = false;
  const reading = machine
    .read([...files, { path: "x".repeat(5000), parts: [] }])
    .then(() => (done = true));
  for (let answered = before; !done; answered += 1) {
    // One at a time.
    assert.ok(told.length - answered <= 1);
    if (told.length > answered) say(`${JSON.stringify({ type: "read" })}\n`);
    else assert.fail("nothing more was asked for");
    await new Promise((resolve) => setImmediate(resolve));
  }
  await reading;
  const messages = told.slice(before);
  assert.ok(messages.every((message) => message.length < 4096));
  assert.deepEqual(
    messages.flatMap((message) => JSON.parse(message).files),
    files,
  );
});

test("a machine that was stopped says nothing more", async () => {
  const { machine, events, errors } = await failing();
  machine.stop();
  events.halted("the machine was reset");
  assert.deepEqual(errors, []);
});
