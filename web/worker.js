/**
 * The mount worker: Pyodide with the browsermount package, which reads the
 * image and answers the machine's 9P requests.
 */

import { Fetcher } from "./assets.js";
import { EarlyLayers } from "./mount/early.js";
import { addModules, NetworkPort } from "./mount/network.js";
import { startRuntime } from "./mount/runtime.js";
import { openStorage } from "./mount/storage.js";
import { instantiate } from "./mount/tls.js";

/** @import { PyodideAPI } from "pyodide" */
/** @import { NetworkMode, NetworkName, PageMessage, WorkerMessage } from "./messages.js" */

const BASE = new URL("./", import.meta.url);

// The largest message that the guest's virtio transport takes is 512000 bytes.
const FRAME_SIZE = 512 * 1024;

/** The guest's session on the mount; there is one at a time. */
class NinePort {
  /**
   * @param {PyodideAPI} python
   * @param {any} worker The Python object browsermount.pyodide.worker.Worker.
   * @param {MessagePort} port
   */
  constructor(python, worker, port) {
    this.module = /** @type {any} */ (python)._module;
    this.worker = worker;
    this.port = port;
    const buffer = worker.buffer;
    const view = buffer.getBuffer("u8");
    this.address = view.data.byteOffset;
    view.release();
    buffer.destroy();
    // Looked up once: each lookup of a method makes a proxy.
    this.handle = worker.handle;
    port.onmessage = ({ data }) => this.answer(new Uint8Array(data));
  }

  /** @param {Uint8Array} request */
  answer(request) {
    if (request.length > FRAME_SIZE) {
      console.error(`browsermount: a 9P request of ${request.length} bytes was dropped`);
      return;
    }
    this.module.HEAPU8.set(request, this.address);
    const length = this.handle(request.length);
    if (length > 0) {
      // Read HEAPU8 again: the heap may have grown, which makes a new buffer of it.
      this.send(this.module.HEAPU8.slice(this.address, this.address + length));
    } else if (length < 0) {
      this.close();
      // Without replies the machine would only hang.
      post({
        type: "error",
        error: {
          code: "session",
          message: "the connection between the image and the machine is broken",
          hint: "Try again. If it happens again, please report it with the browser's console.",
          details: "",
        },
      });
    }
  }

  /** @param {Uint8Array<ArrayBuffer>} reply */
  send(reply) {
    this.port.postMessage(reply.buffer, [reply.buffer]);
  }

  close() {
    this.port.onmessage = null;
    this.port.close();
    this.handle.destroy();
  }
}

/** @type {NinePort | undefined} */
let session;

/** @param {PyodideAPI} python @param {any} worker @param {MessagePort} port */
function open(python, worker, port) {
  session ??= new NinePort(python, worker, port);
}

function close() {
  session?.close();
  session = undefined;
}

/** The machine's network card. @type {NetworkPort | undefined} */
let card;
/** What the container can reach. @type {NetworkMode} */
let network = "none";
/** The network of containers that it is in. @type {NetworkName | undefined} */
let networkName;
/** Whether the machine is one of others, which mounts its image through its card. */
let foreign = false;

/** @param {WorkerMessage} message */
function post(message) {
  self.postMessage(message);
}

async function startPython() {
  const started = performance.now();
  const { python, start } = await startRuntime(new URL("pyodide/", BASE), (bytes, total) =>
    post({ type: "stage", stage: "runtime-loading", bytes, total }),
  );
  const glue = python.pyimport("browsermount.pyodide.worker");
  const worker = glue.Worker.callKwargs(
    (/** @type {Uint8Array<ArrayBuffer>} */ reply) => session?.send(reply),
    FRAME_SIZE,
    storage,
    pause,
    (/** @type {string} */ authority) => startTls(python, authority),
    { early: async (/** @type {string} */ hash) => early?.take(hash) },
  );
  glue.destroy();
  const milliseconds = Math.round(performance.now() - started);
  post({ type: "stage", stage: "runtime-ready", start, milliseconds });
  return { python, worker };
}

/**
 * Fetches the TLS engine, and makes what Python uses of it.
 * @param {any} python
 * @param {string} authority The one of a saved session; may be empty.
 */
async function startTls(python, authority) {
  const url = new URL("tls/tls.wasm.gz", BASE);
  const [code] = await Promise.all([new Fetcher(() => {}).bytes(url), addModules(python)]);
  const module = await instantiate(code);
  return python.pyimport("browsermount.pyodide.tls").new_engine(module, authority);
}

const storage = openStorage();

// Not every browser has it; those that do not are fair to begin with.
const scheduler = /** @type {any} */ (self).scheduler;
const pause = scheduler?.postTask && (() => scheduler.postTask(() => {}));

const runtime = startPython();
runtime.catch((error) => {
  post({
    type: "error",
    error: {
      code: "runtime",
      message: "the Python runtime could not be started",
      hint: "Check the network connection and try again; if that does not help, try another browser.",
      details: String(error?.stack ?? error),
    },
  });
});

/** Questions that the page has not answered yet. @type {Map<number, (answer: string) => void>} */
const questions = new Map();
let asked = 0;

/**
 * Ask the person for credentials.
 * @param {string} request JSON
 * @returns {Promise<string>} JSON
 */
function ask(request) {
  asked += 1;
  post({ type: "ask", id: asked, request: JSON.parse(request) });
  return new Promise((resolve) => questions.set(asked, resolve));
}

/** What a machine goes on from. @typedef {{ saved?: object, process?: object }} Decision */

/** Says what the machine does whose requests wait. @type {(decision: Decision) => void} */
let decide = () => {};

/** What was begun before Python was there. @type {EarlyLayers | undefined} */
let early;

/** @param {PageMessage} message */
async function handleMessage(message) {
  if (message.type === "mount" && message.early) early = new EarlyLayers(message.early);
  if (message.type === "credentials") {
    questions.get(message.id)?.(JSON.stringify(message.credentials));
    questions.delete(message.id);
    return;
  }
  const { python, worker } = await runtime;
  if (message.type === "fill") {
    worker.fill();
    return;
  }
  if (message.type === "decide") {
    decide(message);
    return;
  }
  if (message.type === "identify") {
    if (worker.identify()) post({ type: "identified" });
    return;
  }
  if (message.type === "kept") {
    const kept = JSON.parse(await (message.clear ? worker.clear() : worker.usage()));
    post({ type: "kept", kept });
    return;
  }
  if (message.type === "save") {
    const saved = JSON.parse(worker.save());
    post({ type: "saved", ...saved, server: { ...saved.server, network: card?.save() ?? null } });
    return;
  }
  if (message.type === "commit") {
    const { saveImage } = await import("./mount/save-image.js");
    await saveImage(python, worker, message);
    return;
  }
  if (message.type === "merge") {
    const { mergeLayers } = await import("./mount/merge-layers.js");
    await mergeLayers(python, message);
    return;
  }
  if (message.type === "request") {
    if (card) await card.request(message.request, message.reply);
    else message.reply.postMessage({ error: "the container does not run" });
    return;
  }
  if (message.type === "unplug") {
    card?.close();
    card = undefined;
    return;
  }
  close();
  card?.close();
  const emit = (/** @type {string} */ event) => post({ type: "event", event: JSON.parse(event) });
  if (message.type === "mount") {
    ({ network, networkName } = message.request);
    foreign = message.request.vm !== "";
    // It has its image from there, whatever else it may reach.
    if (foreign && network === "none") network = "internal";
  }
  card = new NetworkPort(python, message.card, network, networkName, worker, emit, foreign);
  if (message.type === "connect") {
    session = new NinePort(python, worker, message.port);
    decide({});
    return;
  }
  if (message.type === "attach") {
    worker.attach();
    session = new NinePort(python, worker, message.port);
    post({ type: "attached" });
    return;
  }
  /** @type {Promise<Decision>} */
  const decision = message.waits
    ? new Promise((resolve) => (decide = resolve))
    : Promise.resolve({ saved: message.saved });
  // The machine may need an interpreter that is there before the image. One that goes on needs
  // all that it had.
  const serve = () => open(python, worker, message.port);
  // A state may know the image. One that is waited for was found before this worker was started.
  const goesOn = message.waits ? (await decision).saved : message.saved;
  const { known } = /** @type {any} */ ((message.waits && goesOn) || {});
  if (message.waits) void decision.then(({ saved }) => !saved && serve());
  else if (!message.saved) serve();
  const result = JSON.parse(
    await worker.mount(
      JSON.stringify({
        ...message.request,
        goesOn: goesOn !== undefined,
        base: message.base,
        interpreters: new URL("vm/interpreters/", BASE).href,
      }),
      emit,
      ask,
      message.layers,
      JSON.stringify(known ?? {}),
    ),
  );
  early?.end();
  if (result.error) {
    close();
    post({ type: "error", error: result.error });
    return;
  }
  const { saved, process } = await decision;
  const started = process && JSON.stringify(process);
  const unusable = saved && worker.restore(JSON.stringify(saved), started);
  if (saved && !unusable) {
    serve();
    await card?.reset(/** @type {any} */ (saved).network);
  }
  post({ type: "mounted", image: result.image, ...(unusable && { unusable }) });
}

self.onmessage = ({ data }) => {
  handleMessage(data).catch((error) => {
    post({
      type: "error",
      error: {
        code: "internal",
        message: "the mount worker failed",
        hint: "This is a defect of browsermount: please report it with the details below.",
        details: String(error?.stack ?? error),
      },
    });
  });
};
