/** What the page and the mount worker (worker.js) say to each other. */

/** Page to worker: mount the image and answer the 9P requests that come from `port`. */
export interface MountMessage {
  type: "mount";
  /** The reference as the person gave it. */
  image: string;
  /** The URL that a relative reference is relative to. */
  base: string;
  /** Whole 9P frames, each an ArrayBuffer that is transferred, in both directions. */
  port: MessagePort;
}

/** Page to worker: open another session on what is mounted, for another machine. */
export interface AttachMessage {
  type: "attach";
  port: MessagePort;
}

export type PageMessage = MountMessage | AttachMessage;

/** Worker to page: the Python runtime is being loaded (bytes come often), or is there. */
export type RuntimeMessage =
  | { type: "stage"; stage: "runtime-loading"; bytes: number; total: number | undefined }
  | { type: "stage"; stage: "runtime-ready"; start: "snapshot" | "packages"; milliseconds: number };

/** One of browsermount/events.py. */
export type MountEvent =
  | { kind: "resolving"; reference: string }
  | {
      kind: "resolved";
      reference: string;
      digest: string;
      platform: string;
      layers: { digest: string; size: number; media_type: string }[];
    }
  | {
      kind: "layer";
      index: number;
      digest: string;
      state: "waiting" | "downloading" | "verifying" | "ready";
      current: number;
      total: number;
    }
  | { kind: "tree"; inodes: number; size: number };

export interface EventMessage {
  type: "event";
  event: MountEvent;
}

export interface ImageInfo {
  reference: string;
  digest: string;
  platform: string;
  config: Record<string, unknown>;
}

export interface MountedMessage {
  type: "mounted";
  image: ImageInfo;
}

/** What a person is told when something fails. */
export interface Failure {
  /** What programs can rely on: a code of browsermount/errors.py, or one of the page's own. */
  code: string;
  message: string;
  /** What to do next; may be empty. */
  hint: string;
  /** More for those who want to know; may be empty. */
  details: string;
}

export interface ErrorMessage {
  type: "error";
  error: Failure;
}

export type WorkerMessage = RuntimeMessage | EventMessage | MountedMessage | ErrorMessage;
