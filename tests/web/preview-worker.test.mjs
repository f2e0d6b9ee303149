/** The service worker of previews, with a browser that the test plays. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";
import { readRequest } from "../../web/page/previews.js";

const CODE = readFileSync(new URL("../../web/preview-worker.js", import.meta.url), "utf8");
const SITE = "https://site.example/app/";
const ID = "0123456789abcdef".repeat(2);
const HERE = `${SITE}preview/${ID}/8000`;

/**
 * @param {{ head?: any, parts?: string[], client?: string, host?: boolean }} how
 * @returns what requests came, and a function that sends one
 */
function browser({ head = {}, parts = ["body"], client, host = true } = {}) {
  /** @type {any[]} */
  const asked = [];
  /** @type {Record<string, (event: any) => void>} */
  const listeners = {};
  const page = {
    url: `${SITE}preview.html?id=${ID}&port=8000`,
    postMessage(/** @type {any} */ { request }, /** @type {any[]} */ [reply]) {
      asked.push(request);
      const left = [...parts.map((part) => new TextEncoder().encode(part)), new Uint8Array()];
      reply.onmessage = (/** @type {any} */ { data }) => {
        if (data === "next") reply.postMessage({ part: left.shift() });
        else reply.close();
      };
      if (head.error) reply.postMessage(head);
      else reply.postMessage({ status: 200, headers: [], ...head });
    },
  };
  const self = {
    registration: { scope: `${SITE}preview/` },
    location: new URL(`${SITE}preview-worker.js`),
    addEventListener: (/** @type {string} */ name, /** @type {any} */ listener) =>
      (listeners[name] = listener),
    clients: {
      get: async () => (client ? { url: client } : undefined),
      matchAll: async () => (host ? [{ url: SITE }, page] : [{ url: SITE }]),
    },
  };
  vm.runInNewContext(CODE, {
    ...{ self, URL, Headers, Response, ReadableStream, MessageChannel, DecompressionStream },
    ...{ TextEncoder, TransformStream, String, RegExp },
    ...{ TypeError, Uint8Array, Promise, fetch: async () => new Response("from the net") },
  });
  /** @param {string} url @param {any} init */
  const send = async (url, init = {}) => {
    let answer;
    const request = {
      ...{ url, method: "GET", mode: "cors", headers: new Headers(), referrer: "" },
      arrayBuffer: async () => new TextEncoder().encode(init.body ?? "").buffer,
      ...init,
    };
    listeners.fetch({
      request,
      clientId: client && "1",
      respondWith: (/** @type {any} */ given) => (answer = given),
    });
    return /** @type {Promise<Response> | undefined} */ (answer);
  };
  return { asked, send };
}

test("a request goes to the port in its address", async () => {
  const { asked, send } = browser({ parts: ["a", "b"] });
  const answer = await send(`${HERE}/path?q=1`, { method: "POST", body: "up" });
  assert.equal(await answer?.text(), "ab");
  const [{ port, method, target, body }] = asked;
  assert.deepEqual([port, method, target], [8000, "POST", "/path?q=1"]);
  assert.equal(new TextDecoder().decode(body), "up");
});

test("absolute paths and localhost are the container's, in its pages alone", async () => {
  const inside = browser({ client: `${HERE}/deep/page` });
  for (const url of [
    "https://site.example/style.css?x",
    "http://localhost:9000/api",
    "http://127.0.0.1/",
  ])
    assert.equal(await (await inside.send(url))?.text(), "body");
  assert.deepEqual(
    inside.asked.map(({ port, target }) => [port, target]),
    [
      [8000, "/style.css?x"],
      [9000, "/api"],
      [80, "/"],
    ],
  );
  assert.equal(await inside.send("https://cdn.example/lib.js"), undefined);
  assert.equal(
    await inside.send("https://site.example/elsewhere", { mode: "navigate" }),
    undefined,
  );
  const outside = browser({ client: SITE });
  assert.equal(await (await outside.send(`${SITE}page.js`))?.text(), "from the net");
  assert.deepEqual(outside.asked, []);
});

test("what looks like a preview and is none", async () => {
  for (const path of [
    "preview/x/80/",
    `preview/${ID}/`,
    `preview/${ID}/http/`,
    `preview/${ID}/80`,
  ]) {
    const { asked, send } = browser();
    await send(SITE + path, { mode: "navigate" });
    assert.deepEqual(asked, []);
  }
});

test("redirects stay in the preview, or leave it", async () => {
  for (const [location, expected] of [
    ["/login?x", `${HERE}/login?x`],
    ["next", `${HERE}/a/next`],
    ["http://localhost:3000/b", `${SITE}preview/${ID}/3000/b`],
    ["https://else.example/c", "https://else.example/c"],
  ]) {
    const { send } = browser({ head: { status: 302, headers: [["Location", location]] } });
    const answer = await send(`${HERE}/a/b`);
    assert.equal(answer?.status, 302);
    assert.equal(answer?.headers.get("location"), expected);
  }
  const { send } = browser({ head: { status: 302, headers: [["Location", "http://["]] } });
  assert.equal((await send(`${HERE}/`))?.status, 502);
});

const TAG = `<script src="${SITE}preview-socket.js"></script>`;

test("a page gets the script before its own, and stays what it is", async () => {
  for (const [parts, expected] of [
    [["<!doctype html><html><p>"], `<!doctype html>${TAG}<html><p>`],
    [["<!", "DOCTYPE ht", "ml>\n<p>"], `<!DOCTYPE html>${TAG}\n<p>`],
    [[" <!-- a --> <!doctype html><p>"], ` <!-- a --> <!doctype html>${TAG}<p>`],
    [["<p>old", "er"], `${TAG}<p>older`],
    [["<!-- without end"], "<!-- without end"],
    [["<"], "<"],
  ]) {
    const head = { headers: [["Content-Type", "text/html; charset=utf-8"]] };
    const { send } = browser({ head, parts: /** @type {string[]} */ (parts) });
    const answer = await send(`${HERE}/`, { destination: "iframe" });
    assert.equal(await answer?.text(), expected);
  }
});

test("what else is served gets no script", async () => {
  for (const [type, destination] of [
    ["text/html", "empty"],
    ["text/plain", "document"],
    ["text/html; charset=UTF-16", "document"],
  ]) {
    const headers = [["Content-Type", type]];
    const { send } = browser({ head: { headers }, parts: ["<!doctype html>"] });
    assert.equal(await (await send(`${HERE}/`, { destination }))?.text(), "<!doctype html>");
  }
});

test("the script may run where the page's policy has a nonce", async () => {
  const headers = [
    ["Content-Type", "text/html"],
    ["Content-Length", "15"],
    ["Content-Security-Policy", "script-src 'nonce-a+b/c='"],
  ];
  const { send } = browser({ head: { headers }, parts: ["<!doctype html>"] });
  const answer = await send(`${HERE}/`, { destination: "document" });
  assert.equal(answer?.headers.get("content-length"), null);
  assert.match((await answer?.text()) ?? "", /preview-socket\.js" nonce="a\+b\/c="><\/script>$/);
});

test("the script is the site's own, not the container's", async () => {
  const { asked, send } = browser({ client: `${HERE}/` });
  assert.equal(await send(`${SITE}preview-socket.js`), undefined);
  assert.deepEqual(asked, []);
});

test("headers that would keep a page out of its frame", async () => {
  const headers = [
    ["X-Frame-Options", "DENY"],
    ["Content-Security-Policy", "script-src 'self'; frame-ancestors 'none'; img-src *"],
    ["Connection", "close"],
    ["X-Own", "1"],
  ];
  const { send } = browser({ head: { headers } });
  const answer = await send(`${HERE}/`);
  await answer?.body?.cancel();
  assert.deepEqual(
    [...(answer?.headers ?? [])],
    [
      ["content-security-policy", "script-src 'self'; ; img-src *"],
      ["x-own", "1"],
    ],
  );
});

test("what cannot be had says so", async () => {
  const refused = await browser({ head: { error: "nothing listens" } }).send(`${HERE}/`);
  assert.equal(refused?.status, 502);
  assert.match((await refused?.text()) ?? "", /nothing listens/);
  const gone = await browser({ host: false }).send(`${HERE}/`);
  assert.match((await gone?.text()) ?? "", /is gone/);
  const odd = await browser({ head: { status: 101 } }).send(`${HERE}/`);
  assert.equal(odd?.status, 502);
  assert.equal(await (await browser({ head: { status: 204 } }).send(`${HERE}/`))?.text(), "");
});

test("a preview's request is looked at before it is sent", () => {
  const good = { port: 80, method: "GET", target: "/", headers: [["a", "b"]], body: null };
  assert.deepEqual(readRequest(good), good);
  assert.deepEqual(readRequest({ ...good, more: 1 }), good);
  for (const change of [
    { port: 0 },
    { port: 1.5 },
    { port: "80" },
    { method: "GET / HTTP/1.1\r\n" },
    { target: "http://localhost/" },
    { target: null },
    { headers: {} },
    { headers: [["a"]] },
    { headers: [["a", 1]] },
    { body: "text" },
  ])
    assert.equal(readRequest({ ...good, ...change }), undefined);
  for (const none of [undefined, null, 1, "x", []]) assert.equal(readRequest(none), undefined);
});
