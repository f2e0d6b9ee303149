/** What machine.js needs of a host that is Node: files, and 9P and Ethernet over streams. */
import { open, readdir, readFile, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { totalmem } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { gzip } from "node:zlib";

import { parseImageDescription } from "./free-pages.js";
import { roomIn } from "./room.js";
import { packState, readState, StateError } from "./state-file.js";
import { v86 as v86Emulator } from "./v86.js";
import { x64 } from "./x64.js";

/** @import { Duplex } from "node:stream" */
/** @import { Handle9P, MachineOptions, SavedMachine, SnapshotInfo } from "./machine.js" */

/**
 * Where the machine's files are.
 * @typedef {object} Places
 * @property {string} image the directory of the kernel, image.json and so on
 * @property {string} [x64] the path of our own machine's code, for a 64-bit
 *   image; else the machine is v86
 * @property {string} [v86] the directory of libv86.mjs and v86.wasm, or the
 *   path of that module under another name; default: the installed npm package
 * @property {string} [snapshot] the directory of snapshot.json and its state
 * @property {object} [filesystem] v86's own, in the place of a 9P server
 */

/**
 * The part of createMachine()'s options that says what the machine is made of.
 * @param {Places} places
 * @returns {Promise<Pick<MachineOptions, "emulator" | "recipe" | "freePages" | "bootFiles" | "snapshot">>}
 */
export async function loadMachine({ image, v86, x64: wasm, snapshot, filesystem }) {
  const { recipe, freePages } = parseImageDescription(
    await readFile(path.join(image, "image.json"), "utf8"),
  );
  /** @param {string} name */
  const file = (name) => bytes(path.join(image, name));
  if (wasm) useBranchHints();
  const machine = wasm
    ? {
        emulator: x64(await bytes(wasm), roomIn(memoryGiB())),
        bootFiles: async () => ({
          kernel: await file("vmlinux.zst"),
          initramfs: await file("initramfs.cpio.zst"),
        }),
      }
    : {
        emulator: await loadV86(v86 ?? installedV86(), filesystem),
        bootFiles: async () => ({
          bios: await file("seabios.bin"),
          kernel: await file("bzImage"),
          initramfs: await file("initramfs.cpio.zst"),
        }),
      };
  return {
    ...machine,
    recipe,
    freePages,
    ...(snapshot && { snapshot: await loadSnapshot(snapshot) }),
  };
}

/**
 * Has V8 take notice of which ways of compiled code are unlikely: what it compiles keeps its registers where
 * no helper is called, and takes a quarter less time. V8 does so by itself since version 13.7, and takes no unknown flag
 * silently.
 */
function useBranchHints() {
  const [major = 0, minor = 0] = process.versions.v8.split(".").map(Number);
  if (major < 13 || (major === 13 && minor < 7)) {
    setFlagsFromString("--experimental-wasm-branch-hinting");
  }
}

/** Of this computer, or of the control group that we are in. */
function memoryGiB() {
  // 0 where there is no limit.
  const limit = process.constrainedMemory() || Infinity;
  return Math.min(totalmem(), limit) / 2 ** 30;
}

/**
 * @param {string} place
 * @param {object} [filesystem]
 */
async function loadV86(place, filesystem) {
  const module = path.resolve(place.endsWith(".mjs") ? place : path.join(place, "libv86.mjs"));
  const { V86 } = await import(pathToFileURL(module).href);
  return v86Emulator(V86, await bytes(path.join(path.dirname(module), "v86.wasm")), filesystem);
}

function installedV86() {
  return path.dirname(createRequire(import.meta.url).resolve("v86"));
}

/** @param {string} directory */
async function loadSnapshot(directory) {
  /** @type {SnapshotInfo} */
  const info = JSON.parse(await readFile(path.join(directory, "snapshot.json"), "utf8"));
  return { state: await bytes(path.join(directory, "snapshot.zst")), info };
}

/** @param {string} file */
async function bytes(file) {
  const buffer = await readFile(file);
  // Small files are views on a buffer that is shared with others.
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.length);
}

/**
 * A text that the guest may have written, as it may be shown on a terminal, in one line: control
 * characters, and marks that turn the direction of writing, are shown as escapes.
 * @param {string} text
 */
export function printable(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (character) => {
    if (character === " ") return character;
    return `\\u{${/** @type {number} */ (character.codePointAt(0)).toString(16)}}`;
  });
}

/**
 * Saves a session. The file is there as a whole, or the one before it is.
 * @param {string} file
 * @param {object} session
 * @param {any} session.header what the caller knows of it
 * @param {string} session.kind of machine
 * @param {SavedMachine} session.saved
 * @param {object} session.server
 * @param {Uint8Array} session.text the last of what the terminal has shown
 * @param {Uint8Array[]} session.layers what lies over the image
 * @param {number} [session.level] of gzip
 * @returns {Promise<number>} its size in bytes
 */
export async function writeStateFile(file, session) {
  const { header, kind, saved, server, text, layers, level = 1 } = session;
  const state = new Uint8Array(saved.state);
  const packed = await promisify(gzip)(state, { level });
  /** @param {object} value */
  const json = (value) => ({ bytes: new TextEncoder().encode(JSON.stringify(value)) });
  const pieces = await packState(
    { ...header, machine: { kind, ...saved.info }, saved: Date.now() },
    {
      // First, what is needed before the machine.
      server: json(server),
      terminal: { bytes: text },
      host: json(saved.host),
      ...Object.fromEntries(layers.map((bytes, index) => [`layer.${index}`, { bytes }])),
      machine: { bytes: packed, gzip: state.length },
    },
  );
  await replaceFile(file, pieces);
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/**
 * Writes a file that its owner alone can read. It is there as a whole, or the one before it is.
 * @param {string} file
 * @param {Uint8Array[]} pieces
 */
export async function replaceFile(file, pieces) {
  const unfinished = `${file}.${process.pid}.part`;
  await removeAbandoned(file);
  try {
    const output = await open(unfinished, "wx", 0o600);
    try {
      // Unlike writev(), which on a full disk says no more than that it has written less.
      await output.writeFile(/** @type {any} */ (pieces));
      await output.sync();
    } finally {
      await output.close();
    }
    await rename(unfinished, file);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
}

/**
 * Removes what processes have left that were killed while they wrote a file.
 * @param {string} file
 */
async function removeAbandoned(file) {
  const directory = path.dirname(file);
  for (const name of await readdir(directory)) {
    const [, of, number] = /^(.+)\.(\d+)\.part$/.exec(name) ?? [];
    if (of === path.basename(file) && !isRunning(Number(number)))
      await rm(path.join(directory, name), { force: true });
  }
}

/** @param {number} pid */
function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {any} */ (error).code !== "ESRCH";
  }
}

/**
 * @param {string} file
 * @returns {Promise<{ saved: SavedMachine, text: Uint8Array<ArrayBuffer>, layers: Uint8Array[] }>}
 */
export async function readStateFile(file) {
  const input = await open(file);
  try {
    const state = await readState(async (position, length) => {
      const { size } = await input.stat();
      const buffer = Buffer.alloc(Math.max(0, Math.min(length, size - position)));
      const { bytesRead } = await input.read(buffer, 0, buffer.length, position);
      return buffer.subarray(0, bytesRead);
    });
    const [machine, host, text] = await Promise.all(
      ["machine", "host", "terminal"].map((name) => state.section(name)),
    );
    if (!machine || !host) throw new StateError("damaged", "a part of it is missing");
    const { wasm, recipe, memoryMiB, commandLine } = state.header.machine;
    const layers = [];
    for (const { name } of state.parts)
      if (/^layer\.\d+$/.test(name))
        layers.push(/** @type {Uint8Array} */ (await state.section(name)));
    return {
      layers,
      saved: {
        state: /** @type {ArrayBuffer} */ (machine.buffer),
        host: JSON.parse(new TextDecoder().decode(host)),
        info: { wasm, recipe, memoryMiB, commandLine },
      },
      text: Uint8Array.from(text ?? []),
    };
  } finally {
    await input.close();
  }
}

/**
 * A 9P server at the other end of a stream: frames begin with their length.
 * @param {Duplex} stream
 * @returns {Handle9P}
 */
export function handle9pOver(stream) {
  /** Any of v86's callbacks will do: it looks at the reply's tag.
   * @type {(frame: Uint8Array) => void} */
  let reply = () => {};
  /** @type {Buffer[]} */
  let chunks = [];
  let length = 0;
  stream.on("data", (/** @type {Buffer} */ chunk) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length < 4) return;
    if (chunks[0].length < 4) chunks = [Buffer.concat(chunks)];
    // A large frame comes in many chunks: they are put together only once.
    if (length < chunks[0].readUInt32LE(0)) return;
    let data = Buffer.concat(chunks);
    while (data.length >= 4 && data.length >= data.readUInt32LE(0)) {
      const size = data.readUInt32LE(0);
      reply(new Uint8Array(data.subarray(0, size)));
      data = data.subarray(size);
    }
    chunks = data.length > 0 ? [data] : [];
    length = data.length;
  });
  return (request, replyToThis) => {
    reply = replyToThis;
    stream.write(request);
  };
}

/**
 * How much may wait for somebody who takes frames slowly; more is lost, as where a
 * card's queue is full.
 */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/**
 * The other end of a network cable: Ethernet frames on a stream, each with its length
 * in front.
 * @param {Duplex} stream
 * @param {(frame: Uint8Array) => void} receive
 * @returns {(frame: Uint8Array) => void} sends a frame
 */
export function framesOver(stream, receive) {
  /** @type {Buffer[]} */
  let chunks = [];
  let length = 0;
  let wanted = 4;
  stream.on("data", (/** @type {Buffer} */ chunk) => {
    chunks.push(chunk);
    length += chunk.length;
    // A large frame comes in many chunks: they are put together only once.
    if (length < wanted) return;
    const data = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    let at = 0;
    wanted = 4;
    while (data.length - at >= 4) {
      const size = data.readUInt32BE(at);
      if (data.length - at < 4 + size) {
        wanted = 4 + size;
        break;
      }
      receive(new Uint8Array(data.subarray(at + 4, at + 4 + size)));
      at += 4 + size;
    }
    chunks = at < data.length ? [data.subarray(at)] : [];
    length = data.length - at;
  });
  return (frame) => {
    if (stream.writableLength > MAX_WAITING_BYTES) return;
    const header = new Uint8Array(4);
    new DataView(header.buffer).setUint32(0, frame.length);
    // What is written in one turn goes out in one piece.
    if (!stream.writableCorked) {
      stream.cork();
      process.nextTick(() => stream.uncork());
    }
    stream.write(header);
    stream.write(frame.slice());
  };
}
