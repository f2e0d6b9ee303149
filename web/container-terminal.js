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
 * - `toc`: `unverified` reads eStargz and zstd:chunked layers lazily also where the manifest has no
 *   digest of their tables of contents.
 * - `fetch`: `read` fetches only what is read; else the rest of the image is fetched while the
 *   container is idle.
 * - `network`: what the container can reach, by the browser's requests: `none`, `all`, which has
 *   hosts of private networks and of the visitor's machine, too; else the internet: docs/network.md.
 * - `session`: a name under which the session is kept in this browser, and goes on at the next visit:
 *   docs/sessions.md.
 * - `autofocus`: the terminal takes the keyboard when it is there.
 *
 * Events, all of which bubble: `started`, `exit` (detail: `{code, signal}`) and
 * `failure` (detail: `{code, message, hint, details}`).
 *
 * Methods: `restart()` runs the image in a fresh container, `stop()` ends it at once, `open()` and
 * `close()` do so with everything.
 *
 * The element's files are found beside this module, so a page of another folder
 * or site only needs to import it.
 */

import { askCredentials } from "./credentials.js";
import { guestFetch } from "./guest-fetch.js";
import { translationNote } from "./platform.js";
import { ProgressView } from "./progress.js";
import { missing } from "./requirements.js";
import { Session } from "./session.js";
import { StatusView } from "./status.js";
import { ContainerConsole } from "./terminal.js";

/** @import { Failure } from "./messages.js" */

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

/** @param {string | null} value of the attribute */
function networkOf(value) {
  return value === "none" || value === "all" ? value : "public";
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

  /** @param {() => void} save */
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

  /** Save what has changed. */
  now() {
    clearTimeout(this.#timer);
    if (!this.#changed) return;
    this.#changed = false;
    this.#save();
  }
}

export class ContainerTerminal extends HTMLElement {
  static observedAttributes = ["image", "platform", "session"];

  /** @type {Session | undefined} */
  #session;
  /** @type {ContainerConsole | undefined} */
  #console;
  /** @type {StatusView | undefined} */
  #status;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #keptTimer;
  #saver = new Saver(() => this.#session?.save());
  /** What is to be said of the session as soon as it runs. */
  #sessionNote = "";
  #lastNote = "";
  #goesOn = false;

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
    if (document.visibilityState === "hidden") this.#saver.now();
  };

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.#hidden);
    this.close();
  }

  /** @param {string} _name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(_name, before, now) {
    if (this.isConnected && this.screen && before !== now) this.open();
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
    return guestFetch(input, init, (request, reply) => {
      if (this.#session) this.#session.askGuest(request, reply);
      else reply.postMessage({ error: "the container does not run" });
    });
  }

  /** Mount the image and run it. */
  open() {
    this.close();
    this.dataset.state = "loading";
    this.#goesOn = false;
    this.#lastNote = "";
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
    const lacking = missing(window);
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
      (platform) => this.setAttribute("platform", platform),
      () => this.restart(),
      () => this.stop(),
    );
    this.#status = status;
    const mirror = this.getAttribute("mirror") ?? "";
    const foreign = this.hasAttribute("mirror-without-credentials");
    if (mirror && foreign) status.foreignMirror(mirror);
    const session = new Session(
      {
        image,
        mirror,
        platform: this.getAttribute("platform") ?? "",
        allowUnverified: this.getAttribute("toc") === "unverified",
        fill: this.getAttribute("fetch") !== "read",
        network: networkOf(this.getAttribute("network")),
        session: this.getAttribute("session") ?? "",
      },
      {
        credentials: async (request) => {
          if (request.mirrored && foreign) return null;
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
          status.event(event);
          if (event.kind === "layer" && this.dataset.state !== "loading") this.#askKeptSoon();
          this.#news(() => this.view?.event(event));
        },
        kept: (kept) => status.kept(kept),
        machine: (stage) => {
          this.#news(() => this.view?.machine(stage));
          if (stage.stage === "started") {
            this.#begin();
            const note = this.info && translationNote(this.info.platform);
            // A session that goes on shows it already.
            if (note && !this.#goesOn) terminal.terminal.writeln(`\x1b[2m${note}\x1b[0m`);
          }
        },
        mounted: (info) => {
          this.info = info;
          status.platforms(info.platform, info.platforms);
        },
        output: (data) => {
          terminal.write(data);
          this.#saver.changed();
        },
        session: (news) => this.#tellSession(news),
        restore: (text, size) => terminal.restore(text, size),
        serialize: () => terminal.serialize(),
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

  /** Run the image once more, in a fresh container. */
  restart() {
    if (!this.#session) {
      this.open();
      return;
    }
    this.dataset.state = "loading";
    this.#goesOn = false;
    this.#lastNote = "";
    this.#console?.reset();
    this.view = this.#showProgress();
    this.view.runtimeLine.show("ready", 1);
    this.view.imageLine.show("mounted", 1);
    this.#news(() => {});
    this.#session.restart();
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
    clearTimeout(this.#patience);
    this.#session?.close();
    this.#session = undefined;
    this.#console?.dispose();
    this.#console = undefined;
    this.screen?.replaceChildren();
    this.querySelector(".bm-credentials")?.remove();
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
      this.view?.say(
        "Nothing has come for a while: the network may be slow. " +
          "You can go on waiting, or reload the page.",
      );
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

  /** @param {import("./session.js").SessionNews} news */
  #tellSession(news) {
    if (news.kind === "saved") {
      this.dispatchEvent(new CustomEvent("saved", { bubbles: true, detail: news }));
      return;
    }
    const notes = {
      resumed: () =>
        `This session goes on as it was on ${new Date(/** @type {any} */ (news).saved).toLocaleString()}.`,
      afresh: () =>
        `The saved session cannot go on, and the image was started anew: ${/** @type {any} */ (news).reason}.`,
      unkept: () => `This session is not kept: ${/** @type {any} */ (news).reason}.`,
    };
    const note = notes[news.kind]();
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
        this.restart();
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
