/**
 * The service worker of previews: requests of pages that a server in the container has made go back
 * to that server. A classic script, as not every browser takes modules here; it has no state, since
 * browsers stop it whenever they like.
 *
 * preview/ID/PORT/PATH is PATH at the container's PORT; ID says which preview.html asks for it, and
 * that hands the request on to the page that runs the container.
 */

/** @import { GuestRequest } from "./messages.js" */
/** @typedef {{ id: string, port: number, path: string }} Place */

const scope = /** @type {any} */ (self);
/** Where previews are. */
const PREFIX = new URL(scope.registration.scope).pathname;
const ORIGIN = scope.location.origin;

/** The names that the container has for itself. */
const LOCAL = ["localhost", "127.0.0.1", "[::1]"];

/** Of these, a Response must have no body. */
const BODILESS = [204, 205, 304];
const REDIRECTS = [301, 302, 303, 307, 308];

/** What is about the connection; and the preview is a frame, whatever the server thinks of that. */
const DROPPED = ["connection", "keep-alive", "transfer-encoding", "x-frame-options"];

/** What replaces WebSocket in the pages. */
const SCRIPT = new URL("preview-socket.js", scope.location.href).href;

/** Of a page, so many bytes are looked at for the place where that script goes. */
const MAX_START = 8 * 1024;

scope.addEventListener("install", () => scope.skipWaiting());

scope.addEventListener("fetch", (/** @type {any} */ event) => {
  const url = new URL(event.request.url);
  if (url.href === SCRIPT) return;
  const place = placeOf(url.href);
  if (place) event.respondWith(answer(event.request, place));
  else if (event.request.mode !== "navigate" && (url.origin === ORIGIN || isLocal(url)))
    event.respondWith(answerInside(event, url));
});

/** A page asks for a WebSocket. */
scope.addEventListener("message", (/** @type {any} */ event) => {
  const { data, ports, source } = event;
  if (data?.type === "socket" && ports[0])
    event.waitUntil(openSocket(data.socket, placeOf(source?.url), ports[0]));
});

/**
 * @param {any} socket
 * @param {Place | undefined} from the page that asks
 * @param {MessagePort} reply
 */
async function openSocket(socket, from, reply) {
  const host = from && (await hostOf(from.id));
  if (!host) {
    reply.postMessage({ error: "the page that runs the container is gone" });
    return;
  }
  const { port, target, protocols } = socket ?? {};
  /** @type {GuestRequest} */
  const request = { port, method: "GET", target, headers: [], body: null, protocols };
  host.postMessage({ type: "request", request }, [reply]);
}

/**
 * A request that names no preview, of a page that is in one: an absolute path is the same server's,
 * and localhost is the container.
 * @param {any} event
 * @param {URL} url
 */
async function answerInside({ request, clientId }, url) {
  const client = clientId && (await scope.clients.get(clientId));
  const from = placeOf(client?.url) ?? placeOf(request.referrer);
  if (!from) return fetch(request);
  const port = url.origin === ORIGIN ? from.port : Number(url.port || 80);
  return answer(request, { id: from.id, port, path: url.pathname + url.search });
}

/** @param {URL} url */
function isLocal({ protocol, hostname }) {
  return protocol === "http:" && LOCAL.includes(hostname);
}

/**
 * What an address stands for; undefined where it is no preview's.
 * @param {string | undefined} address
 * @returns {Place | undefined}
 */
function placeOf(address) {
  if (!address || !URL.canParse(address)) return undefined;
  const { origin, pathname, search } = new URL(address);
  if (origin !== ORIGIN || !pathname.startsWith(PREFIX)) return undefined;
  const found = /^([0-9a-f]{32})\/([0-9]{1,5})(\/.*)$/.exec(pathname.slice(PREFIX.length));
  return found ? { id: found[1], port: Number(found[2]), path: found[3] + search } : undefined;
}

/** @param {string} message @param {number} status */
function say(message, status = 502) {
  return new Response(`${message}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
  });
}

/** @param {string} id @returns {Promise<any>} the window of preview.html */
async function hostOf(id) {
  const all = await scope.clients.matchAll({ type: "window", includeUncontrolled: true });
  return all.find((/** @type {any} */ { url }) => new URL(url).searchParams.get("id") === id);
}

/**
 * @param {Request} request
 * @param {Place} place
 * @returns {Promise<Response>}
 */
async function answer(request, place) {
  const host = await hostOf(place.id);
  if (!host) return say("The page that runs the container is gone, or does not show it any more.");
  const body = ["GET", "HEAD"].includes(request.method) ? null : await request.arrayBuffer();
  const { port1: reply, port2 } = new MessageChannel();
  /** @type {GuestRequest} */
  const message = {
    port: place.port,
    method: request.method,
    target: place.path,
    headers: [...request.headers],
    body: body?.byteLength ? body : null,
  };
  host.postMessage({ type: "request", request: message }, [port2]);
  return new Promise((resolve) => {
    /** @type {ReadableStreamDefaultController<Uint8Array>} */
    let controller;
    const giveUp = () => {
      reply.postMessage("cancel");
      reply.close();
    };
    /** Tells the stream that the piece it has asked for is there. */
    let pulled = () => {};
    const stream = new ReadableStream(
      {
        start: (it) => {
          controller = it;
        },
        pull: () =>
          new Promise((done) => {
            pulled = () => done(undefined);
            reply.postMessage("next");
          }),
        cancel: giveUp,
      },
      // What nobody has asked for stays in the container.
      { highWaterMark: 0 },
    );
    reply.onmessage = ({ data }) => {
      if (data.error !== undefined) {
        resolve(say(data.error));
        controller.error(new TypeError(data.error));
        reply.close();
      } else if (data.part === undefined) {
        let wanted = !BODILESS.includes(data.status) && request.method !== "HEAD";
        const body = wanted ? stream : null;
        const isPage = ["document", "iframe", "frame"].includes(request.destination);
        const response = responseOf(data.status, data.headers, body, place, isPage);
        wanted &&= response.status === data.status && !REDIRECTS.includes(data.status);
        if (!wanted) giveUp();
        resolve(response);
      } else if (data.part.length > 0) {
        controller.enqueue(data.part);
      } else {
        controller.close();
        reply.close();
      }
      pulled();
    };
  });
}

/**
 * @param {number} status
 * @param {[string, string][]} headers
 * @param {ReadableStream | null} body
 * @param {Place} place of the request
 * @param {boolean} isPage whether a window or a frame shows it
 */
function responseOf(status, headers, body, place, isPage) {
  if (status < 200 || status > 599) return say(`The server has answered with status ${status}.`);
  const kept = new Headers();
  for (const [name, value] of headers)
    if (!DROPPED.includes(name.toLowerCase())) kept.append(name, value);
  if (REDIRECTS.includes(status)) {
    const target = redirected(kept.get("location"), place);
    return target ? Response.redirect(target, status) : say("The server redirects to nowhere.");
  }
  // Browsers do not decode what a service worker gives them.
  const coding = (kept.get("content-encoding") ?? "").toLowerCase().replace(/^x-/, "");
  if (body && (coding === "gzip" || coding === "deflate")) {
    kept.delete("content-encoding");
    kept.delete("content-length");
    body = body.pipeThrough(new DecompressionStream(coding));
  }
  const policy = kept.get("content-security-policy");
  if (policy !== null)
    kept.set("content-security-policy", policy.replace(/frame-ancestors[^;,]*/gi, ""));
  if (body && isPage && isHtml(kept)) {
    kept.delete("content-length");
    body = body.pipeThrough(withScript(policy ?? ""));
  }
  return new Response(body, { status, headers: kept });
}

/** @param {Headers} headers */
function isHtml(headers) {
  const [type, ...parameters] = (headers.get("content-type") ?? "").toLowerCase().split(";");
  const wide = parameters.some((it) => /charset\s*=\s*"?utf-(16|32)/.test(it));
  return type.trim() === "text/html" && !wide && !headers.has("content-encoding");
}

/**
 * Puts the script into a page, as the first thing that runs there.
 * @param {string} policy the page's Content-Security-Policy: a script with its nonce may run
 */
function withScript(policy) {
  const nonce = /'nonce-([A-Za-z0-9+/=_-]+)'/.exec(policy);
  const attributes = `src="${SCRIPT}"${nonce ? ` nonce="${nonce[1]}"` : ""}`;
  const tag = new TextEncoder().encode(`<script ${attributes}></script>`);
  /** What has come before the place was found. */
  let start = new Uint8Array();
  let found = false;
  const put = (/** @type {any} */ controller, /** @type {number} */ at) => {
    found = true;
    controller.enqueue(start.slice(0, at));
    controller.enqueue(tag);
    controller.enqueue(start.slice(at));
  };
  return new TransformStream({
    transform(chunk, controller) {
      if (found) {
        controller.enqueue(chunk);
        return;
      }
      const whole = new Uint8Array(start.length + chunk.length);
      whole.set(start);
      whole.set(chunk, start.length);
      start = whole;
      const at = scriptPlace(start);
      if (at !== undefined) put(controller, at);
      else if (start.length > MAX_START) {
        found = true;
        controller.enqueue(start);
      }
    },
    flush(controller) {
      if (!found && start.length > 0) controller.enqueue(start);
    },
  });
}

/**
 * Where a page's first script can stand: behind the doctype, as before it, it would have the page shown
 * as those of old are.
 * @param {Uint8Array} start of the page
 * @returns {number | undefined} undefined where more of it has to come first
 */
function scriptPlace(start) {
  let text = "";
  for (const byte of start.subarray(0, MAX_START)) text += String.fromCharCode(byte);
  // Of UTF-16, nothing is known here.
  if (/^(\xff\xfe|\xfe\xff)/.test(text)) return undefined;
  const before = /^(\xef\xbb\xbf)?(\s|<!--[^]*?-->)*/.exec(text)?.[0].length ?? 0;
  const rest = text.slice(before, before + 9).toLowerCase();
  if ("<!doctype".startsWith(rest) || "<!--" === rest.slice(0, 4)) {
    const end = rest === "<!doctype" ? text.indexOf(">", before) : -1;
    return end < 0 ? undefined : end + 1;
  }
  return before;
}

/**
 * Where a redirect of the container's leads a browser.
 * @param {string | null} location
 * @param {Place} place
 */
function redirected(location, { id, port, path }) {
  const own = `http://localhost:${port}${path}`;
  if (location === null || !URL.canParse(location, own)) return undefined;
  const url = new URL(location, own);
  if (!isLocal(url)) return url.href;
  return `${ORIGIN}${PREFIX}${id}/${url.port || 80}${url.pathname}${url.search}${url.hash}`;
}
