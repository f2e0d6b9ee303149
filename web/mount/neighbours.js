/**
 * Containers of this browser that are in one network, in whatever tabs: each has a name that a lock keeps
 * for it, which tells who is there, and, when it is let go, that it is gone, however a tab has ended. What
 * two of them say to each other goes through a channel of their own.
 *
 * What is on these channels is said by pages of this origin alone, but those may be of another version, or
 * show what a container serves: what comes is checked.
 */

/** @import { NetworkName } from "../messages.js" */

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const ID = /^[0-9a-f-]{36}$/;

/** A container that has just ended, as its page is loaded again, may still have its name for a moment. */
const CLAIM_MS = 1000;

/** Messages that wait until somebody takes them; the other side sends no more by itself. */
const MAX_EARLY = 4096;

/** One end of what joins two containers. */
export class Link {
  #channel;
  #gone = new AbortController();
  /** @type {Uint8Array[]} */
  #early = [];
  #over = false;
  /** @type {((message: Uint8Array) => void) | undefined} */
  #receive;
  #lost = () => {};
  /** @type {(ready: boolean) => void} */
  #settle = () => {};

  /**
   * @param {string} channel its name
   * @param {string} peer the name of the lock that the other side has
   */
  constructor(channel, peer) {
    /** Whether the other side listens, or is gone. @type {Promise<boolean>} */
    this.ready = new Promise((resolve) => (this.#settle = resolve));
    this.#channel = new BroadcastChannel(channel);
    this.#channel.onmessage = ({ data }) => this.#take(data);
    // It is had as soon as the other side has let it go.
    navigator.locks
      .request(peer, { mode: "shared", signal: this.#gone.signal }, () => this.#end())
      .catch(() => {});
  }

  /** The other side may send. */
  accept() {
    this.#channel.postMessage("ready");
  }

  /**
   * @param {(message: Uint8Array) => void} receive
   * @param {() => void} lost is called once, unless close() is
   */
  listen(receive, lost) {
    this.#receive = receive;
    this.#lost = lost;
    for (const message of this.#early.splice(0)) receive(message);
    if (this.#over) lost();
  }

  /** @param {Uint8Array} message */
  send(message) {
    if (!this.#over) this.#channel.postMessage(message);
  }

  /** End it, for the other side, too. */
  close() {
    this.#lost = () => {};
    if (!this.#over) this.#channel.postMessage("over");
    this.#end();
  }

  /** @param {unknown} data */
  #take(data) {
    if (data === "ready") this.#settle(true);
    else if (data === "over") this.#end();
    else if (!(data instanceof Uint8Array)) this.close();
    else if (this.#receive) this.#receive(data);
    else if (this.#early.push(data) > MAX_EARLY) this.close();
  }

  #end() {
    if (this.#over) return;
    this.#over = true;
    this.#early = [];
    this.#channel.close();
    this.#gone.abort();
    this.#settle(false);
    this.#lost();
  }
}

/** A container's place in a network. */
export class Neighbourhood {
  #place;
  #inbox;
  /** @type {(() => void)[]} */
  #releases = [];

  /**
   * @param {NetworkName} wanted
   * @param {string} name the one that it has
   * @param {(() => void)[]} releases
   */
  constructor(wanted, name, releases) {
    this.network = wanted.network;
    this.name = name;
    this.#place = placeOf(wanted);
    this.#releases = releases;
    this.#inbox = new BroadcastChannel(`${this.#place}${name}`);
  }

  /**
   * Joins a network. Where another container has the name already, it gets one that nobody has.
   * @param {NetworkName} wanted
   * @param {(name: string, link: Link) => void} meet takes the neighbours that look for this one
   * @returns {Promise<Neighbourhood>}
   * @throws {Error} this page cannot; the message says why
   */
  static async join(wanted, meet) {
    if (!navigator.locks || !globalThis.BroadcastChannel)
      throw new Error("the browser joins containers of pages alone that came by HTTPS");
    const place = placeOf(wanted);
    let name = wanted.name || chance();
    let claim = await take(`${place}${name}`, CLAIM_MS);
    while (!claim) {
      name = chance();
      claim = await take(`${place}${name}`, CLAIM_MS);
    }
    const joined = new Neighbourhood(wanted, name, [claim]);
    joined.#inbox.onmessage = ({ data }) => joined.#answer(data, meet);
    // Now it can be found: who finds it, it hears.
    const here = await take(`${place}${name}/here`);
    if (here) joined.#releases.push(here);
    return joined;
  }

  /**
   * Whether there is a container of this name now.
   * @param {string} name
   */
  async find(name) {
    const { held = [] } = await navigator.locks.query();
    const wanted = `${this.#place}${name}/here`;
    // Who waits for its end may have the lock for a moment, too.
    return held.some((lock) => lock.name === wanted && lock.mode === "exclusive");
  }

  /**
   * @param {string} name
   * @returns {Promise<Link>}
   * @throws {Error} there is none
   */
  async dial(name) {
    const id = crypto.randomUUID();
    const link = new Link(`${this.#place}${name}/${id}`, `${this.#place}${name}/here`);
    const inbox = new BroadcastChannel(`${this.#place}${name}`);
    inbox.postMessage({ from: this.name, id });
    const ready = await link.ready;
    inbox.close();
    if (!ready) throw new Error(`${name} is not in the network`);
    return link;
  }

  /** Leave the network: for the others, this container is gone. */
  leave() {
    this.#inbox.close();
    for (const release of this.#releases) release();
  }

  /**
   * @param {any} data
   * @param {(name: string, link: Link) => void} meet
   */
  #answer(data, meet) {
    const { from, id } = data ?? {};
    if (typeof from !== "string" || !LABEL.test(from)) return;
    if (typeof id !== "string" || !ID.test(id)) return;
    const link = new Link(`${this.#place}${this.name}/${id}`, `${this.#place}${from}/here`);
    meet(from, link);
    link.accept();
  }
}

/**
 * Networks that links name are others than those that owners of pages name: a link joins nobody to these.
 * @param {NetworkName} wanted
 */
function placeOf({ network, foreign }) {
  return `browsermount-network/${foreign ? "link" : "page"}/${network}/`;
}

/** A name for one that has none. */
function chance() {
  return `c${crypto.randomUUID().slice(0, 12).replace("-", "")}`;
}

/**
 * Takes a lock, until the function is called that comes back, or the worker has ended.
 * @param {string} name
 * @param {number} [patience] in milliseconds
 * @returns {Promise<(() => void) | undefined>} undefined where somebody else has it for longer
 */
function take(name, patience) {
  const signal = patience === undefined ? undefined : AbortSignal.timeout(patience);
  return new Promise((resolve) => {
    navigator.locks
      .request(name, { signal }, () => new Promise((done) => resolve(() => done(undefined))))
      .catch(() => resolve(undefined));
  });
}
