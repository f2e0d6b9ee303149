/**
 * What the page and the worker of a machine of others say to each other. Where that waits by requests
 * (waiting.js), all that comes behind "start" goes the way of mail.js.
 */

import type { Failure } from "../messages.js";
import type { ExitMessage, OutputMessage, StageMessage } from "../vm/messages.js";

/** Page to worker: fetch the machine's code. */
export interface WasiBootMessage {
  type: "boot";
  url: string;
  /** The program's arguments, the first one its name. */
  args: string[];
  /** Where the service worker takes its requests; missing where the browser can suspend it. */
  mail?: string;
}

/** Page to worker: Ethernet frames for its card. */
export interface FramesMessage {
  type: "frames";
  frames: Uint8Array<ArrayBuffer>[];
}

export type WasiPageMessage =
  | WasiBootMessage
  | FramesMessage
  | { type: "start" }
  | { type: "input"; data: Uint8Array }
  | { type: "acknowledge"; bytes: number };

/** Worker to page: the machine cannot be had, or has broken down. The last message. */
export interface FailureMessage {
  type: "failure";
  failure: Failure;
}

export type WasiWorkerMessage =
  StageMessage | OutputMessage | FramesMessage | ExitMessage | FailureMessage;
