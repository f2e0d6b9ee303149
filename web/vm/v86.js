/**
 * The emulator of the npm package v86, for machine.js: 32-bit guests.
 */
import { configure, withThreshold } from "./jit.js";
import { MTU } from "./machine.js";

/** @import { EmulatorKind } from "./machine.js" */

const COMMAND_LINE =
  "console=ttyS0 quiet tsc=reliable mitigations=off random.trust_cpu=on nowatchdog";

/** Where a PC's first MiB, and with it the ROMs, ends. */
export const ROM_END = 1024 * 1024;

/** Ports of the virtio console. */
const PORTS = [0, 1, 2, 3];

/** Of the virtio network card (virtio 1.2, section 5.1.2). */
const RECEIVE_QUEUE = 0;

/**
 * @param {any} V86 the package's class
 * @param {ArrayBuffer} wasm its v86.wasm
 * @param {object} [filesystem] v86's option, in the place of a 9P server
 * @returns {EmulatorKind}
 */
export function v86(V86, wasm, filesystem) {
  /** @type {Promise<WebAssembly.Module> | undefined} */
  let module;
  return {
    wasm,
    commandLine: COMMAND_LINE,
    async create({ memoryMiB, handle9p, events }) {
      module ??= WebAssembly.compile(withThreshold(wasm));
      const compiled = await module;
      /** @type {any} */
      let emulator;
      /** @param {object} options */
      const make = async (options) => {
        emulator = new V86({
          wasm_fn: async (/** @type {WebAssembly.Imports} */ imports) => {
            const { exports } = await WebAssembly.instantiate(compiled, imports);
            configure(exports);
            return exports;
          },
          memory_size: memoryMiB * 1024 * 1024,
          // There is no screen; this is the least that the emulator takes.
          vga_memory_size: 256 * 1024,
          virtio_console: true,
          net_device: { type: "virtio", mtu: MTU },
          filesystem: filesystem ?? { handle9p },
          disable_keyboard: true,
          disable_mouse: true,
          disable_speaker: true,
          autostart: false,
          ...options,
        });
        for (const port of PORTS)
          emulator.add_listener(
            `virtio-console${port}-output-bytes`,
            (/** @type {Uint8Array} */ bytes) => events.output(port, bytes),
          );
        emulator.add_listener("serial0-output-byte", (/** @type {number} */ byte) =>
          events.log(byte),
        );
        emulator.add_listener("net0-send", (/** @type {Uint8Array} */ frame) =>
          events.frame(frame),
        );
        emulator.add_listener("cpu-event-halt", () => events.halted("the machine halted"));
        await new Promise((resolve) => {
          emulator.add_listener("emulator-loaded", resolve);
        });
      };
      /** Heads of 9P requests to be sent again. @type {number[]} */
      let unanswered = [];
      return {
        boot: ({ bios, kernel, initramfs }) =>
          make({
            bios: { buffer: bios },
            bzimage: { buffer: kernel },
            initrd: { buffer: initramfs },
            cmdline: COMMAND_LINE,
          }),
        async restore({ state, host }) {
          await make({});
          await restoreState(emulator, await state);
          unanswered = host?.unanswered ?? [];
        },
        run() {
          const again = unanswered;
          unanswered = [];
          for (const head of again) sendAgain(emulator.v86.cpu.devices.virtio_9p, head);
          emulator.run();
        },
        pause: () => emulator.stop(),
        memory: () => emulator.v86.cpu.mem8,
        save: (free, waiting) => saveState(emulator, free, waiting),
        send: (port, bytes) => emulator.bus.send(`virtio-console${port}-input-bytes`, bytes),
        sendFrame(frame) {
          // The card drops what the guest has given it no buffer for.
          const { queues } = emulator.v86.cpu.devices.virtio_net.virtio;
          if (!queues[RECEIVE_QUEUE].has_request()) return false;
          emulator.bus.send("net0-receive", frame);
          return true;
        },
        destroy: () => emulator?.destroy(),
      };
    },
  };
}

/**
 * v86 zeroes all of the machine's memory before it puts the state there, which
 * takes long and makes the browser provide all of it. The memory of a machine
 * that has not run is zero anyway, but for what v86 puts where a PC has its ROMs.
 * @param {any} emulator
 * @param {ArrayBuffer} state
 */
async function restoreState(emulator, state) {
  const { cpu } = emulator.v86;
  const zero = cpu.zero_memory;
  cpu.zero_memory = () => zero(0, ROM_END);
  try {
    await emulator.restore_state(state);
  } finally {
    cpu.zero_memory = zero;
  }
}

/** How many bytes v86 looks at at once when it looks for what is zero. */
const PAGE_BITS = 12;

/**
 * v86 cannot save 9P requests that have no answer. Their frames stay in the guest's memory, since the driver
 * may not touch them before the answer: so it is enough to know where they are in the queue.
 * @param {any} emulator
 * @param {Uint8Array} [free]
 * @param {Set<number>} [waiting]
 */
async function saveState(emulator, free, waiting = new Set()) {
  const { cpu } = emulator.v86;
  const device = cpu.devices.virtio_9p;
  const chains = device?.tag_bufchain;
  const zeroed = cpu.is_memory_zeroed;
  /** @type {number[]} */
  const unanswered = [];
  // What was flushed has no answer either, and is nothing to anybody.
  for (const [tag, chain] of chains ?? []) if (waiting.has(tag)) unanswered.push(chain.head_idx);
  try {
    if (chains) device.tag_bufchain = new Map();
    if (free)
      cpu.is_memory_zeroed = (/** @type {number} */ address, /** @type {number} */ length) => {
        const page = address >>> PAGE_BITS;
        return (free[page >> 3] >> (page & 7)) & 1 ? 1 : zeroed(address, length);
      };
    return { state: await emulator.save_state(), host: { unanswered } };
  } finally {
    cpu.is_memory_zeroed = zeroed;
    if (chains) device.tag_bufchain = chains;
  }
}

/**
 * Takes a request out of the queue that was taken before the state was saved, and deals with it.
 * @param {any} device
 * @param {number} head
 */
function sendAgain(device, head) {
  const { virtqueue } = device;
  // Only the queue can make such an object. It looks up the next head, and steps on.
  const next = virtqueue.avail_last_idx;
  virtqueue.avail_get_entry = () => head;
  virtqueue.has_request = () => true;
  let chain;
  try {
    chain = virtqueue.pop_request();
  } finally {
    delete virtqueue.avail_get_entry;
    delete virtqueue.has_request;
    virtqueue.avail_last_idx = next;
  }
  const request = new Uint8Array(chain.length_readable);
  chain.get_next_blob(request);
  device.tag_bufchain.set(request[5] | (request[6] << 8), chain);
  device.handle_fn(request, (/** @type {Uint8Array} */ reply) => {
    const tag = reply[5] | (reply[6] << 8);
    const waiting = device.tag_bufchain.get(tag);
    if (!waiting) return;
    waiting.set_next_blob(reply);
    device.virtqueue.push_reply(waiting);
    device.virtqueue.flush_replies();
    device.tag_bufchain.delete(tag);
  });
}
