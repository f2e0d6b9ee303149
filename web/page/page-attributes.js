/**
 * What the element's attributes say, as far as it decides how a container is started; and what attributes the
 * page's own element gets from the page's address and its `<meta>` tags.
 */

import { DEFAULT_IMAGE, imageOf, parameterOf } from "./location.js";
import { networkOf } from "./network-name.js";

/** @import { ImageRequest } from "../messages.js" */

/** What an address or a `<meta>` tag may set. */
const NAMES = [
  "mirror",
  "platform",
  "machine",
  "vm",
  "memory",
  "toc",
  "fetch",
  "relay",
  "network-proxy",
  "network-name",
  "hostname",
  "session",
  "persist",
];

/** What the page can only tell of when the element has looked at it: nothing is prepared for that. */
const LATER = ["vm", "memory", "relay", "network-name", "hostname", "session"];

/**
 * The attributes of the page's element.
 * @param {Location} location
 * @param {Document} document
 * @returns {Map<string, string>} "" for one that is only there
 */
export function attributesOf(location, document) {
  const image = imageOf(location) ?? DEFAULT_IMAGE;
  /** @type {Map<string, string>} */
  const attributes = new Map([["image", image]]);
  const meta = (/** @type {string} */ name) =>
    document.querySelector(`meta[name=browsermount-${name}]`)?.getAttribute("content") ?? "";
  for (const name of NAMES) {
    const given = parameterOf(location, name);
    const value = given || meta(name);
    // Whoever made the link would read what a person signs in with.
    if (given && /^(mirror|network-proxy)$/.test(name))
      attributes.set(`${name}-without-credentials`, "");
    // What the container sends without encryption, its relay reads.
    if (name === "relay" && given) attributes.set("relay-by-link", "");
    // Other containers of this browser can be reached from here, and reach this one.
    if (name === "network-name" && given) attributes.set("network-name-by-link", "");
    // It is code, which sees the image and can send it away.
    if (name === "vm" && given) attributes.set("vm-by-link", "");
    if (value) attributes.set(name, value);
  }
  // Where previews are shown, the page's owner decides alone.
  const preview = meta("preview");
  if (preview) attributes.set("preview", preview);
  // A link may take the network away; what can be reached, the page's owner decides.
  const limit = meta("network");
  const closed = parameterOf(location, "network") === "none";
  if (closed || limit) attributes.set("network", closed ? "none" : limit);
  // A state is code: it comes from the page's owner, and a link may only do without.
  const warm =
    parameterOf(location, "warm") === "no" ? "no" : image === DEFAULT_IMAGE && meta("warm");
  if (warm) attributes.set("warm", warm);
  return attributes;
}

/**
 * How a container is started. Two whose `key` is the same are started alike, but for what the image has become
 * meanwhile; `isPlain` where nothing is asked for but the image.
 * @typedef {{ key: string, isPlain: boolean }} Start
 */

/**
 * @param {Pick<ImageRequest, "image" | "mirror" | "platform" | "machine" | "memoryMiB" | "network" |
 *   "hostname" | "relay">} request
 * @param {string} base the URL that a relative reference is relative to
 * @returns {Start}
 */
export function startOf(request, base) {
  const { image, mirror, platform, machine, memoryMiB, hostname, relay } = request;
  const { origin, pathname } = new URL(base);
  // Through a relay, and to nobody or to other containers, the page's certificate authority is of no use.
  const network = ["none", "internal"].includes(request.network) ? request.network : "public";
  const how = [platform, machine, memoryMiB ?? "", hostname, relay ? "relay" : network];
  return {
    key: JSON.stringify([origin + pathname, image, mirror, ...how]),
    isPlain: how.join("") === "public",
  };
}

/**
 * How the page's own element starts its container, where that can be told before the element is there.
 * @param {Map<string, string>} attributes
 * @param {string} base
 * @returns {Start | undefined}
 */
export function plainStart(attributes, base) {
  if (LATER.some((name) => attributes.has(name))) return undefined;
  const get = (/** @type {string} */ name) => attributes.get(name) ?? "";
  return startOf(
    {
      image: get("image"),
      mirror: get("mirror"),
      platform: get("platform"),
      machine: get("machine"),
      memoryMiB: undefined,
      network: networkOf(get("network"), false),
      hostname: "",
      relay: "",
    },
    base,
  );
}
