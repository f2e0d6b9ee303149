/**
 * What the page and the worker of the virtual machine say to each other.
 *
 * The page makes the worker, posts one BootMessage, waits for the stage
 * "ready", posts one StartMessage, and then exchanges console bytes.  One
 * worker is one machine and runs one container; to run another, make another.
 */

import type { StateHeader } from "./state-file.js";

/** The npm package's 32-bit emulator, or our own 64-bit machine. */
export type MachineKind = "v86" | "x64";

/** URLs of what a machine is made of.  The worker fetches them itself. */
export type Assets = CommonAssets &
  (
    | {
        kind: "v86";
        /** The ES module of the npm package v86 (build/libv86.mjs). */
        v86: string;
        /** seabios.bin */
        bios: string;
      }
    | { kind: "x64" }
  );

/**
 * Where a state is that a container like the one that is wanted goes on from: a file of the site's, known by
 * the digest of its header, or one of the origin's own.
 */
export type WarmSource =
  | { from: "site"; url: string; digest: string }
  | { from: "storage"; directory: string; file: string };

interface CommonAssets {
  /** The emulator's code: v86.wasm of the module's version, or machine.wasm. */
  wasm: string;
  /** bzImage, or vmlinux.zst */
  kernel: string;
  /** initramfs.cpio.zst */
  initramfs: string;
  /** image.json, which names the recipe the kernel and initramfs came from. */
  image: string;
  /** The saved state of a machine that is ready; without it, it boots. */
  snapshot?: string;
  /** snapshot.json: what machine the snapshot belongs to. */
  snapshotInfo?: string;
}

/** Page to worker: make the machine. */
export interface BootMessage {
  type: "boot";
  assets: Assets;
  /** What it can have. Default: as in room.js for a machine that grows, else what the snapshot has. */
  memoryMiB?: number;
  /**
   * Whole 9P frames, each an ArrayBuffer that is transferred, in both
   * directions: requests come out, replies go in.
   */
  port: MessagePort;
  /** Ethernet frames, lists of Uint8Arrays whose buffers are transferred, in both directions. */
  card: MessagePort;
  /** The file of a saved session, in which the machine goes on when "wake" comes. */
  saved?: Blob;
  /**
   * A state in which the machine goes on by itself: "warm" comes. Where it cannot be used, "cold" comes.
   */
  warm?: WarmSource;
  /** As for StartMessage, of a machine that goes on by itself. */
  archive?: number;
}

/**
 * Page to worker: say when the container that is started waits at its prompt as it does whenever it is started.
 * With "freeze" and "save" it is saved then, unless something is typed meanwhile.
 */
export interface WatchMessage {
  type: "watch";
}

/** Page to worker: the 9P server has what was saved of it, so the saved machine can go on. */
export interface WakeMessage {
  type: "wake";
  /** As for StartMessage. */
  archive?: number;
}

/** A layer that lies over the image: a tar archive, and its SHA-256. */
export interface Layer {
  data: Blob;
  sha256: string;
}

/** Page to worker: say what the container has changed, in so many bytes at most. */
export interface ArchiveMessage {
  type: "archive";
  limit: number;
}

/** Page to worker: write a file of the origin's own that has files alone; "saved" follows, or "unsaved". */
export interface KeepMessage {
  type: "keep";
  target: { directory: string; file: string };
  header: { image: StateHeader["image"] };
  /** The lowest first. */
  layers: Layer[];
}

/** Page to worker: stop the machine to save it; "saving" follows, or "unsaved". */
export interface FreezeMessage {
  type: "freeze";
  /** Only where nothing was typed since "quiet". */
  untouched?: boolean;
}

/** Page to worker: what else belongs to the state, and the file of the origin's own for it. */
export interface SaveMessage {
  type: "save";
  target: { directory: string; file: string };
  header: {
    image: StateHeader["image"];
    process: object;
    terminal: { cols: number; rows: number };
  };
  server: object;
  /** What the terminal shows; missing for a state at the prompt, which has what the container has shown. */
  text?: string;
  /** What lies over the image. */
  layers: Layer[];
  /** What the container has changed of all that, as it was at a time in milliseconds since 1970. */
  changes?: Layer & { made: number };
}

/**
 * Page to worker: the tree has the interpreter that the image needs.  The image
 * itself comes later; until then the machine makes itself familiar with it.
 */
export interface PrepareMessage {
  type: "prepare";
}

/** Page to worker: mount the tree and start what its config.json says. */
export interface StartMessage {
  type: "start";
  cols: number;
  rows: number;
  /** Whether the container gets the machine's network card. */
  network: boolean;
  /** The level of the x86-64 ABI that programs are told of, where it is not the machine's own one. */
  level?: number;
  /** Say at its end what it has changed, in so many bytes at most. */
  archive?: number;
}

/** Page to worker: what was typed, or standard input without a terminal. */
export interface InputMessage {
  type: "input";
  data: Uint8Array;
}

/** Page to worker: no more input (only for a process without a terminal). */
export interface CloseInputMessage {
  type: "closeInput";
}

export interface ResizeMessage {
  type: "resize";
  cols: number;
  rows: number;
}

/** Page to worker: a signal for the container's first process. */
export interface SignalMessage {
  type: "signal";
  signal: number;
}

/** Page to worker: SIGTERM, and SIGKILL after some seconds (default 10). */
export interface TerminateMessage {
  type: "terminate";
  seconds?: number;
}

/**
 * Page to worker: so many bytes of output were dealt with.  A page that never
 * sends it gets output as fast as the machine makes it; from the first one on,
 * the machine pauses while too much is on its way.
 */
export interface AcknowledgeMessage {
  type: "acknowledge";
  bytes: number;
}

/** Page to worker: destroy the machine, now.  The worker ends. */
export interface StopMessage {
  type: "stop";
}

export type PageMessage =
  | BootMessage
  | PrepareMessage
  | WakeMessage
  | WatchMessage
  | FreezeMessage
  | SaveMessage
  | ArchiveMessage
  | KeepMessage
  | StartMessage
  | InputMessage
  | CloseInputMessage
  | ResizeMessage
  | SignalMessage
  | TerminateMessage
  | AcknowledgeMessage
  | StopMessage;

/**
 * How far the machine is.  "fetching" comes often, with the sum over all
 * files; "resumed" or "booting" says whether the snapshot was used, and why
 * not; "ready" that start may be sent; "mounted" that the tree is there;
 * "started" that the container's process runs; "full", once, that there is little
 * room left for what it writes to files.
 */
export type Stage =
  | { stage: "fetching"; bytes: number; total: number | undefined }
  | { stage: "resumed" }
  | { stage: "booting"; reason: string }
  | { stage: "ready" }
  | { stage: "mounted" }
  | { stage: "started" }
  | { stage: "full" };

export type StageMessage = { type: "stage" } & Stage;

/** Worker to page: the terminal's bytes. */
export interface OutputMessage {
  type: "output";
  data: Uint8Array;
}

/** Worker to page: standard output and error of a process without a terminal. */
export interface StreamMessage {
  type: "stdout" | "stderr";
  data: Uint8Array;
}

/** Worker to page: the container listens at these TCP ports now, and at no others. */
export interface PortsMessage {
  type: "ports";
  ports: number[];
}

/** Worker to page: the container's process has ended.  The last message. */
export interface ExitMessage {
  type: "exit";
  /** What a shell would show: 128 + signal for a killed process. */
  code: number;
  signal?: number;
}

/** Worker to page: it could not be started, or broke down.  The last message. */
export interface ErrorMessage {
  type: "error";
  /**
   * "fetch": an asset could not be had; "machine": v86 or the kernel failed;
   * "mount", "bundle", "start": the guest could not do this step.
   */
  stage: "fetch" | "machine" | "mount" | "bundle" | "start";
  message: string;
  /** The exit code that docker would give: 125, 126 or 127. */
  code: number;
}

/** Worker to page: the machine stands still, and its 9P server has answered all but reads. */
export interface SavingMessage {
  type: "saving";
}

/** Worker to page: it goes on, and the state is in the file; so long it stood still, in milliseconds. */
export interface SavedMessage {
  type: "saved";
  size: number;
  frozen: number;
}

/** Worker to page: it goes on, and was not saved; maybe since the browser has no room. */
export interface UnsavedMessage {
  type: "unsaved";
  message: string;
  full: boolean;
}

/** Worker to page: what the container has changed, but for so many files that no layer can have. */
export interface ArchivedMessage {
  type: "archived";
  data: Blob;
  leftOut: number;
  /** How long the container stood still for it. */
  milliseconds: number;
}

/** Worker to page: it cannot be had. */
export interface UnarchivedMessage {
  type: "unarchived";
  message: string;
  milliseconds: number;
}

/**
 * Worker to page: the machine goes on from a state, and what is typed is kept for it until it does. Its 9P
 * requests are for a server that has what the state has of that.
 */
export interface WarmMessage {
  type: "warm";
  header: StateHeader;
  server: object;
  /** What its container had shown: to be acknowledged as output is. */
  shown: Uint8Array;
}

/** Worker to page: all of that state is here, so that others may have the connection. */
export interface LoadedMessage {
  type: "loaded";
}

/** Worker to page: it cannot go on from there. It starts anew by itself, unless that was said already. */
export interface ColdMessage {
  type: "cold";
  message: string;
  /** Whether "warm" had come: then this is the last message. */
  said: boolean;
}

/** Worker to page: the container waits at its prompt. */
export interface QuietMessage {
  type: "quiet";
}

/** Worker to page: the saved machine cannot go on. The last message. */
export interface UnusableMessage {
  type: "unusable";
  message: string;
  reason: "no-state" | "damaged" | "other-build";
}

export type WorkerMessage =
  | StageMessage
  | WarmMessage
  | LoadedMessage
  | ColdMessage
  | QuietMessage
  | OutputMessage
  | StreamMessage
  | PortsMessage
  | ExitMessage
  | ErrorMessage
  | SavingMessage
  | SavedMessage
  | UnsavedMessage
  | ArchivedMessage
  | UnarchivedMessage
  | UnusableMessage;
