/**
 * preview.html?id=ID&port=PORT&path=PATH: shows a server of a container that runs in another page,
 * which has opened this one or has it in a frame.
 *
 * It is between preview-worker.js, which gets the requests, and that page, which alone can send them to
 * the container. Of other origins than its own it serves those only that its owner has named: who else
 * asks would show content of his own in the name of this origin.
 */

const BASE = new URL("./", import.meta.url);
const PREFIX = new URL("preview/", BASE);

const parameters = new URLSearchParams(location.search);
const id = parameters.get("id") ?? "";
const port = Number(parameters.get("port"));
const path = parameters.get("path") ?? "/";
const status = /** @type {HTMLElement} */ (document.querySelector("[role=status]"));

const partner = window.opener ?? (window.parent === window ? undefined : window.parent);
// What is shown must not reach the page that has opened this one.
window.opener = null;

const named = document.querySelector("meta[name=browsermount-preview-for]");
const partners = [location.origin, ...(named?.getAttribute("content") ?? "").split(/\s+/)].filter(
  Boolean,
);

/** @returns {Promise<MessagePort>} where requests are taken */
function connect() {
  return new Promise((resolve) => {
    window.addEventListener("message", ({ source, origin, data, ports }) => {
      if (source !== partner || data?.type !== "browsermount-preview-port" || data.id !== id)
        return;
      if (partners.includes(origin)) resolve(ports[0]);
    });
    for (const origin of partners)
      partner.postMessage({ type: "browsermount-preview", id }, origin);
  });
}

async function startWorker() {
  const registration = await navigator.serviceWorker.register(
    new URL("preview-worker.js", BASE).href,
    { scope: PREFIX.href },
  );
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  while (worker && worker.state !== "activated") {
    if (worker.state === "redundant") throw new Error("the service worker cannot be started");
    await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
  }
}

/** The port that a page in the frame is from. @param {Location} at */
function portOf({ origin, pathname }) {
  const isInside = origin === location.origin && pathname.startsWith(PREFIX.pathname);
  return isInside ? pathname.slice(PREFIX.pathname.length).split("/")[1] : String(port);
}

/**
 * Where an address leads as part of the preview; undefined where it may stay as it is.
 * @param {string} address
 * @param {string} from the port of the page in which it stands
 */
function inside(address, from) {
  if (!URL.canParse(address)) return undefined;
  const { protocol, origin, hostname, port: other, pathname, search, hash } = new URL(address);
  const rest = pathname + search + hash;
  if (origin === location.origin)
    return pathname.startsWith(PREFIX.pathname) ? undefined : `${PREFIX.href}${id}/${from}${rest}`;
  const local = protocol === "http:" && ["localhost", "127.0.0.1"].includes(hostname);
  return local ? `${PREFIX.href}${id}/${other || 80}${rest}` : undefined;
}

/** Absolute paths of links and forms are the container's, though they are not below the preview's. */
function adopt(/** @type {Window} */ view) {
  let at;
  try {
    at = view.location;
    if (at.protocol === "about:") return;
    document.title = view.document.title || `Port ${portOf(at)}`;
  } catch {
    return; // another site's page, which the container has a link to
  }
  const left = inside(at.href, portOf(at));
  if (left) {
    // A script went there.
    at.replace(left);
    return;
  }
  const change = (/** @type {Event} */ event) => {
    const element = /** @type {any} */ (event.target);
    const name = event.type === "click" ? "href" : "action";
    const found = event.type === "click" ? element.closest?.("a[href], area[href]") : element;
    const to = found && inside(String(found[name]), portOf(at));
    if (to) found.setAttribute(name, to);
  };
  view.document.addEventListener("click", change, true);
  view.document.addEventListener("submit", change, true);
}

async function show() {
  const channel = await connect();
  navigator.serviceWorker.addEventListener("message", ({ data, ports }) => {
    if (data?.type === "request") channel.postMessage(data.request, [...ports]);
  });
  navigator.serviceWorker.startMessages();
  await startWorker();
  const frame = document.createElement("iframe");
  frame.title = `Port ${port} of the container`;
  frame.addEventListener("load", () => {
    if (frame.contentWindow) adopt(frame.contentWindow);
  });
  frame.src = `${PREFIX.href}${id}/${port}${path.startsWith("/") ? path : `/${path}`}`;
  document.body.replaceChildren(frame);
}

if (!partner || !/^[0-9a-f]{32}$/.test(id) || !(port > 0 && port < 65536)) {
  status.textContent = "This page is opened by one that runs a container: open it from there.";
} else if (!("serviceWorker" in navigator)) {
  status.textContent =
    "This browser gives this page no service workers, which previews need: they are there over HTTPS " +
    "and on localhost, and not in private windows of every browser.";
} else {
  const patience = setTimeout(() => {
    status.textContent =
      "The page that runs the container does not answer. If it is of another origin, that has to " +
      "stand in this page’s <meta name=browsermount-preview-for>.";
  }, 3000);
  show()
    .then(() => clearTimeout(patience))
    .catch((error) => {
      status.textContent = `The preview cannot be shown: ${error.message}`;
    });
}
