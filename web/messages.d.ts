/** What the page and the mount worker (worker.js) say to each other. */

import type { Layer } from "./vm/messages.js";

/** What the container can reach: nothing, other containers, the internet, or also hosts nearby. */
export type NetworkMode = "none" | "internal" | "public" | "all";

/** A network of containers in this browser. */
export interface NetworkName {
  network: string;
  /** The name that the container shall have there; empty where it does not matter. */
  name: string;
  /** Whether a link to the page has chosen it. */
  foreign: boolean;
}

/** What a person wants to run. */
export interface ImageRequest {
  /** The reference as the person gave it. */
  image: string;
  /** Where registries are reached instead of at their own address; may be empty. */
  mirror: string;
  /** The platform that is asked for, such as "linux/amd64"; may be empty. */
  platform: string;
  /** The machine that is asked for, "32" or "64"; may be empty. */
  machine: string;
  /** The address of a machine of others that runs it; empty for one of ours. */
  vm: string;
  /** How much memory it shall have; undefined for what it has by itself. */
  memoryMiB: number | undefined;
  /** Whether tables of contents are believed that the manifest has no digest of. */
  allowUnverified: boolean;
  /** Whether what nobody reads is fetched too, while the container is idle. */
  fill: boolean;
  network: NetworkMode;
  /** The network of containers that it is in. */
  networkName: NetworkName | undefined;
  /** The container's host name; empty for the one that all have. */
  hostname: string;
  /** The address of the relay that connects it; without one, the browser sends its requests. */
  relay: string;
  /** Through whom the container reaches hosts: docs/network.md. Foreign where a link says so. */
  proxies: { rules: string; foreign: boolean };
  /** The name under which the session is kept in this browser; empty for not at all. */
  session: string;
  /** What is kept of it: "no" for nothing, "files", or all that runs, too. */
  persist: "no" | "files" | "machine";
  /** The state in which its container goes on in the place of being started: "no" for none, or its address. */
  warm: string;
}

/** Page to worker: mount the image and answer the 9P requests that come from `port`. */
export interface MountMessage {
  type: "mount";
  /** And whether the container is to trust the page's certificate authority. */
  request: ImageRequest & { trusts: boolean };
  /** The URL that a relative reference is relative to. */
  base: string;
  /** Whole 9P frames, each an ArrayBuffer that is transferred, in both directions. */
  port: MessagePort;
  /** Ethernet frames, lists of Uint8Arrays whose buffers are transferred, in both directions. */
  card: MessagePort;
  /** What lies over the image, the lowest first. */
  layers: Layer[];
  /** The "server" of a saved session: the requests wait until it is there. */
  saved?: object;
  /** Whether "decide" comes, and the requests wait for that, too. */
  waits: boolean;
  /** Where layers come from that another worker has begun with: see mount/early.js. */
  early?: MessagePort;
}

/**
 * Page to worker: the machine goes on from a state, of which this is the "server"; without one, it starts
 * anew.
 */
export interface DecideMessage {
  type: "decide";
  saved?: object;
  /** How the process in it was started. */
  process?: object;
}

/** Page to worker: get ready for "save", so that it takes no time; "identified" follows. */
export interface IdentifyMessage {
  type: "identify";
}

/** Page to worker: say what is to be saved of the machine's session, which stands still. */
export interface SaveMessage {
  type: "save";
}

/**
 * Page to worker: the requests come from this port instead, of a machine that fits the image.
 * The machine before it has mounted nothing.
 */
export interface ConnectMessage {
  type: "connect";
  port: MessagePort;
  card: MessagePort;
}

/** Page to worker: the machine has ended, and what it was connected with is to know. */
export interface UnplugMessage {
  type: "unplug";
}

/** Page to worker: open another session on what is mounted, for another machine. */
export interface AttachMessage {
  type: "attach";
  port: MessagePort;
  card: MessagePort;
}

/** Page to worker: the container runs, so fetch the rest of the image whenever it is idle. */
export interface FillMessage {
  type: "fill";
}

/** Page to worker: say how much is kept, after letting go what is not in use where `clear`. */
export interface KeptMessage {
  type: "kept";
  clear: boolean;
}

/**
 * Page to worker: make an image with these layers over the one that is mounted. At `reply` come
 * {bytes, total} and at last {done: true, file?} or {error: Failure}.
 */
export interface CommitMessage {
  type: "commit";
  layers: Layer[];
  /** What the image is called. */
  name: string;
  /** Where it goes; by default into a file that is given back. */
  target?: FileSystemDirectoryHandle | FileSystemFileHandle;
  reply: MessagePort;
}

/**
 * Page to worker: make one of these layers, the lowest first. At `reply` comes {data: Blob}, or {reason} where
 * they cannot be merged.
 */
export interface MergeMessage {
  type: "merge";
  layers: Blob[];
  reply: MessagePort;
}

/** A request to a web server in the container. */
export interface GuestRequest {
  port: number;
  method: string;
  /** The path, with the query. */
  target: string;
  headers: [string, string][];
  body: ArrayBuffer | null;
  /** Asks for a WebSocket, with one of these subprotocols: see serveSocket() in guest-socket.js. */
  protocols?: string[];
}

/** Page to worker: send a request; see NetworkPort.request() for what comes back at `reply`. */
export interface GuestRequestMessage {
  type: "request";
  request: GuestRequest;
  reply: MessagePort;
}

/** Page to worker: the answer to a question for credentials; null where none are given. */
export interface CredentialsMessage {
  type: "credentials";
  id: number;
  credentials: Credentials | null;
}

export interface Credentials {
  /** Empty where `secret` is an identity token. */
  username: string;
  secret: string;
}

export type PageMessage =
  | MountMessage
  | ConnectMessage
  | AttachMessage
  | UnplugMessage
  | CredentialsMessage
  | FillMessage
  | DecideMessage
  | IdentifyMessage
  | SaveMessage
  | KeptMessage
  | CommitMessage
  | MergeMessage
  | GuestRequestMessage;

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
      state: "waiting" | "downloading" | "verifying" | "ready" | "exists" | "lazy";
      current: number;
      total: number;
    }
  | { kind: "interpreter"; processor: string }
  | { kind: "tree"; inodes: number; size: number }
  | { kind: "notice"; message: string; hint: string }
  | { kind: "trouble"; message: string; hint: string; lost: boolean }
  | { kind: "network"; message: string; hint: string }
  | { kind: "recovered" }
  | { kind: "neighbours"; network: string; name: string; taken: boolean }
  | { kind: "neighbours"; network: string; failure: string };

export interface EventMessage {
  type: "event";
  event: MountEvent;
}

export interface ImageInfo {
  reference: string;
  digest: string;
  platform: string;
  /** What else the image is there for and can be run. */
  platforms: string[];
  config: Record<string, unknown>;
}

/** See CredentialRequest in browsermount/oci/credentials.py. */
export interface CredentialRequest {
  registry: string;
  realm: string;
  refused: boolean;
  via: string;
  mirrored: boolean;
  token_server: string;
}

/** Worker to page: a registry wants credentials; the answer has the same id. */
export interface AskMessage {
  type: "ask";
  id: number;
  request: CredentialRequest;
}

/** Worker to page: requests of the machine that was attached are answered from now on. */
export interface AttachedMessage {
  type: "attached";
}

/** Worker to page: "save" takes no time now. */
export interface IdentifiedMessage {
  type: "identified";
}

export interface MountedMessage {
  type: "mounted";
  image: ImageInfo;
  /** Why the saved machine cannot go on. */
  unusable?: string;
}

/** What belongs to the machine's state; nothing where there is no session. */
export interface SavedAnswer {
  type: "saved";
  server: object;
  process?: object;
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
  /** A configuration that would help, where there is one. */
  example?: string;
}

export interface ErrorMessage {
  type: "error";
  error: Failure;
}

/** What is kept of images, in bytes; not beyond this page where it is not `persistent`. */
export interface Kept {
  size: number;
  limit: number;
  objects: number;
  persistent: boolean;
}

export interface KeptAnswer {
  type: "kept";
  kept: Kept;
}

export type WorkerMessage =
  | RuntimeMessage
  | EventMessage
  | AskMessage
  | AttachedMessage
  | SavedAnswer
  | IdentifiedMessage
  | MountedMessage
  | KeptAnswer
  | ErrorMessage;
