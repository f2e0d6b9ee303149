/**
 * How a program in WebAssembly waits, whose calls are to return only when something has come.
 *
 * - Where the browser can suspend a program (JavaScript Promise Integration), it is: the worker's events
 *   have their turn meanwhile.
 * - Else the worker itself waits, for the answer to a synchronous request of its own, which the service
 *   worker of this folder takes. With the answer comes what the page has for the program meanwhile
 *   (mail.js), as no event ever reaches this worker.
 *
 * What a program calls is written once for both, as a generator that yields for how many milliseconds it
 * waits at most. To wait 0 milliseconds is to have a look at what has come.
 */

import { unpackMail } from "./mail.js";

/** @import { Kind } from "./mail.js" */

/** @typedef {(...args: any[]) => Generator<number, number, void>} Call */

/** A program that does not wait has a look only so often: each costs more than a call does. */
const LOOK_MS = 8;
/** And no more than such a part of its time is spent on that. */
const LOOK_SHARE = 1 / 5;

/** Browsers end a service worker that is at one request for minutes. */
const LONGEST_MS = 20_000;
/** After a request that has failed: the service worker may just have been replaced. */
const RETRY_MS = 100;
const MAX_FAILURES = 50;

/** Whether the browser can suspend a program. */
export function suspends() {
  return "Suspending" in WebAssembly;
}

/** Says when a program that does not wait is to have a look. */
class Looks {
  #next = 0;

  get due() {
    return performance.now() >= this.#next;
  }

  /** @param {number} took */
  had(took) {
    this.#next = performance.now() + Math.max(LOOK_MS, took / LOOK_SHARE);
  }
}

/** The program is suspended. */
export class Suspension {
  #looks = new Looks();
  /** @type {(() => void) | undefined} */
  #wake;
  #turn = new MessageChannel();

  get due() {
    return this.#looks.due;
  }

  /** Something has come. */
  arrived() {
    this.#wake?.();
  }

  /** @param {number} milliseconds */
  async #wait(milliseconds) {
    if (milliseconds <= 0) {
      await new Promise((resolve) => {
        this.#turn.port1.onmessage = resolve;
        this.#turn.port2.postMessage(undefined);
      });
    } else {
      /** @type {ReturnType<typeof setTimeout> | undefined} */
      let timer;
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined);
        if (milliseconds < 2 ** 31) timer = setTimeout(resolve, milliseconds);
      });
      clearTimeout(timer);
      this.#wake = undefined;
    }
    this.#looks.had(0);
  }

  /**
   * What WebAssembly imports for a call.
   * @param {Call} call
   */
  importOf(call) {
    // Declarations do not have it yet.
    const { Suspending } = /** @type {any} */ (WebAssembly);
    return new Suspending((/** @type {any[]} */ ...args) => {
      const run = call(...args);
      const { done, value } = run.next();
      return done ? value : this.#finish(run, value);
    });
  }

  /**
   * @param {ReturnType<Call>} run
   * @param {number} milliseconds
   */
  async #finish(run, milliseconds) {
    for (;;) {
      await this.#wait(milliseconds);
      const { done, value } = run.next();
      if (done) return value;
      milliseconds = value;
    }
  }

  /**
   * Run a program to its end.
   * @param {() => void} start what it exports
   * @returns {Promise<void>}
   */
  run(start) {
    return /** @type {any} */ (WebAssembly).promising(start)();
  }
}

/** The worker waits. */
export class Letterbox {
  #looks = new Looks();
  #url;
  #deliver;

  /**
   * @param {string} url where the service worker takes requests for this program
   * @param {(kind: Kind, data: Uint8Array) => void} deliver takes what has come
   */
  constructor(url, deliver) {
    this.#url = url;
    this.#deliver = deliver;
  }

  get due() {
    return this.#looks.due;
  }

  /** Nothing comes but by wait(). */
  arrived() {}

  /** @param {number} milliseconds */
  #wait(milliseconds) {
    const began = performance.now();
    const most = Math.min(Math.max(0, Math.ceil(milliseconds)), LONGEST_MS);
    for (let failures = 0; ; failures += 1) {
      const mail = this.#ask(most);
      if (mail) {
        for (const { kind, data } of unpackMail(mail)) this.#deliver(kind, data);
        break;
      }
      if (failures === MAX_FAILURES) throw new Error("the page's service worker does not answer");
      const until = performance.now() + RETRY_MS;
      while (performance.now() < until);
    }
    this.#looks.had(milliseconds > 0 ? 0 : performance.now() - began);
  }

  /** @param {number} milliseconds @returns {ArrayBuffer | undefined} */
  #ask(milliseconds) {
    const request = new XMLHttpRequest();
    request.open("POST", `${this.#url}&wait=${milliseconds}`, false);
    request.responseType = "arraybuffer";
    try {
      request.send();
    } catch {
      return undefined;
    }
    return request.status === 200 ? request.response : undefined;
  }

  /**
   * What WebAssembly imports for a call.
   * @param {Call} call
   */
  importOf(call) {
    return (/** @type {any[]} */ ...args) => {
      const run = call(...args);
      for (;;) {
        const { done, value } = run.next();
        if (done) return value;
        this.#wait(value);
      }
    };
  }

  /**
   * Run a program to its end.
   * @param {() => void} start what it exports
   * @returns {Promise<void>}
   */
  async run(start) {
    start();
  }
}
