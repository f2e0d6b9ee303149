/** A machine that has booted, on an emulator that does as the test wants. */
import assert from "node:assert/strict";

import { createMachine } from "../../web/vm/machine.js";

/** @import { EmulatorEvents, MachineEvents } from "../../web/vm/machine.js" */

const CONTROL = 1;

/** @param {MachineEvents} on */
export async function booted(on) {
  /** @type {EmulatorEvents | undefined} */
  let events;
  let destroyed = 0;
  /** What was sent to it. @type {string[]} */
  const told = [];
  const ready = new TextEncoder().encode('{"type": "ready"}\n');
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
          send: (_port, data) => void told.push(new TextDecoder().decode(data)),
          sendFrame: () => true,
          destroy: () => void (destroyed += 1),
        };
      },
    },
    recipe: "",
    bootFiles: async () => ({ kernel: new ArrayBuffer(0), initramfs: new ArrayBuffer(0) }),
    on,
  });
  assert.ok(events);
  return {
    machine,
    events,
    told,
    /** What the guest says on its control channel. @param {string} text */
    say: (text) => events?.output(CONTROL, new TextEncoder().encode(text)),
    /** How often it was. */
    destroyed: () => destroyed,
  };
}
