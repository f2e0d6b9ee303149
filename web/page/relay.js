/** The relay that connects a container, as the page's owner or the page's address names it. */

/** @import { Failure } from "../messages.js" */

/** @param {string} message @param {string} hint @returns {Failure} */
const failure = (message, hint) => ({ code: "relay", message, hint, details: "" });

/**
 * What is wrong with a relay; undefined where nothing is.
 *
 * @param {string} relay its address; may be empty
 * @param {{ wanted: boolean, foreign: boolean }} how whether there has to be one, and whether
 *   somebody else than the page's owner has chosen it
 * @returns {Failure | undefined}
 */
export function relayFailure(relay, { wanted, foreign }) {
  if (!relay) {
    if (!wanted) return undefined;
    return failure(
      'the network is "relay", and there is none',
      'Set the attribute relay to its address, such as relay="wss://relay.example/".',
    );
  }
  const url = URL.canParse(relay) ? new URL(relay) : undefined;
  if (url?.protocol !== "wss:" && url?.protocol !== "ws:") {
    return failure(
      `${relay} is not the address of a relay`,
      "Relays speak the Wisp protocol, and have addresses such as wss://relay.example/.",
    );
  }
  if (foreign && url.protocol !== "wss:") {
    return failure(
      `the link to this page names the relay ${relay}`,
      "A link may name relays at wss:// only.",
    );
  }
  return undefined;
}
