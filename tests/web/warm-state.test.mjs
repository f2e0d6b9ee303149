/** States at a prompt: when one can be saved, what it is for, and how it is read. */
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";

import { attributesOf, plainStart, startOf } from "../../web/page/page-attributes.js";
import {
  DIRECTORY,
  forget,
  mayKeep,
  newTarget,
  remember,
  warmFor,
} from "../../web/page/warm-state.js";
import { Quiet, endsWithPrompt, isAnswer } from "../../web/vm/quiet.js";
import { packState } from "../../web/vm/state-file.js";
import { openWarm, readWarm } from "../../web/vm/warm-state.js";
import { fakeBrowser } from "./fake-storage.mjs";

const BASE = "https://site.example/page/?platform=linux/386#x";
const DIGEST = "ab".repeat(32);
const SITE = `warm/${DIGEST}.x64.state`;

const REQUEST = {
  image: "images/default/",
  mirror: "",
  platform: "",
  machine: "",
  memoryMiB: /** @type {number | undefined} */ (undefined),
  network: /** @type {const} */ ("public"),
  hostname: "",
  relay: "",
};

/** @param {string} text */
const bytes = (text) => new TextEncoder().encode(text);

/** @type {Map<string, string>} */
const stored = new Map();
const { localStorage } = /** @type {any} */ (globalThis);
beforeEach(() => {
  stored.clear();
  Object.defineProperty(globalThis, "localStorage", {
    value: {
      getItem: (/** @type {string} */ key) => stored.get(key) ?? null,
      setItem: (/** @type {string} */ key, /** @type {string} */ value) => stored.set(key, value),
    },
    configurable: true,
  });
});
after(() => Object.defineProperty(globalThis, "localStorage", { value: localStorage }));

test("a prompt is a last line that is not ended, whatever colours it has", () => {
  for (const shown of [
    "# ",
    "hello\r\n\x1b[01;32muser@host\x1b[00m:\x1b[34m~\x1b[00m$ ",
    "a\n>>> ",
  ])
    assert.ok(endsWithPrompt(shown), shown);
  assert.ok(endsWithPrompt("\x1b]0;title\x07\x1b[?2004h~ # "));
  for (const shown of ["", "starting\r\n", "done\n\x1b[?2004h", "\x1b]0;title\x07", "a\r\n  "])
    assert.ok(!endsWithPrompt(shown), shown);
});

test("a container is quiet when it has asked and said nothing for a while", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { timers } = context.mock;
  let told = 0;
  const quiet = new Quiet(() => (told += 1), 40);
  quiet.output(bytes("welcome\r\n"));
  quiet.watch();
  timers.tick(80);
  assert.equal(told, 0, "without a prompt");
  quiet.output(bytes("# "));
  for (let i = 0; i < 4; i += 1) {
    timers.tick(30);
    quiet.activity();
  }
  assert.equal(told, 0, "while it reads files");
  timers.tick(40);
  assert.equal(told, 1);
  assert.equal(new TextDecoder().decode(quiet.shown), "welcome\r\n# ");
  // Where the cursor is: the terminal says that.
  quiet.input(bytes("\x1b[24;80R"));
  assert.ok(!quiet.over);
  quiet.output(bytes("# "));
  quiet.input(bytes("l"));
  timers.tick(80);
  assert.ok(quiet.over);
  assert.equal(told, 1, "something was typed");
  const much = new Quiet(() => {});
  for (let i = 0; i < 80; i += 1) much.output(new Uint8Array(1024));
  assert.ok(much.over);
});

test("answers of a terminal are told from keys", () => {
  for (const answer of [
    "\x1b[1;1R",
    "\x1b[?1;2c",
    "\x1b[0n",
    "\x1b]11;rgb:0/0/0\x1b\\",
    "\x1bP>|x\x1b\\",
  ])
    assert.ok(isAnswer(bytes(answer)), answer);
  for (const keys of ["", "a", "\x1b", "\x1b[A", "\x1b[15~", "\x1b[1;1Rls", "\r"])
    assert.ok(!isAnswer(bytes(keys)), keys);
});

test("what is asked for beside the image decides which state is the right one", () => {
  const plain = startOf(REQUEST, BASE);
  assert.ok(plain.isPlain);
  assert.equal(startOf({ ...REQUEST, network: "all" }, BASE).key, plain.key);
  assert.equal(startOf(REQUEST, "https://site.example/page/").key, plain.key);
  const others = [
    { platform: "linux/amd64" },
    { machine: "64" },
    { memoryMiB: 1024 },
    { network: /** @type {const} */ ("none") },
    { network: /** @type {const} */ ("internal") },
    { hostname: "box" },
    { relay: "wss://relay.example/" },
  ];
  const keys = others.map((other) => {
    const start = startOf({ ...REQUEST, ...other }, BASE);
    assert.ok(!start.isPlain);
    assert.equal(warmFor(start, SITE, BASE), undefined);
    return start.key;
  });
  keys.push(startOf({ ...REQUEST, image: "debian" }, BASE).key, startOf(REQUEST, "https://x/").key);
  assert.equal(new Set([plain.key, ...keys]).size, keys.length + 1);
  assert.deepEqual(warmFor(plain, SITE, BASE), {
    name: DIGEST,
    machine: "x64",
    source: { from: "site", url: `https://site.example/page/${SITE}`, digest: DIGEST },
  });
  for (const attribute of ["no", "", "warm/other.state", `${SITE}x`])
    assert.equal(warmFor(plain, attribute, BASE), undefined, attribute);
});

test("a link names no state, but can do without one", () => {
  /** @param {string} search */
  const attributes = (search) =>
    attributesOf(
      /** @type {any} */ ({ search, hash: "" }),
      /** @type {any} */ ({
        querySelector: (/** @type {string} */ selector) =>
          selector === "meta[name=browsermount-warm]" ? { getAttribute: () => SITE } : null,
      }),
    );
  assert.equal(attributes("").get("warm"), SITE);
  assert.equal(attributes("?warm=https://x.example/y.v86.state").get("warm"), SITE);
  assert.equal(attributes("?warm=no").get("warm"), "no");
  assert.equal(attributes("?image=debian").get("warm"), undefined);
  assert.equal(attributes("?image=debian&warm=no").get("warm"), "no");
  // What prepares the workers and the element come to the same.
  const start = plainStart(attributes(""), BASE);
  assert.deepEqual(start, startOf(REQUEST, BASE));
  assert.equal(plainStart(attributes("?session=mine"), BASE), undefined);
});

test("the last states are remembered, and the files of others removed", async () => {
  const { root } = fakeBrowser();
  const folder = await root.getDirectoryHandle(DIRECTORY, { create: true });
  const files = Array.from({ length: 8 }, () => newTarget().file);
  for (const [index, file] of files.entries()) {
    await folder.getFileHandle(file, { create: true });
    await remember(`${index}`, file, "v86");
  }
  assert.deepEqual([...folder.files.keys()], files.slice(2));
  const warm = warmFor({ key: "7", isPlain: true }, "", BASE);
  assert.deepEqual(warm, {
    name: files[7],
    machine: "v86",
    source: { from: "storage", directory: DIRECTORY, file: files[7] },
    key: "7",
  });
  assert.equal(warmFor({ key: "7", isPlain: true }, "no", BASE), undefined);
  await forget(/** @type {any} */ (warm));
  assert.ok(!folder.files.has(files[7]));
  assert.equal(warmFor({ key: "7", isPlain: true }, "", BASE), undefined);
  stored.set("browsermount-warm-states", "[1, null, {");
  assert.equal(warmFor({ key: "6", isPlain: true }, "", BASE), undefined);
});

test("an image's label says that it must not be kept", () => {
  fakeBrowser();
  const labelled = (/** @type {string} */ value) => ({
    config: { Labels: { "org.browsermount.warm": value } },
  });
  assert.ok(mayKeep("", {}));
  assert.ok(mayKeep(SITE, labelled("yes")));
  assert.ok(!mayKeep("", labelled("no")));
  assert.ok(!mayKeep("no", {}));
});

const HEADER = {
  machine: { kind: "v86", wasm: "1", recipe: "2", memoryMiB: 512, commandLine: "quiet" },
  image: { reference: "images/default/", digest: "sha256:0", platform: "linux/386" },
  process: {},
  saved: 1,
};

test("a state of the site's is verified as it comes", async () => {
  const plain = new Uint8Array(300_000).map((_, index) => (index * index) % 251);
  const file = Buffer.concat(
    await packState(HEADER, {
      server: { bytes: bytes('{"ninep": 1}') },
      terminal: { bytes: bytes("# ") },
      host: { bytes: bytes("{}") },
      machine: { bytes: gzipSync(plain), gzip: plain.length },
    }),
  );
  const digest = file.subarray(16, 48).toString("hex");
  /** @param {Uint8Array} content @param {number} piece */
  const fetcher = (content, piece) =>
    /** @type {any} */ ({
      stream: async () =>
        new ReadableStream({
          start(controller) {
            for (let at = 0; at < content.length; at += piece)
              controller.enqueue(new Uint8Array(content.subarray(at, at + piece)));
            controller.close();
          },
        }),
    });
  const source = { from: /** @type {const} */ ("site"), url: "", digest };
  for (const piece of [997, 4096, file.length]) {
    const warm = await readWarm(await openWarm(source, fetcher(file, piece)), "v86");
    assert.deepEqual(warm.server, { ninep: 1 });
    assert.deepEqual(warm.shown, bytes("# "));
    assert.deepEqual(new Uint8Array(await warm.machine.state), plain);
  }
  await assert.rejects(openWarm({ ...source, digest: DIGEST }, fetcher(file, 997)), /another one/);
  await assert.rejects(readWarm(await openWarm(source, fetcher(file, 997)), "x64"), /machine/);
  for (const damaged of [file.subarray(0, -100), Buffer.from(file).fill(0, file.length - 50)]) {
    const warm = await readWarm(await openWarm(source, fetcher(damaged, 997)), "v86");
    await assert.rejects(Promise.resolve(warm.machine.state), /damaged/);
  }
});
