/**
 * `<container-terminal image="...">`: a container image running in a page.
 *
 * Attributes:
 * - `image`: an image of a registry as docker names it, or the URL of an OCI image layout; one that
 *   is relative to the page starts with `./`, `../` or `/`, or ends with `/`.
 * - `mirror`: a mirror or proxy of registries that do not let pages read from them: docs/images.md.
 * - `mirror-without-credentials`: never asks for credentials on behalf of the mirror, which somebody
 *   else has chosen.
 * - `platform`: which of an image's platforms is run, such as `linux/amd64`: docs/platforms.md.
 * - `toc`: `unverified` reads eStargz and zstd:chunked layers lazily also where the manifest has no
 *   digest of their tables of contents.
 * - `fetch`: `read` fetches only what is read; else the rest of the image is fetched while the
 *   container is idle.
 * - `autofocus`: the terminal takes the keyboard when it is there.
 *
 * Events, all of which bubble: `started`, `exit` (detail: `{code, signal}`) and
 * `failure` (detail: `{code, message, hint, details}`).
 *
 * The element's files are found beside this module, so a page of another folder
 * or site only needs to import it.
 */

import { askCredentials } from "./credentials.js";
import { translationNote } from "./platform.js";
import { ProgressView } from "./progress.js";
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

export class ContainerTerminal extends HTMLElement {
  static observedAttributes = ["image", "platform"];

  /** @type {Session | undefined} */
  #session;
  /** @type {ContainerConsole | undefined} */
  #console;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #keptTimer;

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
    this.open();
  }

  disconnectedCallback() {
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

  /** Mount the image and run it. */
  open() {
    this.close();
    this.dataset.state = "loading";
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
    const view = this.#showProgress();
    const screen = /** @type {HTMLElement} */ (this.screen);
    const terminal = new ContainerConsole(screen, {
      // The terminal takes its first size before there is a session.
      onInput: (data) => this.#session?.input(data),
      onResize: (cols, rows) => this.#session?.resize(cols, rows),
      onShown: (bytes) => this.#session?.shown(bytes),
    });
    const status = new StatusView(
      /** @type {HTMLElement} */ (this.status),
      () => this.#session?.kept(true),
      (platform) => this.setAttribute("platform", platform),
    );
    const session = new Session(
      {
        image,
        mirror: this.getAttribute("mirror") ?? "",
        platform: this.getAttribute("platform") ?? "",
        allowUnverified: this.getAttribute("toc") === "unverified",
        fill: this.getAttribute("fetch") !== "read",
      },
      {
        credentials: async (request) => {
          const distrusted = this.hasAttribute("mirror-without-credentials");
          if (request.mirrored && distrusted) return null;
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
            if (note) terminal.terminal.writeln(`\x1b[2m${note}\x1b[0m`);
          }
        },
        mounted: (info) => {
          this.info = info;
          status.platforms(info.platform, info.platforms);
        },
        output: (data) => terminal.write(data),
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
    this.#console?.reset();
    this.view = this.#showProgress();
    this.view.runtimeLine.show("ready", 1);
    this.view.imageLine.show("mounted", 1);
    this.#news(() => {});
    this.#session.restart();
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
    loading.append(body);
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
    this.#session?.kept();
    this.#console?.fit();
    if (this.hasAttribute("autofocus")) this.#console?.focus();
    this.dispatchEvent(new CustomEvent("started", { bubbles: true }));
  }

  /** @param {number} code @param {number} [signal] */
  #end(code, signal) {
    this.#begin();
    this.dataset.state = "exited";
    this.#console?.stopInput();
    const how = signal === undefined ? "" : ` (ended by signal ${signal})`;
    this.#showBar(`The process has ended with exit code ${code}${how}.`, "Start again", () =>
      this.restart(),
    );
    this.dispatchEvent(new CustomEvent("exit", { bubbles: true, detail: { code, signal } }));
  }

  /**
   * @param {string} text
   * @param {string} label
   * @param {() => void} action
   */
  #showBar(text, label, action) {
    const bar = /** @type {HTMLElement} */ (this.bar);
    const button = /** @type {HTMLButtonElement} */ (make("button", "bm-button", label));
    button.type = "button";
    button.addEventListener("click", action);
    bar.replaceChildren(make("span", "", text), button);
    bar.hidden = false;
    button.focus({ preventScroll: true });
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
