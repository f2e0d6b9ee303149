/** Networks of containers, and their names there, as attributes and the page's address give them. */

/** @import { Failure, NetworkMode, NetworkName } from "../messages.js" */

/** One label of a host name (RFC 1123, section 2.1). */
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const RESERVED = ["localhost"];

/** @param {string} text */
const isLabel = (text) => LABEL.test(text) && !RESERVED.includes(text);

/** @param {string} message @returns {Failure} */
const failure = (message) => ({
  code: "network-name",
  message,
  hint: "Such names have letters, digits and hyphens, 63 at most, and begin and end with none of the last.",
  details: "",
});

/**
 * @param {{ network: string, hostname: string, foreign: boolean }} wanted the names may be empty
 * @returns {{ networkName?: NetworkName, lacking?: Failure }} what is wrong, where something is
 */
export function networkNameOf({ network, hostname, foreign }) {
  const [place, name] = [network.toLowerCase(), hostname.toLowerCase()];
  if (name && !isLabel(name))
    return { lacking: failure(`${hostname} is no name that a container can have`) };
  if (!place) return {};
  if (!isLabel(place))
    return { lacking: failure(`${network} is no name that a network of containers can have`) };
  return { networkName: { network: place, name, foreign } };
}

/**
 * What a container can reach.
 * @param {string | null} value of the attribute network
 * @param {boolean} named whether it is in a network of containers
 * @returns {NetworkMode}
 */
export function networkOf(value, named) {
  if (value === "none") return named ? "internal" : "none";
  return value === "all" ? "all" : "public";
}
