/** Kernels of the 64-bit machine, some of them hostile to its host: a few instructions, and tables. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test, { afterEach } from "node:test";
import { x64 } from "../../web/vm/x64.js";

const LOADED = 0x100000;
const TABLES = 0x200000;
/** The registers of the second virtio device. */
const CONSOLE = 0xd0001000;

/** @param {number} value @returns {number[]} */
const word = (value) => [0, 8, 16, 24].map((bit) => (value >>> bit) & 255);

/**
 * An ELF program that writes words to a device's registers, and then nothing.
 * @param {[number, number][]} writes
 * @param {Uint8Array} [tables] what is in memory then
 */
function kernel(writes, tables = new Uint8Array()) {
  const code = [0xbb, ...word(CONSOLE)]; // mov ebx, CONSOLE
  for (const [register, value] of writes) code.push(0xc7, 0x83, ...word(register), ...word(value)); // mov dword [rbx + register], value
  return program(code, tables);
}

/**
 * An ELF program that does nothing more after these instructions.
 * @param {number[]} instructions
 * @param {Uint8Array} [tables] what is in memory then
 */
function program(instructions, tables = new Uint8Array()) {
  const code = [...instructions, 0xeb, 0xfe]; // for ever
  const length = TABLES - LOADED + tables.length;
  const bytes = new Uint8Array(120 + length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  view.setUint16(18, 62, true);
  view.setUint32(24, LOADED, true);
  view.setUint32(32, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true);
  view.setUint32(72, 120, true);
  view.setUint32(88, LOADED, true);
  view.setUint32(96, length, true);
  view.setUint32(104, length, true);
  bytes.set(code, 120);
  bytes.set(tables, 120 + TABLES - LOADED);
  return bytes.buffer;
}

/** What a driver does first, and a queue of it. @param {number} queue @param {number} size */
const driver = (queue, size) =>
  /** @type {[number, number][]} */ ([
    [0x70, 3],
    [0x24, 1],
    [0x20, 1],
    [0x70, 11],
    [0x30, queue],
    [0x38, size],
    [0x80, TABLES],
    [0x90, TABLES + 0x1000],
    [0xa0, TABLES + 0x2000],
    [0x44, 1],
    [0x70, 15],
    [0x50, queue],
  ]);

/** @type {import("../../web/vm/machine.js").Emulator[]} */
const machines = [];
afterEach(() => {
  // One that runs on would keep the process from its end.
  for (const machine of machines.splice(0)) machine.destroy();
});

/**
 * @param {number} memoryMiB
 * @param {Partial<import("../../web/vm/machine.js").EmulatorEvents>} [events]
 */
async function created(memoryMiB, events) {
  const wasm = await readFile(new URL("../../web/vm/x64/machine.wasm", import.meta.url));
  const code = /** @type {ArrayBuffer} */ (
    wasm.buffer.slice(wasm.byteOffset, wasm.byteOffset + wasm.length)
  );
  const machine = await x64(code).create({
    memoryMiB,
    handle9p: undefined,
    events: { output: () => {}, log: () => {}, frame: () => {}, halted: () => {}, ...events },
  });
  machines.push(machine);
  return machine;
}

/**
 * @param {ArrayBuffer} image
 * @param {Partial<import("../../web/vm/machine.js").EmulatorEvents>} [events]
 * @param {number} [memoryMiB]
 */
async function started(image, events, memoryMiB = 64) {
  const machine = await created(memoryMiB, events);
  await machine.boot({ kernel: image, initramfs: new ArrayBuffer(0) });
  machine.run();
  return machine;
}

test("a device that a driver breaks is said to be so", async () => {
  const message = await new Promise((resolve) => {
    void started(kernel(driver(5, 3)), { halted: resolve });
  });
  assert.match(message, /misused: console: a queue with a size or an alignment/);
});

test("buffers of gigabytes keep nothing else waiting", async () => {
  const SIZE = 16;
  const tables = new Uint8Array(0x3000);
  const view = new DataView(tables.buffer);
  // Each chain has all descriptors from its own on, each of which is half of the memory.
  for (let index = 0; index < SIZE; index += 1) {
    view.setUint32(16 * index, 0, true);
    view.setUint32(16 * index + 8, 32 << 20, true);
    view.setUint16(16 * index + 12, index < SIZE - 1 ? 1 : 0, true);
    view.setUint16(16 * index + 14, index + 1, true);
  }
  view.setUint16(0x1002, SIZE, true);
  // The control channel, whose lines the host reads itself.
  let [taken, most] = [0, 0];
  const machine = await started(kernel(driver(5, SIZE), tables), {
    output: (_port, bytes) => (taken += bytes.length),
  });
  let last = performance.now();
  for (let turn = 0; turn < 50; turn += 1) {
    const before = taken;
    await new Promise((resolve) => setTimeout(resolve, 1));
    most = Math.max(most, performance.now() - last);
    last = performance.now();
    // Of the gigabytes, what the host gets done in its turns: that depends on how fast it is.
    assert.ok(taken - before <= 1 << 30, `${taken - before} bytes at once`);
  }
  machine.destroy();
  assert.ok(taken > 1 << 20, `${taken} bytes`);
  assert.ok(most < 500, `nothing else for ${most} ms`);
  const then = taken;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(taken, then);
});

test("a kernel gets more memory up to the limit, and its state goes on where there is as much", async () => {
  const ask = (/** @type {number} */ mib) => [0xb8, ...word(mib), 0xef]; // mov eax, mib; out dx, eax
  const image = program([
    ...[0xba, ...word(0x620)], // mov edx, 0x620
    ...[0x83, 0xc2, 0x04, 0xed, 0x89, 0xc1, 0x83, 0xea, 0x04], // edx += 4; in eax, dx; mov ecx, eax; edx -= 4
    ...ask(640),
    ...ask(768), // which is too much
    ...ask(128), // and memory is never taken away
    ...[0xed, 0x89, 0x04, 0x25, ...word(600 << 20)], // in eax, dx; mov [600 MiB], eax
    ...[0x89, 0x0c, 0x25, ...word((600 << 20) + 4)], // mov [600 MiB + 4], ecx
  ]);
  // In whole pieces of 128 MiB.
  const machine = await started(image, {}, 600);
  const found = (/** @type {import("../../web/vm/machine.js").Emulator} */ emulator) => {
    const memory = emulator.memory();
    if (memory.length !== 640 << 20) return undefined;
    const view = new DataView(memory.buffer, memory.byteOffset + (600 << 20));
    return [view.getUint32(0, true), view.getUint32(4, true)];
  };
  while (!found(machine)?.[1]) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(found(machine), [640, 640]);
  await machine.pause();
  const state = await machine.save();
  assert.ok(state.state.byteLength < 4 << 20, "only what was written to is in the state");
  machine.destroy();
  const other = await created(1024);
  await other.restore(state);
  assert.deepEqual(found(other), [640, 640]);
  await assert.rejects((await created(512)).restore(state), /not a state of this machine/);
});
