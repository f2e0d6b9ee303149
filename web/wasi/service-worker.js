/**
 * The service worker of machines that wait by a synchronous request (waiting.js): it asks the pages for what
 * there is for such a machine, and the one that has it answers when there is something, or when the time is
 * over. It has no state, as browsers stop it whenever they like.
 *
 * Its scope is this folder, so that it sees requests of the machines' workers alone.
 */

const { clients, registration, location: own } = /** @type {any} */ (self);
const MAIL = new URL("mail", registration.scope).pathname;

/** How long after its time a page that does not answer is given up. */
const GRACE_MS = 10_000;

self.addEventListener("install", () => /** @type {any} */ (self).skipWaiting());

self.addEventListener("fetch", (/** @type {any} */ event) => {
  const { origin, pathname, searchParams } = new URL(event.request.url);
  if (origin === own.origin && pathname === MAIL) event.respondWith(mail(searchParams));
});

/** @param {URLSearchParams} asked */
async function mail(asked) {
  const [id, wait] = [asked.get("id"), Number(asked.get("wait"))];
  const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
  /** @type {MessagePort[]} */
  const ports = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const answers = pages.map((/** @type {any} */ page) => {
    const { port1, port2 } = new MessageChannel();
    ports.push(port1);
    page.postMessage({ type: "browsermount-mail", id, wait }, [port2]);
    return new Promise((resolve) => (port1.onmessage = ({ data }) => resolve(data)));
  });
  const late = new Promise((resolve) => (timer = setTimeout(resolve, wait + GRACE_MS)));
  const body = await Promise.race([...answers, late]);
  clearTimeout(timer);
  for (const port of ports) port.close();
  const headers = { "cache-control": "no-store", "content-type": "application/octet-stream" };
  return new Response(body, { status: body ? 200 : 504, headers });
}
