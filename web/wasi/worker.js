/**
 * The worker of a machine of others, such as container2wasm's: a program for WASI. It says and takes what
 * the worker of our own machines does (vm/messages.d.ts), as far as such a machine has it.
 */

import * as shim from "../vendor/wasi-shim.mjs";
import { Cable } from "./cable.js";
import { fetchModule, ModuleError, requireProgram } from "./module.js";
import { MODULE, Program } from "./program.js";
import { Letterbox, Suspension } from "./waiting.js";

/** @import { Kind } from "./mail.js" */
/** @import { WasiBootMessage, WasiPageMessage, WasiWorkerMessage } from "./messages.js" */

/** @param {WasiWorkerMessage} message @param {Transferable[]} [transfer] */
function post(message, transfer = []) {
  /** @type {any} */ (self).postMessage(message, transfer);
}

/** @type {Program | undefined} */
let program;
/** Starts it. */
let start = () => {};

self.onmessage = (/** @type {MessageEvent<WasiPageMessage>} */ { data }) => take(data);

/** @param {WasiPageMessage} message */
function take(message) {
  switch (message.type) {
    case "boot":
      boot(message).catch(fail);
      break;
    case "start":
      start();
      break;
    case "input":
      program?.type(message.data);
      break;
    case "acknowledge":
      program?.shown(message.bytes);
      break;
    case "frames":
      for (const frame of message.frames) program?.receive(frame);
      break;
  }
}

/** @param {Kind} kind @param {Uint8Array} data */
function deliver(kind, data) {
  if (kind === "input") program?.type(data);
  else if (kind === "frame") program?.receive(data);
  else take(JSON.parse(new TextDecoder().decode(data)));
}

/** @param {WasiBootMessage} message */
async function boot({ url, args, mail }) {
  const waiting = mail ? new Letterbox(mail, deliver) : new Suspension();
  const cable = new Cable((frames) =>
    post(
      { type: "frames", frames },
      frames.map(({ buffer }) => buffer),
    ),
  );
  const made = new Program(shim, args, {
    waiting,
    cable,
    output: (data) => post({ type: "output", data }, [data.buffer]),
  });
  const { imports } = made;
  const module = await fetchModule(url, (bytes, total) =>
    post({ type: "stage", stage: "fetching", bytes, total }),
  );
  requireProgram(module, url, imports);
  const instance = await WebAssembly.instantiate(module, { [MODULE]: imports });
  program = made;
  start = () => {
    start = () => {};
    post({ type: "stage", stage: "started" });
    made.run(instance).then((code) => post({ type: "exit", code }), fail);
  };
  post({ type: "stage", stage: "ready" });
}

/** @param {unknown} error */
function fail(error) {
  const known = error instanceof ModuleError;
  const message = error instanceof Error ? error.message : String(error);
  post({
    type: "failure",
    failure: {
      code: known ? "vm" : "machine-machine",
      message: known ? message : `the machine has broken down: ${message}`,
      hint: known
        ? error.hint
        : "Start it again. If that does not help, the machine has a defect, or there is too little memory for it here.",
      details: known ? error.details : String(/** @type {any} */ (error)?.stack ?? ""),
    },
  });
}
