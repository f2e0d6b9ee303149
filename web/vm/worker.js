/**
 * The worker of the virtual machine: machine.js, driven by the messages that
 * messages.d.ts lists.
 */
import { FetchError, Fetcher } from "../assets.js";
import { FrameBatch } from "../mount/frames.js";
import { ChangesReader } from "./changes.js";
import { parseImageDescription } from "./free-pages.js";
import { createMachine, MachineError, requireBuild, resumeMachine } from "./machine.js";
import { Quiet } from "./quiet.js";
import { visitorsRoom } from "./room.js";
import { packState, readBlob, StateError } from "./state-file.js";
import { NoRoom, writeState } from "./state-storage.js";
import { v86 } from "./v86.js";
import { exact, openWarm, readWarm } from "./warm-state.js";
import { x64 } from "./x64.js";

/** @import { Machine, MachineOptions, SavedMachine } from "./machine.js" */
/** @import { Handle9P, SnapshotInfo } from "./machine.js" */
/** @import * as Messages from "./messages.d.ts" */
/** @import { Section } from "./state-file.js" */
/** @import { Warm } from "./warm-state.js" */

/** @type {Machine | undefined} */
let machine;

/**
 * @param {Messages.WorkerMessage} message
 * @param {Transferable[]} [transfer]
 */
function post(message, transfer = []) {
  // A worker's own postMessage; the types in use describe a window's.
  /** @type {any} */ (self).postMessage(message, transfer);
}

/** What came for a machine that is not awake yet. @type {Messages.PageMessage[] | undefined} */
let early;

/** What was shown and not yet acknowledged when there was no machine, or less than nothing. */
let owed = 0;

/** Looks for the moment at which a container waits at its prompt. @type {Quiet | undefined} */
let quiet;

self.onmessage = (/** @type {MessageEvent<Messages.PageMessage>} */ event) => receive(event.data);

/** @param {Messages.PageMessage} message */
function receive(message) {
  switch (message.type) {
    case "boot":
      boot(message).catch(fail);
      break;
    case "watch":
      quiet?.watch();
      break;
    case "prepare":
      machine?.prepare();
      break;
    case "wake":
      machine?.wake(atEnd(message.archive)).catch(fail);
      break;
    case "freeze":
      freeze(message.untouched).catch(unsaved);
      break;
    case "save":
      save(message).catch(unsaved);
      break;
    case "archive":
      archive(message.limit);
      break;
    case "keep":
      keep(message).catch(unsaved);
      break;
    case "start":
      machine?.start({
        cols: message.cols,
        rows: message.rows,
        network: message.network,
        level: message.level,
        ...atEnd(message.archive),
      });
      break;
    case "input":
      quiet?.input(message.data);
      if (early) early.push(message);
      else machine?.write(message.data);
      break;
    case "closeInput":
      machine?.closeInput();
      break;
    case "resize":
      if (early) early.push(message);
      else machine?.resize(message.cols, message.rows);
      break;
    case "signal":
      machine?.signal(message.signal);
      break;
    case "terminate":
      machine?.terminate(message.seconds);
      break;
    case "acknowledge":
      if (machine) machine.acknowledge(message.bytes);
      else owed -= message.bytes;
      break;
    case "stop":
      machine?.stop();
      self.close();
      break;
  }
}

/** @param {Messages.BootMessage} message */
async function boot({ assets, memoryMiB, port, card, saved, warm, archive }) {
  card.onmessage = ({ data }) => {
    if (!machine) earlyFrames.push(...data.slice(0, MAX_EARLY_FRAMES - earlyFrames.length));
    for (const frame of data) machine?.receiveFrame(frame);
  };
  const frames = new FrameBatch(card);
  const fetcher = new Fetcher((bytes, total) =>
    post({ type: "stage", stage: "fetching", bytes, total }),
  );
  if (warm) early = [];
  const opening = warm && findWarm(warm, fetcher, assets.kind);
  opening?.catch(() => {}); // it is awaited later
  // All at once: the time to the prompt is mostly that of the slowest.
  const [module, wasm, image, snapshot] = await Promise.all([
    assets.kind === "v86" ? import(assets.v86) : undefined,
    fetcher.bytes(assets.wasm),
    fetcher.bytes(assets.image),
    // A saved machine needs none.
    saved || warm ? undefined : fetchSnapshot(fetcher, assets),
  ]);
  const { recipe, freePages } = parseImageDescription(new TextDecoder().decode(image));
  kind = assets.kind;
  /** @type {MachineOptions} */
  const options = {
    emulator: module ? v86(module.V86, wasm) : x64(wasm, visitorsRoom(navigator)),
    recipe,
    freePages,
    snapshot,
    memoryMiB,
    bootFiles: async () => {
      const [bios, kernel, initramfs] = await Promise.all([
        assets.kind === "v86" ? fetcher.bytes(assets.bios) : undefined,
        fetcher.bytes(assets.kernel),
        fetcher.bytes(assets.initramfs),
      ]);
      return { bios, kernel, initramfs };
    },
    handle9p: through(port),
    on: {
      frame: (frame) => frames.add(frame.slice()),
      stage: (stage) => post({ type: "stage", ...stage }),
      output: (data) => {
        quiet?.output(data);
        post({ type: "output", data }, [data.buffer]);
      },
      stdout: (data) => post({ type: "stdout", data }, [data.buffer]),
      stderr: (data) => post({ type: "stderr", data }, [data.buffer]),
      ports: (ports) => {
        // The page would have to be told of them anew.
        quiet?.end();
        post({ type: "ports", ports });
      },
      archive: (bytes) => archiveReader.take(bytes),
      archived: (result) => archiveReader.finish(result),
      exit: (exit) => {
        archiveReader.end();
        const { last } = archiveReader;
        if (last) post({ type: "archived", ...last, milliseconds: 0 });
        post({ type: "exit", ...exit });
      },
      error: fail,
    },
  };
  if (opening && (await startWarm(options, opening, archive))) return;
  if (warm) options.snapshot = await fetchSnapshot(fetcher, assets);
  if (!saved) {
    quiet = new Quiet(() => post({ type: "quiet" }));
    machine = await createMachine(options);
    return;
  }
  machine = await resumeMachine(options, await readMachine(saved));
  for (const frame of earlyFrames.splice(0)) machine.receiveFrame(frame);
  post({ type: "stage", stage: "ready" });
}

/** Whether the page was told that the machine goes on from a state at its prompt. */
let said = false;

/** @param {Warm} warm */
function sayWarm({ header, server, shown }) {
  if (said) return;
  said = true;
  owed += shown.length;
  post({ type: "warm", header, server, shown });
}

/**
 * @param {Messages.WarmSource} source
 * @param {Fetcher} fetcher
 * @param {Messages.MachineKind} kind
 */
async function findWarm(source, fetcher, kind) {
  const found = await readWarm(await openWarm(source, fetcher), kind);
  // What the page names is of its own build; what was kept may be of an earlier one.
  if (source.from === "site") sayWarm(found);
  return found;
}

/**
 * Lets a machine go on from a state at its prompt.
 * @param {MachineOptions} options
 * @param {Promise<Warm>} opening
 * @param {number} [limit] as for atEnd()
 * @returns {Promise<boolean>} false where it cannot, and nobody was told that it does
 */
async function startWarm(options, opening, limit) {
  try {
    const warm = await opening;
    await requireBuild(options, warm.machine.info);
    sayWarm(warm);
    // Who hears of a failure is told that the machine starts.
    void Promise.resolve(warm.machine.state).then(
      () => post({ type: "loaded" }),
      () => {},
    );
    const resumed = await resumeMachine(options, warm.machine);
    resumed.acknowledge(-owed);
    machine = resumed;
    for (const frame of earlyFrames.splice(0)) resumed.receiveFrame(frame);
    post({ type: "stage", stage: "ready" });
    await resumed.wake(atEnd(limit));
    const waiting = early ?? [];
    early = undefined;
    for (const message of waiting) receive(message);
    return true;
  } catch (error) {
    machine?.stop();
    machine = undefined;
    early = undefined;
    post({ type: "cold", message: error instanceof Error ? error.message : String(error), said });
    return said;
  }
}

/** Frames from before there was a machine: a saved one is told what has become of its connections. */
const MAX_EARLY_FRAMES = 1024;
/** @type {Uint8Array[]} */
const earlyFrames = [];

/** @type {"v86" | "x64"} */
let kind = "v86";
/** When the machine was stopped. */
let frozen = 0;

/** @param {boolean} [untouched] */
async function freeze(untouched) {
  if (!machine) return;
  if (untouched && quiet?.over) throw new Error("something was typed");
  frozen = performance.now();
  await machine.freeze();
  post({ type: "saving" });
  answering = setTimeout(() => {
    answering = undefined;
    machine?.go();
    unsaved("the page did not say in time what else belongs to it");
  }, ANSWER_MS);
}

/** How long a machine stands still for an answer. */
const ANSWER_MS = 3000;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let answering;

/** @type {number | undefined} */
let archiveLimit;
const archiveReader = new ChangesReader(() => machine?.archive(archiveLimit));

/** @param {Messages.StartMessage["archive"]} limit of what is to be told at the container's end */
function atEnd(limit) {
  return limit ? { archive: true, archive_limit: limit } : {};
}

/** @param {number} limit */
async function archive(limit) {
  const began = performance.now();
  archiveLimit = limit;
  try {
    if (!machine) throw new Error("the container does not run");
    const read = await archiveReader.read();
    post({ type: "archived", ...read, milliseconds: performance.now() - began });
  } catch (error) {
    post({
      type: "unarchived",
      message: error instanceof Error ? error.message : String(error),
      milliseconds: performance.now() - began,
    });
  }
}

/** @param {Messages.Layer[]} layers */
function layerSections(layers) {
  return Object.fromEntries(
    layers.map(({ data, sha256 }, index) => [`layer.${index}`, { bytes: data, sha256 }]),
  );
}

/** @param {Messages.KeepMessage} message */
async function keep({ target, header, layers }) {
  const head = /** @type {any} */ ({ ...header, saved: Date.now() });
  const size = await writeState(target, await packState(head, layerSections(layers)));
  post({ type: "saved", size, frozen: 0 });
}

/** @param {Messages.SaveMessage} message */
async function save({ target, header, server, text, layers, changes }) {
  // Only for a state at the prompt, which nobody has anything in.
  const untouched = text === undefined ? quiet : undefined;
  // Too late: it has gone on.
  if (!machine || answering === undefined) return;
  clearTimeout(answering);
  answering = undefined;
  let saved;
  try {
    saved = await machine.save();
  } finally {
    machine.go();
  }
  if (untouched?.over) throw new Error("something was typed");
  const shown = untouched?.shown ?? new TextEncoder().encode(text);
  quiet?.end();
  const stood = performance.now() - frozen;
  /** @param {unknown} value */
  const json = (value) => ({ bytes: new TextEncoder().encode(JSON.stringify(value)) });
  /** @type {Record<string, Section>} */
  const files = layerSections(layers);
  if (changes) files.changes = { bytes: changes.data, sha256: changes.sha256 };
  const pieces = await packState(
    {
      ...header,
      machine: { kind, ...saved.info },
      saved: Date.now(),
      ...(changes && { changed: changes.made }),
    },
    {
      server: json(server),
      terminal: { bytes: shown },
      host: json(saved.host),
      ...files,
      // Compressing takes longer than writing.
      machine: { bytes: new Uint8Array(saved.state) },
    },
  );
  const size = await writeState(target, pieces);
  post({ type: "saved", size, frozen: stood });
}

/**
 * @param {Blob} file
 * @returns {Promise<SavedMachine>}
 */
async function readMachine(file) {
  const { header, section } = await readBlob(file);
  const [state, host] = await Promise.all([section("machine"), section("host")]);
  if (!state || !host) throw new StateError("damaged", "a part of it is missing");
  const { wasm, recipe, memoryMiB, commandLine } = header.machine;
  return {
    state: exact(state),
    host: JSON.parse(new TextDecoder().decode(host)),
    info: { wasm, recipe, memoryMiB, commandLine },
  };
}

/** @param {unknown} error */
function unsaved(error) {
  const message = error instanceof Error ? error.message : String(error);
  post({ type: "unsaved", message, full: error instanceof NoRoom });
}

/**
 * The saved state, if there is one. It only saves time: without it the machine
 * boots, so that it cannot be had is no failure.
 * @param {Fetcher} fetcher
 * @param {Messages.Assets} assets
 */
async function fetchSnapshot(fetcher, { snapshot, snapshotInfo }) {
  if (!snapshot || !snapshotInfo) return undefined;
  try {
    /** @type {[ArrayBuffer, SnapshotInfo]} */
    const [state, info] = await Promise.all([fetcher.bytes(snapshot), fetcher.json(snapshotInfo)]);
    return { state, info };
  } catch (error) {
    console.warn(`The machine will boot without its snapshot: ${error}`);
    return undefined;
  }
}

/**
 * Requests go out through the port and replies come in, both as ArrayBuffers
 * that hold just the frame. v86 finds the request by the reply's tag, so any of
 * its callbacks will do for any reply.
 * @param {MessagePort} port
 * @returns {Handle9P}
 */
function through(port) {
  /** @type {(frame: Uint8Array) => void} */
  let reply = () => {};
  port.onmessage = (event) => {
    quiet?.activity();
    reply(new Uint8Array(event.data));
  };
  return (request, replyToThis) => {
    reply = replyToThis;
    const frame = request.byteLength === request.buffer.byteLength ? request : request.slice();
    port.postMessage(frame.buffer, [frame.buffer]);
  };
}

/** @param {unknown} error */
function fail(error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof StateError) {
    post({ type: "unusable", message, reason: error.reason });
    return;
  }
  if (error instanceof MachineError)
    post({ type: "error", stage: error.stage, message, code: error.code });
  else
    post({
      type: "error",
      stage: error instanceof FetchError ? "fetch" : "machine",
      message,
      code: 125,
    });
}
