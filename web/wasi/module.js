/** The code of a machine of others: WebAssembly from any address, gzipped or not. */

import { MODULE } from "./program.js";

/** What is wrong with it, for people. */
export class ModuleError extends Error {
  name = "ModuleError";

  /** @param {string} message @param {string} hint @param {string} [details] */
  constructor(message, hint, details = "") {
    super(message);
    this.hint = hint;
    this.details = details;
  }
}

const MAKE = "Machines are made with c2w --external-bundle out.wasm: docs/network.md.";
/** How many missing imports are named. */
const MOST_NAMED = 5;
const REPORT_MS = 50;

/**
 * @param {string} url
 * @param {(bytes: number, total: number | undefined) => void} progress bytes that have come over the wire
 * @returns {Promise<WebAssembly.Module>}
 * @throws {ModuleError}
 */
export async function fetchModule(url, progress) {
  const response = await request(url);
  const length = Number(response.headers.get("content-length"));
  // What was compressed on the way has another length than is counted here.
  const coded = response.headers.has("content-encoding");
  const body = response.body;
  if (!body) throw new ModuleError(`${url} is empty`, MAKE);
  const wire = counted(body, length && !coded ? length : undefined, progress);
  const { start, stream } = await peek(wire).catch((error) => broken(url, error));
  const gzipped = start[0] === 0x1f && start[1] === 0x8b;
  const plain = gzipped ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
  const { start: magic, stream: code } = await peek(plain).catch((error) => broken(url, error));
  if (String.fromCharCode(...magic) !== "\0asm")
    throw new ModuleError(
      `${url} is not WebAssembly`,
      `The address may be of a page or of something else. ${MAKE}`,
    );
  const type = { "content-type": "application/wasm" };
  try {
    return await WebAssembly.compileStreaming(new Response(code, { headers: type }));
  } catch (error) {
    if (error instanceof WebAssembly.CompileError)
      throw new ModuleError(
        `this browser cannot compile ${url}`,
        "It may be damaged, or need something of WebAssembly that this browser does not have: try another one.",
        String(error),
      );
    return broken(url, error);
  }
}

/**
 * @param {WebAssembly.Module} module
 * @param {string} url where it is from
 * @param {Record<string, unknown>} imports what there is for it
 * @throws {ModuleError} it needs something else, or is no program
 */
export function requireProgram(module, url, imports) {
  const missing = WebAssembly.Module.imports(module)
    .filter(({ module: from, name }) => from !== MODULE || !(name in imports))
    .map(({ module: from, name }) => `${from}.${name}`);
  if (missing.length > 0) {
    const named = missing.slice(0, MOST_NAMED).join(", ");
    const more = missing.length > MOST_NAMED ? `, and ${missing.length - MOST_NAMED} more` : "";
    throw new ModuleError(
      `${url} needs what there is not here: ${named}${more}`,
      `It has to be a program for WASI, preview 1 (${MODULE}), and of one thread. What c2w --to-js makes is ` +
        `for a page of its own. ${MAKE}`,
    );
  }
  const exported = new Map(
    WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]),
  );
  if (exported.get("_start") !== "function" || exported.get("memory") !== "memory")
    throw new ModuleError(
      `${url} is not a program, as it has no _start or no memory`,
      `It may be a library. ${MAKE}`,
    );
}

/** @param {string} url */
async function request(url) {
  let response;
  try {
    // Whose it is gets nothing of the visitor's.
    response = await fetch(url, { credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    throw new ModuleError(
      `${url} cannot be read`,
      "Either it is not there, or its server does not allow pages of other sites to read from it: it would " +
        `have to send Access-Control-Allow-Origin: ${location.origin}.`,
      String(error),
    );
  }
  if (!response.ok)
    throw new ModuleError(
      `${url} cannot be read: the server answered ${response.status}`,
      "Check the address.",
    );
  return response;
}

/**
 * @param {string} url
 * @param {unknown} error
 * @returns {never}
 */
function broken(url, error) {
  throw new ModuleError(
    `${url} could not be read to its end`,
    "Check the network connection, and try again. If it happens again, the file may be damaged.",
    String(error),
  );
}

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 * @param {number | undefined} total
 * @param {(bytes: number, total: number | undefined) => void} progress
 */
function counted(stream, total, progress) {
  let bytes = 0;
  let reported = -Infinity;
  return stream.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        bytes += chunk.length;
        const now = performance.now();
        if (now - reported >= REPORT_MS || bytes === total) {
          reported = now;
          progress(bytes, total);
        }
        controller.enqueue(chunk);
      },
    }),
  );
}

/**
 * The first four bytes of a stream, and all of it.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} stream
 */
async function peek(stream) {
  const reader = stream.getReader();
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const chunks = [];
  /** @type {number[]} */
  const start = [];
  while (start.length < 4) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    start.push(...value.subarray(0, 4 - start.length));
  }
  /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */
  const whole = new ReadableStream({
    async pull(controller) {
      const chunk = chunks.shift() ?? (await reader.read()).value;
      if (chunk) controller.enqueue(chunk);
      else controller.close();
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { start, stream: whole };
}
