/**
 * A machine of others, such as container2wasm's, in the place of one of ours: its worker (wasi/worker.js),
 * and what that cannot take by itself where it never returns to its events.
 */

import { packMail } from "../wasi/mail.js";
import { suspends } from "../wasi/waiting.js";
import { Helper, workerUrl } from "./workers.js";

/** @import { Kind } from "../wasi/mail.js" */
/** @import { WasiWorkerMessage } from "../wasi/messages.js" */
/** @import * as VM from "../vm/messages.js" */

const FOLDER = new URL("../wasi/", import.meta.url);

/** As container2wasm's imagemounter starts its machines: docs/network.md. */
const ARGUMENTS = ["arg0", "--net=socket=listenfd=4"];
const BUNDLE = "--external-bundle=9p=192.168.127.252";

/** An address for the card: one that nobody has been given (IEEE 802, the second bit of the first octet). */
function newMac() {
  const octets = crypto.getRandomValues(new Uint8Array(5));
  return ["02", ...Array.from(octets, (octet) => octet.toString(16).padStart(2, "0"))].join(":");
}

/** What waits for a worker that asks for it when it has time. */
class Mailbox {
  /** By which the worker's requests name it. */
  id = crypto.randomUUID();
  /** @type {{ kind: Kind, data: Uint8Array }[]} */
  #items = [];
  /** @type {{ reply: MessagePort, timer: ReturnType<typeof setTimeout> } | undefined} */
  #asked;
  #listen = (/** @type {MessageEvent} */ { data, ports: [reply] }) => {
    if (data?.type === "browsermount-mail" && data.id === this.id && reply)
      this.#ask(reply, Number(data.wait));
  };

  constructor() {
    navigator.serviceWorker.addEventListener("message", this.#listen);
    navigator.serviceWorker.startMessages();
  }

  /** @param {Kind} kind @param {Uint8Array} data */
  put(kind, data) {
    this.#items.push({ kind, data });
    if (this.#asked) this.#answer();
  }

  close() {
    navigator.serviceWorker.removeEventListener("message", this.#listen);
    clearTimeout(this.#asked?.timer);
    this.#asked = undefined;
  }

  /** @param {MessagePort} reply @param {number} wait in milliseconds */
  #ask(reply, wait) {
    // A request that was given up has no reader any more.
    clearTimeout(this.#asked?.timer);
    this.#asked = { reply, timer: setTimeout(() => this.#answer(), wait) };
    if (this.#items.length > 0 || wait === 0) this.#answer();
  }

  #answer() {
    if (!this.#asked) return;
    const { reply, timer } = this.#asked;
    this.#asked = undefined;
    clearTimeout(timer);
    const packed = packMail(this.#items.splice(0));
    reply.postMessage(packed.buffer, [packed.buffer]);
  }
}

/** Starts the service worker, where it is not there yet. */
async function startServiceWorker() {
  const registration = await navigator.serviceWorker.register(workerUrl("wasi/service-worker.js"), {
    scope: FOLDER.href,
  });
  const worker = registration.active ?? registration.waiting ?? registration.installing;
  while (worker && worker.state !== "activated") {
    if (worker.state === "redundant") throw new Error("it cannot be started");
    await new Promise((resolve) => worker.addEventListener("statechange", resolve, { once: true }));
  }
}

/** What the session takes for the worker of one of our machines: see Helper in workers.js. */
class WasiMachine {
  path = "wasi/worker.js";
  #url;
  #args;
  /** @type {Helper | undefined} */
  #worker;
  /** @type {Mailbox | undefined} */
  #mailbox;
  #cable;
  #ended = false;
  #begun = false;
  /** @type {((message: VM.WorkerMessage | WasiWorkerMessage) => void) | undefined} */
  #tell;
  /** @type {(details: string) => void} */
  #lost = () => {};

  /**
   * @param {string} url of its code
   * @param {string[]} args
   * @param {MessagePort} cable
   */
  constructor(url, args, cable) {
    this.#url = url;
    this.#args = args;
    this.#cable = cable;
    cable.onmessage = ({ data }) => this.#receive(data);
  }

  /**
   * @param {(data: any) => void} message
   * @param {(details: string) => void} failure
   */
  listen(message, failure) {
    this.#tell = message;
    this.#lost = failure;
    void this.#boot();
  }

  async #boot() {
    const waits = !suspends();
    if (waits) {
      try {
        await startServiceWorker();
      } catch (error) {
        this.#fail(error);
        return;
      }
    }
    if (this.#ended) return;
    if (waits) this.#mailbox = new Mailbox();
    const mail = this.#mailbox && new URL(`mail?id=${this.#mailbox.id}`, FOLDER).href;
    this.#worker = new Helper(this.path);
    this.#worker.listen((data) => this.#take(data), this.#lost);
    this.#worker.post({ type: "boot", url: this.#url, args: this.#args, mail });
  }

  /** @param {unknown} error */
  #fail(error) {
    this.#tell?.({
      type: "failure",
      failure: {
        code: "browser",
        message:
          "this browser has no way in which a machine of others could wait: neither JavaScript Promise Integration " +
          "nor, for this page, service workers",
        hint:
          "Use a browser that has one of them, such as Chromium 137 or newer, and no private window; the page " +
          "has to come over https or from localhost.",
        details: String(error),
      },
    });
  }

  /** @param {WasiWorkerMessage} message */
  #take(message) {
    if (message.type === "frames")
      this.#cable.postMessage(
        message.frames,
        message.frames.map(({ buffer }) => buffer),
      );
    else this.#tell?.(message);
  }

  /** @param {Uint8Array<ArrayBuffer>[]} frames */
  #receive(frames) {
    if (this.#mailbox) for (const frame of frames) this.#mailbox.put("frame", frame);
    else
      this.#worker?.post(
        { type: "frames", frames },
        frames.map(({ buffer }) => buffer),
      );
  }

  /** @param {any} message one of our machines' ones: what such a machine has not is left out */
  post(message) {
    const { type } = message;
    if (type === "start") {
      this.#begun = true;
      this.#worker?.post({ type });
    } else if (type === "input" || type === "acknowledge") {
      if (!this.#begun || !this.#mailbox) this.#worker?.post(message);
      else if (type === "input") this.#mailbox.put("input", message.data);
      else this.#mailbox.put("message", new TextEncoder().encode(JSON.stringify(message)));
    }
  }

  end() {
    this.#ended = true;
    this.#tell = undefined;
    this.#worker?.end();
    this.#mailbox?.close();
    this.#cable.close();
  }
}

/**
 * Start a machine of others: as startMachine() in workers.js.
 * @param {string} url of its code
 */
export function startWasiMachine(url) {
  const { port1, port2 } = new MessageChannel();
  // It asks for its files through its card.
  const files = new MessageChannel();
  const args = [...ARGUMENTS, "--mac", newMac(), BUNDLE];
  const machine = new WasiMachine(url, args, port2);
  return { machine, port: files.port1, card: port1 };
}
