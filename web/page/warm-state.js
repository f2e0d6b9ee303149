/**
 * States of the machine in which an image's container waits at its prompt, and from which others like it start
 * at once: docs/sessions.md. One comes with the site, for the image that the site was made for; others this
 * browser keeps after the first visit of an image.
 */

/** @import * as VM from "../vm/messages.js" */
/** @import { Start } from "./page-attributes.js" */

export const DIRECTORY = "browsermount-warm";
/** What is kept: by what decides about the start, the file and the machine. */
const KEY = "browsermount-warm-states";
/** Of some 20 MB each. */
const MOST_STATES = 6;
/** What a site has: by the digest of its header. */
const SITE_FILE = /(?:^|\/)([0-9a-f]{64})\.(v86|x64)\.state$/;
/** An image that must not be kept, or be sent to others, in the middle of its work. */
const LABEL = "org.browsermount.warm";

/**
 * A state, and whose machine's it is. `name` tells it from others; `key` is what it is remembered by, where it
 * is kept in this browser.
 * @typedef {{ name: string, machine: VM.MachineKind, source: VM.WarmSource, key?: string }} Warm
 */

/**
 * Whether an attribute says that each start is to be a start.
 * @param {string} attribute
 */
const refused = (attribute) => attribute === "no";

/**
 * The state in which a container can go on in the place of being started.
 * @param {Start} start
 * @param {string} attribute `no` for none, or the address of the site's
 * @param {string} base the URL that the address is relative to
 * @returns {Warm | undefined}
 */
export function warmFor(start, attribute, base) {
  if (refused(attribute)) return undefined;
  const [, digest, machine] = (start.isPlain && SITE_FILE.exec(attribute)) || [];
  if (digest)
    return {
      name: digest,
      machine: machine === "x64" ? "x64" : "v86",
      source: { from: "site", url: new URL(attribute, base).href, digest },
    };
  const key = start.key;
  const found = remembered().find((state) => state.key === key);
  return (
    found && {
      name: found.file,
      machine: found.machine,
      source: { from: "storage", directory: DIRECTORY, file: found.file },
      key,
    }
  );
}

/**
 * Whether a container of an image may be kept at its prompt.
 * @param {string} attribute as for warmFor()
 * @param {Record<string, any>} config the image's
 */
export function mayKeep(attribute, config) {
  if (refused(attribute) || config.config?.Labels?.[LABEL] === "no") return false;
  return Boolean(navigator.storage?.getDirectory) && canRemember();
}

/** The file for a state that is going to be kept, for who can write it: a worker. */
export function newTarget() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  const name = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { directory: DIRECTORY, file: `${name}.state` };
}

/**
 * The file was written. What was kept for the same start is let go, and so are those that were written first.
 * @param {string} key
 * @param {string} file
 * @param {VM.MachineKind} machine
 */
export async function remember(key, file, machine) {
  const others = remembered().filter((state) => state.key !== key);
  write([...others, { key, file, machine }].slice(-MOST_STATES));
  await tidy();
}

/**
 * Let a state go that was of no use.
 * @param {Warm} warm
 */
export async function forget({ key, name }) {
  if (key === undefined) return;
  write(remembered().filter(({ file }) => file !== name));
  await tidy();
}

/** Let all go. */
export async function forgetAll() {
  if (remembered().length === 0) return;
  write([]);
  await tidy();
}

/** Remove files that nobody remembers. */
async function tidy() {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(DIRECTORY);
    const wanted = new Set(remembered().map(({ file }) => file));
    for await (const name of folder.keys())
      // One that another tab writes cannot be removed, and stays.
      if (!wanted.has(name)) await folder.removeEntry(name).catch(() => {});
  } catch {
    // There is nothing that could be removed.
  }
}

/** @typedef {{ key: string, file: string, machine: VM.MachineKind }} Remembered */

/** @returns {Remembered[]} the oldest first */
function remembered() {
  try {
    const states = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return states.filter(
      (/** @type {any} */ { key, file, machine }) =>
        typeof key === "string" &&
        /^[0-9a-f]{32}\.state$/.test(file) &&
        (machine === "v86" || machine === "x64"),
    );
  } catch {
    return [];
  }
}

/** @param {Remembered[]} states */
function write(states) {
  try {
    localStorage.setItem(KEY, JSON.stringify(states));
  } catch {
    // Not allowed, or full: the next visit is a start.
  }
}

function canRemember() {
  try {
    localStorage.setItem(KEY, localStorage.getItem(KEY) ?? "[]");
    return true;
  } catch {
    return false;
  }
}
