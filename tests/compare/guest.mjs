/**
 * Boots the guest with a tree that a 9P server serves, and passes on what the
 * container writes to its standard output.
 *
 *     node guest.mjs SOCKET
 *
 * SOCKET is a Unix socket with a 9P server. The exit code is the container's.
 */
import { readFile } from "node:fs/promises";
import { connect } from "node:net";

import { V86 } from "v86";

import { createMachine } from "../../web/vm/machine.js";

const image = new URL("../../web/vm/image/", import.meta.url);
const bytesOf = async (/** @type {URL} */ url) => new Uint8Array(await readFile(url)).buffer;

/** 9P frames over a socket; replies find their request by tag. */
function connectTree(/** @type {string} */ path) {
  const socket = connect(path);
  const waiting = new Map();
  let buffer = Buffer.alloc(0);
  socket.on("data", (data) => {
    buffer = buffer.length ? Buffer.concat([buffer, data]) : data;
    while (buffer.length >= 4 && buffer.length >= buffer.readUInt32LE(0)) {
      const frame = buffer.subarray(0, buffer.readUInt32LE(0));
      buffer = buffer.subarray(frame.length);
      const tag = frame.readUInt16LE(5);
      const reply = waiting.get(tag);
      waiting.delete(tag);
      reply(new Uint8Array(frame));
    }
  });
  socket.on("close", () => finish("the 9P server hung up", 1));
  return (/** @type {Uint8Array} */ request, /** @type {(frame: Uint8Array) => void} */ reply) => {
    waiting.set(request[5] | (request[6] << 8), reply);
    // The emulator uses the request's memory again.
    socket.write(Buffer.from(request));
  };
}

let finished = false;
function finish(/** @type {string} */ message, /** @type {number} */ code) {
  if (finished) return;
  finished = true;
  if (message) process.stderr.write(`${message}\n`);
  process.stdout.write("", () => process.exit(code));
}

const machine = await createMachine({
  V86,
  wasm: await bytesOf(new URL("v86.wasm", import.meta.resolve("v86"))),
  recipe: "",
  bootFiles: async () => ({
    bios: await bytesOf(new URL("seabios.bin", image)),
    kernel: await bytesOf(new URL("bzImage", image)),
    initramfs: await bytesOf(new URL("initramfs.cpio.zst", image)),
  }),
  handle9p: connectTree(process.argv[2]),
  on: {
    stdout: (bytes) => process.stdout.write(Buffer.from(bytes)),
    stderr: (bytes) => process.stderr.write(Buffer.from(bytes)),
    exit: ({ code }) => finish("", code),
    error: (error) => finish(`${error.stage}: ${error.message}\n${machine?.log ?? ""}`, 1),
  },
});
machine.start();
