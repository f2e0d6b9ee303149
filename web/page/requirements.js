/** What the page needs of the browser and of where it is shown, and what a person can do about it. */

/** @import { Failure } from "../messages.js" */

/**
 * @typedef {object} Surroundings What is looked at of a window.
 * @property {string} origin
 * @property {boolean} isSecureContext
 * @property {unknown} [Worker]
 * @property {unknown} [WebAssembly]
 * @property {unknown} [DecompressionStream]
 */

/** What a browser has had since 2023, by the names of the standards. */
const NEEDED = /** @type {const} */ (["WebAssembly", "Worker", "DecompressionStream"]);

const NEWER = "Use a newer browser; Chromium, Firefox and Safari of 2023 are new enough.";

/**
 * Say what is missing, where something is.
 * @param {Surroundings} window
 * @returns {Failure | undefined}
 */
export function missing(window) {
  const missing = NEEDED.filter((name) => window[name] === undefined);
  if (window.origin === "null") {
    return failure(
      "this page is in a sandboxed frame without an origin of its own, where browsers start no workers",
      'Let the frame have one, by sandbox="allow-scripts allow-same-origin", or open the page by ' +
        "itself. A frame that is of another site than the page around it is kept apart from that " +
        "also with allow-same-origin.",
    );
  }
  if (!window.isSecureContext) {
    return failure(
      "this page came over plain http, where browsers keep from pages what it needs to verify files",
      "Open it over https; on the computer that serves it, http://localhost will do.",
    );
  }
  if (missing.length > 0) {
    const off = missing.includes("WebAssembly")
      ? " WebAssembly may also have been switched off, as Lockdown Mode does."
      : "";
    return failure(`this browser has no ${missing.join(" and no ")}`, NEWER + off);
  }
  return undefined;
}

/**
 * Why a worker could not be started.
 * @param {unknown} error
 * @returns {Failure}
 */
export function noWorker(error) {
  return {
    ...failure(
      "the browser starts no worker for this page",
      "A page of another site, or in a sandboxed frame, may have no workers; neither may one whose " +
        "Content-Security-Policy does not allow them: docs/security.md has one that does.",
    ),
    details: String(error),
  };
}

/** @param {string} message @param {string} hint @returns {Failure} */
function failure(message, hint) {
  return { code: "browser", message, hint, details: "" };
}
