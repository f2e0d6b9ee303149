/**
 * What the guest says on the control channel (tools/vm/init): one JSON object a line.
 *
 * The guest runs programs of whoever made the image, so that any line may be of anybody: what is not
 * exactly a message is none.
 */

/**
 * @typedef {{ type: "ready" } | { type: "scrubbed" } | { type: "mounted" } | { type: "started" } |
 *   { type: "awake" } | { type: "read" } | { type: "archiving" } | { type: "archived", leftOut: number } |
 *   { type: "full" } | { type: "ports", tcp: number[] } |
 *   { type: "consumed", bytes: number } | { type: "exit", code: number, signal?: number } |
 *   { type: "error", stage: "machine" | "mount" | "bundle" | "start" | "archive", message: string, code: number }
 * } GuestMessage
 */

/** No message of the guest's is longer, in characters. */
export const MAX_LINE = 16384;

/** How much of an error's text is passed on. */
const MAX_TEXT = 4096;

/** Of no more ports is told. */
const MAX_PORTS = 64;

const STAGES = /** @type {const} */ (["machine", "mount", "bundle", "start", "archive"]);

/**
 * Whether a value is a whole number within bounds.
 * @param {unknown} value
 * @param {number} from
 * @param {number} to
 * @returns {value is number}
 */
function isNumber(value, from, to) {
  return typeof value === "number" && Number.isInteger(value) && value >= from && value <= to;
}

/**
 * @param {string} line
 * @returns {GuestMessage | undefined} undefined for what is no message
 */
export function parseGuestMessage(line) {
  let message;
  try {
    message = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof message !== "object" || message === null) return undefined;
  const { type, bytes, code, signal, stage, message: text, tcp, left_out: leftOut } = message;
  switch (type) {
    case "ready":
    case "scrubbed":
    case "mounted":
    case "started":
    case "awake":
    case "read":
    case "full":
    case "archiving":
      return { type };
    case "archived":
      return isNumber(leftOut, 0, Number.MAX_SAFE_INTEGER) ? { type, leftOut } : undefined;
    case "consumed":
      return isNumber(bytes, 0, Number.MAX_SAFE_INTEGER) ? { type, bytes } : undefined;
    case "ports":
      if (!Array.isArray(tcp) || tcp.length > MAX_PORTS) return undefined;
      return tcp.every((port) => isNumber(port, 1, 65535)) ? { type, tcp } : undefined;
    case "exit":
      if (!isNumber(code, 0, 255)) return undefined;
      if (signal === undefined) return { type, code };
      return isNumber(signal, 1, 64) ? { type, code, signal } : undefined;
    case "error": {
      const known = STAGES.find((name) => name === stage);
      if (!known || typeof text !== "string" || !isNumber(code, 0, 255)) return undefined;
      return { type, stage: known, message: text.slice(0, MAX_TEXT), code };
    }
    default:
      return undefined;
  }
}
