/**
 * A machine in Node for network.py, with the card that is to be measured.
 *
 *     node network.mjs --image DIR --p9 PATH [--x64 FILE] [--network PATH]
 *
 * PATH are Unix sockets: of the 9P server, and of who answers the card's frames. Without the latter the machine
 * is v86 with its own fetch adapter, whose requests go to the address in the variable SERVER. A line
 * "MARK NAME" of the container's output is followed by what the machine has spent until then, as
 * JSON: instructions of the guest, and milliseconds of this thread on the processor.
 */
import { readFileSync } from "node:fs";
import net from "node:net";
import { parseArgs } from "node:util";

import { V86 } from "v86";

import { createMachine } from "../web/vm/machine.js";
import { framesOver, handle9pOver, loadMachine } from "../web/vm/node.mjs";
import { v86 } from "../web/vm/v86.js";

const { values: options } = parseArgs({
  options: {
    image: { type: "string", default: "" },
    p9: { type: "string", default: "" },
    x64: { type: "string" },
    network: { type: "string" },
  },
});

/** The guest's network as its init has set it up. */
const ADAPTER = {
  type: "virtio",
  relay_url: "fetch",
  router_ip: "192.168.127.1",
  vm_ip: "192.168.127.3",
};

/** @type {() => number} */
let instructions = () => 0;

class Counted extends V86 {
  /** @param {any} settings */
  constructor(settings) {
    super(options.network ? settings : { ...settings, net_device: ADAPTER });
    const emulator = /** @type {any} */ (this);
    instructions = () => emulator.get_instruction_counter();
    if (options.network) return;
    this.add_listener("emulator-loaded", () => {
      emulator.network_adapter.fetch = (/** @type {string} */ url, /** @type {any} */ init) =>
        fetch(url.replace(/^https?:\/\/[^/]*\//, process.env.SERVER ?? ""), init);
    });
  }
}

// The 64-bit machine has its counter among its exports, which only its host knows.
const { Instance } = WebAssembly;
WebAssembly.Instance = /** @type {any} */ (
  class extends Instance {
    /** @param {[WebAssembly.Module, WebAssembly.Imports?]} given */
    constructor(...given) {
      super(...given);
      const { executed } = /** @type {any} */ (this.exports);
      if (executed) instructions = executed;
    }
  }
);

/** In milliseconds. The first number is of nanoseconds. */
function spent() {
  const text = readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1");
  return Number.parseInt(text, 10) / 1e6;
}

let line = "";
/** @param {Uint8Array} bytes */
function output(bytes) {
  line += Buffer.from(bytes).toString("latin1");
  const lines = line.split("\n");
  line = lines.pop() ?? "";
  for (const text of lines) {
    process.stdout.write(`${text}\n`);
    if (text.startsWith("MARK "))
      process.stdout.write(`${JSON.stringify([instructions(), spent()])}\n`);
  }
}

/** @type {(code: number) => void} */
let end = () => {};
/** @type {Promise<number>} */
const ended = new Promise((resolve) => (end = resolve));
const files = await loadMachine({ image: options.image, x64: options.x64 });
const machine = await createMachine({
  ...files,
  ...(!options.x64 && { emulator: v86(Counted, files.emulator.wasm) }),
  handle9p: handle9pOver(net.connect(options.p9)),
  on: {
    stdout: output,
    stderr: (bytes) => process.stderr.write(bytes),
    frame: options.network
      ? framesOver(net.connect(options.network), (frame) => machine.receiveFrame(frame))
      : undefined,
    exit: ({ code }) => end(code),
    error: (error) => {
      process.stderr.write(`${error.message}\n`);
      end(error.code);
    },
  },
});
machine.start({ network: true });
machine.closeInput();
process.exit(await ended);
