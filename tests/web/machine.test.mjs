/** What a machine says of its emulator, on one that does as it is told. */
import assert from "node:assert/strict";
import test from "node:test";

import { createMachine } from "../../web/vm/machine.js";

const CONTROL = 1;

/** A machine that has booted, what its emulator can tell, and what came of it. */
async function booted() {
  /** @type {import("../../web/vm/machine.js").EmulatorEvents | undefined} */
  let events;
  let destroyed = 0;
  /** @type {any[]} */
  const errors = [];
  const ready = new TextEncoder().encode('{"type":"ready"}\n');
  const machine = await createMachine({
    emulator: {
      wasm: new ArrayBuffer(0),
      commandLine: "",
      create: async (options) => {
        events = options.events;
        return {
          boot: async () => {},
          restore: async () => {},
          run: () => queueMicrotask(() => events?.output(CONTROL, ready)),
          pause: async () => {},
          memory: () => new Uint8Array(0),
          save: async () => ({ state: new ArrayBuffer(0) }),
          send: () => {},
          sendFrame: () => true,
          destroy: () => void (destroyed += 1),
        };
      },
    },
    recipe: "",
    bootFiles: async () => ({ kernel: new ArrayBuffer(0), initramfs: new ArrayBuffer(0) }),
    on: { error: (error) => void errors.push(error) },
  });
  assert.ok(events);
  return { machine, events, errors, destroyed: () => destroyed };
}

test("a machine that halts before it is started says so, once", async () => {
  const { events, errors, destroyed } = await booted();
  events.halted("the machine was reset");
  events.halted("the machine was reset");
  assert.deepEqual(
    errors.map(({ stage, message }) => [stage, message]),
    [["machine", "the machine was reset"]],
  );
  assert.equal(destroyed(), 1);
});

test("a guest that fails while it prepares itself is heard", async () => {
  const { machine, events, errors } = await booted();
  machine.prepare();
  const message = { type: "error", stage: "mount", message: "no tree", code: 125 };
  events.output(CONTROL, new TextEncoder().encode(`${JSON.stringify(message)}\n`));
  assert.deepEqual(
    errors.map(({ stage, message }) => [stage, message]),
    [["mount", "no tree"]],
  );
});

test("a machine that was stopped says nothing more", async () => {
  const { machine, events, errors } = await booted();
  machine.stop();
  events.halted("the machine was reset");
  assert.deepEqual(errors, []);
});
