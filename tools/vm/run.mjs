/**
 * Runs one container in Node, with this process' terminal.
 *
 *     node run.mjs --p9 unix:PATH [--assets DIR] [--v86 DIR | --x64 PATH] [--snapshot DIR] [--memory MIB]
 *
 * Exits with the container's exit code. Without a terminal in config.json,
 * standard input, output and error are the container's.
 */
import { once } from "node:events";
import net from "node:net";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { createMachine, MachineError } from "../../web/vm/machine.js";
import { handle9pOver, loadMachine, printable } from "../../web/vm/node.mjs";

/** @import { Machine } from "../../web/vm/machine.js" */

const { values: options } = parseArgs({
  options: {
    p9: { type: "string" },
    assets: {
      type: "string",
      default: fileURLToPath(new URL("../../web/vm/image", import.meta.url)),
    },
    v86: { type: "string" },
    x64: { type: "string" },
    snapshot: { type: "string" },
    memory: { type: "string" },
  },
});

async function connect() {
  const path = options.p9?.match(/^unix:(.+)$/)?.[1];
  if (!path) throw new Error("--p9 unix:PATH is needed");
  const socket = net.connect(path);
  await once(socket, "connect");
  return socket;
}

/** @param {Machine} machine */
function forwardInput(machine) {
  const { stdin } = process;
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on("data", (/** @type {Buffer} */ data) => machine.write(data));
  stdin.on("end", () => machine.closeInput());
  process.stdout.on("resize", () => machine.resize(process.stdout.columns, process.stdout.rows));
  for (const name of /** @type {const} */ (["SIGTERM", "SIGHUP"]))
    process.on(name, () => machine.signal(constants.signals[name]));
}

async function main() {
  const socket = await connect();
  /** @type {(code: number) => void} */
  let end = () => {};
  /** @type {Promise<number>} */
  const ended = new Promise((resolve) => (end = resolve));
  const machine = await createMachine({
    ...(await loadMachine({
      image: options.assets,
      v86: options.v86,
      x64: options.x64,
      snapshot: options.snapshot,
    })),
    ...(options.memory && { memoryMiB: Number(options.memory) }),
    handle9p: handle9pOver(socket),
    on: {
      output: (bytes) => process.stdout.write(bytes),
      stdout: (bytes) => process.stdout.write(bytes),
      stderr: (bytes) => process.stderr.write(bytes),
      exit: ({ code }) => end(code),
      error: (error) => {
        process.stderr.write(`${printable(error.message)}\n`);
        end(error.code);
      },
    },
  });
  machine.start({ cols: process.stdout.columns, rows: process.stdout.rows });
  forwardInput(machine);
  process.exitCode = await ended;
  if (process.stdin.isTTY) process.stdin.setRawMode(false);
  process.stdin.destroy();
  socket.destroy();
}

main().catch((error) => {
  process.stderr.write(`${printable(error.message)}\n`);
  process.exit(error instanceof MachineError ? error.code : 125);
});
