/**
 * `<container-terminal image="...">`: a container image running in a page.
 *
 * Attributes:
 * - `image`: an image of a registry as docker names it, or the URL of an OCI image layout; one that
 *   is relative to the page starts with `./`, `../` or `/`, or ends with `/`.
 * - `mirror`: a mirror or proxy of registries that do not let pages read from them: docs/images.md.
 * - `mirror-without-credentials`: never asks for credentials on behalf of the mirror, which somebody
 *   else has chosen, and says so while the container runs.
 * - `platform`: which of an image's platforms is run, such as `linux/amd64`: docs/platforms.md.
 * - `machine`: the virtual machine that runs it, `32` or `64` by its bits; on the latter, images for
 *   `linux/386` calculate as on a real processor: docs/platforms.md.
 * - `vm`: the address of a virtual machine of others that runs it in the place of one of ours: what
 *   `c2w --external-bundle` of container2wasm makes, `out.wasm` or `out.wasm.gz`. Nothing of such a one can be
 *   kept: docs/network.md.
 * - `vm-by-link`: asks before a machine is started that is from another origin than the page, gives it no
 *   credentials, and says so while it runs, as somebody else has chosen it.
 * - `memory`: what the machine may have at most, such as `1g`; what the container writes to files takes three
 *   quarters of it at most. Without it, a quarter of the computer's memory, from 512m to 2 GiB; for
 *   `linux/386` 512m, which starts fastest there.
 * - `toc`: `unverified` reads eStargz and zstd:chunked layers lazily also where the manifest has no
 *   digest of their tables of contents.
 * - `fetch`: `read` fetches only what is read; else the rest of the image is fetched while the
 *   container is idle.
 * - `network`: what the container can reach, by the browser's requests: `none`, `all`, which has
 *   hosts of private networks and of the visitor's machine, too; else the internet: docs/network.md.
 *   `relay`: the internet, by the relay.
 * - `relay`: the address of a relay (Wisp protocol) by which it is reached, such as
 *   `wss://relay.example/`.
 * - `relay-by-link`: says while the container runs that somebody else has chosen the relay.
 * - `network-name`: a network of containers in this browser, of this page and of other tabs, which reach
 *   each other by name: docs/network.md. With `network="none"` it is all that there is.
 * - `network-name-by-link`: says while the container runs that somebody else has chosen the network.
 * - `hostname`: the container's host name, which is its name in that network.
 * - `network-proxy`: through whom the container reaches hosts that do not let pages read from them:
 *   docs/network.md.
 * - `network-proxy-without-credentials`: sends nothing there that may be secret, as somebody else has
 *   chosen it, and says so while the container runs.
 * - `preview`: where preview.html is on an origin of its own, such as `https://preview.example/`; by
 *   default beside this module, so that what a container serves acts as this page does when it is
 *   opened.
 * - `session`: a name under which the session is kept in this browser, and goes on at the next visit:
 *   docs/sessions.md.
 * - `persist`: what is kept of it: `machine`, all that runs; `files`, what the container has changed, over
 *   the image that is started; `no`, nothing. Without it, `machine`.
 * - `warm`: `no` has each container started; else one goes on at its prompt, as it was kept after an earlier visit
 *   of the image, or as `browsermount build-site --warm` has put it into the site, for the address of that
 *   state: docs/sessions.md.
 * - `autofocus`: the terminal takes the keyboard when it is there.
 *
 * Events, all of which bubble: `saved` (detail: `{size, frozen}`) when the session was kept, `session` when the
 * person has chosen another one, `started`, `exit` (detail: `{code, signal}`),
 * `failure` (detail: `{code, message, hint, details}`) and `port` (detail: `{port, listening}`) when
 * the container begins or ceases to listen at a TCP port.
 *
 * Properties `session` and `persist` are the attributes of these names.
 *
 * Methods: `fetch()` sends a request to a server in the container, and `previewAddress(port, path)`
 * returns the address of a page that shows it, for a frame or a tab. `restart()` runs the image in a fresh container, `stop()` ends it at once, `open()` and
 * `close()` do so with everything. `changes()` gives what the container has changed, `mergeLayers()` makes one of several such archives, `saveImage()` an
 * image of that, and `keepAs(name)` keeps the session from now on. `listSessions()`, `renameSession()`,
 * `deleteSession()`, `exportSession()` and `importSession()` of this module deal with what is kept.
 *
 * The element's files are found beside this module, so a page of another folder
 * or site only needs to import it.
 */

import { askCredentials } from "./page/credentials.js";
import { guestFetch } from "./page/guest-fetch.js";
import { MEMORY, memoryOf } from "./page/memory.js";
import { askPreview } from "./page/preview-prompt.js";
import { Previews } from "./page/previews.js";
import { translationNote } from "./page/platform.js";
import { ProgressView } from "./page/progress.js";
import { relayFailure } from "./page/relay.js";
import { networkNameOf, networkOf } from "./page/network-name.js";
import { missing } from "./page/requirements.js";
import { Session } from "./page/session.js";
import { StatusView } from "./page/status.js";
import { ContainerConsole } from "./page/terminal.js";

/** What few visitors need is fetched when it is. */
const keptSessions = () => import("./page/kept-sessions.js");

/** @type {typeof import("./page/kept-sessions.js").listSessions} */
export const listSessions = async () => (await keptSessions()).listSessions();
/** @type {typeof import("./page/kept-sessions.js").renameSession} */
export const renameSession = async (name, to) => (await keptSessions()).renameSession(name, to);
/** @type {typeof import("./page/kept-sessions.js").deleteSession} */
export const deleteSession = async (name) => (await keptSessions()).deleteSession(name);
/** @type {typeof import("./page/kept-sessions.js").exportSession} */
export const exportSession = async (name) => (await keptSessions()).exportSession(name);
/** @type {typeof import("./page/kept-sessions.js").importSession} */
export const importSession = async (file, name, options) =>
  (await keptSessions()).importSession(file, name, options);

/** @import { Failure, GuestRequest } from "./messages.js" */
/** @import { SessionNews } from "./page/session.js" */

const BASE = new URL("./", import.meta.url);

/** After so many milliseconds without news the person is told what is being waited for. */
const PATIENCE_MS = 20000;

/** @param {string} path */
function addStyle(path) {
  const href = new URL(path, BASE).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = href;
  document.head.append(link);
}

/**
 * @param {string} name
 * @param {string} className
 * @param {string} [text]
 */
function make(name, className, text = "") {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

/**
 * A message with a capital letter, unless it begins with an address, a name or the like.
 * @param {string} message
 */
function asSentence(message) {
  const isWord = /^[a-z]+[\s,]/.test(message);
  return isWord ? message.charAt(0).toUpperCase() + message.slice(1) : message;
}

/** @param {number} time in milliseconds since 1970 */
function dateOf(time) {
  return new Date(time).toLocaleString();
}

/** @param {Exclude<SessionNews, { kind: "saved" }>} news */
function sessionNote(news) {
  switch (news.kind) {
    case "resumed":
      return `This session goes on as it was on ${dateOf(news.saved)}.`;
    case "files":
      return `The files of this session are here as they were on ${dateOf(news.saved)}.`;
    case "unkept":
      return `This session is not kept: ${news.reason.replace(/\.$/, "")}.`;
    case "afresh": {
      const files = news.files ? `, with its files as they were on ${dateOf(news.files)}` : "";
      const aside = news.aside ? ` What was saved is the session “${news.aside}” now.` : "";
      return `The saved session cannot go on, and the image was started anew${files}: ${news.reason}.${aside}`;
    }
  }
}

/** When it is quiet for so long, the session is saved; and when so long has passed, in any case. */
const QUIET_MS = 3000;
const LONGEST_MS = 30000;

/** Says when a session is to be saved. */
class Saver {
  #save;
  #since = 0;
  #changed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {(hurry: boolean) => void} save */
  constructor(save) {
    this.#save = save;
  }

  /** Something has come or gone. */
  changed() {
    const now = performance.now();
    if (!this.#changed) this.#since = now;
    this.#changed = true;
    clearTimeout(this.#timer);
    const left = Math.max(0, this.#since + LONGEST_MS - now);
    this.#timer = setTimeout(() => this.now(), Math.min(QUIET_MS, left));
  }

  /**
   * Save what has changed.
   * @param {boolean} [hurry] the page may be gone the next moment
   */
  now(hurry = false) {
    clearTimeout(this.#timer);
    if (!this.#changed) return;
    this.#changed = false;
    this.#save(hurry);
  }
}

export class ContainerTerminal extends HTMLElement {
  static observedAttributes = [
    "image",
    "platform",
    "machine",
    "vm",
    "memory",
    "session",
    "persist",
  ];

  /** @type {Session | undefined} */
  #session;
  /** @type {ContainerConsole | undefined} */
  #console;
  /** @type {StatusView | undefined} */
  #status;
  /** By where their pages are. @type {Map<string, Previews>} */
  #previews = new Map();
  /** @type {number[]} */
  #ports = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #keptTimer;
  /** Whether attributes change that belong together. */
  #choosing = false;
  #saver = new Saver((hurry) => this.#session?.save(hurry));
  /** What is to be said of the session as soon as it runs. */
  #sessionNote = "";
  #lastNote = "";
  #goesOn = false;
  /** Why the container was started once more. */
  #coldNote = "";
  /** The machine of others that the person has said may run. */
  #allowedMachine = "";
  /** Counts what was opened and closed. */
  #turn = 0;

  connectedCallback() {
    addStyle("vendor/xterm.css");
    addStyle("container-terminal.css");
    this.screen = make("div", "bm-screen");
    this.loading = make("section", "bm-loading");
    this.bar = make("div", "bm-bar");
    this.bar.setAttribute("role", "status");
    this.bar.hidden = true;
    this.status = make("footer", "bm-status");
    this.status.hidden = true;
    this.replaceChildren(this.screen, this.bar, this.status, this.loading);
    document.addEventListener("visibilitychange", this.#hidden);
    this.open();
  }

  /** A page that is hidden may be gone the next moment. */
  #hidden = () => {
    if (document.visibilityState === "hidden") this.#saver.now(true);
  };

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.#hidden);
    this.close();
  }

  /** @param {string} _name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(_name, before, now) {
    if (this.isConnected && this.screen && before !== now && !this.#choosing) this.open();
  }

  /** @param {import("./page/platform.js").Choice} choice */
  #choose({ platform, machine }) {
    this.#choosing = true;
    this.setAttribute("platform", platform);
    this.setAttribute("machine", machine);
    this.#choosing = false;
    this.open();
  }

  get session() {
    return this.getAttribute("session") ?? "";
  }

  set session(name) {
    this.toggleAttribute("session", name !== "");
    if (name) this.setAttribute("session", name);
  }

  /** @returns {"no" | "files" | "machine"} what is kept of the session */
  get persist() {
    const value = this.getAttribute("persist");
    return value === "no" || value === "files" ? value : "machine";
  }

  set persist(value) {
    this.setAttribute("persist", value);
  }

  /**
   * What the container has changed of its image: a tar archive with whiteouts, as a layer has them
   * (OCI image specification, layer.md), without so many files that no layer can have. The container
   * stands still meanwhile. What it had kept of earlier visits is in it, too; where that cannot be merged,
   * it comes as layers that lie below.
   * @returns {Promise<{ data: Blob, leftOut: number, layers: Blob[] }>}
   * @throws {Error} it cannot be had
   */
  async changes() {
    if (!this.#session) throw new Error("the container does not run");
    const { data, leftOut } = await this.#session.changes();
    const layers = [...this.#session.layers.map((layer) => layer.data), data];
    const [one, ...others] = (await this.mergeLayers(layers)).reverse();
    return { data: one, leftOut, layers: others.reverse() };
  }

  /**
   * Make one of layers that lie over each other, whatever they lie over.
   * @param {Blob[]} layers tar archives with whiteouts, the lowest first
   * @returns {Promise<Blob[]>} one; or as they are, where that cannot be done
   */
  async mergeLayers(layers) {
    const one = layers.length > 1 && (await this.#session?.merge(layers));
    return one ? [one] : layers;
  }

  /**
   * Make an image of the container's: an OCI image layout, complete with the layers of the image that it was
   * started from.
   * @param {string} name of the image in the layout
   * @param {FileSystemDirectoryHandle | FileSystemFileHandle} [target] a folder for the layout, which may
   *   have other images; or a file for its tar archive
   * @param {(bytes: number, total: number) => void} [progress]
   * @returns {Promise<File | undefined>} the archive, where there is no target
   * @throws {Error} it cannot be made
   */
  saveImage(name, target, progress = () => {}) {
    if (!this.#session) return Promise.reject(new Error("the container does not run"));
    return this.#session.saveImage(name, target, progress);
  }

  /**
   * Keep this session under a name from now on, as the attribute `session` would have.
   * @param {string} name
   * @throws {Error} it cannot be kept under this name
   */
  async keepAs(name) {
    if (!this.#session) throw new Error("the container does not run");
    await this.#session.keepAs(name);
    this.#choosing = true;
    this.session = name;
    this.#choosing = false;
  }

  /**
   * Go on with a session that is kept, in the place of what runs here. The event `session` follows.
   * @param {{ name: string, image: string, platform: string, persist: "files" | "machine" }} session
   */
  openSession({ name, image, platform, persist }) {
    this.#choosing = true;
    // What the site has is for the image that was here.
    if (this.getAttribute("image") !== image && this.getAttribute("warm") !== "no")
      this.removeAttribute("warm");
    // What is kept is of our own machines.
    this.removeAttribute("vm");
    for (const [attribute, value] of Object.entries({ image, platform, session: name, persist }))
      this.setAttribute(attribute, value);
    this.#choosing = false;
    this.dispatchEvent(new CustomEvent("session", { bubbles: true }));
    this.open();
  }

  async #openSessions() {
    const { showSessions } = await import("./page/sessions-view.js");
    showSessions(this, () => this.#console?.focus());
  }

  /** The xterm.js terminal, when there is one. */
  get terminal() {
    return this.#console?.terminal;
  }

  /** What can be read on the terminal, scrolled-off lines included. */
  get text() {
    const buffer = this.terminal?.buffer.active;
    if (!buffer) return "";
    let text = "";
    for (let i = 0; i < buffer.length; i += 1) {
      const line = buffer.getLine(i);
      const next = buffer.getLine(i + 1);
      text += line?.translateToString(!next?.isWrapped) ?? "";
      if (!next?.isWrapped) text += "\n";
    }
    return text.trimEnd();
  }

  /**
   * Send a request to a web server in the container, as fetch() does elsewhere. Redirects are
   * not followed.
   * @param {RequestInfo | URL} input an address such as http://localhost:8000/path
   * @param {RequestInit} [init]
   * @returns {Promise<Response>} rejected with a TypeError where nothing listens at the port
   */
  fetch(input, init) {
    return guestFetch(input, init, (request, reply) => this.#askGuest(request, reply));
  }

  /** The TCP ports at which the container listens. */
  get ports() {
    return [...this.#ports];
  }

  /**
   * The address of a page that shows a server in the container, for a frame of this page or a tab that
   * it opens (without `noopener`). Unless the attribute `preview` names another origin, what is
   * shown acts with this page's rights.
   * @param {number} port
   * @param {string} [path]
   */
  previewAddress(port, path) {
    return this.#previewsNow.address(port, path);
  }

  get #previewsNow() {
    const named = this.getAttribute("preview");
    const base = named ? new URL(named, document.baseURI).href : BASE.href;
    const previews =
      this.#previews.get(base) ??
      new Previews(base, (request, reply) => this.#askGuest(request, reply));
    this.#previews.set(base, previews);
    return previews;
  }

  /** @param {GuestRequest} request @param {MessagePort} reply */
  #askGuest(request, reply) {
    if (this.#session) this.#session.askGuest(request, reply);
    else reply.postMessage({ error: "the container does not run" });
  }

  /** @param {number[]} ports */
  #showPorts(ports) {
    const before = this.#ports;
    this.#ports = ports;
    this.#status?.ports(ports);
    const tell = (/** @type {number} */ port, /** @type {boolean} */ listening) =>
      this.dispatchEvent(new CustomEvent("port", { bubbles: true, detail: { port, listening } }));
    for (const port of before) if (!ports.includes(port)) tell(port, false);
    for (const port of ports) if (!before.includes(port)) tell(port, true);
  }

  /** @param {number} port */
  #openPreview(port) {
    const address = this.previewAddress(port);
    const open = () => window.open(address, "_blank");
    if (this.#previewsNow.isOurs) askPreview(this, port, open, () => this.#console?.focus());
    else open();
  }

  /** Mount the image and run it. */
  open() {
    this.close();
    this.dataset.state = "loading";
    this.#goesOn = false;
    this.#lastNote = "";
    const vm = this.getAttribute("vm");
    if (vm) void this.#openOn(vm);
    else this.#openImage({ url: "", foreign: false });
  }

  /**
   * Run the image on a machine of others.
   * @param {string} vm as the attribute has it
   */
  async #openOn(vm) {
    const turn = this.#turn;
    const { askForeignMachine, foreignMachineOf } = await import("./page/foreign-machine.js");
    if (turn !== this.#turn) return;
    const linked = this.hasAttribute("vm-by-link");
    const { lacking, ...machine } = foreignMachineOf(vm, { base: document.baseURI, linked });
    if (lacking) {
      this.#fail(lacking);
      return;
    }
    if (machine.foreign && machine.url !== this.#allowedMachine) {
      const loading = /** @type {HTMLElement} */ (this.loading);
      /** @type {HTMLElement} */ (this.bar).hidden = true;
      /** @type {HTMLElement} */ (this.status).hidden = true;
      loading.hidden = false;
      const body = make("div", "");
      loading.replaceChildren(make("h2", "bm-title", "A machine of others"), body);
      const image = this.getAttribute("image") ?? "";
      const allowed = await askForeignMachine(body, { url: machine.url, image });
      if (turn !== this.#turn) return;
      if (!allowed) {
        const hint =
          "Without vm= in its address, this page runs the image on a machine of its own.";
        this.#fail({ code: "stopped", message: "the machine was not started", hint, details: "" });
        return;
      }
      this.#allowedMachine = machine.url;
    }
    this.#openImage(machine);
  }

  /** @param {{ url: string, foreign: boolean }} vm the machine of others, where there is one */
  #openImage(vm) {
    const image = this.getAttribute("image");
    if (!image) {
      this.#fail({
        code: "invalid-reference",
        message: "no image was given",
        hint: "Set the attribute image to an image's name or to the URL of an OCI image layout.",
        details: "",
      });
      return;
    }
    const memoryMiB = memoryOf(this.getAttribute("memory") ?? "");
    if (Number.isNaN(memoryMiB)) {
      this.#fail({
        code: "invalid-memory",
        message: `${this.getAttribute("memory")} is not an amount of memory that a machine can have`,
        hint: `Write it as 1g or 768m, from ${MEMORY.least}m to ${MEMORY.most}m.`,
        details: "",
      });
      return;
    }
    const wanted = this.getAttribute("network") === "relay";
    const foreign = this.hasAttribute("relay-by-link");
    const relay = this.getAttribute("relay") ?? "";
    const hostname = this.getAttribute("hostname") ?? "";
    const linked = this.hasAttribute("network-name-by-link");
    const network = this.getAttribute("network-name") ?? "";
    const names = networkNameOf({ network, hostname, foreign: linked });
    const lacking = missing(window) ?? relayFailure(relay, { wanted, foreign }) ?? names.lacking;
    if (lacking) {
      this.#fail(lacking);
      return;
    }
    const view = this.#showProgress();
    const screen = /** @type {HTMLElement} */ (this.screen);
    const terminal = new ContainerConsole(screen, {
      // The terminal takes its first size before there is a session.
      onInput: (data) => {
        this.#session?.input(data);
        this.#saver.changed();
      },
      onResize: (cols, rows) => this.#session?.resize(cols, rows),
      onShown: (bytes) => this.#session?.shown(bytes),
    });
    const status = new StatusView(
      /** @type {HTMLElement} */ (this.status),
      () => this.#session?.kept(true),
      (choice) => this.#choose(choice),
      () => this.restart(),
      () => this.stop(),
      (port) => this.#openPreview(port),
      () => void this.#openSessions(),
    );
    this.#status = status;
    const mirror = this.getAttribute("mirror") ?? "";
    const lent = this.hasAttribute("mirror-without-credentials");
    if (mirror && lent) status.foreignMirror(mirror);
    if (relay && foreign) status.foreignRelay(relay);
    const proxy = this.getAttribute("network-proxy") ?? "";
    const foreignProxy = this.hasAttribute("network-proxy-without-credentials");
    if (proxy && foreignProxy) status.foreignProxy(proxy);
    if (vm.foreign) status.foreignMachine(vm.url);
    const session = new Session(
      {
        image,
        mirror,
        platform: this.getAttribute("platform") ?? "",
        vm: vm.url,
        memoryMiB,
        machine: this.getAttribute("machine") ?? "",
        allowUnverified: this.getAttribute("toc") === "unverified",
        fill: this.getAttribute("fetch") !== "read",
        network: networkOf(this.getAttribute("network"), names.networkName !== undefined),
        networkName: names.networkName,
        hostname,
        relay,
        proxies: { rules: proxy, foreign: foreignProxy },
        session: this.session,
        persist: this.persist,
        warm: this.getAttribute("warm") ?? "",
      },
      {
        credentials: async (request) => {
          if ((request.mirrored && lent) || vm.foreign) return null;
          clearTimeout(this.#patience);
          // A running container may need them, too: when a password has been changed.
          const loading = this.dataset.state === "loading";
          const parent = loading ? /** @type {HTMLElement} */ (this.loading) : this;
          const answer = await askCredentials(parent, request);
          if (!loading) this.#console?.focus();
          return answer;
        },
        runtime: (message) => this.#news(() => this.view?.runtime(message)),
        event: (event) => {
          if (event.kind === "neighbours") status.neighbours(event, linked);
          else status.event(event);
          if (event.kind === "layer" && this.dataset.state !== "loading") this.#askKeptSoon();
          this.#news(() => this.view?.event(event));
        },
        kept: (kept) => status.kept(kept),
        ports: (ports) => this.#showPorts(ports),
        machine: (stage) => {
          this.#news(() => this.view?.machine(stage));
          if (stage.stage === "full") status.full(true);
          if (stage.stage === "started") {
            status.full(false);
            this.#begin();
            const { platform = "" } = session;
            const note = !vm.url && platform && translationNote(platform);
            // A session that goes on shows it already.
            for (const line of [this.#coldNote, this.#goesOn ? "" : note])
              if (line) terminal.terminal.writeln(`\x1b[2m${line}\x1b[0m`);
            this.#coldNote = "";
          }
        },
        mounted: (info) => {
          this.info = info;
          const { machine } = session.request;
          const others = vm.url ? [] : info.platforms;
          status.platforms({ platform: info.platform, machine }, others);
        },
        output: (data) => {
          terminal.write(data);
          this.#saver.changed();
        },
        session: (news) => this.#tellSession(news),
        restore: (text, size) => terminal.restore(text, size),
        serialize: () => terminal.serialize(),
        replay: (data) => void terminal.replay(data),
        cold: (reason) => this.#startCold(reason),
        exit: (code, signal) => this.#end(code, signal),
        error: (failure) => this.#fail(failure),
      },
      () => terminal.size,
    );
    this.view = view;
    this.#console = terminal;
    this.#session = session;
    this.#news(() => {});
    session.open();
  }

  /**
   * Run the image once more, in a fresh container.
   * @param {boolean} [forget] files that are kept, too
   */
  restart(forget) {
    if (!this.#session) {
      this.open();
      return;
    }
    this.#showRestart();
    this.view?.runtimeLine.show("ready", 1);
    this.view?.imageLine.show("mounted", 1);
    this.#session.restart(forget);
  }

  #showRestart() {
    this.dataset.state = "loading";
    this.#showPorts([]);
    this.#goesOn = false;
    this.#lastNote = "";
    this.#console?.reset();
    this.view = this.#showProgress();
    this.#news(() => {});
  }

  /** What was shown is not the image's, or cannot go on. @param {string} reason */
  #startCold(reason) {
    this.#showRestart();
    this.#coldNote = `What was kept of this image cannot go on, and it was started anew: ${reason}.`;
  }

  /**
   * End the container at once, or its start, whatever it is doing: the process gets no time to end by
   * itself, and what it has written is gone.
   */
  stop() {
    if (this.dataset.state === "loading") {
      this.#fail({ code: "stopped", message: "the start was stopped", hint: "", details: "" });
    } else if (this.dataset.state === "running") {
      this.#session?.stop();
      this.#end(137, 9, "The container was stopped.");
    }
  }

  /** End everything. */
  close() {
    this.#turn += 1;
    clearTimeout(this.#patience);
    this.#session?.close();
    this.#session = undefined;
    this.#console?.dispose();
    this.#console = undefined;
    this.screen?.replaceChildren();
    this.querySelector(".bm-credentials")?.remove();
    for (const previews of this.#previews.values()) previews.close();
    this.#previews.clear();
  }

  #showProgress() {
    const loading = /** @type {HTMLElement} */ (this.loading);
    const bar = /** @type {HTMLElement} */ (this.bar);
    bar.hidden = true;
    /** @type {HTMLElement} */ (this.status).hidden = true;
    loading.hidden = false;
    loading.replaceChildren(make("h2", "bm-title", "Starting the container"));
    const body = make("div", "bm-body");
    const stop = /** @type {HTMLButtonElement} */ (make("button", "bm-button", "Stop"));
    stop.type = "button";
    stop.addEventListener("click", () => this.stop());
    loading.append(body, stop);
    return new ProgressView(body);
  }

  /**
   * Show some news, and wait for the next.
   * @param {() => void} show
   */
  #news(show) {
    show();
    clearTimeout(this.#patience);
    if (this.dataset.state !== "loading") return;
    this.#patience = setTimeout(() => {
      if (this.view) this.view.say(this.view.underWay);
    }, PATIENCE_MS);
  }

  /** Bring the amount that is kept up to date, at most every few seconds. */
  #askKeptSoon() {
    if (this.#keptTimer !== undefined) return;
    this.#keptTimer = setTimeout(() => {
      this.#keptTimer = undefined;
      this.#session?.kept();
    }, 3000);
  }

  #begin() {
    clearTimeout(this.#patience);
    this.dataset.state = "running";
    /** @type {HTMLElement} */ (this.loading).hidden = true;
    /** @type {HTMLElement} */ (this.status).hidden = false;
    if (this.#status) this.#status.stop.hidden = false;
    this.#session?.kept();
    this.#console?.fit();
    if (this.hasAttribute("autofocus")) this.#console?.focus();
    this.dispatchEvent(new CustomEvent("started", { bubbles: true }));
    this.#showSessionNote();
  }

  /** @param {import("./page/session.js").SessionNews} news */
  #tellSession(news) {
    if (news.kind === "saved") {
      this.dispatchEvent(new CustomEvent("saved", { bubbles: true, detail: news }));
      return;
    }
    const note = sessionNote(news);
    this.#goesOn = news.kind === "resumed";
    // What stays as it is need not be said again and again.
    if (note === this.#lastNote) return;
    this.#lastNote = this.#sessionNote = note;
    if (this.dataset.state === "running") this.#showSessionNote();
  }

  #showSessionNote() {
    if (!this.#sessionNote) return;
    this.#showBar(
      this.#sessionNote,
      "Start afresh",
      () => {
        this.#sessionNote = "";
        this.restart(true);
      },
      false,
    );
    this.#sessionNote = "";
  }

  /** @param {number} code @param {number} [signal] @param {string} [text] */
  #end(code, signal, text) {
    if (this.dataset.state === "loading") this.#begin();
    this.dataset.state = "exited";
    if (this.#status) this.#status.stop.hidden = true;
    this.#showPorts([]);
    this.#console?.stopInput();
    const how = signal === undefined ? "" : ` (ended by signal ${signal})`;
    const message = text ?? `The process has ended with exit code ${code}${how}.`;
    this.#showBar(message, "Start again", () => this.restart());
    this.dispatchEvent(new CustomEvent("exit", { bubbles: true, detail: { code, signal } }));
  }

  /**
   * @param {string} text
   * @param {string} label
   * @param {() => void} action
   * @param {boolean} [focus]
   */
  #showBar(text, label, action, focus = true) {
    const bar = /** @type {HTMLElement} */ (this.bar);
    const button = /** @type {HTMLButtonElement} */ (make("button", "bm-button", label));
    button.type = "button";
    button.addEventListener("click", action);
    bar.replaceChildren(make("span", "", text), button);
    bar.hidden = false;
    if (focus) button.focus({ preventScroll: true });
  }

  /** @param {Failure} failure */
  #fail(failure) {
    clearTimeout(this.#patience);
    this.dataset.state = "failed";
    this.#session?.close();
    this.#session = undefined;
    const loading = /** @type {HTMLElement} */ (this.loading);
    const alert = make("div", "bm-body");
    alert.setAttribute("role", "alert");
    const message = asSentence(failure.message);
    alert.append(make("p", "bm-message", message.endsWith(".") ? message : `${message}.`));
    if (failure.hint) alert.append(make("p", "bm-hint", failure.hint));
    if (failure.example) alert.append(make("pre", "bm-example", failure.example));
    if (failure.details) {
      const details = document.createElement("details");
      details.append(make("summary", "", "Details"), make("pre", "bm-details", failure.details));
      alert.append(details);
    }
    const button = /** @type {HTMLButtonElement} */ (make("button", "bm-button", "Try again"));
    button.type = "button";
    button.addEventListener("click", () => this.open());
    alert.append(button);
    loading.replaceChildren(make("h2", "bm-title bm-failed", "The container cannot run"), alert);
    loading.hidden = false;
    this.dispatchEvent(new CustomEvent("failure", { bubbles: true, detail: failure }));
  }
}

customElements.define("container-terminal", ContainerTerminal);
